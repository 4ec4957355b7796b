"""File -> frames; the only door to the decoders: `images` for pictures, `videos` for videos."""

import io
from pathlib import Path

import PIL.Image
from av.error import FFmpegError

from texthead.errors import MediaError
from texthead.media.frame_folder import is_template
from texthead.media.image import IMAGE_FORMATS, IMAGE_SUFFIXES, FrameFolder, Image
from texthead.media.limits import check_file
from texthead.media.shard import is_member, read_member
from texthead.media.video import MAX_SECONDS, VIDEO_SUFFIXES, Video, check_claims
from texthead.media.video_stream import open_container
from texthead.parallel.loaders import end_after

# What Pillow and FFmpeg call a format, and its usual suffix.
_SUFFIXES = {
    "BMP": ".bmp",
    "GIF": ".gif",
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "TIFF": ".tif",
    "WEBP": ".webp",
    "asf": ".wmv",
    "avi": ".avi",
    "flv": ".flv",
    "matroska,webm": ".mkv",
    "mov,mp4,m4a,3gp,3g2,mj2": ".mp4",
    "mpeg": ".mpg",
    "mpegts": ".ts",
    "ogg": ".ogv",
}

Media = Video | Image | FrameFolder


def is_media(path: str | Path) -> bool:
    """True for a name that ends like a video's or an image's, a template's too; the file itself is not looked at."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES


def is_image(path: str | Path) -> bool:
    """True for a name that is read as one image; a template is a clip."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES and not is_template(path)


def suffix_of(content: bytes) -> str | None:
    """The suffix that a file with this content should have; None where it is no image or video that can be read."""
    try:
        with PIL.Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as image:
            return _SUFFIXES.get(image.format or "")
    except Exception:  # On what is no image Pillow's readers raise nearly every kind there is.
        pass
    try:
        check_claims(Path(), content)
        with open_container(io.BytesIO(content)) as container:
            return _SUFFIXES.get(container.format.name)
    except (FFmpegError, MediaError):
        return None


def open_media(path: str | Path) -> Media:
    """The video, image or folder of frames at `path`, open; use it as a context manager.

    A name with a place for a number (`img_{:05d}.jpg`) is read as a folder of frames, one with an image suffix as an
    image, any other as a video. What lies below a `.tar` is a clip of a prepared shard.

    Raises: MediaError for a file that is missing, empty, cut short, without pictures, or in no known format; for a
    folder of frames that is missing, holds none, or lacks one between others.
    """
    path = Path(path)
    # Opening and reading may each take their time; what takes longer is in a call that does not look at a clock.
    end_after(3 * MAX_SECONDS)
    if is_template(path):
        return FrameFolder(path)
    kind = Image if is_image(path) else Video
    if is_member(path):
        return kind(path, read_member(path))
    check_file(path)
    return kind(path)


def check(path: str | Path) -> int:
    """The number of frames, after decoding every one of them.

    Raises: MediaError for the first fault, even one that `frames_at` would pass by.
    """
    with open_media(path) as media:
        return media.check()
