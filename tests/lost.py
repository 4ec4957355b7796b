"""A reader of names, some of which end its process; it imports little, as each worker imports it."""

import os
import signal


def read_or_end(name: str) -> int:
    """Return the number in a name, or end the process."""
    number, _, rest = name.partition(" ")
    if rest:
        os.kill(os.getpid(), signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    return int(number)


def names(count: int, lost: set[int]) -> list[str]:
    """Return so many names; reading those at the positions in `lost` ends the process."""
    return [f"{position} lost" if position in lost else str(position) for position in range(count)]
