"""The page of a run that was just trained."""

from pathlib import Path

from texthead.evaluation.frame_order import blind_to_order, order_test
from texthead.parallel.distributed import rank
from texthead.parallel.progress import Reporter
from texthead.report.mistakes import mistake_strips
from texthead.report.probabilities import calibration_report
from texthead.report.run_page import PageParts, write_report
from texthead.transfer.run_training import TrainedRun

FEW_TO_REORDER = 500  # items; each takes about 15 ms on one core


def write_training_report(trained: TrainedRun, reporter: Reporter = Reporter()) -> Path:
    """Write `report.html` into the folder of a run after training, without encoding frames again; return its path."""
    out, table, reading, protocol = trained.out, trained.table, trained.reading, trained.protocol
    path, parts, order = out / "report.html", PageParts(), ""
    if table.rows:
        blind = blind_to_order(trained.model, protocol.frames)
        order = f"Not tested here; `texthead report {out}` does." if blind is None else blind
        if blind is None and reading.cache and len(table.division.scored) <= FEW_TO_REORDER:
            order = order_test(trained.model, table.division.scored, protocol, reading, reporter=reporter)
    if rank() == 0:
        if table.rows:
            _, own = table.rows[-1]
            strips = mistake_strips(own, protocol)
            parts = PageParts(strips=strips, order=order, calibration_report=calibration_report(own))
        write_report(path, out, trained.model, trained.records, table, parts)
    return path
