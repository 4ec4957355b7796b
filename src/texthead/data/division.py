"""Divide a dataset into training, validation and scored items."""

from collections.abc import Iterable
from dataclasses import dataclass

from texthead.data.dataset import Dataset, splits_of
from texthead.errors import DataError, listed

HELD_OUT = 0.2


@dataclass(frozen=True)
class Division:
    """Items for training, for validation after each epoch, and for scoring at the end.

    `notes` are about the data and the division; `drawn` is whether the items to score were drawn.
    """

    train: Dataset
    val: Dataset | None
    scored: Dataset
    scored_name: str
    notes: tuple[str, ...] = ()
    drawn: bool = False


def divide(dataset: Dataset, *, seed: int, held_out: float | None, k: int | None) -> Division:
    """Divide by the data's own splits, or by a drawn one: seeded, stratified, groups whole.

    Args:
        held_out: fraction of each class to hold out if the data has no splits; None for 0.2, 0 to train on all items.
        k: training items per class; None for all.

    Raises:
        DataError: no training item, no item that can be held out, training items of a single class, held-out items
            of classes without training items, or `held_out` for data that has splits.
    """
    own = splits_of(dataset)
    if not own and held_out == 0:
        train = dataset if k is None else dataset.k_shot(k, seed=seed)
        return Division(train, None, dataset.select([]), "", (*dataset.notes, *_check_classes(dataset)))
    if not own:
        dataset = dataset.with_drawn_split(HELD_OUT if held_out is None else held_out, seed=seed)
    elif held_out is not None:
        raise DataError(f"`held_out={held_out}`: {dataset.source} has its own splits {own}; remove `held_out`")
    train, counts = dataset.split("train"), splits_of(dataset)
    if k is not None:
        train = train.k_shot(k, seed=seed)
    others = {split: dataset.split(split) for split in counts if split != "train"}
    notes = [*dataset.notes, *_check_classes(train)]
    notes += [line for split, items in others.items() for line in unscored(items, split, train.classes)]
    others = {split: items.with_classes(train.classes) for split, items in others.items()}
    if own:
        notes += [line for split, items in others.items() for line in shared_groups(train, items, split)]
    name = "test" if "test" in counts else "val"
    return Division(train, others.get("val"), others.get(name, dataset.select([])), name, tuple(notes), not own)


def _check_classes(train: Dataset) -> list[str]:
    """Return a note on the classes that all training items have.

    Raises:
        DataError: there is no other class.
    """
    counts = train.counts
    everywhere = sorted(name for name, count in counts.items() if count == len(train))
    if len(everywhere) == len(counts):
        of_class = f"all {len(train)} training items are of class {listed(everywhere) or 'none'!r}"
        raise DataError(f"{train.source}: {of_class}, so there is nothing to learn; add items of another class")
    note = f"{train.source}: all {len(train)} training items have {listed(everywhere)}: nothing to learn about it"
    return [note] if everywhere else []


def unscored(held_out: Dataset, name: str, classes: Iterable[str]) -> list[str]:
    """Return a note if some multi-label items have a label of no class, which is not scored.

    Args:
        name: name of the items, such as "test".
        classes: the classes with training items.

    Raises:
        DataError: an item with one label, or every one with several, has none of the classes.
    """
    known = {*classes}
    others = [other for names in held_out.label_sets if (other := {*names} - known)]
    if held_out.multilabel and known.isdisjoint(held_out.classes):
        problem = f"none of its {len(held_out)} {name} items has a label with training items"
        raise DataError(f"{held_out.source}: {problem}; label some of them with these classes, or remove them")
    if not others:
        return []
    count, lost = f"{len(others)} of {len(held_out)} {name} items", listed(sorted(set().union(*others)), known=[*known])
    if not held_out.multilabel:
        problem = f"{count} are of classes without training items ({lost})"
        raise DataError(f"{held_out.source}: {problem}; add such items, correct the labels, or remove these items")
    return [f"{count} have labels that are not among the classes ({lost}): these labels are not scored"]


def shared_groups(train: Dataset, held_out: Dataset, name: str) -> list[str]:
    """Return a note if held-out items are of a group, or parts of a file, that training items are of too.

    Args:
        name: name of the held-out items, such as "test".
    """
    if not any(item.group or item.media.is_part for item in (*train.items, *held_out.items)):
        return []
    trained, held = (
        [item.group or str(item.media.resolved().file) for item in data.items] for data in (train, held_out)
    )
    near = sum(map({*trained}.__contains__, held))
    remedy = "so scores are optimistic: put each group in one split"
    return [f"{near} of {len(held_out)} {name} items share a group with training items, {remedy}"] if near else []
