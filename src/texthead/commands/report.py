"""`texthead report`: write the HTML report of a run from its folder and labelled items."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from texthead.cli import console
from texthead.cli.options import LabelledRun
from texthead.cli.outputs import check_out_file
from texthead.cli.parser import option
from texthead.extras import check_extra


@dataclass(frozen=True, kw_only=True)
class ReportCommand(LabelledRun):
    """Write an HTML report of a run.

    The page begins with the result in a sentence, the confusions, and the most confident mistakes; methods, classes,
    calibration, training and the rows of the head follow.

    Args:
        out: HTML file to write (default: RUN/report.html)
    """

    JSON: ClassVar = "report, run, data, split, methods, classes, skipped, notes, as texthead eval --json"

    out: str | None = option(None, "FILE", writes=".html .htm")

    def check(self) -> None:
        """Raise DataError or RunError as `LabelledRun`, or if the page cannot be written."""
        check_extra("plots", "texthead report")
        super().check()
        if self.out is None:
            page = Path(self.run) / "report.html"
            check_out_file(str(page), page, ".html")

    def __call__(self) -> None:
        from texthead.cli.score_table import scores_json, show_scores
        from texthead.runs.hub import check_own

        run, items = self.load()
        if self.out is None:
            check_own(run.folder)
        chosen, reading = run.eval_items(items, self.split), self.reading(items.paths, True)
        console.remarks().print(
            f"scoring {len(chosen.scored)} items ({chosen.scored_name}) of {len(chosen.scored.classes)} classes"
        )
        console.status("scoring the items")
        scores = run.evaluate(chosen, None, reading, reporter=console.reporter)
        console.say_notes(*scores.notes)
        show_scores(scores)
        console.status("writing the report")
        path = Path(self.out or run.folder / "report.html")
        run.write_report(path, scores, console.reporter)
        console.results().print(f"report: {path}")
        console.show_json({"report": path, "run": self.run, **scores_json(scores)})
        console.next_command("texthead", "predict", self.run, scores.division.scored.items[0].path)
