"""Open media files. All other packages reach the decoders through this module."""

import os
from itertools import chain
from pathlib import Path

from texthead.errors import MediaError, RunError
from texthead.extensions import Extension, find
from texthead.media.frame_folder import EVERY, is_template
from texthead.media.image import FrameFolder, Image
from texthead.media.limits import check_file
from texthead.media.paths import file_of, is_part, span_of
from texthead.media.reader import Media, Part, named_as
from texthead.media.shard import is_member, member, read_member
from texthead.media.stored_clip import StoredClip
from texthead.media.video import MAX_SECONDS, Video
from texthead.parallel.loaders import end_after

# Readers by suffix. Installed packages add theirs as entry points of this group, named by the suffix without its dot.
READER_GROUP = "texthead.readers"
READERS: dict[str, type[Media]] = {suffix: reader for reader in (Image, Video) for suffix in reader.suffixes}


def reader_of(path: str | Path) -> type[Media]:
    """Return the reader for a path, or for its file if it is a part; decided by the name alone.

    A file with an unknown suffix is opened as a video.

    Raises:
        RunError: the package of the reader is broken.
    """
    file = file_of(path)
    suffix = file.suffix.lower()
    if is_template(file):
        return FrameFolder
    if suffix in READERS or suffix not in (packages := _of_packages()):
        return READERS.get(suffix, Video)
    return _reader(packages[suffix])


def _of_packages() -> dict[str, Extension]:
    """Return the readers of installed packages, by suffix."""
    return {f".{name.lower().lstrip('.')}": entry for name, entry in find(READER_GROUP).items()}


def _reader(entry: Extension) -> type[Media]:
    reader = entry.load()
    if not (isinstance(reader, type) and issubclass(reader, Media)):
        raise RunError(entry.broken("is no subclass of Media"))
    return reader


def media_suffixes() -> frozenset[str]:
    """Return the suffixes of all media files, with the dot, in lower case."""
    return frozenset([*READERS, *_of_packages()])


def is_media(path: str | Path) -> bool:
    """Return whether a path, or template, has the suffix of a media file; the file itself is not read."""
    suffix = file_of(path).suffix.lower()
    return suffix in READERS or suffix in _of_packages()


def kind_of(path: str | Path) -> str:
    """Return the kind of the path's reader: "video", "image", "frame folder" or another one."""
    return reader_of(path).kind


def is_image(path: str | Path) -> bool:
    """Return whether a path is read as one image; a template is a clip."""
    return kind_of(path) == Image.kind


def as_clip(path: Path) -> Path:
    """Return the path, or `path/*`, the clip of its images, if it is a folder.

    Paths with the suffix of a media file are not looked up on disk.
    """
    return path / EVERY if not is_media(path) and path.is_dir() else path


def suffix_of(content: bytes) -> str | None:
    """Return the suffix that a file with this content should have; None if no reader recognises it."""
    readers = chain((Image, Video), map(_reader, _of_packages().values()))
    return next(filter(None, (reader.suffix_of(content) for reader in readers)), None)


def check_part(path: Path) -> None:
    """Raise MediaError if the file cannot have parts, the times are invalid, or a file has the part's name."""
    file = file_of(path)
    if os.path.lexists(path):  # Unlike pathlib's `exists` it accepts names that are too long for a file.
        raise MediaError(path, f"a file has this name, but #t= marks a part of {file.name}; rename the file")
    reader = reader_of(file)
    if not reader.one_file or reader is Image:
        raise MediaError(path, f"only videos have parts, and this is of kind {reader.kind!r}; leave out its times")
    if is_member(file):
        raise MediaError(path, "a prepared clip has no parts; prepare a manifest with start and end")
    span_of(path)


def open_media(path: str | Path) -> Media:
    """Open the video, image or frame folder at `path`; use it as a context manager.

    The name selects the reader. A path below a `.tar` is a clip of a prepared shard; `match.mp4#t=3,7.5` is a part of
    `match.mp4`.

    Args:

    Raises: MediaError for a file that is missing, empty, cut short, without frames, too large, or in an unknown format;
    for a frame folder that is missing, empty, or lacks a frame; for a part without a frame.
    """
    path = Path(path)
    if is_part(path):
        check_part(path)
        with named_as(path):
            whole = open_media(file_of(path))
        try:
            return Part(path, whole)
        except BaseException:
            whole.close()
            raise
    # Opening and reading have their own time limits; only a single call that never returns can take longer.
    end_after(3 * MAX_SECONDS)
    reader = reader_of(path)
    if reader.one_file and is_member(path):
        place = member(path)
        data = None if place.table else read_member(path, place)
        return StoredClip(path, place) if data is None else reader(path, data)
    if reader.one_file:
        check_file(path)
    return reader(path)


def check(path: str | Path) -> int:
    """Decode every frame and return their number.

    Raises: MediaError for the first fault, even one that `frames_at` would not reach.
    """
    with open_media(path) as media:
        return media.check()
