"""Which items a run may be scored on: held out, and never trained on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from texthead.data.dataset import Dataset, Item, Split, splits_of
from texthead.errors import DataError
from texthead.media.paths import resolved
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
            found = counts or "no splits; leave out --split to score what the run held out"
            raise DataError(f"{dataset.source}: no item of split {split!r}; found {found}")
    elif counts:
        if not counts.keys() & {"test", "val"}:
            raise DataError(f"{dataset.source}: only training items {counts}; pass --split train to score them")
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
            "name other data, or pass --split train to score training items"
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
            f"--unknown {dataset.source}: {len(mixed)} items are of a class of the run ({mixed[0].label!r}): unknown "
            "items are of none"
        )
    seen = [item for item in dataset.items if run.was_trained_on(item.path)]
    if seen:
        raise DataError(f"--unknown {dataset.source}: {len(seen)} items were trained on (the first: {seen[0].path})")
    return dataset
