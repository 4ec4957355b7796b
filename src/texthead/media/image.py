"""Images as clips: an image is a clip of one frame, a folder of images that match a template a clip of many."""

import io
import math
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import PIL.ExifTags
import PIL.Image
import simplejpeg
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from texthead.errors import Fault, MediaError, reason
from texthead.extras import needs
from texthead.media.frame_folder import IMAGE_SUFFIXES, frame_files
from texthead.media.limits import PIXELS_VARIABLE, check_file, check_size, max_pixels
from texthead.media.reader import Frame, Media

# The formats that Pillow may open.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

# The brands of HEIF files, of which some may also be AVIF.
_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


class Image(Media):
    """An image as a clip of one frame, in RGB, turned upright by its EXIF orientation.

    Transparent pixels get the colour stored in them, often black or white: they are not blended. Grey of 12 or 16 bits
    keeps its upper eight; an animated file gives its first image (but .gif is a video). An unreadable or unknown
    orientation counts as upright.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if that gives whole sides of at least `min_short_side`: libjpeg
    computes only those pixels, from the low frequencies of each block.
    """

    kind = "image"
    suffixes = IMAGE_SUFFIXES
    num_frames = 1

    def __init__(self, path: Path, data: bytes | None = None):
        super().__init__(path, data)
        self._data = data
        self._image: PIL.Image.Image | None = self._open()

    def close(self) -> None:
        """Close the file."""
        image, self._image = self._image, None
        if image is not None:
            image.close()

    def iter_frames(self, wanted: Collection[int]) -> Iterator[tuple[int, Frame]]:
        """Yield the image if it is wanted.

        Raises: MediaError for a damaged image.
        """
        image, self._image = self._image or self._open(), None
        with image:
            (width, height), scale, most = image.size, 1, self.min_short_side
            if most and isinstance(image, JpegImageFile):
                # It divides both sides: a last column that is only partly filled would stretch the picture.
                common, short = math.gcd(width, height), max(min(width, height), most)
                scale = max(each for each in (1, 2, 4, 8) if common % each == 0 and each * most <= short)
            with _pillow_errors(self.path):
                picture = _jpeg(image, scale)
                if picture is None:
                    image.draft(None, (width // scale, height // scale))
                    picture = _rgb_picture(image)
                orientation = _orientation(image)  # Pillow has turned a .tif; a .png may have it at its end.
        pixels = picture.view("V3")[..., 0]  # Copying whole pixels takes half of the time.
        pixels = pixels.T if orientation > 4 else pixels
        pixels = pixels[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]
        self.shape = tuple(scale * side for side in pixels.shape)
        upright = np.ascontiguousarray(pixels).view(np.uint8).reshape(*pixels.shape, 3)
        yield from ((index, upright) for index in wanted)

    def _open(self) -> PIL.Image.Image:
        max_pixels()  # Sets Pillow's limit.
        with _pillow_errors(self.path):
            try:
                image = PIL.Image.open(self._source(), formats=_FORMATS)
            except PIL.UnidentifiedImageError:
                image = PIL.Image.open(self._source(), formats=_formats_of(self.path, self._source()))
        check_size(self.path, *image.size)
        return image

    def _source(self) -> Path | io.BytesIO:
        return self.path if self._data is None else io.BytesIO(self._data)


class FrameFolder(Media):
    """A clip whose frames are the images of a folder that match a template, by ascending number.

    `path` is the folder and the template, as `v1/img_{:05d}.jpg`, or `v1/*` for all its images. Images are opened on
    demand.

    Source: the published code's `image_tmpl`.
    """

    kind = "frame folder"
    one_file = False

    def __init__(self, path: Path, data: bytes | None = None):
        super().__init__(path, data)
        self._files = frame_files(path)
        self.num_frames = len(self._files)

    def iter_frames(self, wanted: Collection[int]) -> Iterator[tuple[int, Frame]]:
        """Yield (index, frame) of each wanted frame by ascending number.

        Raises: MediaError for a damaged image, or one whose size differs from the first one read.
        """
        for index in sorted(wanted):
            file = self._files[index]
            try:
                check_file(file)
                with Image(file) as image:
                    image.min_short_side = self.min_short_side
                    picture = dict(image.iter_frames({0}))[0]
                self.shape = self.shape or image.shape
                self._check_same_size(self.shape or (), image.shape or ())
            except MediaError as error:
                raise MediaError(self.path, f"frame {file.name}: {error.problem}", error.fault) from error
            yield index, picture


def _formats_of(path: Path, source: Path | io.BytesIO) -> tuple[str, ...]:
    """Return the formats that Pillow may try on a file, from its first bytes; each plugin takes time to load.

    Raises:
        MediaError: the format needs a package that is not installed.
    """
    with source.open("rb") if isinstance(source, Path) else source as file:
        content = file.read(64)
    brands = {content[start : start + 4] for start in (8, *range(16, 64, 4))} if content[4:8] == b"ftyp" else set()
    if brands & {b"avif", b"avis"}:
        return ("AVIF",)
    if brands & _HEIF:
        with needs("heic", "HEIC", partial(MediaError, path)):
            import pi_heif

        pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
        return ("HEIF",)
    return _FORMATS


def _jpeg(image: PIL.Image.Image, scale: int) -> Frame | None:
    """Return a JPEG's stored picture in RGB; None for other files, and for those that Pillow alone reads or refuses.

    simplejpeg gives Pillow's pixels without Pillow's copies of them, which take as long as decoding.
    """
    if not isinstance(image, JpegImageFile) or image.mode not in ("RGB", "L"):
        return None
    (width, height), file = image.size, image.fp
    assert file is not None, "the image must not be loaded yet"
    file.seek(0)
    data = file.read()
    with suppress(Exception):  # It may raise anything on damaged files.
        if simplejpeg.decode_jpeg_header(data)[:2] == (height, width):
            return simplejpeg.decode_jpeg(data, "RGB", min_height=height // scale, min_width=width // scale)
    return None


def _rgb_picture(image: PIL.Image.Image) -> Frame:
    """Return the stored image in RGB."""
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known range; save it with 8 bits per channel")
    image.load()
    shift, flip = 8, 0
    if isinstance(image, TiffImageFile):  # Pillow leaves 12 bits and WhiteIsZero to its caller in grey of mode I;16.
        bits, photometric = map(image.tag_v2.get, (BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION))
        shift, flip = (bits or (16,))[0] - 8, 255 * (photometric == 0)
    if image.mode.startswith("I;16"):  # Pillow would clip values at 255, to white.
        image = PIL.Image.fromarray(((np.asarray(image) >> shift) ^ flip).astype(np.uint8))
    return np.asarray(image.convert("RGB"))


def _orientation(image: PIL.Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if it is unreadable or out of range."""
    try:
        orientation = image.getexif().get(PIL.ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow may raise anything on damaged EXIF.
        return 1
    return orientation if orientation in range(1, 9) else 1


@contextmanager
def _pillow_errors(path: Path) -> Iterator[None]:
    """Turn Pillow's errors into MediaError and ignore its warnings."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except MediaError:
        raise
    except Exception as error:  # Pillow may raise anything on damaged files.
        # Only the message distinguishes a truncated file from one that never was an image.
        fault: Fault = "cut short" if "truncated" in str(error) else "unreadable"
        why = "its format is unknown" if isinstance(error, PIL.UnidentifiedImageError) else reason(error)
        large = isinstance(error, PIL.Image.DecompressionBombError)
        remedy = f"scale it down or set {PIXELS_VARIABLE}" if large else "download or save it again"
        raise MediaError(path, f"cannot be read as an image ({why}); {remedy}", fault) from error
