"""The page of a run that was just trained."""

from pathlib import Path
from typing import Any

from texthead.parallel.distributed import rank
from texthead.parallel.progress import Reporter
from texthead.report.mistakes import mistake_strips
from texthead.report.probabilities import calibration_report
from texthead.report.run_page import write_report
from texthead.transfer.run_training import TrainedRun


def write_training_report(trained: TrainedRun, reporter: Reporter = Reporter()) -> Path:
    """Write `report.html` into the folder of a run after training, without encoding frames again; return its path."""
    path, table, protocol = trained.out / "report.html", trained.table, trained.protocol
    sections: dict[str, Any] = {}
    if table.rows and rank() == 0:
        _, own = table.rows[-1]
        sections |= {"strips": mistake_strips(own, protocol), "calibration_report": calibration_report(own)}
    if rank() == 0:
        write_report(path, trained.out, trained.model, trained.records, table, **sections)
    return path
