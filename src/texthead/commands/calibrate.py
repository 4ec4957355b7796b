"""`texthead calibrate`: how sure a run may be, learned from items that it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from texthead.commands.options import DataOptions, ProtocolOptions, ReadingOptions, Split, check_order
from texthead.commands.parser import argument, option
from texthead.errors import DataError

if TYPE_CHECKING:
    import torch

    from texthead.data.dataset import Dataset
    from texthead.evaluation import calibration
    from texthead.runs import run as runs


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Fit a temperature, a rejection threshold and prediction sets on held-out items, and write them into the run.

    Args:
        run: a run folder
        data: class folders, CSV or TSV, list .txt, prepared SHARDS, or datasets:FOLDER_OR_ID
        split: val, else test, else what the run held out, if not given; train: of it what --k did not draw
        unknown: items that are of no class of the run, beside those of DATA that are of none
        false_accept: share of unknown items that may get a name (0-1)
        coverage: share of prediction sets that shall hold the label (0-1)
    """

    NAME: ClassVar = "calibrate"
    HELP: ClassVar = "fit a temperature, a rejection threshold and prediction sets on held-out items"
    USAGE: ClassVar = "texthead calibrate RUN DATA [--unknown DATA2] [options]"

    run: str = argument("RUN")
    data: str = argument("DATA")
    labelled: DataOptions = DataOptions()
    split: Split | None = None
    unknown: str | None = option(None, "DATA2")
    false_accept: float = option(0.05, "RATE")
    coverage: float = option(0.9, "RATE")
    protocol: ProtocolOptions = ProtocolOptions()
    files: ReadingOptions = ReadingOptions()

    def __call__(self) -> None:
        import torch

        from texthead.commands.console import notes, results
        from texthead.commands.score_table import scores_of
        from texthead.data import dataset as datasets
        from texthead.data.dataset import splits_of
        from texthead.evaluation import calibration
        from texthead.media.fingerprints import fingerprints
        from texthead.runs import run as runs
        from texthead.runs.folder import rows_digest

        for name, rate in (("false-accept", self.false_accept), ("coverage", self.coverage)):
            if not 0 < rate < 1:
                raise DataError(f"--{name} must lie between 0 and 1, got {rate:g}")
        check_order("calibrate", self.run, self.data)
        run = runs.load_run(self.run)
        protocol = self.protocol.on(run.protocol)
        run.model.to(self.files.pick_device())
        known, unknown, split = _items(run, self)
        take = partial(scores_of, run, protocol, self.files.reading())
        scores, known = take(known, "score items")
        targets = torch.tensor(datasets.label_indices(known, run.labels))
        others = take(unknown, "score unknown items")[0] if len(unknown) else None
        promises, lines = _possible(len(scores), 0 if others is None else len(others), self)
        made = calibration.calibrate(
            scores,
            targets,
            unknown=others if promises["threshold"] else None,
            false_accept=self.false_accept,
            coverage=self.coverage if promises["sets"] else None,
            classes=rows_digest(run.head.weight),
            protocol=protocol.to_json(),
            source=f"{known.source} ({split})",
            content=frozenset(fingerprints([item.path for item in (*known.items, *unknown.items)])) - {""},
        )
        after = calibration.cross_fitted(scores, targets, groups=known.groups)
        found = calibration.measure(made, scores, targets, after=after, unknown=others, groups=known.groups)
        runs.save_calibration(run, replace(made, measured=found))
        right = int((scores.argmax(1) == targets).sum())
        for line in (*_errors(made, found, right), *_promised(made, found, scores, targets, known.groups), *lines):
            results().print(line)
        results().print(f"calibration: {run.folder / runs.CALIBRATION}   `predict` and `eval` use it")
        if splits_of(known):
            notes().print(
                f"note: report no numbers on these {len(known)} items ({split}): the calibration has seen them"
            )


def _items(run: "runs.Run", command: Calibrate) -> "tuple[Dataset, Dataset, str]":
    """(items of the run's classes, items of none of them, what the first are called), none of them trained on.

    The split is val where the data has one, so that test is left for numbers to report.

    Raises:
        DataError: no item of a class of the run, or an unknown item that was trained on or has such a class.
    """
    from texthead.commands.console import notes
    from texthead.data.dataset import splits_of
    from texthead.media.fingerprints import fingerprint
    from texthead.runs.scored_items import choose_scored, unknown_items

    dataset, say = command.labelled.read(command.data), notes()
    for line in dataset.notes:
        say.print(f"note: {line}")
    split = command.split or ("val" if "val" in splits_of(dataset) else None)
    chosen, name = _not_drawn(run, dataset) if split == "train" else choose_scored(run, dataset, split)
    known = chosen.with_classes(run.labels)
    items = [item for item in chosen.items if item.label not in run.labels]
    if command.unknown is not None:
        items += unknown_items(run, command.labelled.read(command.unknown)).items
    if not len(known):
        raise DataError(f"{dataset.source}: none of {len(chosen)} items is of a class of the run")
    # A copy is no further item.
    once = {fingerprint(item.path) or str(item.path): item for item in items}
    unknown = replace(chosen, items=tuple(once.values()))
    say.print(f"{len(known)} items ({name}) of {len(known.classes)} of the run's {len(run.labels)} classes")
    if len(known.classes) < len(run.labels):
        missing = [label for label in run.labels if label not in known.classes]
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        say.print(
            f"note: what is promised holds for items like these, so not for {', '.join(missing[:8])}{more}, of which "
            "there are none"
        )
    if items:
        copies = f" ({len(items) - len(unknown)} copies left out)" if len(items) > len(unknown) else ""
        more = f" and {len(unknown.classes) - 8} more" if len(unknown.classes) > 8 else ""
        say.print(
            f"{len(unknown)} unknown items of no class of the run: {', '.join(unknown.classes[:8])}{more}{copies}"
        )
    return known, unknown, name


