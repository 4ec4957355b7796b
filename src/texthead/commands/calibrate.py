"""`texthead calibrate`: fit temperature, rejection threshold and prediction sets on held-out items."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from texthead.cli.options import LabelledRun, SplitName
from texthead.cli.parser import option
from texthead.errors import listed

if TYPE_CHECKING:
    import torch

    from texthead.evaluation import calibration


@dataclass(frozen=True, kw_only=True)
class Calibrate(LabelledRun):
    """Fit a temperature, a rejection threshold and prediction sets on held-out items, and write them into the run.

    Args:
        split: split of DATA to fit on (default: val, else test, else the items that the run held out); with train, only
            the items that train --k left out
        unknown: items that belong to no class of the run, besides those in DATA
        false_accept: share of unknown items that may get a class, 0-1
        coverage: share of prediction sets that must contain the correct class, 0-1
    """

    JSON: ClassVar = (
        "run, calibration, format, classes, items, source, temperature, threshold, coverage, protocol, measured "
        "[before, after, unknown_accepted, known_rejected, covered, mean_set_size]"
    )

    split: SplitName | None = None
    unknown: str | None = option(None, "DATA2")
    false_accept: float = option(0.05, "RATE")
    coverage: float = option(0.9, "RATE")

    def __call__(self) -> None:
        from texthead.cli.console import doing, next_command, notes, results, say_notes, show_json

        doing("loading torch")
        import torch

        from texthead.cli.score_table import scores_of
        from texthead.data import dataset as datasets
        from texthead.data.dataset import splits_of
        from texthead.evaluation import calibration
        from texthead.media.paths import fingerprints
        from texthead.runs import run as runs
        from texthead.runs.folder import rows_digest
        from texthead.runs.hub import check_own
        from texthead.runs.scored_items import calibration_items

        rates = {"false_accept": self.false_accept, "coverage": self.coverage}
        calibration.check_guarantees(0, 0, **rates)  # Report wrong rates before scoring items.
        run, protocol = self.load()
        check_own(run.folder)
        dataset = self.items(run)
        others = None if self.unknown is None else self.labelled.read(self.unknown)
        known, unknown, split, copies, lines = calibration_items(run, dataset, others, self.split)
        notes().print(f"{len(known)} items ({split}) of {len(known.classes)} of the run's {len(run.labels)} classes")
        say_notes(lines)
        if len(unknown):
            left_out = f" ({copies} copies left out)" if copies else ""
            notes().print(f"{len(unknown)} unknown items of other classes: {listed(unknown.classes)}{left_out}")
        take = partial(scores_of, run, protocol, self.files.reading())
        scores, known = take(known, "score items")
        targets = torch.tensor(datasets.label_indices(known, run.labels))
        unknown_scores = take(unknown, "score unknown items")[0] if len(unknown) else None
        doing("fitting the calibration")
        count = 0 if unknown_scores is None else len(unknown_scores)
        threshold, sets, lines = calibration.check_guarantees(len(scores), count, **rates)
        fitted = calibration.calibrate(
            scores,
            targets,
            unknown=unknown_scores if threshold else None,
            false_accept=self.false_accept,
            coverage=self.coverage if sets else None,
            classes=rows_digest(run.head.weight),
            protocol=protocol.to_json(),
            source=f"{known.source} ({split})",
        )
        after = calibration.cross_fitted(scores, targets, groups=known.groups)
        groups = known.groups
        measured = calibration.measure(fitted, scores, targets, after=after, unknown=unknown_scores, groups=groups)
        content = frozenset(fingerprints([item.path for item in (*known.items, *unknown.items)])) - {""}
        fitted = replace(fitted, measured=measured, content=content)
        runs.save_calibration(run, fitted)
        right = int((scores.argmax(1) == targets).sum())
        promises = _promised(fitted, measured, scores, targets, groups)
        for line in (*_errors(fitted, measured, right), *promises, *lines):
            results().print(line)
        results().print(f"calibration: {run.folder / runs.CALIBRATION} (predict and eval use it)")
        document = {key: value for key, value in fitted.to_json().items() if key != "content"}
        show_json({"run": self.run, "calibration": run.folder / runs.CALIBRATION, **document})
        if splits_of(known):
            say_notes(
                [f"do not report scores on these {len(known)} items ({split}): the calibration is fitted to them"]
            )
        next_command("texthead", "report", self.run, *filter(None, [self.data]))


def _errors(made: "calibration.Calibration", measured: "calibration.Measured", right: int) -> list[str]:
    """Return lines on the temperature and the expected calibration error before and after it."""
    from texthead.evaluation import calibration

    if right == made.items:
        return [f"temperature 1: all {right} items are correct, so no temperature can be fitted"]
    before = "too confident" if made.temperature > 1 else "not confident enough"
    lines = [f"temperature {made.temperature:.3g} (the run was {before})"]
    if made.temperature in (calibration.HOTTEST, calibration.COLDEST):
        lines[0] += "; this is the limit: the scores tell nothing about the labels, or everything"
    pairs = (("before", measured.before), ("after", measured.after))
    errors = [f"{each.bins.error:.1f} ({each.low:.1f}-{each.high:.1f}) {when}" for when, each in pairs]
    lines.append(f"expected calibration error in points: {', '.join(errors)} (cross-validated)")
    lines.append(f"  a perfectly calibrated model would have {measured.after.chance:.1f} on so few items")
    return lines


def _promised(
    made: "calibration.Calibration",
    measured: "calibration.Measured",
    scores: "torch.Tensor",
    targets: "torch.Tensor",
    groups: Sequence[str],
) -> list[str]:
    """Return lines on the rates of threshold and sets, and their cost on these items."""
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
            f"threshold {limit:.3f}: at most {100 * rate:g} % of unknown items like these {unknown} get a class "
            f"(on average over draws of {unknown}; up to {100 * worst:.1f} % in 9 of 10 draws)"
        )
        lines.append(
            f"  it rejects {rate_text(away, groups)} of the {count} items of the run's classes; for {right} of "
            f"these {int(away.sum())} the best class is correct"
        )
        if measured.known_rejected and measured.known_rejected > count / 2:
            lines.append(
                f"  since that is most of them, predict will mostly answer {calibration.NONE!r}: the run cannot tell "
                "the unknown items from its classes; train it further, make them a class, or raise --false-accept"
            )
    if made.coverage:
        sizes = made.sets(scores).sum(1).numpy()
        counts = [f"{items} have {size}" for size, items in zip(*np.unique(sizes, return_counts=True), strict=True)]
        lines.append(
            f"prediction sets that hold the label in {100 * made.coverage.level:g} % of cases: "
            f"{measured.mean_set_size:.2f} labels on average (of the items {', '.join(counts)})"
        )
    return lines
