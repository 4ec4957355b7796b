"""Progress callbacks: the library calls them and prints nothing itself."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

# Called with (items done, items in all).
Progress = Callable[[int, int], None]

# Opens a progress bar with a title and the unit of its items.
Bar = Callable[[str, str], AbstractContextManager[Progress]]


@contextmanager
def no_bar(title: str, unit: str) -> Iterator[Progress]:
    """Open a bar that shows nothing."""
    yield lambda done, total: None
