"""Decode JPEG with libjpeg-turbo: through simplejpeg if it is installed, else through Pillow, which is slower.

Both give the same pixels.
"""

import io

import numpy as np
import PIL.Image

from texthead.media.reader import Picture

try:
    import simplejpeg  # pyright: ignore[reportMissingImports]
except ImportError:  # Some platforms have no wheel.
    simplejpeg = None


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Return (height, width) in pixels from the header.

    Raises: the library's own errors if it is not a JPEG.
    """
    if simplejpeg is not None:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        return int(height), int(width)
    with PIL.Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return image.height, image.width


def decode_jpeg(data: bytes, out: Picture) -> None:
    """Decode into `out`, a contiguous array of the image's size.

    Raises: the library's own errors on damaged data.
    """
    if simplejpeg is not None:
        simplejpeg.decode_jpeg(data, buffer=out)
        return
    with PIL.Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        out[...] = np.asarray(image.convert("RGB"))
