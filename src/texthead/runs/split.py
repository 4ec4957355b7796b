"""The items that a run was trained on and those it held out, and which items may score or calibrate it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from texthead.data.dataset import Dataset, Item, Split, splits_of
from texthead.data.division import Division, shared_groups
from texthead.data.labels import join_labels, split_labels
from texthead.errors import DataError, listed, plural, without_password
from texthead.media.paths import MediaPath, Span, parts_by_times, spans_by_file
from texthead.runs.folder import SPLIT_LISTS
from texthead.runs.scores import read_scores


class CalibrationPlan(NamedTuple):
    """What a run is calibrated on.

    Attributes:
        items: the items of the run's classes.
        unknown: the items of none of its classes.
        split: name of the items.
        copies: number of items left out as copies of others.
        notes: limits of the items, as messages.
    """

    items: Dataset
    unknown: Dataset
    split: str
    copies: int
    notes: list[str]


@dataclass(frozen=True)
class RunSplit:
    """The items that a run was trained on and those it held out; by default none.

    Args:
        folder: the run folder.
        lists: the content of its `split.json`.
    """

    folder: Path | None = None
    lists: Mapping[str, Any] = field(default_factory=lambda: dict.fromkeys(SPLIT_LISTS, ()))

    @cached_property
    def trained_on(self) -> frozenset[str]:
        """The paths of the training items."""
        return frozenset(self.lists["train"])

    @cached_property
    def held_out(self) -> frozenset[str]:
        """The paths of the held-out items."""
        return frozenset(self.lists["held_out"])

    @property
    def data_name(self) -> str:
        """The name of the data: the last two parts of its path."""
        source = without_password(str(self.lists.get("source") or "its training data"))
        return source if source.startswith("datasets:") else "/".join(Path(source).parts[-2:])

    @cached_property
    def _contents(self) -> tuple[frozenset[str], frozenset[str]]:
        """The fingerprints of the held-out items, and those of training items alone."""
        # Files that could not be read have an empty fingerprint.
        held_out = frozenset(self.lists["held_out_content"]) - {""}
        return held_out, frozenset(self.lists["train_content"]) - {""} - held_out

    @cached_property
    def _trained_spans(self) -> dict[Path, list[Span]]:
        return spans_by_file(map(MediaPath, self.trained_on))

    @cached_property
    def _trained_parts(self) -> dict[str, MediaPath]:
        return parts_by_times(self.trained_on)

    def was_trained_on(self, path: Path) -> bool:
        """Return whether the file is a training item, a copy of one, or a part of a video that overlaps with either."""
        if _is_among(path, self.trained_on, self._contents[1], self.held_out):
            return True
        media = MediaPath(path).resolved()
        if media.is_member:
            return False
        return media.shares_frames(self._trained_spans) or (
            str(media) not in self.held_out and media.shares_copied_frames(self._trained_parts, self._contents[1])
        )

    def was_held_out(self, path: Path) -> bool:
        """Return whether the file is a held-out item of the run or a copy of one."""
        return _is_among(path, self.held_out, self._contents[0], self.trained_on)

    def copies(self, items: Dataset, name: str) -> list[str]:
        """Return a note if items to score have the content of training items.

        Args:
            name: name of the items, such as "test".
        """
        trained = {*self.lists["train_content"]} - {""}
        known = dict(zip(self.lists["held_out"], self.lists["held_out_content"], strict=True))
        contents = (known.get(str(item.media.resolved())) or item.media.fingerprint() for item in items.items)
        count = sum(map(trained.__contains__, contents)) if trained else 0
        remedy = "so scores are optimistic: remove one of each (doctor finds them)"
        return [f"{count} of {len(items)} {name} items are copies of training items, {remedy}"] if count else []

    def items(self, part: Literal["train", "held_out"]) -> Dataset:
        """Return the items of a part, without those of removed classes; the files need not exist."""
        rows = zip(*(self.lists[f"{part}{key}"] for key in ("", "_labels", "_groups")), strict=True)
        multilabel = "several" in self.lists
        items = tuple(
            Item(Path(path), split_labels(label) if multilabel else (label,), group=group)
            for path, label, group in rows
            if label is not None
        )
        return Dataset(items, self.lists.get("source") or str(self.folder), multilabel=multilabel)

    def held_out_items(self, split: Split | None = None) -> Dataset:
        """Return the held-out items of a run, without those of removed classes, which are mentioned in a note.

        Args:
            split: an error if given, since these items have no split.

        Raises:
            DataError: there are none, or some files no longer exist.
        """
        items = self.items("held_out")
        if split:
            data = f"name the labelled data that has it after the run, such as {items.source}"
            raise DataError(f"`split` {split!r} without data: {data}; or remove `split` to use the held-out items")
        if not len(items):
            raise DataError(f"{self.folder}: has no held-out items of its classes; name labelled data after the run")
        missing = [item.path for item in items.items if not item.media.exists()]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(items)} held-out items of {self.folder} are missing (the first: "
                f"{missing[0]}): name the folder where they are now after the run"
            )
        removed = len(self.lists["held_out"]) - len(items)
        notes = (f"{removed} held-out items are not scored, since their classes were removed",) if removed else ()
        return replace(items, notes=notes)

    def choose(self, dataset: Dataset, split: Split | None, *, multilabel: bool = False) -> tuple[Dataset, str]:
        """Return (items, name) to score: the test split, else validation, else the run's held-out items, else all.

        Args:
            multilabel: whether the run is multi-label.

        Raises:
            DataError: no such split, the run was trained on some of the items and `split` is not train, or the items
                are single-label and the run is multi-label, or the other way round.
        """
        if not multilabel:
            dataset.check_one_label()
        elif not dataset.multilabel:
            raise DataError(f"{dataset.source}: is single-label, but the run is multi-label: name the column 'labels'")
        counts = splits_of(dataset)

        def items_where(condition: Callable[[Path], bool]) -> Dataset:
            return replace(dataset, items=tuple(item for item in dataset.items if condition(item.path)))

        if split and counts:
            chosen, name = dataset.split(split), split
        elif split:
            chosen, name = items_where(self.was_trained_on if split == "train" else lambda _: False), "training"
            if not len(chosen):
                why = "since the data has no splits; remove `split` to score the run's held-out items"
                raise DataError(f"{dataset.source}: no item has split {split!r}, {why}")
        elif counts:
            if not counts.keys() & {"test", "val"}:
                raise DataError(f"{dataset.source}: has only training items {counts}; pass `split=train` to score them")
            name = "test" if "test" in counts else "val"
            chosen = dataset.split(name)
        else:
            held = items_where(self.was_held_out)
            own = {str(item.media.resolved()) for item in held.items}
            # A few copies do not make this the run's data: either all held-out items are here, or one at its own path.
            same = len(held) >= len(self.lists["held_out"]) or not own.isdisjoint(self.held_out)
            scores = read_scores(self.folder) if self.folder else None
            held_name = "test" if scores and scores.scored == "test" else "held-out"
            chosen, name = (held, held_name) if len(held) and same else (dataset, "all")
        seen = [item for item in chosen.items if self.was_trained_on(item.path)]
        if seen and split != "train":
            raise DataError(
                f"the run was trained on {len(seen)} of {len(chosen)} items or copies of them (the first: "
                f"{seen[0].path}): use other data, or pass `split=train` to score training items"
            )
        return chosen, name

    def eval_items(
        self, dataset: Dataset | None, split: Split | None, labels: Sequence[str], *, multilabel: bool
    ) -> Division:
        """Return the items of `choose`, by default of those that the run held out, with the training items and notes.

        Args:
            labels: the run's labels.
        """
        dataset = self.held_out_items(split) if dataset is None else dataset
        items, name = self.choose(dataset, split, multilabel=multilabel)
        train, notes = self.items("train").with_classes(labels), []
        # `choose` refuses training items in any other split.
        if split == "train" or not (splits_of(dataset) or len(items) == len(dataset)):
            among, effect = (items, "scored") if split == "train" else (dataset, "not scored")
            trained = sum(self.was_trained_on(item.path) for item in among.items)
            line = f"the run was trained on {trained} of these {len(among)} items: they are {effect}"
            notes += [line] if trained else []
            notes += _new_items(len(dataset) - len(items) - trained, "scored") if split != "train" else []
        if split != "train":
            notes += [*shared_groups(train, items, name), *self.copies(items, name)]
        return Division(train, None, items, name, tuple(notes))

    def calibration_items(
        self, dataset: Dataset | None, others: Dataset | None, split: Split | None, labels: Sequence[str]
    ) -> CalibrationPlan:
        """Return the items to calibrate a run with, none of which it was trained on.

        Args:
            dataset: items of the run's classes and of others; None for those that the run held out.
            others: more items of none of its classes.
            split: the split of `dataset`. None takes val if there is one, so that test is left for reported numbers;
                train takes the training items that a K-shot run did not draw.
            labels: the run's labels.

        Raises:
            DataError: no item is of a class of the run, or an item of `others` is of such a class or was trained on.
        """
        dataset = self.held_out_items(split) if dataset is None else dataset
        split = split or ("val" if "val" in splits_of(dataset) else None)
        if split == "train":
            if splits_of(dataset):
                train = dataset.split("train")
            else:
                train = dataset.select([i for i, path in enumerate(dataset.paths) if not self.was_held_out(path)])
            trained = [self.was_trained_on(item.path) for item in train.items]
            drawn, chosen = (
                train.select([i for i, was in enumerate(trained) if was == part]) for part in (True, False)
            )
            if not len(chosen):
                raise DataError(
                    f"`split=train`: the run was trained on all {len(train)} training items of {dataset.source}, but "
                    "calibration needs unseen ones; use held-out items"
                )
            name, notes = "train, not drawn", shared_groups(drawn, chosen, "undrawn training")
        else:
            chosen, name = self.choose(dataset, split)
            notes = shared_groups(self.items("train").with_classes(labels), chosen, name)
            notes += self.copies(chosen, name)
        known, candidates = chosen.with_classes(labels), chosen.items
        if not splits_of(dataset) and split is None:  # Beside held-out items, `choose` leaves out all others.
            candidates = [item for item in dataset.items if not self.was_trained_on(item.path)]
            notes += _new_items(sum(item.label in labels for item in candidates) - len(known), "used")
        if not len(known):
            raise DataError(f"{dataset.source}: none of {len(chosen)} items has a class of the run; use other data")
        missing = [label for label in labels if label not in known.classes]
        if missing:
            notes.append(f"no items of {listed(missing)}: the calibration's rates do not hold for these classes")
        more = others.items if others else ()
        own = [item for item in more if not {*labels}.isdisjoint(item.labels)]
        seen = [item for item in more if self.was_trained_on(item.path)]
        if own or seen:
            trained_on = f"the run was trained on {len(seen)} items (the first: {(own + seen)[0].path})"
            problem = f"{len(own)} items have a class of the run ({own[0].label!r})" if own else trained_on
            raise DataError(f"`unknown` {others and others.source}: {problem}: remove them")
        items = [*(item for item in candidates if item.label not in labels), *more]
        kept, unknown = _without_copies(known.items), _without_copies(items, unknown=True)
        copies = len(known) - len(kept) + len(items) - len(unknown)
        return CalibrationPlan(replace(known, items=kept), replace(chosen, items=unknown), name, copies, notes)

    def relabelled(self, edits: Iterable[Mapping[str, str | None]], *, multilabel: bool) -> dict[str, Any]:
        """Return the content of `split.json` after class edits.

        Items of removed classes have no label, but are still recorded as trained on or held out.

        Args:
            edits: for each edit, the label that replaces each removed label; None if the class was removed.
            multilabel: whether the run is multi-label.
        """
        lists = {**self.lists}
        for key in ("train_labels", "held_out_labels"):
            for edit in edits:
                lists[key] = [_edited(label, edit, multilabel=multilabel) for label in lists[key]]
        return lists


def _new_items(count: int, used: str) -> list[str]:
    """Return a note if items are left out that the run has not seen: `choose` takes its held-out ones alone."""
    text = f"not {used} beside the run's held-out items: {plural(count, 'new item')}; list them in a file of their own"
    return [text] if count else []


def _without_copies(items: Sequence[Item], *, unknown: bool = False) -> tuple[Item, ...]:
    """Return one of the items of the same content and label: copies are not independent.

    Args:
        unknown: whether the items are of none of the run's classes, so that their labels make no difference.
    """
    contents = [item.media.fingerprint() or str(item.path) for item in items]
    keys = [(content, () if unknown else item.labels) for content, item in zip(contents, items, strict=True)]
    return tuple(dict(zip(keys, items, strict=True)).values())


def _is_among(path: Path, paths: Collection[str], contents: Collection[str], others: Collection[str]) -> bool:
    """Return whether a file is at one of the paths, or has one of the contents and is at no other path."""
    media = MediaPath(path)
    if media.is_member:  # A position in a shard does not identify a clip, since shards can be rewritten.
        return media.fingerprint() in contents
    name = str(media.resolved())
    return name in paths or (name not in others and media.fingerprint() in contents)


def _edited(label: str | None, edit: Mapping[str, str | None], *, multilabel: bool) -> str | None:
    """Return the label of an item after a class edit."""
    if multilabel:
        return join_labels(filter(None, (edit.get(name, name) for name in split_labels(label or ""))))
    return None if label is None else edit.get(label, label)
