"""The start of `texthead train`: fit a text-probe, or a probe, on the frozen encoder in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from texthead.commands.console import bar, doing, results, say_skipped
from texthead.commands.result import scores_of, write_page
from texthead.commands.score_table import show_table
from texthead.data.division import Division
from texthead.encoders.load import zero_shot_note
from texthead.features.reading import Reading, engines_text
from texthead.transfer import methods
from texthead.transfer.baselines import Comparison, When, are_few
from texthead.transfer.comparison import encode_parts, with_unlabelled, write_method
from texthead.transfer.methods import FrozenItems, Ground, Method, evaluation_of

# Cross-validated top-1 from which on fine-tuning could gain two points at most.
NOTHING_TO_GAIN = 0.98


@dataclass(frozen=True)
class QuickAnswer:
    """The fitted method, its training items, its score (the last row of `table`), and the encoder's engine."""

    ground: Ground
    method: Method
    items: FrozenItems
    table: Comparison
    engine: str

    def stays(self, overrides: Mapping[str, Any]) -> str | None:
        """Return why fine-tuning is not tried, or None if it is."""
        if overrides.get("tune") == "none":
            return "--tune none"
        if not self.ground.encoder.has_text:
            return "the encoder has no text encoder to fine-tune against: add one (--text), or choose another --head"
        counts = self.items.targets.bincount()
        label, count = self.ground.labels[int(counts.argmin())], int(counts.min())
        if count < methods.FEWEST:
            return (
                f"class {label!r} has {count} training item{'s' * (count > 1)}, and a trial of fine-tuning needs "
                f"{methods.FEWEST}; --tune all fine-tunes without one"
            )
        pairs = methods.folds(self.items, seed=self.ground.recipe.seed).pairs
        rate = methods.cross_validated(self.method, self.items, pairs, lambda: None).mean()
        if rate < NOTHING_TO_GAIN:
            return None
        return f"cross-validated, {100 * rate:.1f} % of the training items are correct; --tune all fine-tunes"

    def leave(self, out: Path, why: str) -> None:
        """Write the run, and print its score."""
        results().print(f"the run is the {self.method.name}: {why}")
        doing("writing the run")
        table = self.table
        if table.rows:
            table.rows[-1] = f"this run ({self.method.name})", table.rows[-1][1]
            show_table(table)
        scores = scores_of(table) if table.rows else None
        scored, about = table.division.scored, {"engine": self.engine, "why": why}
        model = write_method(out, self.ground, self.method, self.items, scored, scores, **about)
        reading = Reading(cache=self.ground.cache)
        write_page(out, model, [], table, self.ground.protocol, reading, tuned=False)


def quick_answer(
    ground: Ground, parts: Division, reading: Reading, baselines: When, *, unlabelled: str | None = None
) -> QuickAnswer:
    """Fit a text-probe, or a probe if the encoder has no text, and print its score.

    Raises:
        DataError, MediaError: as `encode_parts`.
    """
    doing("encoding the items")
    engines: set[str] = set()
    reading = replace(reading, used=engines.add)
    items, tests = encode_parts(ground, parts, reading, bar)
    skipped = [*items.skipped]
    if unlabelled:
        ground, errors, line = with_unlabelled(ground, items, unlabelled, reading, bar)
        skipped += errors
        results().print(line)
    say_skipped(skipped)
    table = Comparison(replace(parts, train=items.data), ground.labels)
    quick, *rivals = methods.methods(ground)
    doing(f"fitting the {quick.name}")
    worth = ground.text_worth(items)
    if worth:
        results().print(str(worth))
    if tests is not None:
        for method in [*(rivals if are_few(baselines, len(items.data)) else ()), quick]:
            table.add(method.name, evaluation_of(method.fit(items), tests))
        own = table.rows[-1][1]
        results().print(
            f"{quick.name}: {own.top1:.1f} % of {own.count} {parts.scored_name} items "
            f"(95 % interval {own.interval_text})"
        )
    note = zero_shot_note(ground.encoder.source, ground.names)
    if note:
        table.lines.append(note)
    return QuickAnswer(ground, quick, items, table, engines_text(engines))
