"""Interleaved rounds: the cost of each method in wall time and CPU time, and ratios of two methods.

Each round runs every method once, every second round in the opposite order, so that a machine that slows down slows
all of them alike. Two methods are compared by the ratios of their costs within each round.
"""

import importlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """Seconds of one run: wall time, and CPU time of this process and of child processes that have ended."""

    wall: float
    cpu: float


Way = Callable[[], Cost]
Costs = dict[str, list[Cost]]


class Row(NamedTuple):
    """A row of a table of BENCHMARKS.md: `theirs` over `ours`, both titles of costs.

    The limit is the ratio if texthead did nothing but what the method of the title `limit` does, which the row calls
    `limit_of`. A median below `target` is printed in bold.
    """

    task: str
    other: str
    ours: str
    theirs: str
    target: float = 1.0
    limit: str = ""
    limit_of: str = ""


class Section(NamedTuple):
    """What a section measured: seconds per item by title, and the rows that compare them."""

    costs: Costs
    rows: Sequence[Row]


def now() -> Cost:
    """Read both clocks; a difference of two readings is a cost."""
    import resource  # Windows lacks it.

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(time.perf_counter(), time.process_time() + children.ru_utime + children.ru_stime)


def timed(run: Callable[[], object], per: float = 1.0) -> Way:
    """Return a method that measures `run`, divided by the number of items of one call."""

    def way() -> Cost:
        start = now()
        run()
        end = now()
        return Cost((end.wall - start.wall) / per, (end.cpu - start.cpu) / per)

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


def ratios(costs: Costs, first: str, second: str) -> list[float]:
    """Return the first method's CPU time over the second one's, round by round."""
    return [one.cpu / other.cpu for one, other in zip(costs[first], costs[second], strict=True)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Format values as median (min-max)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; the first row is its head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def section_of(name: str, rounds: int, data: Path) -> Section:
    """Measure the section of a script in this process."""
    return importlib.import_module(f"benchmarks.{name}").section(rounds, data)
