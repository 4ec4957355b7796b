"""`texthead demo`: generate videos, train and compare heads, predict, write a report."""

from dataclasses import dataclass
from pathlib import Path

from texthead.cli import NonNegativeInt, check_outputs, console, default_workers, option
from texthead.extras import check_extra


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Generate labelled videos, train and compare heads on them, predict, and write a report.

    Args:
        out: folder for videos, runs and the report
        quick: one seed and a frozen encoder: under a minute instead of two on two cores
        seed: random seed
        workers: processes that decode videos
        device: auto, cpu, cuda or cuda:N
    """

    out: str = option("demo", "FOLDER")
    quick: bool = False
    seed: int = 0
    workers: NonNegativeInt = option(default_workers)
    device: str = "auto"

    def check(self) -> None:
        """Raise DataError if the folder cannot be written, RunError if a package of the extra is missing."""
        check_extra("demo", "texthead demo")
        check_outputs(self, out="/")

    def __call__(self) -> None:
        from rich.table import Table

        from texthead.apps.demo.experiment import mean_text, run_demo, spread_caption

        out = Path(self.out)
        if (out / "runs").exists():
            console.say_notes(f"replaced the runs of an earlier demo in {out / 'runs'}")
        options = {"seed": self.seed, "workers": self.workers, "device": self.device, "quick": self.quick}
        outcome = run_demo(out, **options, reporter=console.reporter, doing=console.doing)
        for line in outcome.summary():
            console.results().print(line)
        table = Table(*outcome.columns, title=spread_caption(outcome).rstrip("."))
        table.columns[0].no_wrap = True
        for title, values in outcome.rows.items():
            table.add_row(title, *mean_text(values))
        console.details().print(table)
        if self.quick:
            console.say_notes("texthead demo without --quick trains three seeds, and fine-tunes the encoder")
        console.results().print(f"videos: {out / 'videos'} (pictures: OpenMoji, CC BY-SA 4.0)")
        console.results().print(f"report: {out / 'report.html'}")
        console.next_command("texthead", "predict", outcome.run, outcome.seen.paths[0])
