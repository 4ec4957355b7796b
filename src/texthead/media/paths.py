"""Paths and addresses of media, and of parts of videos: `match.mp4#t=3,7.5` is 3 to 7.5 s of `match.mp4`."""

import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from texthead.errors import DataError, MediaError
from texthead.media.frame_folder import is_template

_REMOTE = re.compile(r"(?:[a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+:/")

# What a live stream comes by, and the protocols of FFmpeg that this takes.
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

# What W3C's Media Fragments put between the name of a file and the times of a part.
_FRAGMENT = "#t="

# Times of parts are kept to a microsecond.
_DIGITS = 6


def address(path: str | Path) -> str | None:
    """Return the address that fsspec reads a remote path at; None for a path on this machine.

    `Path("http://host/shards")` is printed as `http:/host/shards`; its address is `http://host/shards`.
    """
    text = str(path)
    if not _REMOTE.match(text) or Path(path).exists():
        return None
    return _SCHEME.sub(r"\1\2://", text)


def surely_missing(path: str | Path) -> bool:
    """Return whether a path names nothing: it does not exist here, nor could it be remote, a template or in a shard."""
    path = file_of(path)
    elsewhere = address(path) is not None or is_template(path) or path.parent.suffix == ".tar"
    return not elsewhere and not path.exists()


def check_not_missing(path: str | Path) -> None:
    """Raise DataError if a path surely names nothing."""
    if is_part(path) and Path(path).exists():
        raise DataError(f"{path}: by this name a part of {file_of(path).name} is meant; rename the file")
    if surely_missing(path):
        raise DataError(f"{path}: no such file or folder; check the path")


def resolved(path: Path) -> Path:
    """Return the absolute path without links, of a part that of its file with its times; a remote one as it is."""
    if address(path):
        return path
    # `resolve` raises for a link to itself.
    file, times = _split(path)
    return Path(os.path.realpath(file) + times)


def relative_below(path: Path, folder: Path) -> str:
    """Return a path as a list in the folder names it: relative to the folder if it lies below it, else absolute."""
    whole, start = path.absolute(), folder.absolute()
    return str(whole.relative_to(start) if whole.is_relative_to(start) else whole)


def is_live(source: str) -> bool:
    """Return whether a name is that of a camera, or an address with a protocol that streams come by."""
    scheme, colon, _ = source.partition("://")
    return source.startswith("/dev/video") or (colon != "" and scheme in STREAMS)


# ---- parts of videos


class Span(NamedTuple):
    """From `start` on and before `end`, in seconds from the first frame; `end` is infinite where the file ends it."""

    start: float = 0.0
    end: float = math.inf

    def overlaps(self, other: "Span") -> bool:
        """Return whether a time is in both."""
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        return f"{_seconds(self.start)} s to {'the end' if math.isinf(self.end) else f'{_seconds(self.end)} s'}"


def is_part(path: str | Path) -> bool:
    """Return whether a path names a part of a file."""
    return _split(path)[1] != ""


def file_of(path: str | Path) -> Path:
    """Return the file that a path names a part of; the path itself if it names no part."""
    return Path(_split(path)[0])


def span_of(path: str | Path) -> Span:
    """Return the times of the part that a path names; all of a whole file.

    Raises:
        MediaError: the times break a rule.
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
        raise MediaError(path, f"{times} is no part of a file ({error}); write it as #t=3,7.5 in seconds") from None


def read_span(start: str, end: str) -> Span:
    """Return the times that two texts name; an empty one is the beginning or the end.

    Raises:
        ValueError: no number of seconds from 0 on, or an end that is not above the start.
    """
    span = Span(_number("start", start) if start else 0.0, _number("end", end) if end else math.inf)
    if span.end <= span.start:
        raise ValueError(f"end must be above start {start or 0}, got {end}")
    return span


def part_path(file: Path, span: Span) -> Path:
    """Return the path of a part of a file, always the same for the same times; that of the file if it is all of it."""
    if span == Span():
        return file
    start = _seconds(span.start) if span.start or math.isinf(span.end) else ""
    return file.with_name(f"{file.name}{_FRAGMENT}{start}{'' if math.isinf(span.end) else f',{_seconds(span.end)}'}")


def span_cells(path: Path) -> tuple[str, str]:
    """Return the times of a path for a manifest's columns `start` and `end`; an empty one is the file's own."""
    span = span_of(path)
    return _seconds(span.start) if span.start else "", "" if math.isinf(span.end) else _seconds(span.end)


def spans_by_file(paths: Iterable[str | Path]) -> dict[Path, list[Span]]:
    """Return the times that resolved paths name of each file."""
    found: dict[Path, list[Span]] = {}
    for path in paths:
        found.setdefault(file_of(path), []).append(span_of(path))
    return found


def shares_frames(path: Path, spans: Mapping[Path, list[Span]]) -> bool:
    """Return whether a resolved path names times of a file that overlap with those of `spans_by_file`."""
    own = span_of(path)
    return any(own.overlaps(span) for span in spans.get(file_of(path), ()))


def _split(path: str | Path) -> tuple[str, str]:
    """Return (the file, the times of a part of it as its name has them)."""
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
        raise ValueError(f"{name} must be a number of seconds from 0 on, got {text!r}")
    return value


def _seconds(value: float | int) -> str:
    """Return the shortest text of a number of seconds, without an exponent: 7.5, 3."""
    return f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".")
