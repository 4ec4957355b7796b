"""Jobs in processes of their own, of one thread each, with nothing beside: what time and memory are measured in."""

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from paper.data import Place
from paper.rows import Job
from texthead.parallel.testing import processes

TIMEOUT = 600.0


def measured(jobs: Sequence[Job], place: Place) -> Iterator[tuple[dict[str, Any], float]]:
    """Of each job (the first process's numbers with seconds a step and the largest peak of memory, seconds in all).

    The jobs are one row with several seeds, in the same processes. A peak is that of all jobs so far: the first one's
    is the row's own.
    """
    with processes(jobs[0].row.processes, timeout=TIMEOUT) as run:
        for job in jobs:
            started = time.perf_counter()
            results = run(_fit, job, place)
            peak = max(result["peak_mb"] for result in results)
            yield {**results[0], "peak_mb": peak}, time.perf_counter() - started


def _fit(job: Job, place: Place) -> dict[str, Any]:
    from paper.fit import fit

    result = fit(job, place)
    # Of macOS in bytes, of Linux in kilobytes.
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {**result, "peak_mb": round(peak), "step_seconds": result["train_seconds"] / max(1, result["steps"])}
