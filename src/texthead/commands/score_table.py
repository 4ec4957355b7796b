"""Scores of a run, scaled by its calibration, and the table of them beside the baselines."""

from dataclasses import replace
from typing import Any

from rich.table import Table
from torch import Tensor

from texthead.commands.console import bar, notes, results, say_skipped
from texthead.data.dataset import Dataset
from texthead.data.protocol import Protocol
from texthead.errors import MediaError
from texthead.evaluation.calibration import Calibration
from texthead.evaluation.confusions import Rate, wrong_pairs
from texthead.evaluation.evaluate import Evaluation, score
from texthead.evaluation.intervals import lead_interval, rate_text
from texthead.features.reading import Reading
from texthead.media.fingerprints import fingerprint
from texthead.prediction.predict import calibration_for
from texthead.runs.run import CALIBRATION, Run
from texthead.runs.scores import Score
from texthead.transfer.baselines import Comparison


def show_table(comparison: Comparison) -> None:
    """Print the table, the skipped items, and a line where a baseline is ahead of the run."""
    # With five classes or fewer, all are among the best five.
    many = any(len(r.names) > 5 for _, r in comparison.rows)
    headers = ["method", "top-1", "95 % interval", *["top-5"] * many, "ECE", "items"]
    table = Table(*headers, title=f"{comparison.division.scored_name} items")
    for method, r in comparison.rows:
        top5 = [f"{r.top5:.1f}"] if many else []
        table.add_row(method, f"{r.top1:.1f}", r.interval_text, *top5, f"{r.calibration_error:.1f}", str(r.count))
    results().print(table)
    results().print("ECE: expected calibration error, in points")
    groups = comparison.division.scored.groups
    if len(set(groups)) < len(groups):
        results().print(f"the intervals take the {len(set(groups))} groups of these items into account")
    skipped = _skipped(comparison)
    say_skipped(skipped)
    if skipped:
        results().print(f"{len(skipped)} items could not be read and are not counted")
    *others, (_, own) = comparison.rows
    ahead = max(others, key=lambda row: row[1].top1, default=None)
    # Compared as shown: with many items, one item alone is no lead to speak of.
    if ahead and round(ahead[1].top1, 1) > round(own.top1, 1):
        results().print(_lead(*ahead, own))
    for line in comparison.lines:
        results().print(line)


def scores_json(comparison: Comparison) -> dict[str, Any]:
    """Return the table as JSON: each method's score, the run's own last, and how the run's own does on each class.

    All rates are percent, with 95 % intervals.
    """
    own = comparison.rows[-1][1]
    return {
        "data": comparison.division.scored.source,
        "split": comparison.division.scored_name,
        "methods": [Score.of(method, result)._asdict() for method, result in comparison.rows],
        "classes": [
            {
                "name": row.name,
                "items": row.items,
                "recall": _rate_json(row.recall),
                "predicted": row.said,
                "precision": _rate_json(row.precision),
            }
            for row in own.classes
        ],
        "skipped": [{"path": str(error.path), "error": error.problem} for error in _skipped(comparison)],
        "notes": comparison.lines,
    }


def _rate_json(rate: Rate | None) -> dict[str, float] | None:
    return rate and dict(zip(("percent", "low", "high"), rate, strict=True))


def _skipped(comparison: Comparison) -> list[MediaError]:
    """Return the error of each file that a method could not read."""
    return list({str(error.path): error for _, r in comparison.rows for error in r.skipped}.values())


def _lead(method: str, ahead: Evaluation, own: Evaluation) -> str:
    """Return how far a method is ahead of the run, with an interval where both were scored on the same items."""
    lead = f"{method} is ahead of this run by {round(ahead.top1, 1) - round(own.top1, 1):.1f} points on these items"
    if ahead.paths != own.paths:
        return lead
    low, high = lead_interval(ahead.right & ~own.right, own.right & ~ahead.right, own.groups or range(own.count))
    return f"{lead} (95 % interval {low:.1f} to {high:.1f}{', so perhaps by chance' if low <= 0 else ''})"


def calibrated(
    run: Run, protocol: Protocol, result: Evaluation, chosen: "Dataset"
) -> tuple[Evaluation, str, list[str]]:
    """(the result after the run's temperature, what to add to its title, what to say of threshold and sets)."""
    calibration, why = calibration_for(run, protocol)
    if calibration is None:
        return result, "", []
    if why:
        notes().print(f"note: {run.folder / CALIBRATION}: {why}")
    after = replace(result, scores=calibration.apply(result.scores))
    return after, f", temperature {calibration.temperature:.3g}", _promises(calibration, result, chosen)


def _promises(calibration: Calibration, result: Evaluation, chosen: Dataset) -> list[str]:
    """What threshold and sets do to these items; a note where the calibration was learned from them."""
    lines: list[str] = []
    seen = sum(fingerprint(item.path) in calibration.content for item in chosen.items)
    if seen:
        lines.append(
            f"{seen} of these {len(chosen)} items are those that the calibration was learned from: its numbers (ECE, "
            "threshold, sets) flatter it here; report them on others"
        )
    if calibration.threshold:
        away = ~calibration.is_known(result.scores)
        right = int((away & (result.scores.argmax(1) == result.targets)).sum())
        lines.append(
            f"none of these: {rate_text(away, result.groups)} of the items are turned away (best probability not above "
            f"{calibration.threshold.probability:.3f}), {right} of which are named rightly without it"
        )
    if calibration.coverage:
        sets, held = calibration.sets(result.scores), calibration.holds(result.scores, result.targets)
        lines.append(
            f"label sets: {rate_text(held, result.groups)} hold the label "
            f"({100 * calibration.coverage.level:g} % promised), "
            f"{float(sets.sum(1).float().mean()):.2f} labels on average"
        )
    return lines


def show_classes(result: Evaluation, most: int = 10) -> None:
    """Print precision and recall of each class, and which classes are taken for which: the most frequent pairs."""

    confusion = result.confusion()
    table = Table("class", "items", "recall", "named so", "precision", title="each class, in percent (95 % interval)")
    for row in result.classes:
        recall, precision = (
            "{:.1f} ({:.1f}-{:.1f})".format(*rate) if rate else "-" for rate in (row.recall, row.precision)
        )
        table.add_row(row.name, str(row.items), recall, str(row.said), precision)
    results().print(table)
    pairs = wrong_pairs(confusion)
    for truth, said, count in pairs[:most]:
        whole = int(confusion[truth].sum())
        results().print(f"{result.names[truth]} taken for {result.names[said]}: {count} of {whole}")
    if len(pairs) > most:
        more = len(pairs) - most
        results().print(f"and {more} more pair{'s' * (more > 1)} (--out FILE writes what each item is taken for)")


def scores_of(run: Run, protocol: Protocol, reading: Reading, dataset: Dataset, title: str) -> tuple[Tensor, Dataset]:
    """(the scores of the readable items, those items)."""
    with bar(title, "files") as progress:
        found = score(run.model, [item.path for item in dataset.items], protocol, reading, progress)
    say_skipped(found.skipped)
    return found.scores, dataset.pick(found.positions)
