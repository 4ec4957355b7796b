"""`python -m paper decide`: more seeds for the claims that are undecided, the cheapest first, within a budget."""

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


class Looked(NamedTuple):
    """An experiment at its last look.

    Attributes:
        section: what it says.
        keys: the addresses of all rows and seeds that it rests on.
        seeds: how many seeds all its rows have.
    """

    section: Section
    keys: set[str]
    seeds: int

    @property
    def undecided(self) -> list[str]:
        """The claims that more seeds may decide."""
        return [verdict.claim for verdict in self.section.verdicts if verdict.answer == "undecided"]


def last_look(name: str, setting: Setting, store: Store) -> Looked:
    """Return an experiment at the last look that all its rows have the seeds of; at the first if there is none.

    A claim keeps the verdict of the first look that decides it.
    """
    found, settled = None, dict[str, Verdict]()
    for seeds in LOOKS:
        own = replace(setting, seeds=tuple(range(seeds)))
        section, keys = follow(module(name).plan(own), own, store, lambda _: None)
        if found is not None and not set(keys) <= store.lines.keys():
            break
        section.verdicts = [settled.get(verdict.claim, verdict) for verdict in section.verdicts]
        settled |= {verdict.claim: verdict for verdict in section.verdicts if verdict.answer != "undecided"}
        found = Looked(section, set(keys), seeds)
    assert found is not None
    return found


def cost(looked: Looked, store: Store) -> float:
    """Return about how many core-seconds the next look takes, by what the seeds so far took."""
    more = next_look(looked.seeds)
    if more is None:
        return float("inf")
    return store.about(looked.keys)[2] * (more - looked.seeds) / looked.seeds


def decide(setting: Setting, store: Store, pool: ProcessPoolExecutor, hours: float, say: Callable[[str], None]) -> None:
    """Run looks until every claim is decided, has had its last one, or the next does not fit into the budget.

    Args:
        setting: where and how rows are run; the number of seeds is that of each look.
        store: where results are kept.
        pool: the processes that run jobs.
        hours: the budget in core-hours.
        say: prints a line.
    """
    spent, settled = 0.0, set[str]()
    while True:
        looks = {name: last_look(name, setting, store) for name in NAMES if name not in settled}
        settled |= {name for name, looked in looks.items() if not looked.undecided or next_look(looked.seeds) is None}
        waiting = {name: cost(looked, store) for name, looked in looks.items() if name not in settled}
        if not waiting:
            return say("every claim is decided, or has had its last look")
        name = min(waiting, key=lambda each: waiting[each])
        if spent + waiting[name] > 3600 * hours:
            return say(
                f"{spent / 3600:.1f} of {hours:g} core-hours are spent and the next look ({name}) takes about "
                f"{waiting[name] / 3600:.1f} more: {', '.join(waiting)} stay as they are"
            )
        seeds = next_look(looks[name].seeds)
        assert seeds is not None
        own, before, started = replace(setting, seeds=tuple(range(seeds))), set(store.lines), time.perf_counter()
        say(f"{name}: {seeds} seeds, undecided are {'; '.join(looks[name].undecided)}")
        run(name, module(name).plan(own), own, store, pool, say=say)
        spent += store.about(store.lines.keys() - before)[2]
        say(f"{name}: {(time.perf_counter() - started) / 60:.1f} minutes, {spent / 3600:.2f} core-hours so far")
