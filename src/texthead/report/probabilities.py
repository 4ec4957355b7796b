"""The part of a run's page that says how far its probabilities can be taken at their word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.evaluation.calibration import NONE, Calibration, Measured, measure
from texthead.evaluation.evaluate import Evaluation
from texthead.evaluation.intervals import grouped_interval, wilson_interval
from texthead.evaluation.reliability import Reliability, reliability
from texthead.media.fingerprints import fingerprints
from texthead.report import figures
from texthead.report.html import Cell, Report


@dataclass(frozen=True)
class HowSure:
    """What is known of a run's probabilities.

    Args:
        raw: how far they are off on the page's items, before any temperature.
        calibration: what of the run's calibration holds for the page; None without one.
        here: what it does to those of the page's items that it was not learned from; None without such items.
        intervals: of `here`, in percent, by the name of the rate; what hangs together by groups counts so.
        lines: what else is to be said.
    """

    raw: Reliability
    calibration: Calibration | None = None
    here: Measured | None = None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


def how_sure(
    result: Evaluation,
    *,
    calibration: Calibration | None = None,
    unknown: Float[Tensor, "unknown classes"] | None = None,
    lines: Sequence[str] = (),
) -> HowSure:
    """What the scores of a page's items say of the run's probabilities.

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


def add_how_sure(report: Report, found: HowSure) -> None:
    """Adds the section: the reliability plots, the errors, the threshold and the sets, each stated and measured."""
    report.section("How sure")
    made = found.calibration
    shown = found.here or (made.measured if made else None)
    if made is None or shown is None:
        report.figure(figures.plot_bins(found.raw.bins), _caption("Before any temperature"))
    else:
        whose = "these items" if found.here else "the items of the calibration"
        folds = "" if found.here else ", each item by that of the other folds"
        pairs = [
            (figures.plot_bins(shown.before.bins, title="before"), _caption(f"Before the temperature, {whose}")),
            (figures.plot_bins(shown.after.bins, title="after"), f"After the temperature, {whose}{folds}."),
        ]
        report.figures(pairs)
    if made is None:
        report.text(f"Expected calibration error in points: {_error(found.raw)}; {_chance(found.raw)}.")
        report.text(
            "The run is not calibrated, so a probability is what the head says and no promise. `texthead calibrate RUN "
            "DATA --unknown OTHERS` learns a temperature, a threshold for none of these and label sets from items that "
            "were not trained on; `texthead report RUN` then shows them here."
        )
    else:
        report.text(_temperature(made))
        _add_table(report, found, made)
        if made.measured is None and not found.here:
            report.text("This calibration holds no measurement: `texthead calibrate RUN DATA` makes it again with one.")
    for line in found.lines:
        report.text(line)


def _caption(first: str) -> str:
    return (
        f"{first}: how often answers of a probability are right. On the dashed line it is as often as they say; outside"
        " of a grey bar it is more than chance."
    )


def _error(found: Reliability) -> str:
    return f"{found.bins.error:.1f} ({found.low:.1f} to {found.high:.1f})"


def _chance(found: Reliability) -> str:
    return f"by chance alone {found.chance:.1f}, were all probabilities true"


def _temperature(made: Calibration) -> str:
    """The temperature and the threshold, in sentences."""
    told = {True: "the run was too sure of itself", False: "the run was not sure enough"}[made.temperature > 1]
    said = f"Scores are divided by a temperature of {made.temperature:.3g}"
    said += f": {told}." if made.temperature != 1 else ", which changes nothing."
    said += f" It was learned from {made.items} items, {made.source}." if made.source else ""
    if made.threshold:
        said += (
            f" Where the best probability after it is not above {made.threshold.probability:.3f}, the answer is "
            f"{NONE}; {made.threshold.unknown_items} unknown items set that."
        )
    return f"{said} Clips on this page show probabilities before it."


def _add_table(report: Report, found: HowSure, made: Calibration) -> None:
    """Adds what is stated beside what was measured: by the calibration, and on the page's items."""
    measured = [(f"calibration, {each.before.items} items", each, {}) for each in (made.measured,) if each]
    measured += [(f"here, {each.before.items} items", each, found.intervals) for each in (found.here,) if each]
    stated: dict[str, str | None] = {
        "calibration error before, points": None,
        "calibration error after, points": None,
        "the same by chance alone": None,
    }
    if made.threshold:
        stated["unknown items that get a name"] = f"{100 * made.threshold.false_accept:g} % at most"
        stated["known items turned away"] = None
    if made.coverage:
        stated["sets that hold the label"] = f"{100 * made.coverage.level:g} % at least"
        stated["labels in a set"] = None
    columns = [_measured(each, intervals) for _, each, intervals in measured]
    rows: list[tuple[Cell, ...]] = [
        (name, said, *(column.get(name) for column in columns)) for name, said in stated.items()
    ]
    headers = ["", "stated", *(header for header, _, _ in measured)]
    caption = (
        "Threshold and sets keep what is stated on the items of the calibration, by construction; other items tell. In "
        "brackets 95% intervals."
    )
    report.table(headers, rows, caption=caption, align=["left"] * len(headers))


def _measured(found: Measured, intervals: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """The cells of a column by the names of their rows."""

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
