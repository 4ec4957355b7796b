"""Text out of files that anyone may have written: how much there is of it is checked before memory is taken."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TextIO

# Names and options, of which a large file is a mistake; and lists with a line an item.
MOST_BYTES = 16 * 2**20
MOST_BYTES_OF_LISTS = 256 * 2**20
MOST_IN_LINE = 2**20
# A file of options: each of them in several lines, and room for remarks.
MOST_BYTES_OF_OPTIONS = 2**16
_MOST_DEPTH = 20
# Items of a data set are held in memory, about a kilobyte each.
MOST_ITEMS = 4_000_000


def read_text(path: Path, *, most: int = MOST_BYTES) -> str:
    """The text of a UTF-8 file, without the mark that some programs put in front.

    Raises:
        OSError: it cannot be read, or holds more than `most` bytes.
        UnicodeDecodeError: it is no UTF-8.
    """
    with path.open(encoding="utf-8-sig") as file:
        _check(os.fstat(file.fileno()).st_size, most)
        parts, count = [], 0
        # Pipes and devices have no size; they are read as far as is allowed.
        for part in iter(partial(file.read, 2**20), ""):
            count += len(part)
            _check(count, most)
            parts.append(part)
    return "".join(parts)


def read_value(
    path: Path, *, most: int = MOST_BYTES, pairs: Callable[[list[tuple[str, Any]]], dict] | None = None
) -> Any:
    """What a JSON file holds.

    Args:
        pairs: makes an object of its names and values.

    Raises:
        OSError: as `read_text`.
        ValueError: it is no JSON, no UTF-8, or nested too deeply.
    """
    try:
        return json.loads(read_text(path, most=most), object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def check_options(path: Path) -> None:
    """Nothing, if a YAML file of options can be read in little memory: one value may stand for any number of others.

    Raises:
        OSError: as `read_text`.
        ValueError: it is no UTF-8, refers to values by `*name`, or is nested too deeply.
    """
    import yaml

    depth = 0
    try:
        for event in yaml.parse(read_text(path, most=MOST_BYTES_OF_OPTIONS), yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"refers to a value by *{event.anchor}; write the value itself there")
            if depth > _MOST_DEPTH:
                raise ValueError(f"its values are nested more than {_MOST_DEPTH} deep")
    except yaml.YAMLError:
        return  # Its reader says what is wrong.


def lines(file: TextIO) -> Iterator[str]:
    """The lines of an open text file, as they are.

    Raises:
        OSError: a line of more than 2^20 characters.
        UnicodeDecodeError: it is no UTF-8.
    """
    for line in iter(partial(file.readline, MOST_IN_LINE + 1), ""):
        if len(line) > MOST_IN_LINE:
            raise OSError(f"a line of more than {MOST_IN_LINE:,} characters")
        yield line


def check_lines(path: Path) -> None:
    """Nothing, if a file has not more lines than there may be items.

    Raises:
        OSError: it has more, or cannot be read.
    """
    count = 0
    with path.open("rb") as file:
        for part in iter(partial(file.read, 2**20), b""):
            count += part.count(b"\n")
            if count > MOST_ITEMS:
                raise OSError(f"has more than {MOST_ITEMS:,} lines, the most items that are held in memory")


def _check(count: int, most: int) -> None:
    if count > most:
        raise OSError(f"holds more than {most:,} bytes, the most that is read of such a file")
