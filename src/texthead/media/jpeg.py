"""JPEG -> pixels, by libjpeg-turbo: through simplejpeg where it is installed, else through Pillow, which takes longer.

Both give the same pixels.
"""

import io

import numpy as np
import PIL.Image

from texthead.media.reader import Picture

try:
    import simplejpeg  # pyright: ignore[reportMissingImports]
except ImportError:  # There is no wheel for this machine.
    simplejpeg = None


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Return (height, width) in pixels, as the header claims.

    Raises: whatever the library raises on what is no JPEG.
    """
    if simplejpeg is not None:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        return int(height), int(width)
    with PIL.Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return image.height, image.width


def decode_jpeg(data: bytes, out: Picture) -> None:
    """Decode into `out`, an array of rows without gaps and of the picture's size.

    Raises: whatever the library raises on damaged data.
    """
    if simplejpeg is not None:
        simplejpeg.decode_jpeg(data, buffer=out)
        return
    with PIL.Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        out[...] = np.asarray(image.convert("RGB"))
