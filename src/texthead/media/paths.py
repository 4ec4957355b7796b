"""MediaPath: what a path that names media is, and Span: `match.mp4#t=3,7.5` is 3 to 7.5 s of `match.mp4`.

The readers, which need torch, and the shards, which need NumPy, are imported on first use.
"""

import hashlib
import math
import os
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from texthead.errors import DataError, MediaError, raising
from texthead.media.addresses import COPIED, address, hint_on_path
from texthead.media.frame_folder import EVERY, frame_files, is_template

if TYPE_CHECKING:
    from texthead.media.reader import Media
    from texthead.media.shard import Member

# The separator between file name and times in W3C Media Fragments.
_FRAGMENT = "#t="

# Files whose fingerprints are read at once.
_AT_ONCE = 1000

# Files of up to this many bytes are read whole; of larger ones as many bytes in blocks that are evenly spread.
_MAX_WHOLE_BYTES = 1 << 22
_BLOCKS = 64

# Times of parts are rounded to a microsecond.
_DIGITS = 6

# Manifests may round times to thousandths of a second, so a frame may begin half of one earlier; more, for ties.
_EARLIER = 0.00051


class Span(NamedTuple):
    """A half-open interval in seconds from the first frame; `end` is infinite if it is the end of the file."""

    start: float = 0.0
    end: float = math.inf

    @classmethod
    def read(cls, start: str, end: str) -> "Span":
        """Parse a span from two strings of seconds; an empty one is the start or end of the file.

        Raises:
            ValueError: a string is not a number, the start is below 0, or the end is not above the start.
        """
        span = cls(round(float(start or 0), _DIGITS), round(float(end or "inf"), _DIGITS))
        if not 0 <= span.start < span.end:
            raise ValueError(f"start must be at least 0 and end above it, in seconds, got {start!r} and {end!r}")
        return span

    def cells(self) -> tuple[str, str]:
        """Return the manifest cells `start` and `end`; an empty one is the start or end of the file."""
        return _seconds(self.start) if self.start else "", "" if math.isinf(self.end) else _seconds(self.end)

    def overlaps(self, other: "Span") -> bool:
        """Return whether two spans overlap."""
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        return f"{_seconds(self.start)} s to {'the end' if math.isinf(self.end) else f'{_seconds(self.end)} s'}"


