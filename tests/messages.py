"""Check messages by their type and their values; `golden/messages.txt` holds the words (`make messages`).

with refuses(DataError, "k", "9"):
    dataset.k_shot(9, seed=0)
prints(err, "flip", "left-hand")
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def refuses(kind: type[Exception], *parts: object) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """Expect an error of this kind whose message contains the parts, such as the offending value and the parameter."""
    with pytest.raises(kind) as caught:
        yield caught
    message = str(caught.value)
    missing = [str(part) for part in parts if str(part) not in message]
    assert not missing, f"{missing} not in: {message}"


def prints(text: str, *parts: object) -> str:
    """Return the one line of a command's output that contains all the parts.

    The last line, with the next command to type, does not count.
    """
    messages = [line for line in text.splitlines() if not line.startswith("next: ")]
    lines = [line for line in messages if all(str(part) in line for part in parts)]
    assert len(lines) == 1, f"{len(lines)} lines hold {parts}: {text}"
    return lines[0]
