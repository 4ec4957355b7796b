"""Write and read `metrics.jsonl`, the log of training: one JSON record per line."""

import json
import os
from itertools import islice
from pathlib import Path

from texthead.errors import RunError, raising
from texthead.files import MAX_BYTES_OF_LISTS, read_text, replacing
from texthead.parallel.progress import Reporter


class MetricsLog:
    """The log of a training run, in memory (`records`) and in `metrics.jsonl`.

    With several processes only one writes the file (`write`). The reporter gets each record, and after a resume the
    earlier ones.
    """

    def __init__(self, path: Path, *, write: bool = True, reporter: Reporter = Reporter()):
        self.path = path
        self.write = write
        self.reporter = reporter
        self.records: list[dict] = []

    def add(self, **record: object) -> None:
        """Append a record."""
        self.records.append(record)
        if not self.write:
            return
        faults = raising(RunError, f"{self.path}: cannot be written", "the last checkpoint is kept")
        with faults, self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.reporter.record(record)

    def sync(self) -> None:
        """Flush all lines to disk, so that a checkpoint never refers to lines that a crash lost."""
        if not self.write:
            return
        with self.path.open("r+b") as file:  # Windows syncs only files opened for writing.
            os.fsync(file.fileno())

    def cut(self, count: int) -> None:
        """Keep only the first `count` lines: the steps after the checkpoint are repeated."""
        faults = raising(RunError, f"{self.path}: cannot be read", "restore it or choose another folder")
        with faults, self.path.open(encoding="utf-8") as file:
            kept = [*islice(file, count)]
            self.records = [json.loads(line) for line in kept]
        if len(kept) < count:
            raise RunError(
                f"{self.path}: has {len(kept)} lines, the checkpoint needs {count}: restore it or choose another run"
            )
        if not self.write:
            return
        with replacing(self.path) as temp:
            temp.write_text("".join(f"{line.rstrip()}\n" for line in kept), encoding="utf-8")
        for record in self.records:
            self.reporter.record(record)


def read_records(folder: Path) -> list[dict]:
    """Return the records in a run's `metrics.jsonl`; none if the run needed no training loop.

    Raises:
        RunError: the file cannot be read, or a line is not JSON.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    remedy = "restore the file, or remove it to continue without curves"
    with raising(RunError, f"{path}: is not a log of training", remedy):
        return [json.loads(line) for line in read_text(path, most=MAX_BYTES_OF_LISTS).splitlines()]
