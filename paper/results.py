"""Finished rows: kept by content in one file of lines an experiment, and read back by title and seed."""

import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paper.rows import Job
from texthead.errors import RunError
from texthead.files import write_json

FOLDER = Path(__file__).parent / "results"


class Results:
    """The numbers of finished jobs by (title, seed)."""

    def __init__(self, found: Mapping[tuple[str, int], dict]):
        self._found = dict(found)

    def of(self, title: str) -> list[dict]:
        """The results of a row, by ascending seed."""
        return [self._found[at] for at in sorted(self._found) if at[0] == title]

    def values(self, title: str, key: str = "top1", *, views: str | None = None) -> list[float]:
        """One number of a row, by ascending seed; [] where the row was not run."""
        return [result["views"][views][key] if views else result[key] for result in self.of(title)]


class Store:
    """The kept results of a scale: `FOLDER/SCALE/EXPERIMENT.jsonl`, a line a job.

    Raises:
        RunError: a line that is no finished row.
    """

    def __init__(self, folder: Path, scale: str):
        self.folder = folder / scale
        self.lines: dict[str, dict] = {}
        noted = self.folder / "data.json"
        self.digests: dict[str, str] = json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() else {}
        for file in sorted(self.folder.glob("*.jsonl")):
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                try:
                    entry = json.loads(line)
                    self.lines[entry["key"]] = entry
                except (ValueError, TypeError, KeyError):
                    raise RunError(
                        f"{file}:{number}: unfinished row, cut off when the run stopped; remove the line"
                    ) from None

    def add(self, experiment: str, job: Job, key: str, result: dict[str, Any], seconds: float) -> None:
        """Keep a finished job, at once: a stop costs those that are not finished."""
        entry = {
            "key": key,
            "title": job.title,
            "seed": job.seed,
            "row": job.row.to_json(),
            "result": result,
            "seconds": round(seconds, 1),
            "date": datetime.now(UTC).date().isoformat(),
            "commit": commit(),
            "machine": machine(),
        }
        self.lines[key] = json.loads(json.dumps(entry))
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{experiment}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def note_data(self, digests: Mapping[str, str]) -> None:
        """Write down which content the data sets had: a report finds the results by it."""
        if not digests.items() <= self.digests.items():
            self.digests |= digests
            write_json(self.folder / "data.json", self.digests)

    def results(self, jobs: Iterable[tuple[Job, str]]) -> Results:
        """The results of those jobs that are kept."""
        return Results({(job.title, job.seed): self.lines[key]["result"] for job, key in jobs if key in self.lines})

    def about(self, keys: Iterable[str]) -> tuple[list[str], list[str], float]:
        """(commits, dates, seconds in all) of kept jobs."""
        entries = [self.lines[key] for key in keys if key in self.lines]
        commits = sorted({entry["commit"] for entry in entries})
        return commits, sorted({entry["date"] for entry in entries}), sum(entry["seconds"] for entry in entries)


def commit() -> str:
    """The commit that is checked out, with a plus sign where files of the package differ from it."""
    here = Path(__file__).parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "src", "paper/*.py")
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + ("+" if changed else "")


def machine() -> str:
    """The processor's kind and the versions that decide the last bits."""
    import torch

    kind = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return f"{kind}, Python {platform.python_version()}, torch {torch.__version__.split('+')[0]}"
