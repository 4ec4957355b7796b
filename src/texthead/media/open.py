"""File -> frames; the only door to the decoders."""

import os
from pathlib import Path

from texthead.errors import MediaError
from texthead.media.frame_folder import EVERY
from texthead.media.image import FrameFolder, Image
from texthead.media.limits import MOST_MEGAPIXELS, check_file
from texthead.media.paths import file_of, is_part, span_of
from texthead.media.reader import Media, Part, named_as
from texthead.media.shard import is_member, member, read_member
from texthead.media.stored_clip import StoredClip
from texthead.media.video import MAX_SECONDS, Video
from texthead.parallel.loaders import end_after

# The first that takes a name opens the file; a name that none takes is tried as a video.
READERS: tuple[type[Media], ...] = (FrameFolder, Image, Video)


def reader_of(path: str | Path) -> type[Media]:
    """Return the reader that opens what has this name, or its file if it is a part; the file is not looked at."""
    file = file_of(path)
    return next((reader for reader in READERS if reader.takes(file)), Video)


def media_suffixes() -> frozenset[str]:
    """Return the endings of the names of all media, with the dot, in lower case."""
    return frozenset().union(*(reader.suffixes for reader in READERS))


def is_media(path: str | Path) -> bool:
    """Return whether a name ends like that of a medium, a template's too; the file itself is not looked at."""
    return file_of(path).suffix.lower() in media_suffixes()


def kind_of(path: str | Path) -> str:
    """Return what is read from a name: "video", "image", "frame folder" or another reader's kind."""
    return reader_of(path).kind


def is_image(path: str | Path) -> bool:
    """Return whether a name is read as one image; a template is a clip."""
    return kind_of(path) == Image.kind


def as_clip(path: Path) -> Path:
    """Return the path of a manifest's row, or the clip of its images, `path/*`, if it is a folder.

    Only names that do not end like those of media are looked up.
    """
    return path / EVERY if not is_media(path) and path.is_dir() else path


def suffix_of(content: bytes) -> str | None:
    """Return the suffix that a file with this content should have; None if no reader knows it."""
    return next(filter(None, (reader.suffix_of(content) for reader in READERS)), None)


def check_part(path: Path) -> None:
    """Raise MediaError for a part of what has no parts, times that break a rule, or a file with a part's name.

    Raises: MediaError.
    """
    file = file_of(path)
    if os.path.lexists(path):  # Unlike pathlib's `exists` it takes a name that is too long for a file.
        raise MediaError(path, f"a file has this name, by which a part of {file.name} is meant; rename the file")
    reader = reader_of(file)
    if not reader.one_file or reader is Image:
        raise MediaError(path, f"only videos have parts, and this is of kind {reader.kind!r}; leave out its times")
    if is_member(file):
        raise MediaError(path, "a prepared clip has no parts; prepare a manifest with start and end")
    span_of(path)


def open_media(path: str | Path, most_megapixels: int = MOST_MEGAPIXELS) -> Media:
    """Open the video, image or folder of frames at `path`; use it as a context manager.

    The name decides on the reader. A path below a `.tar` is a clip of a prepared shard; `match.mp4#t=3,7.5` is a part
    of `match.mp4`.

    Args:
        most_megapixels: what decoding may hold at once, in millions of pixels of three bytes.

    Raises: MediaError for a file that is missing, empty, cut short, without pictures, too large, or in no known format;
    for a folder of frames that is missing, holds none, or lacks one between others; for a part without a frame.
    """
    path = Path(path)
    if is_part(path):
        check_part(path)
        with named_as(path):
            whole = open_media(file_of(path), most_megapixels)
        try:
            return Part(path, whole)
        except BaseException:
            whole.close()
            raise
    # Opening and reading may each take their time; what takes longer is in a call that does not look at a clock.
    end_after(3 * MAX_SECONDS)
    reader = reader_of(path)
    if reader.one_file and is_member(path):
        place = member(path)
        data = None if place.table else read_member(path, place)
        return StoredClip(path, place, most_megapixels) if data is None else reader(path, data, most_megapixels)
    if reader.one_file:
        check_file(path)
    return reader(path, None, most_megapixels)


def check(path: str | Path) -> int:
    """Return the number of frames, after decoding every one of them.

    Raises: MediaError for the first fault, even one that `frames_at` would pass by.
    """
    with open_media(path) as media:
        return media.check()
