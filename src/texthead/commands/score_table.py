"""The table of a run's score beside the baselines."""

from rich.table import Table

from texthead.commands.console import notes, results
from texthead.evaluation.evaluate import Evaluation
from texthead.evaluation.intervals import lead_interval
from texthead.transfer.baselines import Comparison


def show_table(comparison: Comparison) -> None:
    """Print the table, the skipped items, and a line where a baseline is ahead of the run."""
    # With five classes or fewer, all are among the best five.
    many = any(len(r.names) > 5 for _, r in comparison.rows)
    headers = ["method", "top-1", "95 % interval", *["top-5"] * many, "ECE", "items"]
    table = Table(*headers, title=f"{comparison.parts.scored_name} items")
    for method, r in comparison.rows:
        top5 = [f"{r.top5:.1f}"] if many else []
        table.add_row(method, f"{r.top1:.1f}", r.interval_text, *top5, f"{r.calibration_error:.1f}", str(r.count))
    results().print(table)
    results().print("ECE: expected calibration error, in points")
    groups = comparison.parts.scored.groups
    if len(set(groups)) < len(groups):
        results().print(f"the intervals take the {len(set(groups))} groups of these items into account")
    skipped = {str(error.path): error for _, r in comparison.rows for error in r.skipped}
    for error in skipped.values():
        notes().print(f"skipped: {error}")
    if skipped:
        results().print(f"{len(skipped)} items could not be read and are not counted")
    *others, (_, own) = comparison.rows
    ahead = max(others, key=lambda row: row[1].top1, default=None)
    # Compared as shown: with many items, one item alone is no lead to speak of.
    if ahead and round(ahead[1].top1, 1) > round(own.top1, 1):
        results().print(_lead(*ahead, own))
    for line in comparison.lines:
        results().print(line)


def _lead(method: str, ahead: Evaluation, own: Evaluation) -> str:
    """Return how far a method is ahead of the run, with an interval where both were scored on the same items."""
    lead = f"{method} is ahead of this run by {round(ahead.top1, 1) - round(own.top1, 1):.1f} points on these items"
    if ahead.paths != own.paths:
        return lead
    low, high = lead_interval(ahead.right & ~own.right, own.right & ~ahead.right, own.groups or range(own.count))
    return f"{lead} (95 % interval {low:.1f} to {high:.1f}{', so perhaps by chance' if low <= 0 else ''})"
