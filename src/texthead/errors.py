"""The exceptions that users see. Each message is one line with the value, the rule and the remedy."""

import re
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Literal

Fault = Literal["missing", "empty", "unreadable", "sound only", "cut short", "damaged", "changing size"]

# The first two ranges start terminal escape sequences, the last two are bidirectional overrides. Both are escaped, so
# that the name of a file or a class cannot control the terminal.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_CONTROLS |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


# In `rtsp://user:password@camera`, and in what `Path` makes of it.
_PASSWORD = re.compile(r"(:/{1,2}[^/\s:@]*):[^/\s]+@")


def without_password(text: str) -> str:
    """Return a text with `***` in place of the passwords of the addresses in it."""
    return _PASSWORD.sub(r"\1:***@", text)


def escaped(text: str) -> str:
    """Escape control characters (as `\\x1b`) and bidirectional overrides (as `\\u202e`).

    Tabs, line feeds and the marks of right-to-left scripts stay.
    """
    return text.translate(_CONTROLS)


def on_one_line(name: object) -> str:
    """Return a text with line breaks as `\\n`: the name of a file or a class cannot add a line to a result."""
    return str(name).replace("\n", "\\n")


def printable(text: str) -> str:
    """Return a text for terminals, pages and reports: `escaped`, and without passwords."""
    return without_password(escaped(text))


def listed(values: Sequence[str], most: int = 8) -> str:
    """Join the first `most` values and count the rest: `a, b and 3 more`."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return f"{', '.join(values[:most])}{more}"


def either(values: Sequence[str]) -> str:
    """Join alternatives: `a, b or c`."""
    return " or ".join(filter(None, (", ".join(values[:-1]), values[-1])))


def check_argument(name: str, value: object, kind: type | UnionType, maker: str) -> None:
    """Raise DataError unless an argument has its type; a path in place of what it names is a common mistake."""
    if not isinstance(value, kind):
        raise DataError(f"`{name}` must be what th.{maker} returns, got {value!r}")


def check_no_text(name: str, value: object) -> None:
    """Raise DataError for one text in place of a list of texts: its letters would be the values."""
    if isinstance(value, str):
        raise DataError(f"`{name}` must be a list, got the text {value!r}: write [{value!r}]")


def line_of(error: BaseException, most: int = 300, *, kind: bool = False) -> str:
    """Return the message of an error on one line, or the name of its class if it has none.

    Args:
        most: characters of the message that are kept.
        kind: put the class before the message: `KeyError: 'width'`.
    """
    name, text = type(error).__name__, " ".join(str(error).split())[:most]
    if not text:
        return name
    return f"{name}: {text}" if kind else text


class TextheadError(ValueError):
    """An error that the caller can fix. The command line prints it as one line and exits with 2."""

    def __str__(self) -> str:
        # File names and messages of other libraries may contain line breaks.
        return printable(" ".join(super().__str__().splitlines()))


class DataError(TextheadError):
    """A manifest, folder, label, class name or template that breaks a rule."""


class MediaError(TextheadError):
    """A video or image that cannot be read completely.

    `path` is the file, so that callers can skip and list it; `fault` is the kind of problem.
    """

    def __init__(self, path: str | Path, problem: str, fault: Fault = "unreadable"):
        super().__init__(f"{path}: {problem}")
        self.path = Path(path)
        self.problem = problem
        self.fault: Fault = fault

    def __reduce__(self) -> tuple[type["MediaError"], tuple[Path, str, Fault]]:
        # Worker processes pickle these; the default would call MediaError(message).
        return MediaError, (self.path, self.problem, self.fault)


class EncoderError(TextheadError):
    """An encoder that cannot be found or loaded, or a prompt that it cannot encode."""


class RunError(TextheadError):
    """A run folder, checkpoint, recipe or parameter that is invalid or does not match the task."""
