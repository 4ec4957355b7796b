"""The table of readers, by suffix. All other packages reach the decoders through `MediaPath.open`."""

from pathlib import Path

from texthead.extensions import find
from texthead.media.frame_folder import is_template
from texthead.media.image import FrameFolder, Image
from texthead.media.limits import MAX_SECONDS, PICTURE_SECONDS, check_file, check_frames
from texthead.media.reader import Media, reader_errors
from texthead.media.shard import check_digest, member, read_ranges
from texthead.media.stored_clip import StoredClip
from texthead.media.video import Video
from texthead.parallel.loaders import end_after

# Readers by suffix. Installed packages add theirs as entry points of this group, named by the suffix without its dot.
READER_GROUP = "texthead.readers"
READERS: dict[str, type[Media]] = {suffix: reader for reader in (Image, Video) for suffix in reader.suffixes}
OUR_READERS = {suffix.lstrip("."): reader.__module__ for suffix, reader in READERS.items()}


def reader_of(file: Path) -> type[Media]:
    """Return the reader for a file, by its name alone; a file with an unknown suffix is opened as a video.

    Raises:
        RunError: the package of the reader is broken.
    """
    suffix = file.suffix.lower()
    if is_template(file):
        return FrameFolder
    if suffix in READERS or suffix not in media_suffixes():
        return READERS.get(suffix, Video)
    return find(READER_GROUP, OUR_READERS)[suffix.removeprefix(".")].load(base=Media)


def media_suffixes() -> frozenset[str]:
    """Return the suffixes of all media files, with the dot, in lower case."""
    return frozenset(f".{name}" for name in find(READER_GROUP, OUR_READERS))


def open_file(path: Path, *, in_shard: bool) -> Media:
    """Open a video, an image, a frame folder, or a clip in a shard, with the reader of its name.

    Raises:
        MediaError: as `MediaPath.open`.
    """
    reader = reader_of(path)
    # Videos have their own time limit, between packets; only a single call that never returns can take longer.
    end_after(PICTURE_SECONDS if reader.kind == "image" else 3 * MAX_SECONDS)
    with reader_errors(reader, path):
        if reader.one_file and in_shard:
            entry = member(path)
            if entry.table:
                return StoredClip(path, entry)
            (data,) = read_ranges(path, [(entry.offset, entry.size)])
            check_digest(path, "the clip", data, entry.sha256, entry.size)
            return reader(path, data)
        if reader.one_file:
            check_file(path)
        media = reader(path)
        check_frames(path, media.num_frames)  # Another package's reader may forget it.
        return media
