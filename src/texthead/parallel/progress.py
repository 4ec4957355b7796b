"""What the library reports while it works. It prints nothing itself, except for bars in a notebook or on a terminal."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

from texthead.errors import MediaError

# Work that takes less time shows no bar.
_DELAY_SECONDS = 0.5

# Called with (items done, items in all).
Progress = Callable[[int, int], None]


def silent(*_: object) -> None:
    """Show nothing."""


def in_notebook() -> bool:
    """Return whether an IPython kernel runs this process, as in Jupyter; in a terminal, IPython has none."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


if in_notebook():
    # Without ipywidgets tqdm shows text, and need not say so.
    warnings.filterwarnings("ignore", message="IProgress not found")


@contextmanager
def terminal_bar(title: str, unit: str) -> Iterator[Progress]:
    """Open a bar in a notebook or on a terminal, which goes when the work ends; elsewhere it shows nothing."""
    if not (in_notebook() or sys.stderr.isatty()):
        yield silent
        return
    from tqdm.auto import tqdm

    with tqdm(desc=title, unit=f" {unit}", leave=False, delay=_DELAY_SECONDS) as bar:

        def count(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield count


def _notebook_bar(title: str, unit: str) -> AbstractContextManager[Progress]:
    """Open a bar in a notebook; elsewhere it shows nothing."""
    return terminal_bar(title, unit) if in_notebook() else nullcontext(silent)


@dataclass(frozen=True)
class Reporter:
    """What to do with progress, messages and metrics while the library works; by default, show bars in a notebook.

    Args:
        bar: called with a title and the unit of the items; opens a progress bar for the `with` block, which gets a
            function to call with (items done, items in all).
        say: called with each message on the progress, such as the loss of an epoch.
        note: called with what a user should know about the results, such as damaged rows of the cache.
        record: called with each record of the metrics of a training; on resume, with the earlier ones too.
        used: called with the name of each engine that computed features, now or when they were cached.
        skipped: called with the error of each file that is left out.
    """

    bar: Callable[[str, str], AbstractContextManager[Progress]] = _notebook_bar
    say: Callable[[str], object] = silent
    note: Callable[[str], object] = silent
    record: Callable[[dict], object] = silent
    used: Callable[[str], object] = silent
    skipped: Callable[[MediaError], object] = silent

    def counting(self, count: Progress, title: str | None = None) -> "Reporter":
        """Return a reporter that calls `count` in place of opening bars, such as for a part of a larger bar.

        Args:
            title: the bar that `count` replaces, such as "train"; the others show nothing. None: every bar.
        """
        return replace(self, bar=lambda own, unit: nullcontext(count if title in (None, own) else silent))
