"""The start of `texthead train`: fit a method on the frozen encoder in seconds, and write it as a run."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from texthead.cli.console import doing, results, say_skipped
from texthead.cli.result import write_page
from texthead.cli.score_table import show_table
from texthead.transfer import methods
from texthead.transfer.comparison import FittedMethod

# Cross-validated top-1 from which on fine-tuning could gain two points at most.
NOTHING_TO_GAIN = 0.98


def show_fitted(fitted: FittedMethod) -> None:
    """Print what a fit found: how well the class names classify the training items, and its score."""
    if fitted.line:
        results().print(fitted.line)
    say_skipped(fitted.skipped)
    if fitted.evidence:
        results().print(str(fitted.evidence))
    if fitted.table.rows:
        name, own = fitted.table.rows[-1]
        results().print(
            f"{name}: {own.top1:.1f} % of {own.count} {fitted.table.division.scored_name} items "
            f"(95 % interval {own.interval_text})"
        )


def why_not_fine_tuned(fitted: FittedMethod, overrides: Mapping[str, Any]) -> str | None:
    """Return why fine-tuning is not tried, or None if it is."""
    if overrides.get("tune") == "none":
        return "--tune none"
    if not fitted.task.encoder.has_text:
        return "the encoder has no text encoder to fine-tune against: add one (--text), or choose another --head"
    counts = fitted.items.targets.bincount()
    label, count = fitted.task.labels[int(counts.argmin())], int(counts.min())
    if count < methods.MIN_ITEMS:
        return (
            f"class {label!r} has {count} training item{'s' * (count > 1)}, and a trial of fine-tuning needs "
            f"{methods.MIN_ITEMS}; --tune all fine-tunes without one"
        )
    doing(f"cross-validating the {fitted.name}")
    pairs = methods.folds(fitted.items, seed=fitted.task.recipe.seed).pairs
    rate = methods.cross_validated(partial(fitted.task.fit, fitted.name), fitted.items, pairs).mean()
    if rate < NOTHING_TO_GAIN:
        return None
    return f"cross-validated, {100 * rate:.1f} % of the training items are correct; --tune all fine-tunes"


def write_fitted(fitted: FittedMethod, out: Path, why: str) -> None:
    """Write the run, and print its score."""
    results().print(f"the run is the {fitted.name}: {why}")
    doing("writing the run")
    model = fitted.save(out, why)
    if fitted.table.rows:
        show_table(fitted.table)
    frozen = fitted.task.frozen
    reading = replace(frozen.reading, workers=0, skip_unreadable=False, engine="eager")
    write_page(out, model, [], fitted.table, frozen.protocol, reading, tuned=False)
