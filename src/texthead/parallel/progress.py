"""Progress callbacks: the library calls them and prints nothing itself, except for a bar in a notebook."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

from texthead.notebook import NotebookBar, in_notebook

# Called with (items done, items in all).
Progress = Callable[[int, int], None]

# Opens a progress bar with a title and the unit of its items.
Bar = Callable[[str, str], AbstractContextManager[Progress]]


def silent(done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def no_bar(title: str, unit: str) -> Iterator[Progress]:
    """Open a bar that shows nothing."""
    yield silent


@contextmanager
def bar_or(progress: Progress | None, title: str, unit: str) -> Iterator[Progress]:
    """Yield the caller's function; for None, a bar in a notebook and elsewhere a function that shows nothing."""
    if progress is None and in_notebook():
        with closing(NotebookBar(title, unit)) as bar:
            yield bar
    else:
        yield progress or silent
