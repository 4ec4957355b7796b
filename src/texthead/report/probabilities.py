"""How reliable a run's probabilities are: what its page says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.evaluation.calibration import Calibration, Measured, measure
from texthead.evaluation.evaluate import Evaluation
from texthead.evaluation.intervals import grouped_interval, wilson_interval
from texthead.evaluation.reliability import Reliability, reliability
from texthead.media.fingerprints import fingerprints
from texthead.report.figures import plot_bins

if TYPE_CHECKING:
    import matplotlib.figure


@dataclass(frozen=True)
class HowSure:
    """What is known of a run's probabilities.

    Args:
        raw: how far they are off on the page's items, before any temperature.
        calibration: what of the run's calibration holds for the page; None without one.
        here: what it does to those of the page's items that it was not learned from; None without such items.
        intervals: of `here`, in percent, by the name of the rate; items of one group count as dependent.
        lines: what else is to be said.
    """

    raw: Reliability
    calibration: Calibration | None = None
    here: Measured | None = None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    @property
    def shown(self) -> Measured | None:
        """What the plots are of: the page's items, else those of the calibration."""
        return self.here or (self.calibration and self.calibration.measured)

    def plots(self) -> "list[matplotlib.figure.Figure]":
        """Return the reliability plots before and after the temperature, or one before any."""
        if self.shown is None:
            return [plot_bins(self.raw.bins)]
        return [plot_bins(self.shown.before.bins, title="before"), plot_bins(self.shown.after.bins, title="after")]

    def table(self) -> tuple[list[str], list[list[str | None]]]:
        """Return (headers, rows): what is stated beside what was measured, by the calibration and on the page."""
        made = self.calibration
        if made is None:
            return [], []
        stated: dict[str, str | None] = dict.fromkeys(
            ("calibration error before, points", "calibration error after, points", "the same by chance alone")
        )
        if made.threshold:
            stated["unknown items that get a name"] = f"{100 * made.threshold.false_accept:g} % at most"
            stated["known items turned away"] = None
        if made.coverage:
            stated["sets that hold the label"] = f"{100 * made.coverage.level:g} % at least"
            stated["labels in a set"] = None
        measured = {"calibration": made.measured, "here": self.here}
        columns = {
            f"{where}, {found.before.items} items": _measured(found, self.intervals if found is self.here else {})
            for where, found in measured.items()
            if found
        }
        rows = [[name, said, *(column.get(name) for column in columns.values())] for name, said in stated.items()]
        return ["", "stated", *columns], rows


def how_sure(
    result: Evaluation,
    *,
    calibration: Calibration | None = None,
    unknown: Float[Tensor, "unknown classes"] | None = None,
    lines: Sequence[str] = (),
) -> HowSure:
    """Measure the run's probabilities on the items of its page.

    Args:
        calibration: as far as it holds for these scores.
        unknown: scores of items of no class of the run, by which its threshold was not set.
        lines: what is to be said beside.
    """
    raw = reliability(result.scores, result.targets, groups=result.groups)
    if calibration is None:
        return HowSure(raw, lines=tuple(lines))
    contents = fingerprints(result.paths)
    fresh = [place for place, content in enumerate(contents) if content not in calibration.content]
    said, here, intervals = list(lines), None, {}
    if len(fresh) < result.count:
        said.append(
            f"{result.count - len(fresh)} of the {result.count} items of this page are those that the calibration was "
            "learned from, which it flatters: they are left out of what is measured here. `texthead report RUN DATA` "
            "takes others."
        )
    if fresh:
        scores, targets = result.scores[torch.tensor(fresh)], result.targets[torch.tensor(fresh)]
        groups = result.groups and [result.groups[place] for place in fresh]
        here = measure(calibration, scores, targets, unknown=unknown, groups=groups)
        if here.named:
            intervals["named"] = wilson_interval(*here.named)
        if calibration.threshold:
            intervals["turned_away"] = grouped_interval(~calibration.is_known(scores).numpy(), groups)
        if calibration.coverage:
            intervals["held"] = grouped_interval(calibration.holds(scores, targets).numpy(), groups)
    return HowSure(raw, calibration, here, intervals, tuple(said))


def _error(found: Reliability) -> str:
    return f"{found.bins.error:.1f} ({found.low:.1f} to {found.high:.1f})"


def _measured(found: Measured, intervals: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Return the cells of a column by the names of their rows."""

    def rate(name: str, part: int, items: int) -> str:
        low, high = intervals.get(name, (None, None))
        return f"{100 * part / items:.1f} %" + ("" if low is None else f" ({low:.0f} to {high:.0f})")

    cells = {
        "calibration error before, points": _error(found.before),
        "calibration error after, points": _error(found.after),
        "the same by chance alone": f"{found.after.chance:.1f}",
    }
    items = found.before.items
    if found.named:
        named, unknown = found.named
        cells["unknown items that get a name"] = f"{named} of {unknown}: {rate('named', named, unknown)}"
    if found.turned_away is not None:
        cells["known items turned away"] = rate("turned_away", found.turned_away, items)
    if found.held is not None:
        cells["sets that hold the label"] = rate("held", found.held, items)
        cells["labels in a set"] = f"{found.labels:.2f}"
    return cells
