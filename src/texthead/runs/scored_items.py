"""Select the items on which a run may be evaluated or calibrated: never those it was trained on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from texthead.data.dataset import Dataset, Item, Split, splits_of
from texthead.data.division import shared_groups
from texthead.data.labels import split_labels
from texthead.errors import DataError, listed
from texthead.runs import run as runs
from texthead.runs.folder import saved_split
from texthead.runs.scores import read_scores


def held_out_items(run: runs.Run) -> Dataset:
    """Return the held-out items of a run, without those of removed classes, which are mentioned in a note.

    Raises:
        DataError: there are none, or some files no longer exist.
    """
    dataset, removed = _saved(run, "held_out")
    if not len(dataset):
        raise DataError(f"{run.folder}: has no held-out items of its classes; give labelled data after the run")
    missing = [item.path for item in dataset.items if not item.media.exists()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(dataset)} held-out items of {run.folder} are missing (the first: {missing[0]}): "
            "give the folder where they are now after the run"
        )
    notes = (f"{removed} held-out items are not scored, since their classes were removed",) if removed else ()
    return replace(dataset, notes=notes)


def training_items(run: runs.Run) -> Dataset:
    """Return the items that a run was trained on, without those of removed classes; the files need not exist."""
    return _saved(run, "train")[0].with_classes(run.labels)


def _saved(run: runs.Run, files: str) -> tuple[Dataset, int]:
    """Return the "train" or "held_out" files of `split.json`, and how many are left out, as their class was removed."""
    split = saved_split(run.folder)
    labels, several = split[f"{files}_labels"], "several" in split
    rows = zip(split[files], labels, split[f"{files}_groups"], strict=True)
    items = tuple(
        Item(Path(path), split_labels(label) if several else (label,), group=group)
        for path, label, group in rows
        if label is not None
    )
    return Dataset(items, split.get("source") or str(run.folder), several=several), labels.count(None)


def choose_scored(run: runs.Run, dataset: Dataset, split: Split | None) -> tuple[Dataset, str]:
    """Return (items, name) to score: the test split, else validation, else the run's held-out items, else all.

    Raises:
        DataError: no such split, the run was trained on some of the items and `split` is not train, or the items have
            one label each and the run is of several, or the other way round.
    """
    if not run.model.several:
        dataset.check_one_label()
    elif not dataset.several:
        raise DataError(f"{dataset.source}: has one label per file, but the run takes several: name a column 'labels'")
    counts = splits_of(dataset)

    def items_where(condition: Callable[[Path], bool]) -> Dataset:
        return replace(dataset, items=tuple(item for item in dataset.items if condition(item.path)))

    if split and counts:
        chosen, name = dataset.split(split), split
    elif split:
        chosen, name = items_where(run.was_trained_on if split == "train" else lambda _: False), "training"
        if not len(chosen):
            remedy = "leave out `split` to score the run's held-out items"
            raise DataError(f"{dataset.source}: no item has split {split!r}, since the data has no splits; {remedy}")
    elif counts:
        if not counts.keys() & {"test", "val"}:
            raise DataError(f"{dataset.source}: has only training items {counts}; pass `split=train` to score them")
        name = "test" if "test" in counts else "val"
        chosen = dataset.split(name)
    else:
        held = items_where(run.was_held_out)
        own = {str(item.media.resolved()) for item in held.items}
        # A few copies do not make this the run's data: either all held-out items are here, or one at its own path.
        same = len(held) >= len(run.held_out) or not own.isdisjoint(run.held_out)
        scores = read_scores(run.folder)
        held_name = "test" if scores and scores.scored == "test" else "held-out"
        chosen, name = (held, held_name) if len(held) and same else (dataset, "all")
    seen = [item for item in chosen.items if run.was_trained_on(item.path)]
    if seen and split != "train":
        raise DataError(
            f"the run was trained on {len(seen)} of {len(chosen)} items or copies of them (the first: {seen[0].path}): "
            "give other data, or pass `split=train` to score training items"
        )
    return chosen, name


def unknown_items(run: runs.Run, dataset: Dataset) -> Dataset:
    """Return the dataset of unknown items unchanged, after checks.

    Raises:
        DataError: an item is of a class of the run, or the run was trained on it.
    """
    if mixed := [item for item in dataset.items if not {*run.labels}.isdisjoint(item.labels)]:
        raise DataError(
            f"`unknown` {dataset.source}: {len(mixed)} items have a class of the run ({mixed[0].label!r}), unknown "
            "items must not; leave them out"
        )
    seen = [item for item in dataset.items if run.was_trained_on(item.path)]
    if seen:
        raise DataError(
            f"`unknown` {dataset.source}: the run was trained on {len(seen)} items (the first: {seen[0].path}): leave "
            "them out"
        )
    return dataset


class CalibrationPlan(NamedTuple):
    """What a run is calibrated on.

    Attributes:
        items: the items of the run's classes.
        unknown: the items of none of its classes, without copies.
        split: name of the items.
        copies: number of unknown items left out as copies.
        notes: limits of the items, as messages.
    """

    items: Dataset
    unknown: Dataset
    split: str
    copies: int
    notes: list[str]


def calibration_items(run: runs.Run, dataset: Dataset, others: Dataset | None, split: Split | None) -> CalibrationPlan:
    """Return the items to calibrate a run with, none of which it was trained on.

    Args:
        run: the run.
        dataset: items of the run's classes and of others.
        others: more items of none of its classes.
        split: the split of `dataset`. None takes val if there is one, so that test is left for reported numbers; train
            takes the training items that a K-shot run did not draw.

    Raises:
        DataError: no item is of a class of the run, or an item of `others` is of such a class or was trained on.
    """
    split = split or ("val" if "val" in splits_of(dataset) else None)
    chosen, name, notes = _not_drawn(run, dataset) if split == "train" else (*choose_scored(run, dataset, split), [])
    notes += shared_groups(training_items(run), chosen, name) if split != "train" else []
    known = chosen.with_classes(run.labels)
    if not len(known):
        raise DataError(f"{dataset.source}: none of {len(chosen)} items has a class of the run; give others")
    missing = [label for label in run.labels if label not in known.classes]
    if missing:
        notes.append(f"no items of {listed(missing)}: the calibration's rates do not hold for these classes")
    items = [item for item in chosen.items if item.label not in run.labels]
    items += unknown_items(run, others).items if others else ()
    # Copies are not independent items.
    unique = {item.media.fingerprint() or str(item.path): item for item in items}
    return CalibrationPlan(known, replace(chosen, items=tuple(unique.values())), name, len(items) - len(unique), notes)


def _not_drawn(run: runs.Run, dataset: Dataset) -> tuple[Dataset, str, list[str]]:
    """Return (the training items that a K-shot run did not draw, their name, notes).

    Raises:
        DataError: there are none.
    """
    train = dataset.split("train") if splits_of(dataset) else dataset
    trained = [run.was_trained_on(item.path) for item in train.items]
    unseen = train.pick([index for index, seen in enumerate(trained) if not seen])
    if not len(unseen):
        raise DataError(
            f"`split=train`: the run was trained on all {len(train)} training items of {dataset.source}, but "
            "calibration needs unseen ones; give held-out items"
        )
    seen = train.pick([index for index, seen in enumerate(trained) if seen])
    return unseen, "train, not drawn", shared_groups(seen, unseen, "undrawn training")
