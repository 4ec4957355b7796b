"""Jobs in processes of their own: rows whose time and memory are measured, and at full scale rows on several GPUs."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paper.data import Place
from paper.rows import Job, Row
from texthead.errors import RunError
from texthead.parallel.testing import processes

# Of a stand-in, in seconds; at full scale there is none.
TIMEOUT = 600.0


def measured(jobs: Sequence[Job], place: Place) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield (the first process's result with seconds a step and the largest peak of memory, seconds) of each job.

    The jobs are one row with several seeds, in the same processes. A peak is that of all jobs so far: the first one's
    is the row's own.
    """
    with processes(jobs[0].row.processes, timeout=TIMEOUT) as run:
        for job in jobs:
            started = time.perf_counter()
            results = run(_fit, job, place)
            peak = max(result["peak_mb"] for result in results)
            yield {**results[0], "peak_mb": peak}, time.perf_counter() - started


def launched(job: Job, place: Place) -> tuple[dict[str, Any], float]:
    """Run a job under torchrun on `place.processes` GPUs, without a time limit, and return (its result, seconds).

    Raises:
        RunError: a process failed.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        asked, result = Path(folder) / "job.json", Path(folder) / "result.json"
        places = {key: value if value is None else str(value) for key, value in asdict(place).items()}
        row = {**asdict(job.row), "changes": dict(job.row.changes)}
        asked.write_text(json.dumps({"title": job.title, "seed": job.seed, "row": row, "place": places}))
        count = f"--nproc-per-node={place.processes}"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", count, "-m", "paper.alone"]
        done = subprocess.run([*command, str(asked), str(result)], check=False)
        if done.returncode or not result.is_file():
            raise RunError(f"{job.title}, seed {job.seed}: a process of torchrun failed; see its message above")
        return json.loads(result.read_text()), time.perf_counter() - started


def share(row: Row, place: Place) -> int:
    """Return the passes that a step of a row is split into, so that a pass sees what one of the row's processes sees.

    Only a match without gather at full scale depends on that: a process compares its own clips.

    Raises:
        RunError: a number of processes that does not divide the row's.
    """
    if place.scale != "full" or row.matching is None or row.gather or row.processes == 1:
        return place.accumulate
    if row.processes % place.processes:
        raise RunError(
            f"{place.processes} processes: without gather this row sees the share of one of {row.processes}; take a "
            f"number that divides {row.processes}"
        )
    return row.processes // place.processes


def _fit(job: Job, place: Place) -> dict[str, Any]:
    from paper.fit import fit

    result = fit(job, place)
    return {**result, "peak_mb": _peak(), "step_seconds": result["train_seconds"] / max(1, result["steps"])}


def _peak() -> int:
    """Return the most memory that this process has taken so far, in MB: of its GPU if it has one."""
    import torch

    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / (1 << 20))
    # Of macOS in bytes, of Linux in kilobytes.
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def _main(asked: Path, result: Path) -> None:
    """Run a job as one of torchrun's processes; the first writes the result."""
    from texthead.parallel import distributed

    told = json.loads(asked.read_text())
    row = _tuples(told["row"])
    kinds = {"accumulate": int, "processes": int, "data": Path, "kept": Path}
    place = {key: kinds.get(key, str)(value) for key, value in told["place"].items() if value is not None}
    job = Job(told["title"], told["seed"], Row(**{**row, "changes": _tuples(row["changes"])}))
    with distributed.launched():
        found = _fit(job, Place(**place))
        peaks = distributed.gather_list([found["peak_mb"]])
        if distributed.rank() == 0:
            result.write_text(json.dumps({**found, "peak_mb": max(peaks)}))


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with tuples in place of lists, as rows have them."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))
