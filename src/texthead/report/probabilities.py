"""The section on calibration of a run's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from texthead.evaluation.calibration import Calibration, Measured, measure
from texthead.evaluation.intervals import grouped_interval
from texthead.evaluation.reliability import Reliability, reliability
from texthead.evaluation.results import Evaluation, MultiLabelEvaluation
from texthead.report.figures import plot_bins

if TYPE_CHECKING:
    import matplotlib.figure


_ERRORS = [f"calibration error {when} (points)" for when in ("before", "after", "by chance")]
ACCEPTED, REJECTED, COVERED = "unknown items accepted", "known items rejected", "sets with the true label"


@dataclass(frozen=True)
class CalibrationReport:
    """How reliable a run's probabilities are.

    Args:
        raw: reliability on the page's items, without a temperature.
        calibration: the parts of the run's calibration that are valid for the page, or None.
        here: measurements of the calibration on the page's items, without those it was fitted on; None if none remain.
        intervals: of the rates in `here`, in percent, by row of the table; items of one group count as dependent.
        lines: notes.
    """

    raw: Reliability
    calibration: Calibration | None = None
    here: Measured | None = None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    @property
    def plotted(self) -> Measured | None:
        """The measurements to plot: on the page's items, else on those of the calibration."""
        return self.here or (self.calibration and self.calibration.measured)

    def plots(self) -> "list[matplotlib.figure.Figure]":
        """Return the reliability plots before and after temperature scaling, or only the first if not calibrated."""
        if self.plotted is None:
            return [plot_bins(self.raw)]
        return [plot_bins(self.plotted.before, "before: "), plot_bins(self.plotted.after, "after: ")]

    def table(self) -> tuple[list[str], list[list[str | None]]]:
        """Return (headers, rows): stated rates, and those measured on the calibration's items and on the page's."""
        calibration = self.calibration
        if calibration is None:
            return [], []
        rows: dict[str, list[str | None]] = {name: [name, None] for name in _ERRORS}
        threshold = None if calibration.level else calibration.threshold
        if threshold:
            most = f"at most {100 * threshold.false_accept:g} %"
            rows |= {ACCEPTED: [ACCEPTED, most], REJECTED: [REJECTED, None]}
        if calibration.coverage:
            least = f"at least {100 * calibration.coverage.level:g} %"
            rows |= {COVERED: [COVERED, least], "labels per set": ["labels per set", None]}
        headers = ["", "stated"]
        for where, rates in (("calibration", calibration.measured), ("here", self.here)):
            if not rates:
                continue
            headers.append(f"{where}, {rates.before.items} items")
            errors = [f"{each.error:.1f} ({each.low:.1f} to {each.high:.1f})" for each in (rates.before, rates.after)]
            cells = dict(zip(_ERRORS, (*errors, f"{rates.after.chance:.1f}"), strict=True))
            if rates.unknown_accepted:
                accepted, unknown = rates.unknown_accepted
                cells[ACCEPTED] = f"{accepted} of {unknown}: {100 * accepted / unknown:.1f} %"
            for name, count in ((REJECTED, rates.known_rejected), (COVERED, rates.covered)):
                if count is not None:
                    ends = self.intervals.get(name) if rates is self.here else None
                    interval = " ({:.0f} to {:.0f})".format(*ends) if ends else ""
                    cells[name] = f"{100 * count / rates.before.items:.1f} %{interval}"
            if rates.mean_set_size is not None:
                cells["labels per set"] = f"{rates.mean_set_size:.2f}"
            for name, row in rows.items():
                row.append(cells.get(name))
        return headers, list(rows.values())


def calibration_report(
    result: Evaluation,
    *,
    calibration: Calibration | None = None,
    lines: Sequence[str] = (),
) -> CalibrationReport | None:
    """Measure the run's probabilities on the items of its page; None if these are multi-label.

    Args:
        calibration: the parts that are valid for these scores.
        lines: notes to show.
    """
    if isinstance(result, MultiLabelEvaluation):
        return None
    raw = reliability(result.scores, result.targets, groups=result.groups)
    if calibration is None:
        return CalibrationReport(raw, lines=tuple(lines))
    new, notes, here, intervals = result.without(calibration.content), list(lines), None, {}
    if new is not result:
        fitted = result.count - (new.count if new else 0)
        notes.append(
            f"{fitted} of the {result.count} items of this page were used to fit the calibration. They would make it "
            "look better than it is, so the measurements here exclude them. Use `texthead report RUN DATA` to measure "
            "on other data."
        )
    if new:
        here = measure(calibration, new.scores, new.targets, groups=new.groups)
        if calibration.threshold and not calibration.level:
            intervals[REJECTED] = grouped_interval(~calibration.accepts(new.scores).numpy(), new.groups)
        if calibration.coverage:
            intervals[COVERED] = grouped_interval(calibration.covers(new.scores, new.targets).numpy(), new.groups)
    return CalibrationReport(raw, calibration, here, intervals, tuple(notes))
