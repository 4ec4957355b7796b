"""Interleaved rounds: what each way costs, in wall time, CPU time and memory, and how two ways compare.

Within a round every way runs once, every second round in the opposite order, so that a machine that slows down slows
all of them alike. Two ways are compared by the ratios of their costs within each round.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

T = TypeVar("T")


class Cost(NamedTuple):
    """Seconds of one run: by the clock, and of all processors in this process and those that it has waited for."""

    wall: float
    cpu: float


Way = Callable[[], Cost]
Costs = dict[str, list[Cost]]
Clock = Literal["wall", "cpu"]


def now() -> Cost:
    """The two clocks; a difference of two readings is a cost."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(time.perf_counter(), time.process_time() + children.ru_utime + children.ru_stime)


def since(start: Cost, per: float = 1.0) -> Cost:
    """The cost from `start` until now, divided by what was done meanwhile."""
    end = now()
    return Cost((end.wall - start.wall) / per, (end.cpu - start.cpu) / per)


def timed(run: Callable[[], object], per: float = 1.0) -> Way:
    """A way that costs what `run` costs, divided by what one call of it does."""

    def way() -> Cost:
        start = now()
        run()
        return since(start, per)

    return way


def interleaved(ways: Mapping[str, Way], rounds: int) -> Costs:
    """The costs of every way in every round; a round before the first warms up and does not count."""
    costs: Costs = {title: [] for title in ways}
    for number in range(rounds + 1):
        turn = list(ways) if number % 2 else list(ways)[::-1]
        for title in turn:
            found = ways[title]()
            if number:
                costs[title].append(found)
    return costs


def ratios(costs: Costs, first: str, second: str, clock: Clock = "cpu") -> list[float]:
    """The first way's cost over the second one's, round by round."""
    pairs = zip(costs[first], costs[second], strict=True)
    return [getattr(one, clock) / getattr(other, clock) for one, other in pairs]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median (least-most)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def judged(values: Sequence[float], *, at_least: float | None = None, at_most: float | None = None) -> tuple[str, str]:
    """(the spread, the target and whether the median meets it; "-" where there is none)."""
    middle = statistics.median(values)
    told, met = "-", True
    if at_least is not None:
        told, met = f"at least {at_least:g}", middle >= at_least
    elif at_most is not None:
        told, met = f"at most {at_most:g}", middle <= at_most
    return spread(values), told if told == "-" else f"{told}: {'met' if met else 'missed'}"


def milliseconds(costs: Sequence[Cost], digits: int = 1) -> tuple[str, str]:
    """The spreads of wall time and of CPU time in milliseconds."""
    wall, cpu = ([1000 * getattr(cost, clock) for cost in costs] for clock in ("wall", "cpu"))
    return spread(wall, digits), spread(cpu, digits)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def in_new_process(task: Callable[..., T], *arguments: object) -> T:
    """What `task`, a function of a module, returns in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def peak_mb(task: Callable[..., object], *arguments: object) -> float:
    """The peak memory in MB of a new process that calls `task`, a function of a module; its imports count too."""
    return in_new_process(_peak, task, arguments)


def _peak(task: Callable[..., object], arguments: tuple) -> float:
    task(*arguments)
    return own_peak_mb()


def own_peak_mb() -> float:
    """The peak memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: a process that another one has started has that one's peak in it.
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def parser(doc: str | None, rounds: int = 5) -> argparse.ArgumentParser:
    """A script's options, of which all have `--rounds`."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=rounds, help=f"rounds that count ({rounds})")
    return options
