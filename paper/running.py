"""Run the jobs of an experiment in parallel, one thread each, and store each result as soon as it is finished."""

import multiprocessing
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby

from paper import data
from paper.data import Runtime
from paper.results import Results, Store
from paper.rows import Job, Row
from paper.section import Section
from paper.worlds import Scale
from texthead.errors import RunError
from texthead.parallel import keep_freed_memory

Plan = Generator[list[Job], Results, Section]
SEEDS = {"smoke": 1, "mini": 5, "full": 1}


def seeds_of(scale: str, count: int | None = None) -> tuple[int, ...]:
    """Return the seeds 0, 1, ..., `count` of them or the scale's default.

    Raises:
        RunError: count is below 1.
    """
    count = SEEDS[scale] if count is None else count
    if count < 1:
        raise RunError(f"--seeds must be at least 1, got {count}")
    return tuple(range(count))


@dataclass(frozen=True)
class Setting:
    """How experiments run.

    Args:
        seeds: seeds of every row.
        workers: number of parallel jobs.
        digests: saved digests of the data sets, for a report without the data; None computes them from the data.
        outlined: treat all data sets as available, to list what could run.
        full_length: Table 8: add rows with epochs as long as full training.
        processes_drawing: Table 8: number of processes in the rows with the published per-process draw; 0: no such
            rows.
        only: a regular expression; rows whose titles do not match are not run. Finished ones are used all the same.
    """

    runtime: Runtime
    seeds: tuple[int, ...]
    workers: int = 2
    digests: Mapping[str, str] | None = None
    outlined: bool = False
    full_length: bool = False
    processes_drawing: int = 8
    only: str = ""

    @property
    def scale(self) -> Scale:
        """smoke, mini or full."""
        return self.runtime.scale

    def has(self, name: str) -> bool:
        """Return whether a data set is available, or was when the digests were saved."""
        if self.outlined:
            return True
        return data.has(name, self.runtime) if self.digests is None else name in self.digests

    def jobs(self, rows: Mapping[str, Row], seeds: Sequence[int] | None = None) -> list[Job]:
        """Return a job for every row and seed; rows whose data is missing are skipped."""
        return [
            Job(title, seed, row)
            for title, row in rows.items()
            if all(map(self.has, row.sources))
            for seed in (self.seeds if seeds is None else seeds)
        ]

    def key(self, job: Job) -> str:
        """Return the address of a job's result."""
        names = job.row.sources
        digests = [data.digest(n, self.runtime) if self.digests is None else self.digests[n] for n in names]
        return job.key(self.scale, " ".join(digests))


def follow(
    plan: Plan, setting: Setting, store: Store, finish: Callable[[dict[str, Job]], None]
) -> tuple[Section, list[str]]:
    """Drive a plan: call `finish` with each batch of jobs, by address, then send the plan their results.

    Returns:
        (section, addresses of all results used).
    """
    jobs: list[tuple[Job, str]] = []
    requested = next(plan)
    while True:
        batch = [(job, setting.key(job)) for job in requested]
        # Two titles can have the same row: run it once.
        finish({key: job for job, key in batch})
        jobs += batch
        try:
            requested = plan.send(store.results(jobs))
        except StopIteration as stop:
            return stop.value, [key for _, key in jobs]


def run(
    name: str,
    plan: Plan,
    setting: Setting,
    store: Store,
    pool: ProcessPoolExecutor,
    *,
    again: bool = False,
    say: Callable[[str], None] = print,
) -> Section:
    """Run the unfinished jobs of an experiment, or all with `again`, and return its section."""
    done: set[str] = set()

    def finish(batch: dict[str, Job]) -> None:
        wanted = {key: job for key, job in batch.items() if re.search(setting.only, job.title)}
        missing = {key: job for key, job in wanted.items() if key not in done and (again or key not in store.lines)}
        say(f"{name}: {len(wanted)} runs (rows x seeds), {len(wanted) - len(missing)} already finished")
        if not missing:
            return
        store.note_data({n: data.digest(n, setting.runtime) for job in missing.values() for n in job.row.sources})
        for key, result, seconds in _results(missing, setting, pool, say):
            job = missing[key]
            store.add(name, job, key, result, seconds)
            done.add(key)
            summary = f"top-1 {result['top1']:.1f}, {result['steps']} steps, {seconds:.0f} s"
            say(f"  {len(done)}: {job.title}, seed {job.seed}: {summary}")

    return follow(plan, setting, store, finish)[0]


