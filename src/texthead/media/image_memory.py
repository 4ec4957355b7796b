"""How much memory a picture takes while Pillow reads it, from what its header claims."""

import PIL.Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, SAMPLESPERPIXEL, TILELENGTH, TILEWIDTH, TiffImageFile

# Bytes of a pixel in Pillow's own memory; 4 of any other mode, RGB too.
_MODES = {"1": 1.0, "L": 1.0, "P": 1.0, "I;16": 2.0, "I;16B": 2.0, "I;16L": 2.0, "I;16N": 2.0}

# libwebp holds two canvases in RGBA, and the bytes of the picture that it hands out.
_WEBP = 12.0


def is_jpeg(image: PIL.Image.Image) -> bool:
    """Return whether the picture can be decoded at a part of its size."""
    return isinstance(image, JpegImageFile)


def bytes_a_pixel(image: PIL.Image.Image) -> tuple[float, float]:
    """Return what a pixel takes in the picture as it is read, and what its decoder takes beside that.

    The picture must be open and not loaded yet.
    """
    beside = 0.0
    if isinstance(image, JpegImageFile):
        beside = _coefficients(image)
    elif isinstance(image, TiffImageFile):
        beside = _strip(image)
    elif image.format == "WEBP":
        beside = _WEBP
    return _MODES.get(image.mode, 4.0), beside


def _coefficients(image: JpegImageFile) -> float:
    """Return the bytes of the coefficients, which libjpeg holds all where they come in several scans.

    Two a sample. Worked example: colours at half the resolution both ways have 1 + 1/4 + 1/4 samples a pixel.
    """
    if not image.info.get("progressive") and _first_scan(image) == len(image.layer):
        return 0.0
    across, down = (max(layer[place] for layer in image.layer) for place in (1, 2))
    return sum(2 * layer[1] * layer[2] / (across * down) for layer in image.layer)


def _first_scan(image: JpegImageFile) -> int:
    """Return how many components the first scan has; 0 if none is found."""
    file = image.fp
    assert file is not None, "the picture is not loaded yet"
    here = file.tell()
    file.seek(2)
    while (marker := file.read(2)) and marker[:1] == b"\xff":
        if marker == b"\xff\xff":  # A marker may come after any number of such bytes.
            file.seek(-1, 1)
            continue
        head = file.read(3)
        if marker == b"\xff\xda" or len(head) < 3:
            break
        file.seek(int.from_bytes(head[:2]) - 3, 1)
    else:
        head = b""
    file.seek(here)
    return head[2] if len(head) == 3 else 0


def _strip(image: TiffImageFile) -> float:
    """Return the bytes of a strip or tile as stored, which may be the whole picture or larger."""
    bits = image.tag_v2.get(BITSPERSAMPLE, (1,))
    samples = max(len(bits), int(image.tag_v2.get(SAMPLESPERPIXEL, 1)))
    tile = int(image.tag_v2.get(TILEWIDTH, 0)) * int(image.tag_v2.get(TILELENGTH, 0))
    # Of a strip in JPEG libtiff makes four bytes a pixel.
    return max(4.0, samples * max(bits) / 8) * max(1.0, tile / (image.width * image.height))
