"""A job in processes of its own, of one thread each, with nothing beside it: what time and memory are measured in."""

import resource
import sys
import time
from typing import Any

from paper.data import Place
from paper.rows import Job
from texthead import distributed

TIMEOUT = 600.0


def measured(job: Job, place: Place) -> tuple[dict[str, Any], float]:
    """(the first process's numbers with seconds a step and the largest peak of memory, seconds in all)."""
    started = time.perf_counter()
    with distributed.processes(job.row.processes, timeout=TIMEOUT) as run:
        results = run(_fit, job, place)
    first = {**results[0], "peak_mb": max(result["peak_mb"] for result in results)}
    return first, time.perf_counter() - started


def _fit(job: Job, place: Place) -> dict[str, Any]:
    from paper.fit import fit

    result = fit(job, place)
    # Of macOS in bytes, of Linux in kilobytes.
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {**result, "peak_mb": round(peak), "step_seconds": result["train_seconds"] / max(1, result["steps"])}
