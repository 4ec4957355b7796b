"""Media paths and addresses, and parts of videos: `match.mp4#t=3,7.5` is 3 to 7.5 s of `match.mp4`."""

import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from texthead.errors import DataError, MediaError
from texthead.media.frame_folder import is_template

_REMOTE = re.compile(r"(?:[a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+:/")

# URL schemes of live streams, with the FFmpeg protocols that each needs.
STREAMS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtp,udp,tcp,tls",
    "http": "http,tcp",
    "https": "https,http,tls,tcp",
    "udp": "udp",
    "tcp": "tcp",
    "rtp": "rtp,udp",
    "srt": "srt",
}

_SCHEME = re.compile(r"(^|::)([a-z][a-z0-9+.-]+):/+")

# The separator between file name and times in W3C Media Fragments.
_FRAGMENT = "#t="

# Times of parts are rounded to a microsecond.
_DIGITS = 6


def address(path: str | Path) -> str | None:
    """Return the URL of a remote path, for fsspec; None for a local path.

    `Path("http://host/shards")` collapses to `http:/host/shards`; its address is `http://host/shards`.
    """
    text = str(path)
    if not _REMOTE.match(text) or Path(path).exists():
        return None
    return _SCHEME.sub(r"\1\2://", text)


def surely_missing(path: str | Path) -> bool:
    """Return whether a path does not exist locally and cannot be remote, a template or in a shard."""
    path = file_of(path)
    elsewhere = address(path) is not None or is_template(path) or path.parent.suffix == ".tar"
    return not elsewhere and not path.exists()


def check_not_missing(path: str | Path) -> None:
    """Raise DataError if a path is surely missing, or a file has the name of a part."""
    if is_part(path) and Path(path).exists():
        raise DataError(f"{path}: #t= in a name marks a part of {file_of(path).name}; rename the file")
    if surely_missing(path):
        raise DataError(f"{path}: no such file or folder; check the path")


def resolved(path: Path) -> Path:
    """Return the absolute path with links resolved; a part keeps its times, a remote path is unchanged."""
    if address(path):
        return path
    # Unlike `Path.resolve`, realpath accepts links to themselves.
    file, times = _split(path)
    return Path(os.path.realpath(file) + times)


def relative_below(path: Path, folder: Path) -> str:
    """Return a path relative to the folder if it is below it, else absolute, as written in a list in that folder."""
    whole, start = path.absolute(), folder.absolute()
    return str(whole.relative_to(start) if whole.is_relative_to(start) else whole)


def is_live(source: str) -> bool:
    """Return whether a source is a camera or the address of a live stream."""
    scheme, colon, _ = source.partition("://")
    return source.startswith("/dev/video") or (colon != "" and scheme in STREAMS)


# ---- parts of videos


class Span(NamedTuple):
    """A half-open interval in seconds from the first frame; `end` is infinite if it is the end of the file."""

    start: float = 0.0
    end: float = math.inf

    def overlaps(self, other: "Span") -> bool:
        """Return whether two spans overlap."""
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        return f"{_seconds(self.start)} s to {'the end' if math.isinf(self.end) else f'{_seconds(self.end)} s'}"


def is_part(path: str | Path) -> bool:
    """Return whether a path is a part of a file."""
    return _split(path)[1] != ""


def file_of(path: str | Path) -> Path:
    """Return the file of a part; the path itself if it is not a part."""
    return Path(_split(path)[0])


def span_of(path: str | Path) -> Span:
    """Return the span of a part; the full span if the path is not a part.

    Raises:
        MediaError: the times are invalid.
    """
    times = _split(path)[1]
    if not times:
        return Span()
    start, _, end = times.removeprefix(_FRAGMENT).removeprefix("npt:").partition(",")
    try:
        if not (start or end):
            raise ValueError("no time")
        return read_span(start, end)
    except ValueError as error:
        raise MediaError(
            path, f"{times!r} is not a part of a file ({error}); write it as #t=3,7.5 in seconds"
        ) from None


def read_span(start: str, end: str) -> Span:
    """Parse a span from two strings of seconds; an empty one is the start or end of the file.

    Raises:
        ValueError: a string is not a number of at least 0, or the end is not above the start.
    """
    span = Span(_number("start", start) if start else 0.0, _number("end", end) if end else math.inf)
    if span.end <= span.start:
        raise ValueError(f"end must be above start {start or 0}, got {end}")
    return span


def part_path(file: Path, span: Span) -> Path:
    """Return the canonical path of a part of a file; the file's own path for the full span."""
    if span == Span():
        return file
    start = _seconds(span.start) if span.start or math.isinf(span.end) else ""
    return file.with_name(f"{file.name}{_FRAGMENT}{start}{'' if math.isinf(span.end) else f',{_seconds(span.end)}'}")


def span_cells(path: Path) -> tuple[str, str]:
    """Return the manifest cells `start` and `end` of a path; an empty one is the start or end of the file."""
    span = span_of(path)
    return _seconds(span.start) if span.start else "", "" if math.isinf(span.end) else _seconds(span.end)


def spans_by_file(paths: Iterable[str | Path]) -> dict[Path, list[Span]]:
    """Group the spans of resolved paths by file."""
    spans: dict[Path, list[Span]] = {}
    for path in paths:
        spans.setdefault(file_of(path), []).append(span_of(path))
    return spans


def shares_frames(path: Path, spans: Mapping[Path, list[Span]]) -> bool:
    """Return whether a resolved path overlaps in time with a span of `spans_by_file`."""
    own = span_of(path)
    return any(own.overlaps(span) for span in spans.get(file_of(path), ()))


def _split(path: str | Path) -> tuple[str, str]:
    """Split a path into (file, times of the part as written, "" if it is not a part)."""
    text = str(path)
    file, fragment, times = text.rpartition(_FRAGMENT)
    return (file, fragment + times) if fragment and "/" not in times else (text, "")


def _number(name: str, text: str) -> float:
    try:
        # `float` reads 1_0 as 10.
        value = round(float(text), _DIGITS) if "_" not in text else math.nan
    except (ValueError, OverflowError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a number of seconds, at least 0, got {text!r}")
    return value


def _seconds(value: float | int) -> str:
    """Format seconds as short as possible, without an exponent: 7.5, 3."""
    return f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".")
