"""Pictures as clips: an image is a clip of one frame, a folder of images under a template one of many."""

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from texthead.errors import Fault, MediaError
from texthead.media.frame_folder import EVERY, IMAGE_SUFFIXES, frame_files, is_template
from texthead.media.limits import changed_size, check_file, check_size
from texthead.media.reader import Media, Picture

# What Pillow may take a file for, and the usual suffix of each.
_FORMATS = {"BMP": ".bmp", "GIF": ".gif", "JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp"}


class Image(Media):
    """One picture as a clip of one frame, upright by its EXIF orientation, in RGB.

    Transparency is dropped, not blended; 16-bit grey keeps its upper eight bits; an animated file gives its
    first picture (but .gif is a video).
    """

    kind = "image"
    suffixes = IMAGE_SUFFIXES
    num_frames = 1

    def __init__(self, path: Path, data: bytes | None = None):
        super().__init__(path)
        with _pillow_faults(path):
            self._image = PIL.Image.open(path if data is None else io.BytesIO(data), formats=tuple(_FORMATS))
        check_size(path, *self._image.size)

    @classmethod
    def suffix_of(cls, content: bytes) -> str | None:
        """Return the suffix of the format that Pillow finds."""
        try:
            with PIL.Image.open(io.BytesIO(content), formats=tuple(_FORMATS)) as image:
                # Of JPEG files with several pictures Pillow says MPO.
                return {**_FORMATS, "MPO": ".jpg"}.get(image.format or "")
        except Exception:  # On what is no image Pillow's readers raise nearly every kind there is.
            return None

    def pictures(self, wanted: Collection[int]) -> Iterator[tuple[int, Picture]]:
        """Yield the picture, if it is wanted.

        Raises: MediaError for a damaged picture.
        """
        with _pillow_faults(self.path):
            picture = np.asarray(_upright_rgb(self._image))
        yield from ((index, picture) for index in wanted)

    @property
    def turned(self) -> bool:
        """Whether EXIF says that the picture is not upright as it is stored.

        Raises: MediaError for EXIF that cannot be read.
        """
        with _pillow_faults(self.path):
            return self._image.getexif().get(PIL.ExifTags.Base.Orientation, 1) != 1

    def close(self) -> None:
        """Release the file."""
        self._image.close()


class FrameFolder(Media):
    """The pictures of a folder that fit a template, by ascending number, as the frames of one clip.

    `path` is the folder and the template, as `v1/img_{:05d}.jpg`, or `v1/*` for all its images. Pictures are opened
    when they are asked for.

    Source: the published code's `image_tmpl`.
    """

    kind = "frame folder"
    suffixes = Image.suffixes
    one_file = False

    def __init__(self, path: Path):
        super().__init__(path)
        if path.name != EVERY and path.suffix.lower() not in self.suffixes:
            raise MediaError(path, f"frames must be images, and {path.suffix or 'no suffix'!r} is none of theirs")
        self._files = frame_files(path)
        self._shape: tuple[int, ...] | None = None
        self.num_frames = len(self._files)

    @classmethod
    def takes(cls, path: Path) -> bool:
        """Return whether the name is a template."""
        return is_template(path)

    def pictures(self, wanted: Collection[int]) -> Iterator[tuple[int, Picture]]:
        """Yield (index, picture) of each wanted frame by ascending number.

        Raises: MediaError for a damaged picture, or one of another size than the first that was read.
        """
        for index in sorted(wanted):
            picture = self._read(self._files[index])
            self._shape = self._shape or picture.shape
            if picture.shape != self._shape:
                problem = f"{changed_size(self._shape, picture.shape)} (at {self._files[index].name})"
                raise MediaError(self.path, problem, "changing size")
            yield index, picture

    def _read(self, file: Path) -> Picture:
        try:
            check_file(file)
            with Image(file) as image:
                return dict(image.pictures({0}))[0]
        except MediaError as error:
            raise MediaError(self.path, f"frame {file.name}: {error.problem}", error.fault) from error


def _upright_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    upright = PIL.ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        # Pillow would clip at 255 and give white.
        return PIL.Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8)).convert("RGB")
    if upright.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {upright.mode} have no known range; save it with 8 bits a channel")
    return upright.convert("RGB")


@contextmanager
def _pillow_faults(path: Path) -> Iterator[None]:
    """Turn what Pillow raises into MediaError."""
    try:
        yield
    except Exception as error:  # On damaged files Pillow's readers raise nearly every kind there is.
        # Only Pillow's words tell a file that ends early from one that was never a picture.
        fault: Fault = "cut short" if "truncated" in str(error) else "unreadable"
        raise MediaError(path, f"cannot be read as an image ({error}); fetch or save it again", fault) from error
