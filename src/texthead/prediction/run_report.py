"""Write the report of a run from labelled items."""

from pathlib import Path
from typing import NamedTuple

from texthead.data.dataset import Dataset, Split
from texthead.features.reading import Reading
from texthead.parallel.progress import Reporter
from texthead.prediction.run_evaluation import RunEvaluation, evaluate_run
from texthead.report.mistakes import mistake_strips
from texthead.report.probabilities import calibration_report
from texthead.report.run_page import write_report
from texthead.runs.hub import check_own
from texthead.runs.metrics import read_records
from texthead.runs.run import CALIBRATION, Run
from texthead.transfer.baselines import When


class RunReport(NamedTuple):
    """The HTML report of a run, and the scores in it."""

    path: Path
    scores: RunEvaluation


def report_run(
    run: Run,
    dataset: Dataset | None = None,
    reading: Reading = Reading(cache=True),
    *,
    out: str | Path | None = None,
    split: Split | None = None,
    baselines: When = "auto",
    reporter: Reporter = Reporter(),
) -> RunReport:
    """Write the HTML report of a run and return its path and scores, as `texthead report` does.

    Args:
        dataset: labelled items; None for those that the run held out.
        reading: with a cache, the next report encodes nothing again.
        out: the HTML file; None for `report.html` in the run folder.
        split: as in `evaluate_run`.
        baselines: when to score zero-shot and a probe too.
        reporter: gets progress, messages, and as events the `EvaluationPlan` and the scores.

    Raises:
        DataError: as `evaluate_run`.
        MediaError: an item cannot be read, and `reading` does not skip such items.
        RunError: the run folder is the cached copy of a run on a hub.
    """
    if out is None:
        check_own(run.folder)
    path, protocol = Path(out or run.folder / "report.html"), run.protocol
    records = read_records(run.folder)
    calibration, why = run.calibration_for(protocol)
    lines = [f"{CALIBRATION}: {why}."] if calibration and why else []
    scores = evaluate_run(
        run,
        dataset,
        protocol,
        reading,
        split=split,
        baselines=baselines,
        cache=reading.cache,
        reporter=reporter,
    )
    reporter.event(scores)
    reliability = calibration_report(scores.raw, calibration=calibration, lines=lines)
    strips = mistake_strips(scores.raw, protocol, model=run.model, engine=reading.engine, reporter=reporter)
    sections = {"strips": strips, "calibration_report": reliability, "answers": scores.answers}
    write_report(path, run.folder, run.model, records, scores.table, **sections)
    return RunReport(path, scores)
