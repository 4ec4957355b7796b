"""Statistics of a dataset and its classes, from the facts of its files. Reads no files."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Literal, NamedTuple

from texthead import Item
from texthead.apps.doctor.file_stats import FileStats
from texthead.errors import plural

_SPLITS = ("train", "val", "test", "none")


@dataclass(frozen=True)
class Spread:
    """Median and range of some numbers.

    Attributes:
        median: the lower of the two middle numbers, so that it occurs in the data.
    """

    median: int | float
    least: int | float
    most: int | float


@dataclass(frozen=True)
class Summary:
    """Statistics of a class.

    Attributes:
        splits: number of items in "train", "val", "test" and "none", without zeros.
        kinds: number of items of each kind ("video", "image", ...).
        unreadable: number of items that cannot be read whole; the following attributes exclude them.
        frames: per item; `all_frames` is the sum.
        seconds: per video; `all_seconds` is the sum.
        size: most frequent width and height of the upright picture, in pixels.
        sizes: number of different sizes.
    """

    name: str
    items: int
    splits: dict[str, int]
    kinds: dict[str, int]
    unreadable: int
    frames: Spread | None
    all_frames: int
    seconds: Spread | None
    all_seconds: float
    size: tuple[int, int] | None
    sizes: int


@dataclass(frozen=True)
class Overview:
    """Statistics of the whole dataset and of each class, largest first."""

    whole: Summary
    classes: tuple[Summary, ...]


def overview_of(items: Sequence[Item], facts: Sequence[FileStats]) -> Overview:
    """Summarise items from the facts of their files."""
    by_class = defaultdict[str, list[int]](list)
    for position, item in enumerate(items):
        for name in item.labels:
            by_class[name].append(position)
    classes = [_summary(name, [items[i] for i in where], [facts[i] for i in where]) for name, where in by_class.items()]
    classes.sort(key=lambda summary: (-summary.items, summary.name))
    return Overview(_summary("all", items, facts), tuple(classes))


def _summary(name: str, items: Sequence[Item], facts: Sequence[FileStats]) -> Summary:
    readable = [fact for fact in facts if fact.fault is None]
    seconds = [fact.seconds for fact in readable if fact.seconds > 0]
    splits = Counter(item.split or "none" for item in items)
    sizes = Counter((fact.width, fact.height) for fact in readable)
    return Summary(
        name=name,
        items=len(items),
        splits={split: splits[split] for split in _SPLITS if splits[split]},
        kinds=dict(Counter(item.media.reader.kind for item in items).most_common()),
        unreadable=len(facts) - len(readable),
        frames=_spread([fact.frames for fact in readable]),
        all_frames=sum(fact.frames for fact in readable),
        seconds=_spread(seconds),
        all_seconds=sum(seconds, 0.0),
        size=sizes.most_common(1)[0][0] if sizes else None,
        sizes=len(sizes),
    )


def _spread(numbers: Sequence[int] | Sequence[float]) -> Spread | None:
    return Spread(median_low(numbers), min(numbers), max(numbers)) if numbers else None


# ---- text


class Table(NamedTuple):
    """The overview as text for the terminal and the page.

    Attributes:
        headline: one line, as in `160 videos of 4 classes: 12,000 frames, 6.7 min, all 240x240`.
        rows: one for the whole dataset, then one per class, largest first. If there are too many classes, only the
            largest and smallest are listed, with a row between them that counts the others.
        sides: alignment of each column.
        legend: explains the columns; may be "".
        unreadable: number of unreadable items, in words; "" if none.
    """

    headline: str
    headers: list[str]
    rows: list[list[str]]
    sides: list[Literal["left", "right"]]
    legend: str
    unreadable: str


def overview_table(overview: Overview, most: int) -> Table:
    """Return an overview as text, with rows for at most `most` classes.

    Columns appear only if informative: splits if the data has any, kinds and sizes if there are several, frames if an
    item has more than one, seconds if there are videos.
    """
    whole, classes = overview.whole, overview.classes
    everything = _cells(whole, whole)
    headers, rows = list(everything), [list(_cells(summary, whole).values()) for summary in classes]
    if len(classes) > most:
        ends = most // 2
        middle = classes[ends : len(classes) - ends]
        least, most = middle[-1].items, middle[0].items
        middle_row = f"({len(middle):,} more, {least:,}{f'-{most:,}' * (least < most)} items each)"
        rows[ends : len(classes) - ends] = [[middle_row, *[""] * (len(headers) - 1)]]
    spreads = ", ".join(header for header in headers if header in ("frames", "seconds"))
    legend = [f"{spreads}: median (min-max)"] if spreads else []
    legend += ["size: the most frequent (1 of N different sizes)"] if "size" in headers else []
    headline, more = f"{kinds_text(whole.kinds)} of {len(classes):,} class{'es' * (len(classes) != 1)}", []
    if whole.frames and whole.frames.most > 1:
        more.append(plural(whole.all_frames, "frame"))
    if whole.seconds:
        more.append(f"{duration(whole.all_seconds)}{' of video' * (len(whole.kinds) > 1)}")
    if whole.sizes == 1:
        more.append(f"all {size_text(whole)}")
    unreadable = f"{whole.unreadable:,} of {whole.items:,} items cannot be read whole"
    return Table(
        f"{headline}: {', '.join(more)}" if more else headline,
        headers,
        [list(everything.values()), *rows] if len(classes) > 1 else rows,
        ["left" if header in ("class", "kinds", "size") else "right" for header in headers],
        "; ".join(legend),
        f"{unreadable}; only the item count includes them" if whole.unreadable else "",
    )


def _cells(summary: Summary, whole: Summary) -> dict[str, str]:
    """Return one row by column; `whole` decides which columns there are."""
    cells = {"class": summary.name}
    if set(whole.splits) != {"none"}:
        cells |= {split: f"{summary.splits.get(split, 0):,}" for split in whole.splits}
    else:
        cells["items"] = f"{summary.items:,}"
    if len(whole.kinds) > 1:
        cells["kinds"] = kinds_text(summary.kinds)
    if whole.frames and whole.frames.most > 1:
        cells["frames"] = spread_text(summary.frames)
    if whole.seconds:
        cells["seconds"] = spread_text(summary.seconds)
    if whole.sizes > 1:
        cells["size"] = size_text(summary)
    return cells


def kinds_text(kinds: dict[str, int]) -> str:
    """Return the counts as in `12 videos, 1 image`."""
    return ", ".join(plural(count, kind) for kind, count in kinds.items())


def duration(seconds: float) -> str:
    """Return a duration: `45 s` below two minutes, `6.7 min` below two hours, else `31 h`."""
    if seconds < 120:
        return f"{number(seconds)} s"
    return f"{number(seconds / 60)} min" if seconds < 7200 else f"{number(seconds / 3600)} h"


def number(value: float) -> str:
    """Return a number with few digits: 0.04, 0.4, 31.0, 1,204."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 0.1 else 2}f}"


def spread_text(spread: Spread | None) -> str:
    """Return `75 (60-90)` or `2.5 (0.4-12.0)`; one number if all are equal as printed, a dash for None."""
    if spread is None:
        return "-"
    three = (spread.median, spread.least, spread.most)
    middle, *ends = [f"{value:,}" if isinstance(value, int) else number(value) for value in three]
    return middle if ends == [middle, middle] else f"{middle} ({'-'.join(ends)})"


def size_text(summary: Summary) -> str:
    """Return `640x480 (1 of 4)` if there are three other sizes; a dash if none is known."""
    if summary.size is None:
        return "-"
    width, height = summary.size
    return f"{width}x{height}" + (f" (1 of {summary.sizes:,})" if summary.sizes > 1 else "")
