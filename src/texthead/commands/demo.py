"""`texthead demo`: draw labelled videos, train, compare, predict, report."""

from dataclasses import dataclass
from pathlib import Path

from texthead.commands.options import default_workers
from texthead.commands.outputs import check_folder
from texthead.commands.parser import NonNegativeInt, option


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Draw labelled videos, train, compare, predict, report.

    Args:
        out: where everything is written
        seed: random seed
        workers: processes that decode
        device: auto, cpu, cuda or cuda:N
    """

    out: str = option("demo", "FOLDER")
    seed: int = 0
    workers: NonNegativeInt = option(default_workers)
    device: str = "auto"

    def check(self) -> None:
        """Raise DataError if the folder cannot be written."""
        check_folder(f"--out {self.out}", Path(self.out))

    def __call__(self) -> None:
        import time

        from rich.table import Table

        from texthead.commands.console import bar, notes, results
        from texthead.demo.drawn_videos import CREDIT
        from texthead.demo.experiment import SEEDS, mean_text, run_demo

        started, out, say = time.perf_counter(), Path(self.out), results().print
        if (out / "runs").exists():
            notes().print(f"note: the runs of an earlier demo in {out / 'runs'} are replaced")
        found = run_demo(out, seed=self.seed, workers=self.workers, device=self.device, bar=bar, say=say)
        table = Table(*found.columns, title=f"top-1 in percent; ± is the deviation over {SEEDS} seeds")
        for title, values in found.rows.items():
            table.add_row(title, *mean_text(values))
        say(table)
        seen = {title: values[:, 0].mean() for title, values in found.rows.items()}
        winner = max(seen, key=lambda title: seen[title])
        say(f"highest on seen classes: {winner} ({seen[winner]:.1f})")
        say("unseen combinations are named by text rows, whichever head the model was trained with")
        say(
            f"Eq. 3: fine-tuning moved {found.moved:,} of {found.parameters:,} encoder parameters; "
            f"the head's rows moved: {found.rows_moved}"
        )
        say(found.note or "")
        item = found.item
        say(f"predict {item.path.parent.name}/{item.path.name} (never seen in training: {item.label!r})")
        for name, value in found.prediction.top:
            say(f"  {100 * value:5.1f} %  {name}")
        say(f"videos: {out / 'videos'}   run: {out / 'runs' / 'fine-tuned'}   report: {out / 'report.html'}")
        say(CREDIT)
        say(f"done in {time.perf_counter() - started:.0f} s")
