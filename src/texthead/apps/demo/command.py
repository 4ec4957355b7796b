"""`texthead demo`: generate videos, train and compare heads, predict, write a report."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from texthead.cli import console, default_workers, option
from texthead.extras import check_extra


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Generate labelled videos, train and compare heads on them, predict, and write a report: a minute on two cores.

    Args:
        out: folder for videos, runs and the report
    """

    JSON: ClassVar = "run, report, videos, methods [method, seen, unseen, unseen_among_all]; rates in percent"

    out: str = option("demo", "FOLDER", writes="/")

    def check(self) -> None:
        """Raise RunError if a package of the extra is missing."""
        check_extra("demo", "texthead demo")

    def __call__(self) -> None:
        from texthead.apps.demo.experiment import run_demo

        out = Path(self.out)
        if (out / "runs").exists():
            console.say_notes(f"replaced the runs of an earlier demo in {out / 'runs'}")
        outcome = run_demo(out, workers=default_workers(), reporter=console.reporter, status=console.status)
        for line in outcome.summary():
            console.results().print(line)
        console.results().print(f"videos: {out / 'videos'} (pictures: OpenMoji, CC BY-SA 4.0)")
        console.results().print(f"report: {out / 'report.html'}")
        keys = ("seen", "unseen", "unseen_among_all")
        methods = [{"method": title, **dict(zip(keys, row, strict=True))} for title, row in outcome.rows.items()]
        made = {"run": outcome.run, "report": out / "report.html", "videos": out / "videos"}
        console.show_json({**made, "methods": methods})
        console.next_command("texthead", "predict", outcome.run, outcome.seen.paths[0])