def outline(make: Callable[[Setting], Plan], setting: Setting) -> list[Job]:
    """Return all jobs of an experiment as if all data were available; tuned settings take their defaults."""
    plan = make(replace(setting, outlined=True))
    jobs = list(next(plan))
    while True:
        try:
            jobs += plan.send(Results({}))
        except StopIteration:
            return jobs


def _results(
    jobs: Mapping[str, Job], setting: Setting, pool: ProcessPoolExecutor, say: Callable[[str], None]
) -> Iterator[tuple[str, dict, float]]:
    """Run jobs and yield (address, result, seconds) as they finish; jobs that measure time run last, one by one."""
    from paper import alone

    parallel = {key: job for key, job in jobs.items() if not job.row.alone}
    runtime = setting.runtime
    _make_shared([job.row for job in jobs.values()], setting, pool, say)
    if setting.scale == "full":
        for key, job in jobs.items():
            yield key, *alone.launched(job, runtime)
        return
    waiting = {pool.submit(_timed, job, runtime): key for key, job in parallel.items()}
    try:
        for future in as_completed(waiting):
            yield waiting[future], *future.result()
    except BaseException:
        pool.shutdown(cancel_futures=True, wait=False)
        raise
    alone_jobs = [item for item in jobs.items() if item[1].row.alone]
    # smoke measures nothing, so its rows share processes.
    for _, group in groupby(alone_jobs, lambda job: job[1].row.processes if runtime.scale == "smoke" else job[1].row):
        keys, together = zip(*group, strict=True)
        for key, result in zip(keys, alone.measured(together, runtime), strict=True):
            yield key, *result


def _make_shared(rows: Sequence[Row], setting: Setting, pool: ProcessPoolExecutor, say: Callable[[str], None]) -> None:
    """Prepare what jobs share: small CLIPs, and cached frame features of frozen encoders."""
    from paper import fit

    started, runtime = time.perf_counter(), setting.runtime
    sized = sorted({row.encoder for row in rows if row.encoder.startswith("tinyclip")})
    towers = sorted({name.partition("@")[0] for name in sized})
    if towers:
        long = "6 to 8 minutes on one core" if runtime.scale == "mini" else "seconds"
        say(f"  small CLIPs: {', '.join(towers)}; training each takes {long}, once; cached in {runtime.folder}")
    for wave in (towers, [name for name in sized if name not in towers]):
        for folder in pool.map(fit.tiny_folder, wave, [runtime] * len(wave)):
            say(f"  small CLIP: {folder.name}")
    frozen = {(row.data, row.encoder): row for row in rows if row.changes.get("freeze_encoder")}
    for row in frozen.values():
        count = setting.workers
        list(pool.map(fit.encode_share, [row] * count, [runtime] * count, range(count), [count] * count))
    if sized or frozen:
        say(f"  small CLIPs and frame features are ready after {(time.perf_counter() - started) / 60:.1f} minutes")


@contextmanager
def workers(setting: Setting) -> Iterator[ProcessPoolExecutor]:
    """Start the worker processes, once for all experiments since their imports take seconds."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        setting.workers, mp_context=spawn, initializer=_begin, initargs=(setting.workers,)
    ) as pool:
        try:
            yield pool
        except BaseException:
            # The pool would wait for running jobs, whose results are no longer needed.
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _begin(count: int) -> None:
    """Initialize a worker: one torch thread if several jobs run in parallel, else torch's default."""
    import torch

    keep_freed_memory()
    if count > 1:
        torch.set_num_threads(1)


def _timed(job: Job, runtime: Runtime) -> tuple[dict, float]:
    from paper.fit import fit

    started = time.process_time()  # CPU time, which other processes on the machine do not affect.
    return fit(job, runtime), time.process_time() - started
