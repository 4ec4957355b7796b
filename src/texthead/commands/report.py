"""`texthead report`: write the HTML report of a run from its folder and labelled items."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.cli import console
from texthead.cli.options import LabelledRun, ReadingOptions, SplitOption
from texthead.cli.outputs import check_out_file, check_outputs
from texthead.cli.parser import option
from texthead.extras import check_extra

if TYPE_CHECKING:
    from texthead.prediction.run_evaluation import EvaluationPlan, RunEvaluation


@dataclass(frozen=True, kw_only=True)
class ReportCommand(LabelledRun, SplitOption, ReadingOptions):
    """Write an HTML report of a run.

    The page begins with the result in a sentence, the confusions, and the most confident mistakes with saliency maps;
    methods, classes, calibration, training and the rows of the head follow.

    Args:
        out: HTML file to write (default: RUN/report.html)
    """

    JSON: ClassVar = "report, run, data, split, methods, rare, classes, skipped, notes, as texthead eval --json"

    out: str | None = option(None, "FILE")

    def check(self) -> None:
        """Raise DataError or RunError as `LabelledRun`, or if the page cannot be written."""
        check_extra("plots", "texthead report")
        super().check()
        check_outputs(self, out=".html .htm")
        if self.out is None:
            page = Path(self.run) / "report.html"
            check_out_file(str(page), page, ".html")

    def __call__(self) -> None:
        from texthead.cli.score_table import scores_json
        from texthead.prediction.run_report import report_run

        run, items = self.load()
        path, scores = report_run(
            run,
            items,
            self.reading(items.paths, True),
            out=self.out,
            split=self.split,
            reporter=replace(console.reporter, event=_say),
        )
        console.results().print(f"report: {path}")
        console.show_json({"report": path, "run": self.run, **scores_json(scores.table)})
        console.next_command("texthead", "predict", self.run, scores.table.division.scored.items[0].path)


def _say(event: "EvaluationPlan | RunEvaluation") -> None:
    """Print what is scored and the scores, and show what is done next."""
    from texthead.cli.score_table import show_scores
    from texthead.prediction.run_evaluation import EvaluationPlan

    if isinstance(event, EvaluationPlan):
        console.remarks().print(
            f"scoring {len(event.items)} items ({event.split}) of {len(event.items.classes)} classes"
        )
        console.doing("scoring the baselines")
    else:
        console.say_notes(*event.notes)
        show_scores(event.table)
        console.doing("writing the report")
