"""`python -m paper decide`: run more seeds for undecided claims, cheapest experiment first, within a budget."""

import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

from paper.claims import LOOKS, next_look
from paper.experiments import NAMES, module
from paper.results import Store
from paper.rows import Job
from paper.running import Setting, follow, run
from paper.section import Section, Verdict


class LookResult(NamedTuple):
    """An experiment with every claim at its last look.

    Attributes:
        section: verdicts, and tables of the last look at which a claim was examined.
        keys: addresses of all results used, and those that the first look lacks.
        seeds: number of seeds of the tables' look.
    """

    section: Section
    keys: set[str]
    seeds: int

    @property
    def undecided(self) -> list[str]:
        """Claims that are still undecided."""
        return [verdict.claim for verdict in self.section.verdicts if verdict.answer == "undecided"]

    @property
    def next_look(self) -> int | None:
        """Number of seeds at the first further look that an undecided claim needs; None if there is none."""
        seeds = {next_look(v.looked) for v in self.section.verdicts if v.answer == "undecided"}
        return min((count for count in seeds if count is not None), default=None)


def last_look(name: str, setting: Setting, store: Store) -> LookResult:
    """Return an experiment with every claim at its last look: the last for which all rows of the claim are finished.

    A claim keeps the verdict of the first look that decides it. Before its first look it is undecided.
    """
    result, keys = None, set[str]()
    verdicts: dict[str, Verdict] = {}
    for seeds in LOOKS:
        at_look = replace(setting, seeds=tuple(range(seeds)))
        section, used = follow(module(name).plan(at_look), at_look, store, lambda _: None)
        examined = [verdict for verdict in section.verdicts if verdict.looked >= seeds]
        if result is None:
            keys = set(used)
            verdicts = {verdict.claim: replace(verdict, answer="undecided") for verdict in section.verdicts}
        elif not examined and not set(used) <= store.lines.keys():
            break
        keys |= set(used) & store.lines.keys()
        verdicts |= {each.claim: each for each in examined if verdicts[each.claim].answer == "undecided"}
        section.verdicts = [verdicts[verdict.claim] for verdict in section.verdicts]
        result = LookResult(section, keys, seeds)
    assert result is not None
    return result


def cost(name: str, seeds: int, setting: Setting, store: Store) -> float:
    """Estimate the core-seconds of the unfinished runs of a look from the mean time of each row's finished runs."""
    at_look = replace(setting, seeds=tuple(range(seeds)))
    jobs: dict[str, Job] = {}
    follow(module(name).plan(at_look), at_look, store, jobs.update)
    times: dict[str, list[float]] = defaultdict(list)
    for key, job in jobs.items():
        if key in store.lines:
            times[job.title].append(store.lines[key]["seconds"])
    return sum(fmean(times[job.title] or [0.0]) for key, job in jobs.items() if key not in store.lines)


def decide(setting: Setting, store: Store, pool: ProcessPoolExecutor, hours: float, say: Callable[[str], None]) -> None:
    """Run further looks until every claim is decided or at its last look, or the next look exceeds the budget.

    Args:
        setting: where and how rows run; its seeds are replaced by those of each look.
        store: the store of results.
        pool: worker processes for jobs.
        hours: budget in core-hours.
        say: prints a line.
    """
    spent, decided = 0.0, set[str]()
    while True:
        looks = {name: last_look(name, setting, store) for name in NAMES if name not in decided}
        following = {name: result.next_look for name, result in looks.items()}
        decided |= {name for name, seeds in following.items() if seeds is None}
        waiting = {name: cost(name, seeds, setting, store) for name, seeds in following.items() if seeds is not None}
        if not waiting:
            return say("every claim is decided or has had its last look")
        name = min(waiting, key=lambda each: waiting[each])
        if spent + waiting[name] > 3600 * hours:
            return say(
                f"stopped: {spent / 3600:.1f} of {hours:g} core-hours are used, and the next look ({name}) needs about "
                f"{waiting[name] / 3600:.1f}; still undecided: {', '.join(waiting)}"
            )
        seeds = following[name]
        assert seeds is not None
        at_look, before, started = replace(setting, seeds=tuple(range(seeds))), set(store.lines), time.perf_counter()
        say(f"{name}: running {seeds} seeds; undecided: {'; '.join(looks[name].undecided)}")
        run(name, module(name).plan(at_look), at_look, store, pool, say=say)
        spent += store.about(store.lines.keys() - before)[2]
        say(f"{name}: {(time.perf_counter() - started) / 60:.1f} minutes, {spent / 3600:.2f} core-hours so far")
