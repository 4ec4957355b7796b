"""Datasets: labelled files with splits and groups. An image is a clip of one frame.

A dataset holds paths and labels; frames, size and sampling come from the recipe or from `Views`.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from texthead.data import splits
from texthead.data.labels import Targets, Task, join_labels
from texthead.errors import DataError, in_quotes, listed, naming, plural
from texthead.media.paths import MediaPath, fingerprints, parts_by_times
from texthead.text.class_names import names_above
from texthead.text.class_tree import FOLDERS, ClassTree, read_tree

Split = Literal["train", "val", "test"]

_SPLITS = (None, *get_args(Split))

# The split that a name in data stands for.
SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "validation", "valid", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled file, or a part of one: `match.mp4#t=3,7.5`.

    `labels` are the names of its classes, sorted; a file with one label has a tuple of one.
    Items of one `group` (a scene, a person) are never divided between splits. `extra` holds a manifest's other columns.
    `name` is the path relative to the folder of the data: seeded draws depend on it, not on the order of the items.
    """

    path: Path
    labels: tuple[str, ...]
    split: Split | None = None
    group: str | None = None
    extra: tuple[tuple[str, str], ...] = ()
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        named = isinstance(self.labels, tuple) and all(isinstance(name, str) for name in self.labels)
        if not (isinstance(self.path, Path) and named and self.split in _SPLITS):
            rule = "`path` must be a Path, `labels` a tuple of class names, `split` train, val, test or None"
            raise DataError(f"{rule}, got {in_quotes(self.path)}, {self.labels!r}, {self.split!r}: correct the item")

    @property
    def label(self) -> str:
        """The labels as text, as in a cell: "dog; frisbee"."""
        return "; ".join(self.labels)

    @property
    def media(self) -> MediaPath:
        """What the path names: a file, a part of one, a frame folder or a clip in a shard."""
        return MediaPath(self.path)

    @property
    def group_key(self) -> str:
        """The group key: the item's group if set, else the path of its file, shared by all parts of the file."""
        return self.group or os.path.normpath(self.media.file)

    def renamed(self, names: Mapping[str, str | None]) -> "Item":
        """Return the item with new names for some of its classes; None removes one."""
        if names.keys().isdisjoint(self.labels):
            return self
        labels = {names.get(name, name) for name in self.labels}
        return replace(self, labels=tuple(sorted(filter(None, labels))))


