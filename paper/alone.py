"""Jobs in separate processes: rows whose time and memory are measured, and multi-GPU rows at full scale."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.process_group import processes
from paper.data import Runtime
from paper.rows import Job, Row
from texthead.errors import RunError

# Seconds per job at mini; there is no limit at full scale.
TIMEOUT = 600.0


def measured(jobs: Sequence[Job], runtime: Runtime) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield (result, seconds) of each job; the result is rank 0's, with seconds per step and peak memory over ranks.

    The jobs share their processes: one row with several seeds; at smoke, rows with the same number of processes. Peak
    memory covers all jobs so far, so only the first job's peak is a measurement of the row.
    """
    with processes(jobs[0].row.processes, timeout=TIMEOUT) as run:
        for job in jobs:
            started = time.perf_counter()
            results = run(_fit, job, runtime)
            peak = max(result["peak_mb"] for result in results)
            yield {**results[0], "peak_mb": peak}, time.perf_counter() - started


def launched(job: Job, runtime: Runtime) -> tuple[dict[str, Any], float]:
    """Run a job under torchrun on `runtime.processes` GPUs, without a time limit, and return (result, seconds).

    Raises:
        RunError: a process failed.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        request, result = Path(folder) / "job.json", Path(folder) / "result.json"
        fields = {key: value if value is None else str(value) for key, value in asdict(runtime).items()}
        row = {**asdict(job.row), "changes": dict(job.row.changes)}
        request.write_text(json.dumps({"title": job.title, "seed": job.seed, "row": row, "runtime": fields}))
        count = f"--nproc-per-node={runtime.processes}"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", count, "-m", "paper.alone"]
        done = subprocess.run([*command, str(request), str(result)], check=False)
        if done.returncode or not result.is_file():
            raise RunError(f"{job.title}, seed {job.seed}: a process of torchrun failed; see its message above")
        return json.loads(result.read_text()), time.perf_counter() - started


def _fit(job: Job, runtime: Runtime) -> dict[str, Any]:
    from paper.fit import fit

    result = fit(job, runtime)
    return {**result, "peak_mb": _peak(), "step_seconds": result["train_seconds"] / max(1, result["steps"])}


def _peak() -> int:
    """Return this process's peak memory so far in MB: GPU memory if it has a GPU, else resident memory."""
    import resource  # Windows lacks it.

    import torch

    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / (1 << 20))
    # ru_maxrss is in bytes on macOS, in kilobytes on Linux.
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def _main(request: Path, result: Path) -> None:
    """Run a job as one of torchrun's processes; rank 0 writes the result."""
    from texthead.parallel import all_gather_list, process_group, rank

    job_json = json.loads(request.read_text())
    row = _tuples(job_json["row"])
    kinds = {"accumulate": int, "processes": int, "least_frames": int, "data": Path, "cache_folder": Path}
    runtime = {key: kinds.get(key, str)(value) for key, value in job_json["runtime"].items() if value is not None}
    job = Job(job_json["title"], job_json["seed"], Row(**{**row, "changes": _tuples(row["changes"])}))
    with process_group():
        outcome = _fit(job, Runtime(**runtime))
        peaks = all_gather_list([outcome["peak_mb"]])
        if rank() == 0:
            result.write_text(json.dumps({**outcome, "peak_mb": max(peaks)}))


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with lists converted to tuples, which `Row` holds."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))
