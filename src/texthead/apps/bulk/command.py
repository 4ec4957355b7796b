"""`texthead bulk`: predict the classes of millions of files on Ray."""

from dataclasses import dataclass
from typing import ClassVar

from texthead.cli import ModelOptions, common, console, option
from texthead.errors import PositiveInt
from texthead.extras import check_extra


@dataclass(frozen=True, kw_only=True)
class Bulk(ModelOptions):
    """Predict the classes of millions of files on Ray, and write them as Parquet files.

    Ray uses the cluster at RAY_ADDRESS, or the processors of this machine. After an interruption, the same command
    continues. The exit code is 1 if some of the files cannot be read: they are rows with an error. With
    --skip-unreadable it is 0.

    Args:
        inputs: a run folder or hub:ORG/NAME, then a CSV (path), YAML, .txt list, folder or shards
        out: folder to write the predictions to
        top: classes per file
        sets: also write prediction sets, which contain the true class at the calibrated coverage
        processes: processes that encode (default: one per GPU or two cores)
        batch: files encoded at once; more may change the last digits
    """

    JSON: ClassVar = "out, files, before, unreadable"

    USAGE: ClassVar = "texthead bulk [RUN] FILES --out FOLDER [--classes NAMES] [options]"

    out: str = option(metavar="FOLDER", writes="/")
    top: PositiveInt = option(5, "N")
    sets: bool = False
    processes: PositiveInt | None = option(None, "N")
    batch: PositiveInt = option(1, "N")
    skip_unreadable: bool = common("skip_unreadable")

    def check(self) -> None:
        """Raise DataError or RunError if a path does not exist or options exclude each other."""
        self.run_and_files("list, folder or shards", one=True)
        check_extra("ray", "texthead bulk")

    def __call__(self) -> int:
        """Return the exit code."""
        import torch

        from texthead.apps.bulk.bulk import predict_many

        folder, (source,) = self.run_and_files("list, folder or shards", one=True)
        run = self.load(folder, torch.device("cpu"))
        self.noted_calibration(run, run.protocol)
        about = {"top": self.top, "sets": self.sets, "processes": self.processes, "batch": self.batch}
        console.status("predicting on Ray")
        done = predict_many(run, source, self.out, **about, reporter=console.reporter)
        lost = f", {done.unreadable} of them could not be read" if done.unreadable else ""
        console.results().print(f"{self.out}: {done.files} files{lost}")
        console.show_json({"out": self.out, **done._asdict()})
        if folder is not None:
            console.next_command("texthead", "ui", folder)
        return int(done.unreadable > 0 and not self.skip_unreadable)
