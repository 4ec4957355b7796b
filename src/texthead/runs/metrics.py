"""`metrics.jsonl`: one JSON record a line, written as training goes on."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from texthead.errors import RunError
from texthead.files import MOST_BYTES_OF_LISTS, read_text, replacing


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line, also kept as `records`; of several processes one writes the file.

    That process calls `follow` with every record, those of before a stop too.
    """

    def __init__(self, path: Path, *, write: bool = True, follow: Callable[[dict], None] | None = None):
        self.path = path
        self.write = write
        self.follow = follow
        self.records: list[dict] = []

    def add(self, **record: object) -> None:
        """Append a record."""
        self.records.append(record)
        if not self.write:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written ({error.strerror}); the last checkpoint is kept") from None
        if self.follow:
            self.follow(record)

    def note(self, text: str) -> None:
        """Append a remark."""
        self.add(kind="note", text=text)

    def sync(self) -> None:
        """Wait until all lines are on the disk, so that no checkpoint knows of more."""
        if not self.write:
            return
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def cut(self, count: int) -> None:
        """Keep the first `count` lines only: what came after the checkpoint is done again."""
        try:
            lines = read_text(self.path, most=MOST_BYTES_OF_LISTS).splitlines()[:count]
            self.records = [json.loads(line) for line in lines]
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path}: cannot be read ({error}); restore it or choose another folder") from None
        if len(lines) < count:
            raise RunError(
                f"{self.path}: {len(lines)} lines, the checkpoint comes after {count}: restore it or choose another run"
            )
        if not self.write:
            return
        with replacing(self.path) as beside:
            beside.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        if self.follow:
            for record in self.records:
                self.follow(record)


def read_records(folder: Path) -> list[dict]:
    """The lines of a run's `metrics.jsonl`; none of a run that needed no training loop.

    Raises:
        RunError: a line that is no JSON object.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(read_text(path, most=MOST_BYTES_OF_LISTS).splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise RunError(
                f"{path}: line {number} is no JSON object: restore the file, or remove it for a report without"
            )
        records.append(record)
    return records
