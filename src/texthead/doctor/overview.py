"""What is in a dataset: facts of its files -> numbers of each class, and which files to show. Nothing is read here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Literal, NamedTuple

from texthead.data.dataset import Item
from texthead.data.sampling import evenly
from texthead.doctor.facts import Facts
from texthead.media.open import kind_of

_SPLITS = ("train", "val", "test", "none")

# Pictures: of a class, of all, and how many are taken for each that is shown, since some files cannot be read.
_OF_CLASS, _OF_ALL, _SPARE = 4, 200, 2


@dataclass(frozen=True)
class Spread:
    """Where some numbers lie.

    Attributes:
        median: the lower of two in the middle, so that it is a number that occurs.
    """

    median: int | float
    least: int | float
    most: int | float


@dataclass(frozen=True)
class Summary:
    """What there is of a class.

    Attributes:
        splits: how many items are in train, val, test and none of them; those that occur.
        kinds: how many items there are of each kind that occurs ("video", "image", ...).
        unreadable: how many items cannot be read whole; what follows is of the others.
        frames: of an item; `all_frames` is their sum.
        seconds: of a video; `all_seconds` is their sum.
        size: the most frequent width and height of the upright picture, in pixels.
        sizes: how many different ones there are.
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
    """All items as one, and class by class, the largest first."""

    whole: Summary
    classes: tuple[Summary, ...]


def overview_of(items: Sequence[Item], facts: Sequence[Facts]) -> Overview:
    """Summarise items and the facts of each one's file."""
    places = _by_class([item.label for item in items])
    classes = [_summary(name, [items[i] for i in own], [facts[i] for i in own]) for name, own in places.items()]
    return Overview(_summary("all", items, facts), tuple(classes))


def _by_class(labels: Sequence[str]) -> dict[str, list[int]]:
    """Return the positions of each class, the largest class first; of equal ones by name."""
    places: dict[str, list[int]] = {}
    for position, label in enumerate(labels):
        places.setdefault(label, []).append(position)
    return dict(sorted(places.items(), key=lambda entry: (-len(entry[1]), entry[0])))


def _summary(name: str, items: Sequence[Item], facts: Sequence[Facts]) -> Summary:
    whole = [fact for fact in facts if fact.fault is None]
    seconds = [fact.seconds for fact in whole if fact.seconds > 0]
    splits = Counter(item.split or "none" for item in items)
    sizes = Counter((fact.width, fact.height) for fact in whole)
    return Summary(
        name=name,
        items=len(items),
        splits={split: splits[split] for split in _SPLITS if splits[split]},
        kinds=dict(Counter(kind_of(item.path) for item in items).most_common()),
        unreadable=len(facts) - len(whole),
        frames=_spread([fact.frames for fact in whole]),
        all_frames=sum(fact.frames for fact in whole),
        seconds=_spread(seconds),
        all_seconds=sum(seconds, 0.0),
        size=sizes.most_common(1)[0][0] if sizes else None,
        sizes=len(sizes),
    )


def _spread(numbers: Sequence[int] | Sequence[float]) -> Spread | None:
    return Spread(median_low(numbers), min(numbers), max(numbers)) if numbers else None


# ---- in words


class Table(NamedTuple):
    """What there is, as the terminal and the page show it.

    Attributes:
        headline: one line, as in `160 videos of 4 classes: 12,000 frames, 6.7 min, all 240x240`.
        rows: a row of all, then one row a class, the largest class first. Of more classes than there is room for the
            largest and the smallest are rows, and a row between says how many are left out.
        sides: where each column is aligned: words at their left, numbers at their right.
        legend: what the numbers in the columns are; "" where they need no word.
        unreadable: how many items no number is of; "" where every file can be read.
    """

    headline: str
    headers: list[str]
    rows: list[list[str]]
    sides: list[Literal["left", "right"]]
    legend: str
    unreadable: str


def table(overview: Overview, most: int) -> Table:
    """Put an overview into words, with rows of at most `most` classes.

    A column is there where it tells something: splits where the data has some, kinds and sizes where there are
    several, frames where an item has more than one, seconds where there are videos.
    """
    whole, classes = overview.whole, overview.classes
    everything = _cells(whole, whole)
    headers, rows = list(everything), [list(_cells(summary, whole).values()) for summary in classes]
    if len(classes) > most:
        ends = most // 2
        middle = classes[ends : len(classes) - ends]
        left_out = f"({len(middle):,} between, of {_range(middle[-1].items, middle[0].items)} items)"
        rows[ends : len(classes) - ends] = [[left_out, *[""] * (len(headers) - 1)]]
    spreads = ", ".join(header for header in headers if header in ("frames", "seconds"))
    legend = [f"{spreads}: median (least-most)"] if spreads else []
    legend += ["size: the most frequent, of how many different ones"] if "size" in headers else []
    unreadable = f"{whole.unreadable:,} of {whole.items:,} cannot be read whole and count as items only"
    return Table(
        _headline(whole, len(classes)),
        headers,
        [list(everything.values()), *rows] if len(classes) > 1 else rows,
        ["left" if header in ("class", "kinds", "size") else "right" for header in headers],
        "; ".join(legend),
        unreadable if whole.unreadable else "",
    )