@dataclass(frozen=True, slots=True, init=False)
class MediaPath:
    """What a path names: a file, a part of a video, a frame folder's template, or a clip in a shard.

    Attributes:
        path: the whole path.
        file: the path without the times of a part.
        times: the times of a part as written, `#t=3,7.5`; "" if the path is not a part.
    """

    path: Path
    file: Path = field(compare=False)
    times: str = field(compare=False)

    def __init__(self, path: str | Path):
        path = path if isinstance(path, Path) else Path(path)  # Datasets have millions of paths; a copy takes time.
        file, fragment, times = str(path).rpartition(_FRAGMENT)
        part = fragment != "" and not {"/", os.sep} & {*times}
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "file", Path(file) if part else path)
        object.__setattr__(self, "times", fragment + times if part else "")

    def __str__(self) -> str:
        return str(self.path)

    # ---- what it is

    @property
    def is_part(self) -> bool:
        """Whether the path is a part of a file."""
        return self.times != ""

    @property
    def is_template(self) -> bool:
        """Whether the path is the template of a frame folder: `img_{:05d}.jpg` or `*`."""
        return is_template(self.file)

    @property
    def is_member(self) -> bool:
        """Whether the path is a clip in a shard: its parent is a `.tar` that is not a folder."""
        parent = self.file.parent
        return parent.suffix == ".tar" and not parent.is_dir()

    @property
    def original(self) -> str:
        """The name of a clip's source file, relative to its data, for a clip in a shard; else the path or address."""
        if not self.is_member:
            return COPIED.get(self.path, str(self.path))
        from texthead.media.shard import source_name

        return source_name(self.file)

    @property
    def reader(self) -> "type[Media]":
        """The reader, chosen by the name alone; a file with an unknown suffix is opened as a video.

        Raises:
            RunError: the package of the reader is broken.
        """
        from texthead.media.open import reader_of

        return reader_of(self.file)

    @property
    def is_media(self) -> bool:
        """Whether the path has the suffix of a media file; the file itself is not read."""
        from texthead.media.open import READERS, media_suffixes

        suffix = self.file.suffix.lower()
        return suffix in READERS or suffix in media_suffixes()

    @property
    def is_image(self) -> bool:
        """Whether the path is read as one image; a template is a clip."""
        return self.reader.kind == "image"

    # ---- its file

    def exists(self) -> bool:
        """Return whether the file, a template's folder, or a clip in a shard exists."""
        if self.is_template:
            return self.file.parent.exists()
        if not self.is_member:
            return self.file.exists()
        try:
            self._member()
        except MediaError:
            return False
        return True

    def check(self) -> None:
        """Raise DataError if an argument is missing locally and no address."""
        if not self.exists() and address(self.file) is None:
            raise DataError(f"{self}: no such file or folder; {hint_on_path(self.file)}")

    def has_shards(self) -> bool:
        """Return whether a folder has prepared shards."""
        from texthead.media.shard import INDEX

        return (self.path / INDEX).is_file()

    def files(self) -> list[Path]:
        """Return the files of the frames, in order, of a frame folder, else the file alone.

        Raises:
            MediaError: a frame folder or one of its frames is missing.
        """
        return frame_files(self.file) if self.is_template else [self.file]

    def stamp(self) -> str:
        """Return size, and times of modification and change, of the file, or of a clip's shard; "" if it has none.

        For a frame folder, return a digest over its files. Copying tools may restore the modification time, but not the
        change time. Files that cannot be looked up have no stamp.
        """
        try:
            files = [self.file.parent] if self.is_member else self.files()
            stamps = [f"{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}" for s in map(os.stat, files)]
        except (OSError, ValueError, MediaError):
            return ""
        return hashlib.sha256("\n".join(stamps).encode()).hexdigest() if self.is_template else stamps[0]

    def digest(self) -> str:
        """Return the SHA-256 of the file's bytes; of a frame folder, the SHA-256 over its files' digests in order.

        Raises:
            OSError: the file cannot be read.
            MediaError: a frame folder or one of its frames is missing, a shard does not list the clip, or the times of
                a part are invalid.
        """
        if self.is_part:
            return self.part_digest(MediaPath(self.file).digest())
        if self.is_member:
            return self._member().sha256
        digests = [*map(file_digest, self.files())]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest() if self.is_template else digests[0]

    def fingerprint(self) -> str:
        """Return a digest of the file's size and bytes, of a large file those of 64 blocks; "" if it cannot be read.

        Copies have equal fingerprints whatever their names, so a run's files are recognised without reading them whole.
        For a frame folder it covers the names of all frames and the fingerprints of eight evenly spaced ones. A clip in
        a shard has the fingerprint of its source file. A part's covers its file's fingerprint and its times.
        """
        with suppress(MediaError):
            if self.is_part:
                digest = MediaPath(self.file).fingerprint()
                return self.part_digest(digest) if digest else ""
            if self.is_template:
                return frames_fingerprint(self.file)
            return self._member().source if self.is_member else file_fingerprint(self.file)
        return ""

    def open(self, *, windows: bool = False) -> "Media":
        """Open the video, image or frame folder; use it as a context manager.

        The name selects the reader.

        Args:
            windows: whether windows of its frames are to be chosen, as in `check_windows`.

        Raises:
            MediaError: a file is missing, empty, cut short, without frames, too large, or in an unknown format; a frame
                folder is missing, empty, or lacks a frame; a part has no frame.
        """
        from texthead.media.open import open_file
        from texthead.media.reader import Part, named_as

        if windows:
            self.check_windows()
        if not self.is_part:
            return open_file(self.file, in_shard=self.is_member)
        self.check_part()
        with named_as(self.path):
            whole = MediaPath(self.file).open()
        try:
            return Part(self.path, self.frames(whole.times), whole)
        except BaseException:
            whole.close()
            raise

    # ---- parts of videos

    @property
    def span(self) -> Span:
        """The span of a part; the full span if the path is not a part.

        Raises:
            MediaError: the times are invalid.
        """
        if not self.times:
            return Span()
        start, _, end = self.times.removeprefix(_FRAGMENT).partition(",")
        problem = f"{self.times!r} is not a part of a file"
        with raising(partial(MediaError, self.path), problem, "write it as #t=3,7.5 in seconds"):
            return Span.read(start, end)

    def check_part(self) -> None:
        """Raise MediaError if a part's file cannot have parts, or the times are invalid."""
        if not self.is_part:
            return
        if not self.reader.one_file or self.is_image or self.is_member:
            kind = "prepared clip" if self.is_member else self.reader.kind
            raise MediaError(self.path, f"only videos have parts, and this is of kind {kind!r}; remove the times")
        _ = self.span

    def offset_seconds(self) -> float:
        """Return how much later than the file the pictures of a video start, in seconds; 0 for other files."""
        from texthead.media.video_stream import VideoStream

        with suppress(MediaError), VideoStream(self.file) as video:
            return video.offset_seconds
        return 0.0

    def check_windows(self) -> None:
        """Raise MediaError for a prepared clip: it holds only some frames, so windows of frames cannot be chosen."""
        if self.is_member:
            remedy = "use `stride=0`, `origin=first` or `origin=center`, or its original"
            raise MediaError(self.path, f"a prepared clip has no windows: {remedy}")

    def frames(self, times: Sequence[float]) -> range:
        """Return the frame numbers, in the file, of the span.

        Worked example, frames at 0.0, 0.5, 1.0 and 1.5 s: #t=0.5,1.5 has the frames 1 and 2.

        Args:
            times: presentation time of each frame of the file, in seconds.

        Raises:
            MediaError: the times of the part are invalid, or no frame begins within them.
        """
        span = self.span
        first, stop = (bisect_left(times, each - _EARLIER) for each in span)
        if first >= stop:
            last = f"the last of {len(times)} frames is at {times[-1]:.3f} s" if len(times) else "it has no times"
            raise MediaError(self.path, f"no frame from {span}, {last}; use times within the file")
        return range(first, stop)

    def shares_frames(self, spans: Mapping[Path, Sequence[Span]]) -> bool:
        """Return whether a resolved path overlaps in time with a span of `spans_by_file`."""
        own = self.span
        return any(own.overlaps(span) for span in spans.get(self.file, ()))

    def shares_copied_frames(self, parts: Mapping[str, "MediaPath"], contents: Collection[str]) -> bool:
        """Return whether the path overlaps in time with a part, or is a part, of a copy of its file.

        Args:
            parts: of the copies, as from `parts_by_times`.
            contents: the fingerprints of these.
        """
        if not (self.is_part or any(parts)):
            return False
        own, content = self.span, MediaPath(self.file).fingerprint()
        return any(own.overlaps(part.span) and part.part_digest(content) in contents for part in parts.values())

    # ---- other paths

    def part(self, span: Span) -> "MediaPath":
        """Return a part of the file, under its canonical name; the file itself for the full span."""
        if span == Span():
            return MediaPath(self.file)
        start, end = span.cells()
        return MediaPath(f"{self.file}{_FRAGMENT}{start}{end and ','}{end}")

    def clip(self) -> "MediaPath":
        """Return `path/*`, the clip of its images, for a folder, else the path itself.

        Paths with the suffix of a media file are not looked up on disk.
        """
        # Unlike pathlib's `is_dir` it accepts names that are too long for a file.
        return MediaPath(self.path / EVERY) if not self.is_media and os.path.isdir(self.path) else self  # noqa: PTH112

    def resolved(self) -> "MediaPath":
        """Return the absolute path with links resolved; a part keeps its times."""
        # Unlike `Path.resolve`, realpath accepts links to themselves. On Windows `{:` would be a drive.
        folder = os.path.join(os.path.realpath(self.file.parent), "") if self.is_template else ""  # noqa: PTH118
        return MediaPath((folder + self.file.name if folder else os.path.realpath(self.file)) + self.times)

    def relative_to(self, folder: Path) -> str:
        """Return the path as a list in a folder has it, with /: relative to it if it is below, else absolute."""
        whole, start = self.path.absolute(), folder.absolute()
        return (whole.relative_to(start) if whole.is_relative_to(start) else whole).as_posix()

    def _member(self) -> "Member":
        from texthead.media.shard import member

        return member(self.file)

    def part_digest(self, digest: str) -> str:
        """Return the digest of these times of the file with a digest: of both; of a whole file the digest itself."""
        if not self.is_part:
            return digest
        return hashlib.sha256(f"{digest} {self.span}".encode()).hexdigest()[: len(digest)]


