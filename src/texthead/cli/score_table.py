"""The scores of a run, and those of the baselines of a trained one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from texthead.cli.console import console
from texthead.errors import MediaError, plural
from texthead.evaluation.broader_names import Answers
from texthead.evaluation.classes import wrong_pairs
from texthead.evaluation.intervals import Rate
from texthead.evaluation.results import Evaluation, MultiLabelEvaluation
from texthead.files import write_csv
from texthead.media.paths import MediaPath
from texthead.runs.scores import score_of
from texthead.transfer.baselines import ScoreTable
from texthead.transfer.methods import USES


def show_scores(scores: ScoreTable) -> None:
    """Print the result in a few lines, the skipped items, and with --verbose the table of methods."""
    for line in scores.summary():
        console.results().print(line)
    skipped = _skipped(scores)
    console.say_skipped(skipped)
    if skipped:
        console.results().print(f"unreadable and not counted: {len(skipped)}")
    console.details().print(methods_table({f"{scores.division.scored_name} items": dict(scores.rows)}))
    run = scores.result
    if isinstance(run, MultiLabelEvaluation):
        console.details().print(f"this run: F1 micro {_rate_text(run.f1)}, macro {_rate_text(run.macro_f1)}")


def methods_table(columns: Mapping[str, Mapping[str, Evaluation]]) -> Table:
    """Return a table of what methods reach and use.

    Args:
        columns: for each way of scoring, the evaluation of each method.
    """
    names = dict.fromkeys(name for own in columns.values() for name in own)
    metric = next(each.metric for own in columns.values() for each in own.values())
    table = Table(f"{metric} % (95 % CI)", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("uses")
    for name in names:
        own = [each.get(name) for each in columns.values()]
        means = [score.class_mean if score and score.sizes_differ else None for score in own]
        for title, rates, uses in (
            (name, [score and score.rate for score in own], USES.get(name, "")),
            ("  mean over classes", means, ""),
        ):
            if any(rates):
                # 100 for 100.0, so that the table fits 80 columns.
                cells = (_rate_text(rate).replace("100.0", "100") if rate else "" for rate in rates)
                table.add_row(title, *cells, uses)
    return table


def scores_json(table: ScoreTable) -> dict[str, Any]:
    """Return the table as JSON: the score of each method, the run's last, and the run's rates per class.

    Rates are in percent, with 95 % confidence intervals.
    """
    classes = table.result.classes if table.rows else ()
    return {
        "data": table.division.scored.source,
        "split": table.division.scored_name,
        "methods": [score_of(method, result)._asdict() for method, result in table.rows],
        "classes": [row_json(row, "recall", "precision", without="confused_with") for row in classes],
        "skipped": [{"path": str(error.path), "error": error.problem} for error in _skipped(table)],
        "notes": table.lines,
    }


def row_json(row: Any, *rates: str, without: str = "") -> dict[str, Any]:
    """Return a row as JSON, its rates with their names.

    Args:
        row: a NamedTuple.
        without: name of a value that is left out.
    """
    values = {name: value for name, value in row._asdict().items() if name != without}
    return {
        name: dict(zip(("percent", "low", "high"), value, strict=True)) if value and name in rates else value
        for name, value in values.items()
    }


def _rate_text(rate: Rate | None) -> str:
    return "{:.1f} ({:.1f}-{:.1f})".format(*rate) if rate else "-"


def _skipped(table: ScoreTable) -> list[MediaError]:
    """Return the error of each file that a method could not read."""
    return list({str(error.path): error for _, r in table.rows for error in r.skipped}.values())


def show_answers(answers: Answers) -> None:
    """Print how many items are answered at each level of the tree, and how many of these answers are right."""
    table = Table("answer", "items", "% of items (95 % CI)", "% correct (95 % CI)", title=answers.rule)
    for row in answers.rows:
        table.add_row(row.answer, str(row.items), _rate_text(row.fraction), _rate_text(row.correct))
    console.results().print(table)


# Confused pairs that are printed.
_PAIRS = 10


def show_classes(result: Evaluation) -> None:
    """Print precision and recall of each class, and the most frequent confusions."""
    table = Table("class", title="each class, in percent (95 % CI)")
    for header in ("items", "recall", "predicted", "precision"):
        table.add_column(header, no_wrap=True, justify="right")
    for row in result.classes:
        recall, precision = _rate_text(row.recall), _rate_text(row.precision)
        table.add_row(console.cell(row.name), str(row.items), recall, str(row.predicted), precision)
    console.results().print(table)
    if isinstance(result, MultiLabelEvaluation):
        return
    confusion = result.confusion()
    pairs = wrong_pairs(confusion)
    for truth, predicted, count in pairs[:_PAIRS]:
        items = int(confusion[truth].sum())
        console.results().print(f"{result.names[truth]} predicted as {result.names[predicted]}: {count} of {items}")
    if len(pairs) > _PAIRS:
        more = len(pairs) - _PAIRS
        console.results().print(f"and {plural(more, 'more pair')} (--out FILE writes all predictions)")


def write_items(path: Path, result: Evaluation) -> None:
    """Write one CSV line per item: path, label, the best class, its probability; for multi-label data, all chosen."""
    multilabel = isinstance(result, MultiLabelEvaluation)
    values = (result.scores.sigmoid() if multilabel else result.scores.softmax(-1)).tolist()
    true, said = (
        [np.flatnonzero(row).tolist() if multilabel else [int(row)] for row in each]
        for each in (result.targets.numpy(), result.predicted)
    )
    rows = []
    for file, own, best, p in zip(result.paths, true, said, values, strict=True):
        label, predicted = ("; ".join(result.names[index] for index in each) for each in (own, best))
        rows.append((MediaPath(file).original, label, predicted, "; ".join(f"{p[index]:.4f}" for index in best)))
    write_csv(path, ("path", "label", "predicted", "probability"), rows)
