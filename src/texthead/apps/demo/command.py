"""`texthead demo`: generate videos, train and compare heads, predict, write a report."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from texthead.cli import NonNegativeInt, default_workers, option, outputs
from texthead.extras import check_extra


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Generate labelled videos, train and compare heads on them, predict, and write a report.

    Args:
        out: folder for videos, runs and the report
        quick: one seed and a frozen encoder: about a minute instead of three on two cores
        seed: random seed
        workers: processes that decode videos
        device: auto, cpu, cuda or cuda:N
    """

    decodes_many: ClassVar = True

    out: str = option("demo", "FOLDER")
    quick: bool = False
    seed: int = 0
    workers: NonNegativeInt = option(default_workers)
    device: str = "auto"

    def check(self) -> None:
        """Raise DataError if the folder cannot be written, RunError if a package of the extra is missing."""
        check_extra("demo", "texthead demo")
        outputs.check_out_folder(f"--out {self.out}", Path(self.out))

    def __call__(self) -> None:
        import time

        from rich.table import Table

        from texthead.cli import console

        console.doing("loading torch")
        from texthead.apps.demo.drawn_videos import CREDIT
        from texthead.apps.demo.experiment import mean_text, run_demo, spread_caption

        started, out, say = time.perf_counter(), Path(self.out), console.results().print
        if (out / "runs").exists():
            console.notes().print(f"note: replacing the runs of an earlier demo in {out / 'runs'}")
        options = {"seed": self.seed, "workers": self.workers, "device": self.device, "quick": self.quick}
        outcome = run_demo(out, **options, reporter=replace(console.reporter, say=say), doing=console.doing)
        table = Table(*outcome.columns, title=spread_caption(outcome).rstrip("."))
        table.columns[0].no_wrap = True
        for title, values in outcome.rows.items():
            table.add_row(title, *mean_text(values))
        say(table)
        seen = {title: values[:, 0].mean() for title, values in outcome.rows.items()}
        winner = max(seen, key=lambda title: seen[title])
        say(f"highest on seen classes: {winner} ({seen[winner]:.1f})")
        say("text: frozen rows from class names; orthogonal: frozen rows without meaning; vision-only: learned rows")
        say("unseen classes have no training clips, and are scored with text rows, whatever head was trained")
        if outcome.changed is None:
            say("the encoder stayed frozen: `texthead demo` without --quick fine-tunes it too, and trains three seeds")
        else:
            say(
                f"fine-tuning (Eq. 3) changed {outcome.changed.encoder:,} of {outcome.changed.parameters:,} encoder "
                f"parameters and {outcome.changed.head} of the head"
            )
        if outcome.note:
            say(outcome.note)
        item = outcome.item
        say(f"prediction for {item.path} (no training clip is labelled {item.label!r}):")
        for name, value in outcome.prediction.top:
            say(f"  {100 * value:5.1f} %  {name}")
        say(f"videos: {out / 'videos'}   run: {outcome.run}   report: {out / 'report.html'}")
        say(f"next: texthead predict {outcome.run} FILE...")
        say(CREDIT)
        say(f"done in {time.perf_counter() - started:.0f} s")
