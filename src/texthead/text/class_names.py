"""Class names: from labels, files and the command line; checks of them."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from texthead.errors import DataError
from texthead.files import read_text
from texthead.text.label_files import read_labels

# The answer where no class is sure enough.
NONE = "none of these"

# Where a run-together name is cut: "ApplyEye" after y, "BMXRiding" before Riding.
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# One word with an ending, as "names.tsv": no class is called so.
_FILE_NAME = re.compile(r"[^\s,]+\.[A-Za-z]\w{1,7}")

_SIDES = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)

# Words that name nothing by themselves: "class 12", "video_001".
_EMPTY_WORDS = frozenset(
    word
    for words in ("action category class clip cls id idx image img item", "label no nr number object type vid video")
    for word in words.split()
)

_WORDS = re.compile(r"[^\W\d_]{2,}")


def is_code(label: str) -> bool:
    """Whether a label is a number or a code instead of words: `n01440764`, `v_001`, `class 12`, `7`.

    A label of letters alone is none, so that `A` and `TV` stay.
    """
    if not any(character.isdigit() for character in label):
        return False
    words = {word.lower() for word in _WORDS.findall(clean_name(label))}
    return words <= _EMPTY_WORDS


def is_foreign(label: str) -> bool:
    """Whether a label has letters beyond the Latin alphabet, which few text encoders have seen enough of."""
    return any(character.isalpha() and ord(character) > 0x24F for character in label)


def run_together(label: str) -> str | None:
    """The label with its words apart, where they were run together (`ApplyEyeMakeup`, `push_up`); None elsewhere."""
    cleaned = clean_name(label)
    return cleaned if cleaned != " ".join(label.split()) else None


def same_names(labels: Sequence[str]) -> list[list[str]]:
    """The labels that become the same name but for case, where there are several: `push_up`, `Push up`."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(clean_name(label).casefold(), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def clean_name(label: str) -> str:
    """The label as a text encoder reads it best: words apart, joined by single spaces.

    `ApplyEyeMakeup` -> `apply eye makeup`, `push_up` -> `push up`; `t-shirt` and `Tai Chi` stay.
    A name is put in lower case only where it was run together.
    """
    words = _CAMEL.sub(" ", label)
    if words != label:
        words = words.lower()
    return " ".join(words.replace("_", " ").split())


def check_names(names: Sequence[str]) -> None:
    """Nothing, if the names can be classes: none empty, none twice, each in one line of text.

    Raises:
        DataError: no name, an empty name, one of several lines, one that is no text, or one that occurs twice.
    """
    if not names:
        raise DataError("no class names given: at least one is needed")
    for position, name in enumerate(names):
        if not name.strip():
            raise DataError(f"class name {position + 1} of {len(names)} is empty: give it a name or remove it")
        if "\0" in name:
            raise DataError(f"class name {name[:60]!r} holds a NUL byte: remove it")
        if len(name.splitlines()) > 1:
            # In subtitles what is behind an empty line is the next one.
            raise DataError(f"class name {name[:60]!r} has several lines: write it in one")
        try:
            name.encode()
        except UnicodeEncodeError:
            # What a folder is called, or what is typed where the locale is no UTF-8.
            raise DataError(
                f"class name {name[:60]!r} holds bytes that are no UTF-8: rename it, or set the locale C.UTF-8"
            ) from None
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"class name {twice[0]!r} occurs {Counter(names)[twice[0]]} times: names must be unique")


def clean_names(labels: Sequence[str]) -> list[str]:
    """The cleaned name of each label, in order.

    Raises:
        DataError: two labels become the same name but for case (`push_up`, `push up`, `Push up`), or one becomes
            empty (`_`).
    """
    check_names(labels)
    names = [clean_name(label) for label in labels]
    seen: dict[str, str] = {}
    for label, name in zip(labels, [name.casefold() for name in names], strict=True):
        if not name:
            raise DataError(f"label {label!r} has no words: rename it, or keep it with names=verbatim")
        if name in seen:
            raise DataError(
                f"labels {seen[name]!r} and {label!r} both read {name!r}: merge them, or keep them with names=verbatim"
            )
        seen[name] = label
    return names


def mirrored_names(names: Sequence[str]) -> list[str]:
    """The names that say left or right, `TurnLeft` too: a horizontal flip would make them false."""
    return [name for name in names if _SIDES.search(clean_name(name))]


def text_lines(path: Path, what: str) -> list[str]:
    """Return the lines of a text file; `what` they are is named in the error."""
    try:
        return read_text(path).splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file of {what}; give a .txt with one a line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); give a .txt with one a line") from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # A list of names can be longer than a file name may be.
        return False


def read_names(source: str) -> list[str]:
    """Class names from a text file (one a line), a CSV with `id,name`, or a comma-separated string.

    A string that ends in `.txt`, or that names a file, is read as a file; blank lines are passed over. The names of a
    CSV come in the order of its rows, as the published code reads them.

    Raises:
        DataError: the file is missing or not text, the names are empty or repeated, or the string can only be the name
            of a file that is not there.
    """
    path = Path(source)
    if path.suffix.lower() == ".csv":
        return list(read_labels(path).names)
    if path.suffix.lower() == ".txt" or _is_file(path):
        names = [line.strip() for line in text_lines(path, "class names") if line.strip()]
    elif _FILE_NAME.fullmatch(source):
        raise DataError(f"{source!r} reads as the name of a file, which is not there: check the path, or name classes")
    else:
        names = [name.strip() for name in source.split(",")]
    check_names(names)
    return names


def typed_names(text: str) -> list[str]:
    """Class names that somebody typed, one a line or with commas between them; no file is read, whatever they say.

    Raises:
        DataError: no name, an empty one between commas, or one that occurs twice.
    """
    names = [name.strip() for line in text.splitlines() if line.strip() for name in line.split(",")]
    check_names(names)
    return names
