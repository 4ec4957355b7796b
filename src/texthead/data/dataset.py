"""Labelled files, and the clips that training and testing take from them. An image is a clip of one frame.

A dataset knows paths and labels; frames, size and sampling come from the recipe or from `Views`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from texthead.data import splits
from texthead.errors import DataError
from texthead.media.open import is_image
from texthead.media.paths import file_of
from texthead.notebook import html_table

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled file, or a part of one: `match.mp4#t=3,7.5`.

    `group` names what must stay on one side of a split (a scene, a person); `extra` keeps a manifest's other columns.
    """

    path: Path
    label: str
    split: Split | None = None
    group: str | None = None
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def together(self) -> str:
        """The group key: the item's group if set, else the path of its file, which all parts of it share."""
        return self.group or str(file_of(self.path))


@dataclass(frozen=True)
class Dataset:
    """Labelled files and the labels that occur, sorted. `notes` are lines that a user should see."""

    items: tuple[Item, ...]
    source: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def labels(self) -> list[str]:
        """Each item's label, in order."""
        return [item.label for item in self.items]

    @property
    def classes(self) -> list[str]:
        """The labels that occur, sorted."""
        return sorted({item.label for item in self.items})

    @property
    def groups(self) -> list[str]:
        """Each item's group, a scene or a person; its file where none is named."""
        return [item.together for item in self.items]

    @property
    def only_images(self) -> bool:
        """Whether every item is an image: a clip of one frame."""
        return all(is_image(item.path) for item in self.items)

    def split(self, name: Split) -> "Dataset":
        """Return the items of one split."""
        return replace(self, items=tuple(item for item in self.items if item.split == name))

    def pick(self, positions: Sequence[int]) -> "Dataset":
        """Return the items at the given positions."""
        return replace(self, items=tuple(self.items[position] for position in positions))

    def with_classes(self, names: Sequence[str]) -> "Dataset":
        """Return the items whose label is among the names."""
        wanted = set(names)
        return replace(self, items=tuple(item for item in self.items if item.label in wanted))

    def k_shot(self, k: int, *, seed: int) -> "Dataset":
        """Return exactly k items per class, drawn from the seed alone."""
        return self.pick(splits.k_shot(self.labels, k, seed=seed))

    def k_shot_per_process(self, k: int, *, processes: int, seed: int) -> "Dataset":
        """Return the items of several processes that each draw k per class: a defect to measure, see `splits`."""
        return self.pick(splits.k_shot_per_process(self.labels, k, processes=processes, seed=seed))

    def fraction(self, part: float, *, seed: int) -> "Dataset":
        """Return a seeded part of each class's items, at least one; smaller parts lie in larger ones."""
        return self.pick(splits.fraction(self.labels, part, seed=seed))

    def repeat(self, times: int) -> "Dataset":
        """Return the items `times` times over, for longer epochs. Training draws each copy anew.

        Draw first and repeat then: a draw from repeated items takes the same file more than once.

        Source: the published few-shot code, which repeats a class's K items until an epoch is as long as of all.

        Raises:
            DataError: not even once.
        """
        if times < 1:
            raise DataError(f"times must be at least 1, got {times}")
        return replace(self, items=self.items * times)

    def with_drawn_split(self, part: float, *, seed: int) -> "Dataset":
        """Return the items with a held-out part of each class as "val" and the rest as "train"; groups stay whole.

        A class with one item, or with items of one group alone, trains and has none held out, with a note.

        Raises:
            DataError: no class from which something can be held out.
        """
        groups = self.groups
        # Copies of a file stay together too.
        grouped = len(set(groups)) < len(groups)
        free, alone = _divisible(self.labels, groups)
        what = "items of one group only" if grouped else "one item"
        if not free:
            raise DataError(
                f"class {alone[0]!r}, as every other, has {what}: none could be held out; add items or name the splits "
                "in a manifest"
            )
        held = splits.hold_out(
            [self.items[place].label for place in free],
            part,
            seed=seed,
            groups=[groups[place] for place in free] if grouped else None,
        )
        chosen = {free[place] for place in held}
        items = (replace(item, split="val" if i in chosen else "train") for i, item in enumerate(self.items))
        notes = list(self.notes)
        if alone:
            counted = f"{len(alone)} of {len(self.classes)} classes"
            notes.append(f"{counted} have {what} ({alone[0]!r}): they train and are not scored")
        return replace(self, items=tuple(items), notes=tuple(notes))

    def _repr_html_(self) -> str:
        """Return the number of items of each class and split, for a notebook."""
        counts = Counter((item.label, item.split) for item in self.items)
        splits: list[str | None] = [*splits_of(self)]
        if any(item.split is None for item in self.items):
            splits.append(None)
        rows = [[name, *(counts[name, split] for split in splits)] for name in self.classes]
        columns = ["class", *(split or ("no split" if len(splits) > 1 else "items") for split in splits)]
        return html_table(columns, rows, caption=f"{len(self)} items of {len(rows)} classes", notes=self.notes)


def _divisible(labels: Sequence[str], groups: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return (the positions of items that may be held out, the classes of which none may).

    A class of one group trains, and so does all else of that group, which can leave another class with one group.
    """
    free, alone = list(range(len(labels))), set[str]()
    while True:
        homes: dict[str, set[str]] = {}
        for place in free:
            homes.setdefault(labels[place], set()).add(groups[place])
        lone = {label for label, own in homes.items() if len(own) < 2}
        if not lone:
            return free, sorted(set(labels) - set(homes) | alone)
        alone |= lone
        staying = {groups[place] for place in free if labels[place] in lone}
        free = [place for place in free if labels[place] not in lone and groups[place] not in staying]


def splits_of(dataset: Dataset) -> dict[str, int]:
    """Return the number of items of each split that occurs."""
    counts = Counter(item.split for item in dataset.items)
    return {name: counts[name] for name in get_args(Split) if counts[name]}


def label_indices(dataset: Dataset, names: Sequence[str]) -> list[int]:
    """Return the place of each item's label among the names.

    Raises:
        DataError: a label that is not among the names.
    """
    place = {name: index for index, name in enumerate(names)}
    unknown = sorted(set(dataset.labels) - set(place))
    if unknown:
        raise DataError(
            f"{dataset.source}: label {unknown[0]!r} is not among the {len(names)} classes"
            f"{f' (nor are {len(unknown) - 1} more)' if len(unknown) > 1 else ''}: "
            "make a new head for the data's own labels (zero_shot), or name its classes"
        )
    return [place[label] for label in dataset.labels]