@dataclass(frozen=True, repr=False)
class Dataset:
    """Labelled files from one source.

    `notes` are messages for the user. With `multilabel`, a file has any number of labels, each a question of its own;
    else it has one. `tree` has the names above the classes.
    """

    items: tuple[Item, ...]
    source: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)
    multilabel: bool = False
    tree: ClassTree | None = None

    def __post_init__(self) -> None:
        if self.multilabel:
            join_labels({name for item in self.items for name in item.labels})  # Raises an error for one with ";".
        elif many := [item for item in self.items if len(item.labels) > 1]:
            raise DataError(f"{self.source}: {many[0].path} has {len(many[0].labels)} labels: pass `multilabel=True`")

    def __len__(self) -> int:
        return len(self.items)

    @property
    def labels(self) -> list[str]:
        """The label of each item.

        Raises:
            DataError: the items are multi-label.
        """
        self.check_one_label()
        return [item.label for item in self.items]

    @property
    def label_sets(self) -> list[tuple[str, ...]]:
        """The labels of each item."""
        return [item.labels for item in self.items]

    @property
    def counts(self) -> Counter[str]:
        """The number of items of each class."""
        return Counter(name for own in self.label_sets for name in own)

    @property
    def strata(self) -> list[str]:
        """One class of each item, for draws that keep the shares of classes: its rarest; "" if it has none."""
        counts = self.counts
        return [min(own, key=lambda name: (counts[name], name), default="") for own in self.label_sets]

    def targets(self, names: Sequence[str]) -> Targets:
        """Return the index of each item's label; for multi-label data, whether each item has each class.

        Raises:
            DataError: a label is not in `names`.
        """
        return Task(names, self.multilabel).targets(self.label_sets, self.source)

    def check_one_label(self) -> None:
        """Raise DataError if the items are multi-label."""
        if self.multilabel:
            raise DataError(f"{self.source}: expected single-label data, but files have several labels")

    @property
    def item_names(self) -> list[str]:
        """The name of each item in draws: its `name` if set, else its path."""
        return [item.name or str(item.path) for item in self.items]

    @property
    def paths(self) -> list[Path]:
        """The path of each item."""
        return [item.path for item in self.items]

    @property
    def classes(self) -> list[str]:
        """The classes that occur, sorted."""
        return sorted(self.counts)

    @property
    def groups(self) -> list[str]:
        """The group key of each item."""
        return [item.group_key for item in self.items]

    @property
    def only_images(self) -> bool:
        """Whether every item is an image: a clip of one frame."""
        return all(item.media.is_image for item in self.items)

    def split(self, name: str) -> "Dataset":
        """Return the items of one split: train, val or test, or another name for it, such as valid.

        Raises:
            DataError: no item has this split.
        """
        items = tuple(item for item in self.items if item.split == SPLIT_NAMES.get(name))
        if not items or name not in SPLIT_NAMES:
            counts = splits_of(self) or "none: with_drawn_split draws one"
            raise DataError(f"{self.source}: no item has split {name!r}; its splits are {counts}")
        return replace(self, items=items)

    def select(self, indices: Sequence[int]) -> "Dataset":
        """Return the items at the given indices."""
        return replace(self, items=tuple(self.items[position] for position in indices))

    def with_classes(self, names: Sequence[str]) -> "Dataset":
        """Return the items whose label is one of the names; for multi-label data, all items without other labels."""
        known = {*names}
        items = (item.renamed({name: None for name in item.labels if name not in known}) for item in self.items)
        return replace(self, items=tuple(item for item in items if item.labels or self.multilabel))

    def k_shot(self, k: int, *, seed: int) -> "Dataset":
        """Return exactly k items per class, or for multi-label data as few as hold at least k.

        The draw depends on the seed and the items' names, not on their order.
        """
        return self.select(splits.k_shot(self.label_sets, k, names=self.item_names, seed=seed))

    def at_most(self, k: int, *, seed: int) -> "Dataset":
        """Return k items per class, or all if a class has fewer; see `splits.at_most`."""
        return self.select(splits.at_most(self.labels, k, names=self.item_names, seed=seed))

    def shuffled(self, *seeds: int) -> dict[str, list[int]]:
        """Return the positions of the items of each class (of several, the rarest), in random order; classes sorted."""
        return splits.shuffled(self.strata, self.item_names, *seeds)

    def with_drawn_split(self, share: float, *, seed: int) -> "Dataset":
        """Return the items with a held-out fraction of each class as "val" and the rest as "train"; groups stay whole.

        A class with only one item or one group is used for training only, with a note. If all items are of one group,
        such as the parts of one film, it is divided, with a note.

        Raises:
            DataError: no class has an item that can be held out.
        """
        groups, names, labels, notes = self.groups, self.item_names, self.strata, list(self.notes)
        if len(set(groups)) == 1 and len(set(names)) > 1:
            notes.append(
                f"all {len(self)} items are of one group ({groups[0]}), so held-out items resemble training items and "
                "scores are optimistic: test on another group"
            )
            groups = names
        chosen = {*splits.hold_out(labels, share, names=names, seed=seed, groups=groups)}
        sets = self.label_sets
        # A class that only held-out items have keeps their groups in training.
        trained = {name for position, own in enumerate(sets) if position not in chosen for name in own}
        needed = {groups[position] for position in chosen if not trained.issuperset(sets[position])}
        chosen = {position for position in chosen if groups[position] not in needed}
        alone = sorted({*self.classes} - {name for position in chosen for name in sets[position]})
        if alone:
            lack = f"no item or group that can be held out (the first: {alone[0]!r})"
            if not chosen:
                rest = "add items, add a column 'split', or train on all (`held_out=0`)"
                raise DataError(f"every class has {lack}; {rest}")
            notes.append(f"{len(alone)} of {len(self.classes)} classes have {lack}: used for training, not scored")
        items = (replace(item, split="val" if i in chosen else "train") for i, item in enumerate(self.items))
        return replace(self, items=tuple(items), notes=tuple(notes))

    def with_tree(self, source: str | Path | ClassTree | None) -> "Dataset":
        """Return the items with the tree of their classes, and a note on it, if they have one.

        Args:
            source: the tree or a file of it, see `read_tree`; "folders" for labels that are paths of folders. With
                None, the tree is read from labels such as `animal/dog/pug`.

        Raises:
            DataError: the file or the folders are not a tree of these classes, or the items are multi-label.
        """
        if source is None and self.tree is not None:
            return self
        if source is None and self.multilabel:
            return self
        self.check_one_label()
        classes = self.classes
        with naming(self.source):
            if source is None or source == FOLDERS:
                above = names_above(classes)
                tree = ClassTree(above) if source or any(above.values()) else None
            else:
                tree = source if isinstance(source, ClassTree) else read_tree(Path(source))
                tree = tree.with_labels(classes)
        if tree is None:
            return self
        broader = tree.broader(classes)
        alone = [label for label in classes if not tree.ancestors(label)]
        outside = f"; not in it: {listed(alone)}" if alone else ""
        count = plural(len(broader), "broader name")
        note = f"the {len(classes)} classes form a tree with {count} ({listed([*broader])}){outside}"
        if not broader:
            note = f"the tree has no name above two or more of the {len(classes)} classes, so it changes no answer"
        return replace(self, notes=(*self.notes, note), tree=tree)

    def with_validation(self, other: "Dataset") -> "Dataset":
        """Return these items for training with those of another source, but for copies of them, for validation.

        Raises:
            DataError: a source has several splits of its own, or all validation items are training items.
        """
        for role, dataset, alone in (("training", self, {"train"}), ("validation", other, {"val", "test"})):
            own = splits_of(dataset)
            if own and (len(own) > 1 or not set(own) <= alone):
                problem = f"has its own splits {own}, so it cannot be {role} data next to another source"
                raise DataError(f"{dataset.source}: {problem}; remove one of the two")
        notes = [*self.notes, *(line for line in other.notes if line not in self.notes)]
        contents = set(fingerprints([item.path for item in self.items])) - {""}
        prints = fingerprints([item.path for item in other.items])
        parts = parts_by_times(self.paths)
        copied = [
            content in contents or item.media.shares_copied_frames(parts, contents)
            for item, content in zip(other.items, prints, strict=True)
        ]
        if any(copied):
            message = f"{other.source}: {sum(copied)} of {len(other)} items are copies of training items"
            if all(copied):
                raise DataError(f"{message}; name other validation data")
            notes.append(f"{message} and are not scored (the first: {other.paths[copied.index(True)]})")
            other = other.select([position for position, copy in enumerate(copied) if not copy])
        items = [replace(item, split="train") for item in self.items]
        items += [replace(item, split="val") for item in other.items]
        multilabel = self.multilabel or other.multilabel
        tree = None if multilabel else self.tree
        return replace(self, items=tuple(items), notes=tuple(notes), multilabel=multilabel, tree=tree)

    def __repr__(self) -> str:
        counts = Counter(item.split for item in self.items)
        splits = "".join(f", {counts[name]} {name}" for name in get_args(Split) if counts[name])
        return f"Dataset({self.source!r}: {len(self)} items of {len(self.classes)} classes{splits})"


def splits_of(dataset: Dataset) -> dict[str, int]:
    """Return the number of items of each split present.

    Raises:
        DataError: only some items have a split.
    """
    counts = Counter(item.split for item in dataset.items)
    if 0 < counts[None] < len(dataset):
        count = f"{counts[None]} of {len(dataset)} items have no split"
        raise DataError(f"{dataset.source}: {count}; set it for all items, or for none")
    return {name: counts[name] for name in get_args(Split) if counts[name]}
