"""`python -m paper decide`: run more seeds for undecided claims, cheapest experiment first, within a budget."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from paper.claims import LOOKS, next_look
from paper.experiments import NAMES, module
from paper.results import Store
from paper.running import Setting, follow, run
from paper.section import Section, Verdict


class LookResult(NamedTuple):
    """An experiment at its last complete look.

    Attributes:
        section: tables and verdicts.
        keys: addresses of all results used.
        seeds: number of seeds of the look.
    """

    section: Section
    keys: set[str]
    seeds: int

    @property
    def undecided(self) -> list[str]:
        """Claims that are still undecided."""
        return [verdict.claim for verdict in self.section.verdicts if verdict.answer == "undecided"]


def last_look(name: str, setting: Setting, store: Store) -> LookResult:
    """Return an experiment at the last look for which all rows are finished, or at the first look if there is none.

    A claim keeps the verdict of the first look that decides it.
    """
    result, decided = None, dict[str, Verdict]()
    for seeds in LOOKS:
        at_look = replace(setting, seeds=tuple(range(seeds)))
        section, keys = follow(module(name).plan(at_look), at_look, store, lambda _: None)
        if result is not None and not set(keys) <= store.lines.keys():
            break
        section.verdicts = [decided.get(verdict.claim, verdict) for verdict in section.verdicts]
        decided |= {verdict.claim: verdict for verdict in section.verdicts if verdict.answer != "undecided"}
        result = LookResult(section, set(keys), seeds)
    assert result is not None
    return result


def cost(result: LookResult, store: Store) -> float:
    """Estimate the core-seconds of the next look from the time of the seeds so far; inf after the last look."""
    more = next_look(result.seeds)
    if more is None:
        return float("inf")
    return store.about(result.keys)[2] * (more - result.seeds) / result.seeds


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
        decided |= {name for name, result in looks.items() if not result.undecided or next_look(result.seeds) is None}
        waiting = {name: cost(result, store) for name, result in looks.items() if name not in decided}
        if not waiting:
            return say("every claim is decided or has had its last look")
        name = min(waiting, key=lambda each: waiting[each])
        if spent + waiting[name] > 3600 * hours:
            return say(
                f"stopped: {spent / 3600:.1f} of {hours:g} core-hours are used, and the next look ({name}) needs about "
                f"{waiting[name] / 3600:.1f}; still undecided: {', '.join(waiting)}"
            )
        seeds = next_look(looks[name].seeds)
        assert seeds is not None
        at_look, before, started = replace(setting, seeds=tuple(range(seeds))), set(store.lines), time.perf_counter()
        say(f"{name}: running {seeds} seeds; undecided: {'; '.join(looks[name].undecided)}")
        run(name, module(name).plan(at_look), at_look, store, pool, say=say)
        spent += store.about(store.lines.keys() - before)[2]
        say(f"{name}: {(time.perf_counter() - started) / 60:.1f} minutes, {spent / 3600:.2f} core-hours so far")