def _headline(whole: Summary, classes: int) -> str:
    """Say how many of which kind, of how many classes, and how long all of it is."""
    items = f"{kinds_text(whole.kinds)} of {classes:,} class{'es' * (classes != 1)}"
    more = []
    if whole.frames and whole.frames.most > 1:
        more.append(f"{whole.all_frames:,} frame{'s' * (whole.all_frames != 1)}")
    if whole.seconds:
        more.append(f"{duration(whole.all_seconds)}{' of video' * (len(whole.kinds) > 1)}")
    if whole.sizes == 1:
        more.append(f"all {size_text(whole)}")
    return f"{items}: {', '.join(more)}" if more else items


def _range(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,}-{most:,}"


def _cells(summary: Summary, whole: Summary) -> dict[str, str]:
    """Return the row of one class; the columns are those of all."""
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
    """Count each kind, as in `12 videos, 1 image`."""
    return ", ".join(f"{count:,} {kind}{'s' * (count != 1)}" for kind, count in kinds.items())


def duration(seconds: float) -> str:
    """Return a duration as in `45 s`, `6.7 min` and `31 h`: in seconds below two minutes, in hours from two on."""
    if seconds < 120:
        return f"{number(seconds)} s"
    return f"{number(seconds / 60)} min" if seconds < 7200 else f"{number(seconds / 3600)} h"


def number(value: float) -> str:
    """Return a number with few digits: 0.04, 0.4, 31.0, 1,204."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 0.1 else 2}f}"


def spread_text(spread: Spread | None) -> str:
    """Return `75 (60-90)` or `2.5 (0.4-12.0)`, the number alone where all look the same, a dash where there is none."""
    if spread is None:
        return "-"
    three = (spread.median, spread.least, spread.most)
    middle, *ends = [f"{value:,}" if isinstance(value, int) else number(value) for value in three]
    return middle if ends == [middle, middle] else f"{middle} ({'-'.join(ends)})"


def size_text(summary: Summary) -> str:
    """Return `640x480 (1 of 4)` where three other sizes occur, a dash where none is known."""
    if summary.size is None:
        return "-"
    width, height = summary.size
    return f"{width}x{height}" + (f" (1 of {summary.sizes:,})" if summary.sizes > 1 else "")


# ---- which files to show


def candidates(labels: Sequence[str]) -> set[int]:
    """Return the positions of items that may be shown, evenly placed within their class; the same for the same labels.

    At most 4 of a class are shown, and 200 of all: fewer of each class where there are more than 50, and where there
    are more than 200 of some classes none. Twice as many may be shown, since some may not be readable.
    """
    places = _by_class(labels)
    each = _SPARE * _share(len(places))
    return {places[name][i] for name in _with_pictures(list(places)) for i in evenly(len(places[name]), each)}


def shown(labels: Sequence[str], facts: Sequence[Facts]) -> dict[str, list[int]]:
    """Return the positions of the items to show, class by class, the largest first: of those that have a thumbnail."""
    places = _by_class(labels)
    found: dict[str, list[int]] = {}
    for name in _with_pictures(list(places)):
        able = [position for position in places[name] if facts[position].thumbnail]
        if able:
            found[name] = [able[i] for i in evenly(len(able), _share(len(places)))]
    return found


def _share(classes: int) -> int:
    """Return how many pictures each class gets that gets one."""
    return max(1, min(_OF_CLASS, _OF_ALL // max(classes, 1)))


def _with_pictures(names: Sequence[str]) -> list[str]:
    """Return the classes that get pictures: all while there is room, else some from the largest to the smallest."""
    return [names[i] for i in evenly(len(names), _OF_ALL)]


def shown_text(overview: Overview, pictured: int) -> str:
    """Say which items are shown, where `pictured` of all classes have a picture.

    As in `Up to 3 items a class (there is room for 200 pictures), evenly placed over its list, each by a frame in its
    middle.`
    """
    classes = len(overview.classes)
    each = _share(classes)
    told = f"Up to {each} items a class" if each > 1 else "One item a class"
    told += f" (there is room for {_OF_ALL} pictures)" if each < _OF_CLASS else ""
    told += ", evenly placed over its list" if each > 1 else ""
    told += ", each by a frame in its middle" if set(overview.whole.kinds) != {"image"} else ""
    none = classes - pictured
    if none:
        told += f"; {none:,} of {classes:,} classes {'has' if none == 1 else 'have'} none"
        told += "" if classes > _OF_ALL else ", since no file that was tried can be read whole"
    return f"{told}."
