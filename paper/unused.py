"""`python -m paper unused`: stored rows that no experiment asks for any more, and their removal."""

from collections import Counter
from collections.abc import Callable

from paper.data import Runtime
from paper.experiments import NAMES, module
from paper.results import Store
from paper.rows import Row
from paper.running import Setting, follow
from paper.worlds import Scale
from texthead.errors import RunError


def unused(store: Store, scale: Scale) -> set[str]:
    """Return the addresses that no experiment asks for, with any number of seeds and any options of `run`."""
    asked = set[str]()
    # Tuned settings are chosen with the first one to three seeds.
    for seeds in {1, 2, 3, 1 + max((entry["seed"] for entry in store.lines.values()), default=0)}:
        for processes in {8, *(entry["row"].get("drawing_processes", 8) for entry in store.lines.values())}:
            options = {"digests": store.digests, "full_length": True, "processes_drawing": processes}
            setting = Setting(Runtime(scale), tuple(range(seeds)), **options)
            for name in NAMES:
                asked |= {*follow(module(name).plan(setting), setting, store, lambda _: None)[1]}
    return store.lines.keys() - asked


def show(store: Store, scale: Scale, *, remove: bool, say: Callable[[str], None]) -> None:
    """Print how many rows of each title are unused, and with `remove` remove them.

    Raises:
        RunError: there are no rows, or the digests of their data sets, by which they are found, are missing.
    """
    sources = {source for entry in store.lines.values() for source in Row(**entry["row"]).sources}
    if not store.lines or not sources <= store.digests.keys():
        what = f"no digest of {min(sources - store.digests.keys())} in data.json" if store.lines else "no finished rows"
        raise RunError(f"{store.folder}: {what}; use the folder that `python -m paper run` wrote")
    keys = unused(store, scale)
    for title, count in sorted(Counter(store.lines[key]["title"] for key in keys).items()):
        say(f"  {title}: {count}")
    if remove:
        store.remove(keys)
    say(f"{store.folder}: {len(keys)} of {len(store.lines)} rows are unused{' and removed' if remove else ''}")
