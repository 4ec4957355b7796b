"""Pictures as clips: an image is a clip of one frame, a folder of images under a template one of many."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
import torch
from jaxtyping import UInt8
from torch import Tensor

from texthead.errors import Fault, MediaError
from texthead.media.frame_folder import frame_files
from texthead.media.limits import changed_size, check_file, check_indices, check_size

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

# What Pillow may take a file for.
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")


class Image:
    """One picture as a clip of one frame, upright by its EXIF orientation, in RGB.

    Transparency is dropped, not blended; 16-bit grey keeps its upper eight bits; an animated file gives its
    first picture (but .gif is a video).
    """

    num_frames = 1

    def __init__(self, path: Path, data: bytes | None = None):
        self.path = path
        with _pillow_faults(path):
            self._image = PIL.Image.open(path if data is None else io.BytesIO(data), formats=IMAGE_FORMATS)
        check_size(path, *self._image.size)

    def frames_at(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """The picture, once for every index; each index must be 0.

        Raises: DataError for another index; MediaError for a damaged picture.
        """
        check_indices(self.path, indices, self.num_frames)
        with _pillow_faults(self.path):
            picture = np.asarray(_upright_rgb(self._image))
        # `repeat` also makes the memory our own: Pillow's is read-only.
        return torch.from_numpy(picture[None].repeat(len(indices), axis=0)).permute(0, 3, 1, 2)

    @property
    def orientation(self) -> int:
        """How EXIF says that the picture lies, 1 to 8; 1 is upright.

        Raises: MediaError for EXIF that cannot be read.
        """
        with _pillow_faults(self.path):
            return int(self._image.getexif().get(PIL.ExifTags.Base.Orientation, 1))

    def check(self) -> int:
        """1, after decoding the picture.

        Raises: MediaError for a damaged picture.
        """
        self.frames_at([0])
        return self.num_frames

    def close(self) -> None:
        self._image.close()

    def __enter__(self) -> "Image":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FrameFolder:
    """The pictures of a folder that fit a template, by ascending number, as the frames of one clip.

    `path` is the folder and the template, as `v1/img_{:05d}.jpg`. Pictures are opened when they are asked for.

    Source: the published code's `image_tmpl`.
    """

    def __init__(self, path: Path):
        self.path = path
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            raise MediaError(path, f"frames must be images, and {path.suffix or 'no suffix'!r} is none of theirs")
        self._files = frame_files(path)
        self.num_frames = len(self._files)

    def frames_at(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """The frames at `indices`, in that order; an index may come twice, its picture is read once.

        Raises: DataError for an index outside 0..num_frames-1; MediaError for a damaged picture, or one of
        another size.
        """
        check_indices(self.path, indices, self.num_frames)
        places: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            places.setdefault(index, []).append(place)
        out: np.ndarray | None = None
        for index in sorted(places):
            picture = self._picture(index)
            if out is None:
                out = np.empty((len(indices), *picture.shape), np.uint8)
            self._check_same_size(out.shape[1:], picture.shape, index)
            out[places[index]] = picture
        assert out is not None, "check_indices lets no empty request through"
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def check(self) -> int:
        """The number of frames, after decoding every one of them; none is kept.

        Raises: MediaError for the first fault.
        """
        shape: tuple[int, ...] | None = None
        for index in range(self.num_frames):
            here = self._picture(index).shape
            shape = shape or here
            self._check_same_size(shape, here, index)
        return self.num_frames

    def _picture(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        file = self._files[index]
        try:
            check_file(file)
            with Image(file) as image:
                return image.frames_at([0])[0].permute(1, 2, 0).numpy()
        except MediaError as error:
            raise MediaError(self.path, f"frame {file.name}: {error.problem}", error.fault) from error

    def _check_same_size(self, before: tuple[int, ...], here: tuple[int, ...], index: int) -> None:
        if here != before:
            problem = f"{changed_size(before, here)} (at {self._files[index].name})"
            raise MediaError(self.path, problem, "changing size")

    def close(self) -> None:
        """Nothing: no picture stays open."""

    def __enter__(self) -> "FrameFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
    """Turns what Pillow raises into MediaError."""
    try:
        yield
    except Exception as error:  # On damaged files Pillow's readers raise nearly every kind there is.
        # Only Pillow's words tell a file that ends early from one that was never a picture.
        fault: Fault = "cut short" if "truncated" in str(error) else "unreadable"
        raise MediaError(path, f"cannot be read as an image ({error}); fetch or save it again", fault) from error