def fingerprints(paths: Sequence[Path]) -> list[str]:
    """Return the fingerprint of each path, reading with several threads."""
    found: list[str] = []
    with ThreadPoolExecutor(16) as pool:
        for start in range(0, len(paths), _AT_ONCE):  # A thread's task takes more memory than an item.
            found += pool.map(lambda path: MediaPath(path).fingerprint(), paths[start : start + _AT_ONCE])
    return found


def spans_by_file(paths: Iterable[MediaPath]) -> dict[Path, list[Span]]:
    """Group the spans of resolved paths by file."""
    spans: dict[Path, list[Span]] = {}
    for media in paths:
        spans.setdefault(media.file, []).append(media.span)
    return spans


def parts_by_times(paths: Iterable[Path | str]) -> dict[str, MediaPath]:
    """Return one path for each of the times in paths, "" for whole files."""
    return {media.times: media for media in map(MediaPath, paths)}


def _seconds(value: float | int) -> str:
    """Format seconds as short as possible, without an exponent: 7.5, 3."""
    return f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".")


# ---- digests of files


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def file_fingerprint(file: Path) -> str:
    """Return a digest of a file's size and its bytes, for files above 4 MiB of 64 blocks; "" if it cannot be read."""
    if not file.is_file():  # Opening a pipe could block.
        return ""
    try:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            digest = hashlib.sha256(str(size).encode())
            block = _MAX_WHOLE_BYTES // _BLOCKS
            for index in range(_BLOCKS):
                if size > _MAX_WHOLE_BYTES:
                    opened.seek(index * (size - block) // (_BLOCKS - 1))
                digest.update(opened.read(block))
    except OSError:
        return ""
    return digest.hexdigest()[:32]


def frames_fingerprint(template: Path) -> str:
    """Return a digest of the names of all frames and the fingerprints of eight of them; "" if one is unreadable.

    Raises:
        MediaError: the folder or one of its frames is missing.
    """
    frames = frame_files(template)
    last = len(frames) - 1
    prints = [file_fingerprint(frames[i]) for i in sorted({k * last // 7 for k in range(8)})]
    digest = hashlib.sha256("/".join([frame.name for frame in frames] + prints).encode())
    return digest.hexdigest()[:32] if all(prints) else ""