def _not_drawn(run: "runs.Run", dataset: "Dataset") -> "tuple[Dataset, str]":
    """(the training items that the run was not trained on, since `--k` drew others, what they are called).

    Raises:
        DataError: there are none.
    """
    from texthead.commands.console import notes
    from texthead.data.dataset import splits_of

    train = dataset.split("train") if splits_of(dataset) else dataset
    trained = [run.was_trained_on(item.path) for item in train.items]
    left = train.pick([place for place, seen in enumerate(trained) if not seen])
    if not len(left):
        raise DataError(
            f"--split train: the run was trained on all {len(train)} training items of {dataset.source}, which do not "
            "tell how sure it may be: give other items"
        )
    seen = {item.group for item, known in zip(train.items, trained, strict=True) if known and item.group}
    near = sum(item.group in seen for item in left.items)
    if near:
        notes().print(f"note: {near} of these {len(left)} items are of a group that was trained on, which flatters")
    return left, "train, not drawn"


def _possible(items: int, unknown: int, command: Calibrate) -> tuple[dict[str, bool], list[str]]:
    """(which promises so many items allow, a line for each that they do not)."""
    from texthead.evaluation import calibration

    lines: list[str] = []
    needed = calibration.fewest(command.false_accept)
    rate = f"{100 * command.false_accept:g} %"
    if not unknown:
        lines.append(
            f"no threshold for {calibration.NONE!r}: it is set by items of no class of the run; name some by --unknown"
        )
    elif unknown < needed:
        lines.append(
            f"no threshold for {calibration.NONE!r}: {rate} needs at least {needed} unknown items, got {unknown}, "
            f"which can promise {100 / (unknown + 1):.1f} %"
        )
    sets = calibration.fewest(1 - command.coverage)
    if items < sets:
        lines.append(
            f"no label sets: a coverage of {100 * command.coverage:g} % needs at least {sets} items, got {items}"
        )
    return {"threshold": unknown >= needed, "sets": items >= sets}, lines


def _errors(made: "calibration.Calibration", found: "calibration.Measured", right: int) -> list[str]:
    """What the temperature is and what it does to the expected calibration error."""
    from texthead.evaluation import calibration

    if right == made.items:
        return [f"temperature 1: all {right} items are named rightly, which does not tell how sure to be"]
    lines = [f"temperature {made.temperature:.3g} ({'too sure' if made.temperature > 1 else 'not sure enough'} before)"]
    if made.temperature in (calibration.HOTTEST, calibration.COLDEST):
        lines[0] += ": as far as it goes; the scores say nothing of the labels, or all"
    pairs = (("before", found.before), ("after", found.after))
    told = [f"{each.bins.error:.1f} ({each.low:.1f}-{each.high:.1f}) {when}" for when, each in pairs]
    lines.append(f"expected calibration error in points: {', '.join(told)}; by chance alone {found.after.chance:.1f}")
    lines.append("  after: each item by the temperature of the other folds; by chance: were all probabilities true")
    return lines


def _promised(
    made: "calibration.Calibration",
    found: "calibration.Measured",
    scores: "torch.Tensor",
    targets: "torch.Tensor",
    groups: Sequence[str],
) -> list[str]:
    """What threshold and sets promise, and what they cost on these items."""
    import numpy as np

    from texthead.evaluation import calibration
    from texthead.evaluation.intervals import rate_text

    lines, count = [], len(scores)
    if made.threshold:
        rate, limit, unknown = made.threshold
        away = ~made.is_known(scores)
        right = int((away & (scores.argmax(1) == targets)).sum())
        worst = calibration.worst_false_accept(unknown, rate)
        lines.append(
            f"threshold {limit:.3f}: at most {100 * rate:g} % of unknown items like these {unknown} get a name "
            f"(on average over draws of {unknown}; up to {100 * worst:.1f} % in 9 of 10 draws)"
        )
        lines.append(
            f"  it turns away {rate_text(away, groups)} of the {count} items of the run's classes, "
            f"{right} of which are named rightly without it"
        )
        if found.turned_away and found.turned_away > count / 2:
            lines.append(
                f"  that is most of them, so `predict` will mostly say {calibration.NONE!r}: to the run the unknown "
                "items look like its classes; train it further, give them a class of their own, or allow a larger "
                "--false-accept"
            )
    if made.coverage:
        sizes = made.sets(scores).sum(1).numpy()
        counts = [f"{items} have {size}" for size, items in zip(*np.unique(sizes, return_counts=True), strict=True)]
        lines.append(
            f"label sets that hold the label in {100 * made.coverage.level:g} % of cases: {found.labels:.2f} labels on "
            f"average (of the items {', '.join(counts)})"
        )
    return lines
