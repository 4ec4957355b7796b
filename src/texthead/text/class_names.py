"""Read, clean and check class names, from labels, files and the command line."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise
from os.path import isfile
from pathlib import Path

from texthead.errors import DataError, converted, escaped, raising
from texthead.files import read_text
from texthead.text.label_files import read_labels

# The prediction if no class is above the rejection threshold.
NONE = "none of these"

# Word boundaries in camel case: "ApplyEye" after y, "BMXRiding" before Riding.
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# One word with a suffix, such as "names.tsv": a file name rather than a class name.
_FILE_NAME = re.compile(r"[^\s,]+\.[A-Za-z]\w{1,7}")

_SIDES = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)

# Fillers of Korean syllables and an empty Braille cell: letters and a symbol by their category, but blank.
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"


def clean_name(label: str) -> str:
    """Return the label as words separated by single spaces, which text encoders read best.

    `ApplyEyeMakeup` -> `apply eye makeup`, `push_up` -> `push up`; `t-shirt` and `Tai Chi` stay.
    Only camel case is changed to lower case.
    """
    words = _CAMEL.sub(" ", label)
    if words != label:
        words = words.lower()
    return " ".join(words.replace("_", " ").split())


def is_drawn(name: str) -> bool:
    """Return whether a name has anything visible: more than blanks, accents, and invisible or control characters."""
    return any(
        unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Mc", "Me", "Mn", "Zl", "Zp", "Zs")
        and each not in _BLANK_LETTERS
        for each in name
    )


def _look(name: str) -> str:
    """Return what a name looks like: without invisible characters, and with one form of accents and blanks."""
    letters = (each for each in unicodedata.normalize("NFC", name) if each not in _BLANK_LETTERS + "\ufe0e\ufe0f")
    return " ".join("".join(each for each in letters if unicodedata.category(each) != "Cf").split())


def _shown(name: str) -> str:
    """Return the start of a name in quotes, with blanks, accents and invisible characters as `\\u200b`."""
    return f"'{''.join(each if is_drawn(each) or each == ' ' else ascii(each)[1:-1] for each in name[:60])}'"


def check_names(names: Sequence[str]) -> None:
    """Raise DataError unless these are valid class names: the rule for all names, wherever they come from.

    A name is one line of visible text without control characters. No two names look the same: they must differ in more
    than blanks, invisible characters and the encoding of accents.
    """
    names = converted("names", names, Sequence[str])
    if not names:
        raise DataError("no class names: at least one is needed")
    looks: dict[str, str] = {}
    for position, name in enumerate(names, 1):
        valid = name == name.encode(errors="replace").decode()  # Names of folders, and a locale, may be without UTF-8.
        if not (valid and is_drawn(name) and escaped(name) == name and name.splitlines() == [name]):
            where = f"class name {position} of {len(names)}, {_shown(name)},"
            raise DataError(f"{where} is not one line of visible text in UTF-8: rename it, or save its list as UTF-8")
        look = _look(name)
        if look in looks:
            raise DataError(
                f"class names {_shown(looks[look])} and {_shown(name)} look the same: rename one, or merge the classes"
            )
        looks[look] = name


def names_above(labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the broader names above each label, from the top down: animal, animal/dog above animal/dog/pug.

    Labels are paths in a tree only if a name has two others below it; else a slash is part of a name (TV/monitor).
    """
    levels = {label: label.split("/") for label in labels}
    if not all(is_drawn(name) for names in levels.values() for name in names):
        return dict.fromkeys(labels, ())
    prefixes = {label: [*accumulate(names, "{}/{}".format)] for label, names in levels.items()}
    below: dict[str, set[str]] = {}
    for names in prefixes.values():
        for name, lower in pairwise(names):
            below.setdefault(name, set()).add(lower)
    if below.keys() & levels.keys():  # A name is a class as well.
        return dict.fromkeys(labels, ())
    return {
        label: tuple(names[:-1]) if any(len(below[name]) > 1 for name in names[:-1]) else ()
        for label, names in prefixes.items()
    }


def leaf_names(labels: Sequence[str]) -> list[str]:
    """Return the last name of each label that is a path in a tree: `pug` for animal/dog/pug.

    Where two labels end in the same name, the name before it is added: `dog boxer`, `sport boxer`.
    """
    above = names_above(labels)
    levels = {label: label.split("/") if above[label] else [label] for label in labels}
    counts = Counter(clean_name(names[-1]).casefold() for names in levels.values())
    return [" ".join(names[-1 if counts[clean_name(names[-1]).casefold()] == 1 else -2 :]) for names in levels.values()]


def clean_names(labels: Sequence[str]) -> list[str]:
    """Return the cleaned name of each label, in order; of paths in a tree (animal/dog/pug) that of the last name.

    Raises:
        DataError: the names of two labels differ at most in case (`push_up`, `push up`, `Push up`), or one is
            empty (`_`).
    """
    check_names(labels)
    names = [clean_name(name) for name in leaf_names(labels)]
    seen: dict[str, str] = {}
    for label, name in zip(labels, [_look(name).casefold() for name in names], strict=True):
        if not name:
            raise DataError(f"label {label!r} has no words: rename it, or keep it with `clean=False`")
        if name in seen:
            raise DataError(
                f"labels {seen[name]!r} and {label!r} both become the class name {name!r}: merge them, or keep both "
                "with `clean=False`"
            )
        seen[name] = label
    return names


def mirrored_names(names: Sequence[str]) -> list[str]:
    """Return the names that contain left or right (`TurnLeft` too), which a horizontal flip would make wrong."""
    return [name for name in names if _SIDES.search(clean_name(name))]


def text_lines(path: Path, what: str) -> list[str]:
    """Return the lines of a text file; errors call the file a file of `what`."""
    with raising(DataError, f"{path}: cannot be read as a file of {what}", "use a .txt with one per line"):
        return read_text(path).splitlines()


def read_names(source: str) -> list[str]:
    """Return class names from a text file (one per line), a CSV with `id,name`, or a comma-separated string.

    A string is read as a file if it ends in `.txt` or names a file; blank lines are skipped. Names from a CSV have the
    order of its ids if these are numbers, else of its rows.

    Raises:
        DataError: the file is missing or not text, a name is empty or repeated, or the string looks like a file name
            but there is no such file.
    """
    path = Path(source)
    if path.suffix.lower() == ".csv":
        rows = read_labels(path)
        numbered = all(map(str.isdecimal, rows.ids))
        pairs = sorted(zip(rows.ids, rows.names, strict=True), key=lambda pair: int(pair[0]) if numbered else 0)
        names = [name for _, name in pairs]
    elif path.suffix.lower() == ".txt" or isfile(path):  # noqa: PTH113 (Path.is_file raises for very long lists)
        names = [line.strip() for line in text_lines(path, "class names") if line.strip()]
    elif _FILE_NAME.fullmatch(source):
        raise DataError(
            f"'{source}' looks like a file name, but there is no such file: check the path, or list class names"
        )
    else:
        return typed_names(source)
    check_names(names)
    return names


def typed_names(text: str) -> list[str]:
    """Return class names typed by a user, one per line or separated by commas; never reads a file.

    Raises:
        DataError: there is no name, an empty one between commas, or one that occurs twice.
    """
    names = [name.strip() for line in text.splitlines() if line.strip() for name in line.split(",")]
    if len(names) == 1 and ";" in names[0]:
        raise DataError(f"class name {names[0]!r} contains ';': separate names with commas")
    check_names(names)
    return names
