"""`texthead demo`: draw labelled videos, train, compare, predict, report."""

from dataclasses import dataclass
from pathlib import Path

from texthead.commands.options import default_workers
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

    def __call__(self) -> None:
        from texthead.commands.demo_run import run_demo

        run_demo(Path(self.out), seed=self.seed, workers=self.workers, device=self.device)
