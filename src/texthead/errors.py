"""The exceptions that a user can meet: each message is one line with the value, the rule and the remedy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

Fault = Literal["missing", "empty", "unreadable", "sound only", "cut short", "damaged", "changing size"]

# Escape sequences begin with the first two kinds; the last two turn the order of letters around. What a file or a
# class is called is shown, and not obeyed.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_CONTROLS |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def printable(text: str) -> str:
    """Return the text to look at: controls are written as `\\x1b`, those that turn its direction as `\\u202e`.

    Tab, line feed and the marks of right-to-left scripts stay.
    """
    return text.translate(_CONTROLS)


def listed(values: Sequence[str], most: int = 8) -> str:
    """Return the first values in one line, and how many more there are: `a, b and 3 more`."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return f"{', '.join(values[:most])}{more}"


class TextheadError(ValueError):
    """A mistake that the caller can mend; the command line prints it as one line and exits with 2."""

    def __str__(self) -> str:
        # A file's name may hold a line break, and so may what another library says.
        return printable(" ".join(super().__str__().splitlines()))


class DataError(TextheadError):
    """A manifest, folder, label, class name or template that breaks a rule."""


class MediaError(TextheadError):
    """A video or image that cannot be read whole.

    `path` is the file, so that callers can skip and list it; `fault` is what kind of problem it has.
    """

    def __init__(self, path: str | Path, problem: str, fault: Fault = "unreadable"):
        super().__init__(f"{path}: {problem}")
        self.path = Path(path)
        self.problem = problem
        self.fault: Fault = fault

    def __reduce__(self) -> tuple[type["MediaError"], tuple[Path, str, Fault]]:
        # Worker processes hand these back; the default would call MediaError(message).
        return MediaError, (self.path, self.problem, self.fault)


class EncoderError(TextheadError):
    """An encoder that cannot be found or loaded, or a prompt that it cannot read."""


class RunError(TextheadError):
    """A run folder, checkpoint or recipe that does not fit what is asked of it."""
