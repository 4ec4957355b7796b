"""Store of finished rows: one JSON-lines file per experiment, addressed by content, read back by title and seed."""

import json
import math
import platform
import subprocess
from collections.abc import Iterable, Mapping, Set
from datetime import UTC, datetime
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from paper.rows import Job
from paper.stats import Outcomes
from texthead.errors import RunError
from texthead.files import replacing, write_json

FOLDER = Path(__file__).parent / "results"


class Results:
    """Results of finished jobs by (title, seed)."""

    def __init__(self, results: Mapping[tuple[str, int], dict]):
        self._results = dict(results)

    def with_title(self, title: str) -> list[dict]:
        """Return the results of a row for seeds 0, 1, ... up to the first that was not run."""
        seeds = takewhile(lambda seed: (title, seed) in self._results, count())
        return [self._results[title, seed] for seed in seeds]

    def values(self, title: str, key: str = "top1", *, views: str | None = None) -> Outcomes:
        """Return one metric of a row by seed, as `with_title` does; empty if it was not run. Top-1 has its items."""
        scores = [result["views"][views] if views else result for result in self.with_title(title)]
        return Outcomes((score[key] for score in scores), map(right, scores if key == "top1" else ()))


def right(score: Mapping[str, Any]) -> np.ndarray | None:
    """Return 100 for each test item with the right top-1 class and 0 for the others; None if that was not stored."""
    if "hits" not in score:
        return None
    count = score["count"]
    data = int(score["hits"], 16).to_bytes(math.ceil(count / 8), "big")
    return 100.0 * np.unpackbits(np.frombuffer(data, np.uint8))[-count:]


class Store:
    """Results of one scale in `FOLDER/SCALE/EXPERIMENT.jsonl`, one line per job.

    Raises:
        RunError: a line is not a finished row.
    """

    def __init__(self, folder: Path, scale: str):
        self.folder = folder / scale
        self.lines: dict[str, dict] = {}
        digests = self.folder / "data.json"
        self.digests: dict[str, str] = json.loads(digests.read_text(encoding="utf-8")) if digests.is_file() else {}
        for file in sorted(self.folder.glob("*.jsonl")):
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                try:
                    entry = json.loads(line)
                    self.lines[entry["key"]] = entry
                except (ValueError, TypeError, KeyError):
                    raise RunError(
                        f"{file}:{number}: incomplete line, cut off when the run stopped; remove it"
                    ) from None

    def add(self, experiment: str, job: Job, key: str, result: dict[str, Any], seconds: float) -> None:
        """Append a finished job to its file; called after each job, so that a stop loses only unfinished ones."""
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

    def remove(self, keys: Set[str]) -> None:
        """Remove finished rows from their files; all other lines stay as they are."""
        for file in self.folder.glob("*.jsonl"):
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            left = [line for line in lines if json.loads(line)["key"] not in keys]
            if len(left) < len(lines):
                with replacing(file) as temporary:
                    temporary.write_text("".join(left), encoding="utf-8")

    def note_data(self, digests: Mapping[str, str]) -> None:
        """Save the digests of the data sets; a report computes the addresses of results from them."""
        if not digests.items() <= self.digests.items():
            self.digests |= digests
            write_json(self.folder / "data.json", self.digests)

    def results(self, jobs: Iterable[tuple[Job, str]]) -> Results:
        """Return the results of the finished jobs."""
        return Results({(job.title, job.seed): self.lines[key]["result"] for job, key in jobs if key in self.lines})

    def about(self, keys: Iterable[str]) -> tuple[list[str], list[str], float]:
        """Return (commits, dates, total seconds) of finished jobs."""
        entries = [self.lines[key] for key in keys if key in self.lines]
        commits = sorted({entry["commit"] for entry in entries})
        return commits, sorted({entry["date"] for entry in entries}), sum(entry["seconds"] for entry in entries)


def commit() -> str:
    """Return the checked-out commit, with a plus sign if src or paper/*.py have uncommitted changes."""
    root = Path(__file__).parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "src", "paper/*.py")
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + ("+" if changed else "")


def machine() -> str:
    """Return the GPU or processor type and the versions of Python and torch."""
    import torch

    kind = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return f"{kind}, Python {platform.python_version()}, torch {torch.__version__.split('+')[0]}"
