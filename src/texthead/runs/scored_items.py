"""Which items a run may be scored on: held out, and never trained on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from texthead.data.dataset import Dataset, Item, Split, splits_of
from texthead.errors import DataError, listed
from texthead.media.fingerprints import fingerprint
from texthead.media.paths import is_part, resolved
from texthead.media.shard import is_there
from texthead.runs import run as runs
from texthead.runs.folder import saved_split


def held_out_items(run: runs.Run) -> Dataset:
    """Return the items that a run held out; those of classes that an edit removed are left out, with a note.

    Raises:
        DataError: it held out none, or some are gone from where they were.
    """
    split = saved_split(run.folder)
    paths = split["held_out"]
    nothing = [None] * len(paths)
    labels, groups = split.get("held_out_labels", nothing), split.get("held_out_groups") or nothing
    every = zip(paths, labels, groups, strict=True)
    items = tuple(Item(Path(path), label, group=group) for path, label, group in every if label is not None)
    if not items:
        raise DataError(f"{run.folder}: holds no held-out item of its classes; name labelled data: report RUN DATA")
    gone = [item.path for item in items if not is_there(item.path)]
    if gone:
        raise DataError(
            f"{len(gone)} of {len(items)} items that {run.folder} held out are gone (the first: {gone[0]}): name where "
            "they are now: report RUN DATA"
        )
    removed = len(paths) - len(items)
    said = (
        (f"{removed} held-out items are of classes that were removed from the run and not scored",) if removed else ()
    )
    return Dataset(items, split["source"], said)


def choose_scored(run: runs.Run, dataset: Dataset, split: Split | None) -> tuple[Dataset, str]:
    """The items to score: test, else validation, else the run's own held-out items of this data, else all.

    Raises:
        DataError: no such split, or items that the run was trained on without `--split train`.
    """
    counts = splits_of(dataset)

    def picked(belongs: Callable[[Path], bool]) -> Dataset:
        return replace(dataset, items=tuple(item for item in dataset.items if belongs(item.path)))

    if split:
        chosen, name = dataset.split(split), split
        if not counts and split == "train":
            chosen, name = picked(run.was_trained_on), "the run's training"
        if not len(chosen):
            found = counts or "no splits; leave out split to score what the run held out"
            raise DataError(f"{dataset.source}: no item of split {split!r}; found {found}")
    elif counts:
        if not counts.keys() & {"test", "val"}:
            raise DataError(f"{dataset.source}: only training items {counts}; pass split=train to score them")
        name = "test" if "test" in counts else "val"
        chosen = dataset.split(name)
    else:
        own = picked(run.was_held_out)
        # Copies in other data are not yet the run's data: then all of them are there.
        same = len(own) >= len(run.held_out) or any(str(resolved(item.path)) in run.held_out for item in own.items)
        chosen, name = (own, "the run's held-out") if len(own) and same else (dataset, "all")
    seen = [item for item in chosen.items if run.was_trained_on(item.path)]
    if seen and split != "train":
        raise DataError(
            f"{len(seen)} of {len(chosen)} items were trained on, there or as copies (the first: {seen[0].path}): "
            "name other data, or pass split=train to score training items"
        )
    return chosen, name


def unknown_items(run: runs.Run, dataset: Dataset) -> Dataset:
    """All items of the source.

    Raises:
        DataError: one is of a class of the run, or was trained on.
    """
    mixed = [item for item in dataset.items if item.label in run.labels]
    if mixed:
        raise DataError(
            f"unknown {dataset.source}: {len(mixed)} items are of a class of the run ({mixed[0].label!r}): unknown "
            "items are of none"
        )
    seen = [item for item in dataset.items if run.was_trained_on(item.path)]
    if seen:
        raise DataError(f"unknown {dataset.source}: {len(seen)} items were trained on (the first: {seen[0].path})")
    return dataset


class CalibrationItems(NamedTuple):
    """What a run is calibrated with.

    Attributes:
        known: items of the run's classes.
        unknown: items of none of them, each content once.
        name: what the known items are called.
        copies: how many unknown items were left out as copies.
        notes: what to know of the items.
    """

    known: Dataset
    unknown: Dataset
    name: str
    copies: int
    notes: list[str]


def calibration_items(run: runs.Run, dataset: Dataset, others: Dataset | None, split: Split | None) -> CalibrationItems:
    """Return the items that a run is calibrated with, none of which it was trained on.

    Args:
        run: the run.
        dataset: items of the run's classes and of others.
        others: more items of none of its classes.
        split: the split of `dataset`; val where it has one if None, so that test is left for numbers to report; train
            are the items that a K-shot run did not draw.

    Raises:
        DataError: no item of a class of the run, or an unknown item that was trained on or has such a class.
    """
    split = split or ("val" if "val" in splits_of(dataset) else None)
    chosen, name, notes = _not_drawn(run, dataset) if split == "train" else (*choose_scored(run, dataset, split), [])
    known = chosen.with_classes(run.labels)
    if not len(known):
        raise DataError(f"{dataset.source}: none of {len(chosen)} items is of a class of the run")
    missing = [label for label in run.labels if label not in known.classes]
    if missing:
        notes.append(
            f"what is promised holds for items like these, so not for {listed(missing)}, of which there are none"
        )
    items = [item for item in chosen.items if item.label not in run.labels]
    items += unknown_items(run, others).items if others else ()
    # A copy is no further item.
    once = {fingerprint(item.path) or str(item.path): item for item in items}
    return CalibrationItems(known, replace(chosen, items=tuple(once.values())), name, len(items) - len(once), notes)


def _not_drawn(run: runs.Run, dataset: Dataset) -> tuple[Dataset, str, list[str]]:
    """Return (the training items that a K-shot run did not draw, what they are called, what to know of them).

    Raises:
        DataError: there are none.
    """
    train = dataset.split("train") if splits_of(dataset) else dataset
    trained = [run.was_trained_on(item.path) for item in train.items]
    left = train.pick([place for place, seen in enumerate(trained) if not seen])
    if not len(left):
        raise DataError(
            f"split train: the run was trained on all {len(train)} training items of {dataset.source}, which do not "
            "tell how sure it may be: give other items"
        )
    grouped = [
        (item, known) for item, known in zip(train.items, trained, strict=True) if item.group or is_part(item.path)
    ]
    seen = {item.together for item, known in grouped if known}
    near = sum(item.together in seen for item in left.items)
    notes = [f"{near} of these {len(left)} items are of a group that was trained on, which flatters"] if near else []
    return left, "train, not drawn", notes
