"""Statistics of a dataset and its classes, from the facts of its files. Reads no files."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Literal, NamedTuple

from texthead import Item
from texthead.apps.doctor.file_stats import FileStats
from texthead.errors import plural

_SPLITS = ("train", "val", "test", "none")


@dataclass(frozen=True)
class Spread:
    """Median, range and sum of some numbers; its text is `75 (60-90)`, or one number if all are equal as printed.

    Attributes:
        median: the lower of the two middle numbers, so that it occurs in the data.
    """

    median: int | float
    least: int | float
    most: int | float
    total: int | float

    @classmethod
    def of(cls, numbers: Sequence[int] | Sequence[float]) -> "Spread | None":
        """Return the spread of some numbers; None if there are none."""
        return cls(median_low(numbers), min(numbers), max(numbers), sum(numbers)) if numbers else None

    def __str__(self) -> str:
        three = (self.median, self.least, self.most)
        middle, *ends = [f"{value:,}" if isinstance(value, int) else number(value) for value in three]
        return middle if ends == [middle, middle] else f"{middle} ({'-'.join(ends)})"


@dataclass(frozen=True)
class Summary:
    """Statistics of a class.

    Attributes:
        splits: number of items in "train", "val", "test" and "none", without zeros.
        kinds: number of items of each kind ("video", "image", ...).
        unreadable: number of items that cannot be read whole; the following attributes exclude them.
        frames: per item.
        seconds: per video.
        size: most frequent width and height of the upright picture, in pixels.
        sizes: number of different sizes.
    """

    name: str
    items: int
    splits: dict[str, int]
    kinds: dict[str, int]
    unreadable: int
    frames: Spread | None
    seconds: Spread | None
    size: tuple[int, int] | None
    sizes: int

    @classmethod
    def of(cls, name: str, items: Sequence[Item], facts: Sequence[FileStats]) -> "Summary":
        """Summarise items from the facts of their files."""
        readable = [fact for fact in facts if fact.fault is None]
        splits = Counter(item.split or "none" for item in items)
        sizes = Counter((fact.width, fact.height) for fact in readable)
        return cls(
            name=name,
            items=len(items),
            splits={split: splits[split] for split in _SPLITS if splits[split]},
            kinds=dict(Counter(item.media.reader.kind for item in items).most_common()),
            unreadable=len(facts) - len(readable),
            frames=Spread.of([fact.frames for fact in readable]),
            seconds=Spread.of([fact.seconds for fact in readable if fact.seconds > 0]),
            size=sizes.most_common(1)[0][0] if sizes else None,
            sizes=len(sizes),
        )

    @property
    def kinds_text(self) -> str:
        """The counts as in `12 videos, 1 image`."""
        return ", ".join(plural(count, kind) for kind, count in self.kinds.items())

    @property
    def size_text(self) -> str | None:
        """`640x480 (1 of 4)` if there are three other sizes; None if none is known."""
        return self.size and "{}x{}".format(*self.size) + (f" (1 of {self.sizes:,})" if self.sizes > 1 else "")


class Table(NamedTuple):
    """The overview as text for the terminal and the page.

    Attributes:
        lines: the totals, as in `160 videos of 4 classes: 12,000 frames, 6.7 min, all 240x240`; what the columns mean;
            and what is not counted.
        sides: the columns, each with its alignment, left or right.
        rows: one for the whole dataset if there are several classes, then one per class, largest first.
    """

    lines: list[str]
    sides: dict[str, Literal["left", "right"]]
    rows: list[list[str]]


@dataclass(frozen=True)
class Overview:
    """Statistics of the whole dataset and of each class, largest first."""

    whole: Summary
    classes: tuple[Summary, ...]

    @classmethod
    def of(cls, items: Sequence[Item], facts: Sequence[FileStats]) -> "Overview":
        """Summarise items from the facts of their files."""
        own = defaultdict[str, list[int]](list)
        for position, item in enumerate(items):
            for name in item.labels:
                own[name].append(position)
        classes = [Summary.of(name, [items[i] for i in at], [facts[i] for i in at]) for name, at in own.items()]
        classes.sort(key=lambda summary: (-summary.items, summary.name))
        return cls(Summary.of("all", items, facts), tuple(classes))

    def table(self, most: int) -> Table:
        """Return the overview as text, with rows for the `most` largest classes.

        Columns appear only if informative: splits if the data has any, kinds and sizes if there are several, frames if
        an item has more than one, seconds if there are videos.
        """
        whole, classes = self.whole, self.classes
        sides: dict[str, Literal["left", "right"]] = {"class": "left"}
        sides |= dict.fromkeys(["items"] if set(whole.splits) == {"none"} else whole.splits, "right")
        sides |= {"kinds": "left"} if len(whole.kinds) > 1 else {}
        spreads = ["frames"] if whole.frames and whole.frames.most > 1 else []
        spreads += ["seconds"] if whole.seconds else []
        sides |= dict.fromkeys(spreads, "right")
        sides |= {"size": "left"} if whole.sizes > 1 else {}
        totals = []
        if whole.frames and whole.frames.most > 1:
            totals.append(plural(int(whole.frames.total), "frame"))
        if whole.seconds:
            seconds = whole.seconds.total
            length = f"{number(seconds)} s" if seconds < 120 else f"{number(seconds / 60)} min"
            totals.append(f"{length}{' of video' * (len(whole.kinds) > 1)}")
        if whole.sizes == 1:
            totals.append(f"all {whole.size_text}")
        headline = f"{whole.kinds_text} of {len(classes):,} class{'es' * (len(classes) != 1)}"
        lines = [f"{headline}: {', '.join(totals)}" if totals else headline]
        legend = [f"{', '.join(spreads)}: median (min-max)"] if spreads else []
        legend += ["size: the most frequent (1 of N different sizes)"] if "size" in sides else []
        lines += ["; ".join(legend)] if legend else []
        if whole.unreadable:
            unreadable = f"{whole.unreadable:,} of {whole.items:,} items cannot be read whole"
            lines.append(f"{unreadable}; only the item count includes them")
        if len(classes) > most:
            lines.append(f"only the {most:,} largest of {len(classes):,} classes are listed")
        rows = [*([whole] if len(classes) > 1 else []), *classes[:most]]
        return Table(lines, sides, [_cells(summary, sides) for summary in rows])


def _cells(summary: Summary, columns: Iterable[str]) -> list[str]:
    """Return a row as text; a dash stands for what is not known."""
    texts = {"class": summary.name, "items": f"{summary.items:,}", "kinds": summary.kinds_text}
    texts |= {"frames": summary.frames, "seconds": summary.seconds, "size": summary.size_text}
    texts |= {split: f"{summary.splits.get(split, 0):,}" for split in _SPLITS}
    return [str(texts[column] or "-") for column in columns]


def number(value: float) -> str:
    """Return a number with few digits: 0.04, 0.4, 31.0, 1,204."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 0.1 else 2}f}"
