"""How much a dataset holds, from the facts of its files. Reads no files."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from texthead import Item
from texthead.apps.doctor.file_stats import FileStats
from texthead.errors import plural

_SPLITS = ("train", "val", "test", "none")


class Table(NamedTuple):
    """The overview as text for the terminal and the page.

    Attributes:
        lines: the totals, as in `160 videos of 4 classes: 12,000 frames, 6.7 min, all 240x240`, and exceptions.
        headers: the class, and each split that the data has, or the items.
        rows: one for the whole dataset if there are several classes, then one per class, largest first.
    """

    lines: list[str]
    headers: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Overview:
    """How much a dataset holds.

    Attributes:
        unreadable: number of items that cannot be read whole; frames, seconds and sizes leave them out.
        kinds: number of items of each kind ("video", "image", ...).
        frames: of all items.
        seconds: of all videos.
        sizes: number of items of each size of the upright picture ("640x480"), the most frequent first.
        splits: number of items in "train", "val", "test" and "none".
        classes: the same for each class, the largest first.
    """

    unreadable: int
    kinds: dict[str, int]
    frames: int
    seconds: float
    sizes: dict[str, int]
    splits: dict[str, int]
    classes: dict[str, dict[str, int]]

    @classmethod
    def of(cls, items: Sequence[Item], facts: Sequence[FileStats]) -> "Overview":
        """Summarise items from the facts of their files."""
        readable = [fact for fact in facts if fact.fault is None]
        counts = defaultdict[str, Counter[str]](Counter)
        for item in items:
            for name in item.labels:
                counts[name][item.split or "none"] += 1
        return cls(
            unreadable=len(facts) - len(readable),
            kinds=dict(Counter(item.media.reader.kind for item in items).most_common()),
            frames=sum(fact.frames for fact in readable),
            seconds=sum((fact.seconds for fact in readable), 0.0),
            sizes=dict(Counter(f"{fact.width}x{fact.height}" for fact in readable).most_common()),
            splits=dict(Counter(item.split or "none" for item in items)),
            classes={
                name: dict(counts[name]) for name in sorted(counts, key=lambda each: (-counts[each].total(), each))
            },
        )

    def table(self, most: int) -> Table:
        """Return the overview as text, with rows for the `most` largest classes."""
        items, count = sum(self.kinds.values()), len(self.classes)
        totals = [plural(self.frames, "frame")] * (self.frames > items)
        if self.seconds:
            short = self.seconds < 120
            length = f"{self.seconds:,.1f} s" if short else f"{self.seconds / 60:,.1f} min"
            totals.append(f"{length}{' of video' * (len(self.kinds) > 1)}")
        if self.sizes:
            size, number = next(iter(self.sizes)), len(self.sizes)
            totals.append(f"all {size}" if number == 1 else f"{number:,} sizes, mostly {size}")
        kinds = ", ".join(plural(number, kind) for kind, number in self.kinds.items())
        lines = [f"{kinds} of {count:,} class{'es' * (count != 1)}{': ' * bool(totals)}{', '.join(totals)}"]
        if self.unreadable:
            lines.append(f"{self.unreadable:,} of {items:,} items cannot be read whole; only their number is counted")
        if count > most:
            lines.append(f"only the {most:,} largest of {count:,} classes are listed")
        splits = [split for split in _SPLITS if split in self.splits]
        rows = [*([("all", self.splits)] if count > 1 else []), *[*self.classes.items()][:most]]
        cells = [[name, *(f"{own.get(split, 0):,}" for split in splits)] for name, own in rows]
        return Table(lines, ["class", *(splits if splits != ["none"] else ["items"])], cells)
