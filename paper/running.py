"""Runs what an experiment asks for: two jobs at a time on one thread each, kept as soon as they are done."""

import multiprocessing
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby

from paper import data
from paper.data import Place
from paper.results import Results, Store
from paper.rows import Job, Row
from paper.section import Section
from paper.worlds import Scale
from texthead.errors import RunError
from texthead.parallel.startup import keep_freed_memory

Plan = Generator[list[Job], Results, Section]
SEEDS = {"smoke": 1, "mini": 5, "full": 1}


def seeds_of(scale: str, count: int | None = None) -> tuple[int, ...]:
    """The seeds 0, 1, ...: as many as asked for, or as the scale has.

    Raises:
        RunError: fewer than one.
    """
    count = SEEDS[scale] if count is None else count
    if count < 1:
        raise RunError(f"--seeds must be at least 1, got {count}")
    return tuple(range(count))


@dataclass(frozen=True)
class Setting:
    """How experiments are run: where, with which seeds, and how many jobs at a time.

    `digests` are those of data that was there when rows were run, for a report without the data; None reads the data.
    With `outlined` all data counts as there: for what could be run.
    `full_length` and `processes_drawing` are for Table 8: epochs as long as full training, and of how many processes
    each draws its own items in the rows that have the published code's defect (0: no such rows).
    """

    place: Place
    seeds: tuple[int, ...]
    workers: int = 2
    digests: Mapping[str, str] | None = None
    outlined: bool = False
    full_length: bool = False
    processes_drawing: int = 8

    @property
    def scale(self) -> Scale:
        """smoke, mini or full."""
        return self.place.scale

    def has(self, name: str) -> bool:
        """Whether a data set is there, or was."""
        if self.outlined:
            return True
        return data.has(name, self.place) if self.digests is None else name in self.digests

    def jobs(self, rows: Mapping[str, Row], seeds: Sequence[int] | None = None) -> list[Job]:
        """Every row with every seed, without the rows whose data is not there."""
        return [
            Job(title, seed, row)
            for title, row in rows.items()
            if all(map(self.has, row.sources))
            for seed in (self.seeds if seeds is None else seeds)
        ]

    def key(self, job: Job) -> str:
        """The address of a job's result."""
        names = job.row.sources
        found = [data.digest(n, self.place) if self.digests is None else self.digests[n] for n in names]
        return job.key(self.scale, " ".join(found))


def follow(
    plan: Plan, setting: Setting, store: Store, finish: Callable[[dict[str, Job]], None]
) -> tuple[Section, list[str]]:
    """(the section, the addresses that it rests on); `finish` is called with each batch of jobs by address."""
    asked: list[tuple[Job, str]] = []
    wanted = next(plan)
    while True:
        batch = [(job, setting.key(job)) for job in wanted]
        # Two titles can stand for one row.
        finish({key: job for job, key in batch})
        asked += batch
        try:
            wanted = plan.send(store.results(asked))
        except StopIteration as stop:
            return stop.value, [key for _, key in asked]


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
    """The experiment's section, after running the jobs that are not kept yet, or all of them `again`."""
    done: set[str] = set()

    def finish(batch: dict[str, Job]) -> None:
        missing = {key: job for key, job in batch.items() if key not in done and (again or key not in store.lines)}
        say(f"{name}: {len(batch)} rows and seeds, {len(batch) - len(missing)} of them kept already")
        if not missing:
            return
        store.note_data({n: data.digest(n, setting.place) for job in missing.values() for n in job.row.sources})
        for key, result, seconds in _results(missing, setting, pool, say):
            job = missing[key]
            store.add(name, job, key, result, seconds)
            done.add(key)
            told = f"top-1 {result['top1']:.1f}, {result['steps']} steps, {seconds:.0f} s"
            say(f"  {len(done)}: {job.title}, seed {job.seed}: {told}")

    return follow(plan, setting, store, finish)[0]


def outline(make: Callable[[Setting], Plan], setting: Setting) -> list[Job]:
    """All jobs that an experiment would ask for if all data were there; choices among rows stay at their defaults."""
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
    """(address, result, seconds) as they finish; those that measure time and memory last, one after the other."""
    from paper import alone

    together = {key: job for key, job in jobs.items() if not job.row.alone}
    place = setting.place
    _make_shared([job.row for job in jobs.values()], setting, pool, say)
    if setting.scale == "full":
        for key, job in jobs.items():
            yield key, *alone.launched(job, place)
        return
    waiting = {pool.submit(_timed, job, place): key for key, job in together.items()}
    try:
        for future in as_completed(waiting):
            yield waiting[future], *future.result()
    except BaseException:
        pool.shutdown(cancel_futures=True, wait=False)
        raise
    for _, group in groupby((item for item in jobs.items() if item[1].row.alone), key=lambda item: item[1].row):
        keys, own = zip(*group, strict=True)
        for key, result in zip(keys, alone.measured(own, place), strict=True):
            yield key, *result


def _make_shared(rows: Sequence[Row], setting: Setting, pool: ProcessPoolExecutor, say: Callable[[str], None]) -> None:
    """Make once what jobs share: small CLIPs, and frame features of frozen encoders."""
    from paper import fit

    started, place = time.perf_counter(), setting.place
    sized = sorted({row.encoder for row in rows if row.encoder.startswith("tinyclip")})
    towers = sorted({name.partition("@")[0] for name in sized})
    if towers:
        names = ", ".join(towers)
        say(f"  small CLIPs: {names}; each is trained once, 6 to 8 minutes on a core, and kept in {place.folder}")
    for wave in (towers, [name for name in sized if name not in towers]):
        for folder in pool.map(fit.tiny_folder, wave, [place] * len(wave)):
            say(f"  small CLIP: {folder.name}")
    frozen = {(row.data, row.encoder): row for row in rows if row.changes.get("freeze_encoder")}
    for row in frozen.values():
        parts = range(setting.workers)
        list(pool.map(fit.encode_part, [row] * len(parts), [place] * len(parts), parts, [len(parts)] * len(parts)))
    if sized or frozen:
        say(f"  small CLIPs and frame features are there, after {(time.perf_counter() - started) / 60:.1f} minutes")


@contextmanager
def workers(setting: Setting) -> Iterator[ProcessPoolExecutor]:
    """Processes that jobs run in; they stay for all experiments, since their imports take seconds."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        setting.workers, mp_context=spawn, initializer=_begin, initargs=(setting.workers,)
    ) as pool:
        try:
            yield pool
        except BaseException:
            # A job that runs is of no more use.
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _begin(count: int) -> None:
    """One thread where several jobs run side by side; a job that is alone keeps torch's own number."""
    import torch

    keep_freed_memory()
    if count > 1:
        torch.set_num_threads(1)


def _timed(job: Job, place: Place) -> tuple[dict, float]:
    from paper.fit import fit

    started = time.process_time()  # Of a core: what other processes do on this machine does not count.
    return fit(job, place), time.process_time() - started
