"""`texthead calibrate`: how sure a run may be, learned from items that it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from texthead.commands.options import LabelledRun, SplitName
from texthead.commands.parser import option
from texthead.errors import listed

if TYPE_CHECKING:
    import torch

    from texthead.evaluation import calibration


@dataclass(frozen=True, kw_only=True)
class Calibrate(LabelledRun):
    """Fit a temperature, a rejection threshold and prediction sets on held-out items, and write them into the run.

    Args:
        split: val, else test, else what the run held out, if not given; train: of it what --k did not draw
        unknown: items that are of no class of the run, beside those of DATA that are of none
        false_accept: share of unknown items that may get a name (0-1)
        coverage: share of prediction sets that shall hold the label (0-1)
    """

    split: SplitName | None = None
    unknown: str | None = option(None, "DATA2")
    false_accept: float = option(0.05, "RATE")
    coverage: float = option(0.9, "RATE")

    def __call__(self) -> None:
        import torch

        from texthead.commands.console import notes, results, say_notes
        from texthead.commands.score_table import scores_of
        from texthead.data import dataset as datasets
        from texthead.data.dataset import splits_of
        from texthead.evaluation import calibration
        from texthead.media.fingerprints import fingerprints
        from texthead.runs import run as runs
        from texthead.runs.folder import rows_digest
        from texthead.runs.hub import check_own
        from texthead.runs.scored_items import calibration_items

        rates = {"false_accept": self.false_accept, "coverage": self.coverage}
        calibration.check_promises(0, 0, **rates)  # Wrong rates are found before items are scored.
        run, protocol = self.load()
        check_own(run.folder)
        dataset = self.labelled.read_noted(self.data)
        others = None if self.unknown is None else self.labelled.read(self.unknown)
        known, unknown, split, copies, lines = calibration_items(run, dataset, others, self.split)
        notes().print(f"{len(known)} items ({split}) of {len(known.classes)} of the run's {len(run.labels)} classes")
        say_notes(lines)
        if len(unknown):
            left_out = f" ({copies} copies left out)" if copies else ""
            notes().print(f"{len(unknown)} unknown items of no class of the run: {listed(unknown.classes)}{left_out}")
        take = partial(scores_of, run, protocol, self.files.reading())
        scores, known = take(known, "score items")
        targets = torch.tensor(datasets.label_indices(known, run.labels))
        unknown_scores = take(unknown, "score unknown items")[0] if len(unknown) else None
        count = 0 if unknown_scores is None else len(unknown_scores)
        threshold, sets, lines = calibration.check_promises(len(scores), count, **rates)
        made = calibration.calibrate(
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
        found = calibration.measure(made, scores, targets, after=after, unknown=unknown_scores, groups=known.groups)
        content = frozenset(fingerprints([item.path for item in (*known.items, *unknown.items)])) - {""}
        runs.save_calibration(run, replace(made, measured=found, content=content))
        right = int((scores.argmax(1) == targets).sum())
        for line in (*_errors(made, found, right), *_promised(made, found, scores, targets, known.groups), *lines):
            results().print(line)
        results().print(f"calibration: {run.folder / runs.CALIBRATION}   `predict` and `eval` use it")
        if splits_of(known):
            notes().print(
                f"note: report no numbers on these {len(known)} items ({split}): the calibration has seen them"
            )


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
