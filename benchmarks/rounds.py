"""Interleaved rounds: the cost of each method in wall time, CPU time and memory, and ratios of two methods.

Each round runs every method once, every second round in the opposite order, so that a machine that slows down slows
all of them alike. Two methods are compared by the ratios of their costs within each round.
"""

import argparse
import importlib
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

T = TypeVar("T")


class Cost(NamedTuple):
    """Seconds of one run: wall time, and CPU time of this process and of child processes that have ended."""

    wall: float
    cpu: float


class Row(NamedTuple):
    """A row of the first table of BENCHMARKS.md.

    `ratios` are the other's CPU time over texthead's, one a round. `limit` are the ratios that would be if texthead did
    nothing but what `limit_of` names, such as "decoder alone". A median below `target` is printed in bold.
    """

    task: str
    other: str
    ratios: Sequence[float]
    limit: Sequence[float] = ()
    limit_of: str = ""
    target: float = 1.0


class Section(NamedTuple):
    """What a section measured: its text in Markdown, which begins with a heading, and its rows of the first table."""

    text: str
    rows: Sequence[Row] = ()


Way = Callable[[], Cost]
Costs = dict[str, list[Cost]]
Clock = Literal["wall", "cpu"]


def now() -> Cost:
    """Read both clocks; a difference of two readings is a cost."""
    import resource  # Windows lacks it.

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(time.perf_counter(), time.process_time() + children.ru_utime + children.ru_stime)


def since(start: Cost, per: float = 1.0) -> Cost:
    """Return the cost since `start`, divided by the number of items done."""
    end = now()
    return Cost((end.wall - start.wall) / per, (end.cpu - start.cpu) / per)


def timed(run: Callable[[], object], per: float = 1.0) -> Way:
    """Return a method that measures `run`, divided by the number of items of one call."""

    def way() -> Cost:
        start = now()
        run()
        return since(start, per)

    return way


def interleaved(ways: Mapping[str, Way], rounds: int, *, warm: bool = True) -> Costs:
    """Return the costs of every method in every round; a warm-up round before them counts only without any round.

    Args:
        warm: whether to run the warm-up round; methods that start processes need none.
    """
    costs: Costs = {title: [] for title in ways}
    for number in range(0 if warm or not rounds else 1, rounds + 1):
        turn = list(ways) if number % 2 else list(ways)[::-1]
        for title in turn:
            cost = ways[title]()
            if number or not rounds:
                costs[title].append(cost)
    return costs


def ratios(costs: Costs, first: str, second: str, clock: Clock = "cpu") -> list[float]:
    """Return the first method's cost over the second one's, round by round."""
    pairs = zip(costs[first], costs[second], strict=True)
    return [getattr(one, clock) / getattr(other, clock) for one, other in pairs]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Format values as median (min-max)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def judge(values: Sequence[float], *, at_least: float | None = None, at_most: float | None = None) -> tuple[str, str]:
    """Return (the spread, the target and whether the median meets it; "-" without a target)."""
    middle = statistics.median(values)
    target, met = "-", True
    if at_least is not None:
        target, met = f"at least {at_least:g}", middle >= at_least
    elif at_most is not None:
        target, met = f"at most {at_most:g}", middle <= at_most
    return spread(values), target if target == "-" else f"{target}: {'met' if met else 'missed'}"


def milliseconds(costs: Sequence[Cost], digits: int = 1) -> tuple[str, str]:
    """Return the spreads of wall time and of CPU time in milliseconds."""
    wall, cpu = ([1000 * getattr(cost, clock) for cost in costs] for clock in ("wall", "cpu"))
    return spread(wall, digits), spread(cpu, digits)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def in_new_process(task: Callable[..., T], *arguments: object) -> T:
    """Call `task`, a function of a module, in a new process; return its result."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def section_of(name: str, rounds: int, data: Path) -> Section:
    """Measure the section of a script in this process."""
    return importlib.import_module(f"benchmarks.{name}").section(rounds, data)


def peak_mb(task: Callable[..., object], *arguments: object) -> float:
    """Return the peak memory in MB of a new process that calls `task`, a function of a module, imports included."""
    return in_new_process(_peak, task, arguments)


def _peak(task: Callable[..., object], arguments: tuple) -> float:
    task(*arguments)
    return own_peak_mb()


def own_peak_mb() -> float:
    """Return the peak memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: its peak includes that of the process that started this one.
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    import resource  # Windows lacks it.

    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def parser(doc: str | None, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a parser with `--rounds`, which every script has."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=rounds, help=f"number of measured rounds ({rounds})")
    return options
