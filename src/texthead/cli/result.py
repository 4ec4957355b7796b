"""The end of `texthead train`: score the run beside the baselines and write its report."""

from collections.abc import Sequence
from pathlib import Path

from texthead.cli.console import bar, doing, next_command, notes, results, say_notes, show_json
from texthead.cli.score_table import scores_json, show_table
from texthead.data.protocol import Protocol
from texthead.evaluation.evaluate import evaluate
from texthead.evaluation.frame_order import blind_to_order, order_test
from texthead.extras import is_installed, missing
from texthead.features.reading import Reading
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import rank
from texthead.report.mistakes import mistake_strips
from texthead.report.probabilities import calibration_report
from texthead.report.run_page import PageParts, write_report
from texthead.runs.scores import write_scores
from texthead.transfer.baselines import ScoreTable

FEW_TO_REORDER = 500  # items; each takes about 15 ms on one core


def score_run(
    out: Path, model: Recognizer, table: ScoreTable, protocol: Protocol, reading: Reading, title: str
) -> None:
    """Score the run, print its score beside the baselines', and write all scores into the run folder."""
    if not len(table.division.scored):
        say_notes(["there is no held-out item, so the run was not scored"])
        return
    with bar("score", "files") as progress:
        table.add(title, evaluate(model, table.division.scored, protocol, reading, progress=progress))
    show_table(table)
    if rank() == 0:
        write_scores(out, table.scores())


def write_page(
    out: Path,
    model: Recognizer,
    records: Sequence[dict],
    table: ScoreTable,
    protocol: Protocol,
    reading: Reading,
    *,
    tuned: bool,
) -> None:
    """Write `report.html` into the run folder without encoding frames again, and print where both are."""
    items = table.division.scored or table.division.train
    result = {"run": out, "tuned": tuned, **scores_json(table)}
    if not is_installed("matplotlib"):
        results().print(f"run: {out}")
        notes().print(f"note: {missing('report.html', 'matplotlib', 'plots')}, then `texthead report {out}`")
        show_json({**result, "report": None})
        next_command("texthead", "predict", out, items.items[0].path)
        return
    doing("writing the report")
    examples, order, reliability = [], "", None
    if table.rows:
        blind = blind_to_order(model, protocol.frames)
        order = f"Not tested here; `texthead report {out}` does." if blind is None else blind
        if blind is None and reading.cache and len(table.division.scored) <= FEW_TO_REORDER:
            order = order_test(model, table.division.scored, protocol, reading)
    if rank() == 0:
        if table.rows:
            _, evaluation = table.rows[-1]
            examples = mistake_strips(evaluation, protocol)
            reliability = calibration_report(evaluation)
        parts = PageParts(strips=examples, order=order, calibration_report=reliability)
        write_report(out / "report.html", out, model, records, table, parts)
    results().print(f"run: {out}\nreport: {out / 'report.html'}")
    show_json({**result, "report": out / "report.html"})
    next_command("texthead", "predict", out, items.items[0].path)
