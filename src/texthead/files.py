"""Files written whole or not at all, JSON objects and tables in them, and the place of what can be computed again."""

import csv
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, TextIO

from safetensors import SafetensorError

from texthead.errors import RunError

# Names and options, of which a large file is a mistake; and lists with a line an item.
MOST_BYTES = 16 * 2**20

MOST_BYTES_OF_LISTS = 256 * 2**20

MOST_IN_LINE = 2**20

# A file of options: each of them in several lines, and room for remarks.
MOST_BYTES_OF_OPTIONS = 2**16

_MOST_DEPTH = 20

# Octal, hexadecimal and binary numbers, those of base 60 (1:30), and digits in groups.
_ODD_NUMBER = re.compile(r"[-+]?(0[0-9_]+|0[box][0-9a-fA-F_]+|[0-9_]+(:[0-5]?[0-9])+(\.[0-9_]*)?|[0-9]+_[0-9_.]*)")

# How protobuf writes the key of an ONNX model's tensors that lie in other files.
ONNX_OUTSIDE = b"\x0a\x08location"

# Items of a data set are held in memory, about a kilobyte each.
MOST_ITEMS = 4_000_000


def cache_dir() -> Path:
    """The folder for everything that can be computed again: $TEXTHEAD_CACHE, else the user's cache folder."""
    named = os.environ.get("TEXTHEAD_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base) / "texthead"


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """A path beside `path` to write to; when the block ends well it is synced and takes the place of `path`.

    Without `sync` a power cut may leave less: for what can be made again.

    Raises:
        RunError: the disk is full or read-only; what was at `path` is still there.
    """
    beside = path.with_name(f".{path.name}.{_own_mark()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clean_once(path.parent, os.getpid())
        beside.touch()
        mode = beside.stat().st_mode
        yield beside
        # safetensors makes a file of its own that nobody else may read.
        beside.chmod(mode)
        if sync:
            with beside.open("rb") as file:
                os.fsync(file.fileno())
        beside.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        fault = _fault(error)
        if isinstance(fault, KeyboardInterrupt):
            raise fault from None
        raise RunError(f"{path}: cannot be written ({fault}); what was there before is kept") from error
    finally:
        # There is nothing to remove after the replacement, nor where the folder could not be made.
        with suppress(OSError):
            beside.unlink()


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out` that becomes `out` when the block ends well.

    Raises:
        RunError: there is something at `out`, or it cannot be written.
    """
    if out.exists():
        raise RunError(f"{out}: exists already. Choose another folder, or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(out.parent, f".{out.name}.") as beside:
            folder = beside / "folder"
            folder.mkdir()
            yield folder
            folder.rename(out)
    except OSError as error:
        raise RunError(f"{out}: cannot be written ({error.strerror or error}); choose another folder") from error


@contextmanager
def scratch_folder(where: Path | None = None, prefix: str = "") -> Iterator[Path]:
    """Yield a new folder, removed at the end; where this process is killed, by the next that writes there.

    Args:
        where: the folder that it is made in; None is the system's folder for temporary files.
        prefix: its name begins so.
    """
    where = Path(tempfile.gettempdir()) if where is None else where
    remove_leftovers(where)
    with tempfile.TemporaryDirectory(prefix=f"{prefix}{_own_mark()}-", dir=where) as folder:
        yield Path(folder)


# What is being written: by which process, on which machine.
_MARK = re.compile(r"(?:^|\.)texthead-tmp-([0-9a-f]{8})-([0-9]+)(?:-\w+)?$")

_DAY = 86_400.0


def _own_mark() -> str:
    return f"texthead-tmp-{_machine()}-{os.getpid()}"


@cache
def _machine() -> str:
    """Return what tells machines apart, and containers of one machine: processes of two have the same numbers."""
    known = [os.uname().nodename]
    with suppress(OSError):
        known += [str(Path("/proc/self/ns/pid").stat().st_ino), Path("/proc/sys/kernel/random/boot_id").read_text()]
    return hashlib.sha256(" ".join(known).encode()).hexdigest()[:8]


def remove_leftovers(folder: Path) -> None:
    """Remove what processes were writing into a folder when they were killed.

    Those are of processes of this machine that are gone, or of another machine and untouched for a day.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            mark = _MARK.search(entry.name)
            if mark and _is_left(entry, mark[1], int(mark[2])):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        Path(entry.path).unlink()


@cache
def _clean_once(folder: Path, process: int) -> None:
    """Remove what is left in a folder, once for this process: there can be very many files in it."""
    remove_leftovers(folder)


def _is_left(entry: os.DirEntry[str], machine: str, process: int) -> bool:
    if machine != _machine():
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _DAY
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # Somebody else's.
        return False
    return False


def _fault(error: BaseException) -> BaseException:
    """The fault behind an error: torch reports a full disk, and an interrupt, as an unexpected position."""
    found: BaseException | None = error
    while found and not isinstance(found, OSError | KeyboardInterrupt):
        found = found.__context__
    return found or error


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_json(path: Path, value: object) -> None:
    """Put a value into a JSON file, whole or not at all. Of paths that are no UTF-8 the odd bytes are escaped."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")  # `\\udce9`, as JSON has it too


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Put rows into a CSV file with a header, whole or not at all. Paths that are no UTF-8 keep their bytes."""
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def read_json(path: Path, *, most: int = MOST_BYTES) -> dict:
    """The object in a JSON file of at most so many bytes.

    Raises:
        RunError: the file is missing, too large, or holds no JSON object.
    """
    try:
        if not path.is_file() and not path.is_dir():  # A pipe would be waited for.
            raise FileNotFoundError
        value = read_value(path, most=most)
    except FileNotFoundError:
        raise RunError(f"{path}: missing; {path.parent} is no finished run (continue it with resume)") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(value, dict):
        raise RunError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; what killed processes left in it is removed.

    So is what this one's own workers leave where the block ends with an error.

    Raises:
        RunError: another process holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}); choose a folder that can be") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(f"{folder}: in use by another process; wait for it or choose another folder") from None
        remove_leftovers(folder)
        try:
            yield
        except BaseException:
            remove_leftovers(folder)
            raise


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


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; json itself keeps the last of two equal keys.

    Raises:
        ValueError: a key that occurs twice.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r:.80} occurs twice in an object")
        found[key] = value
    return found


def check_options(path: Path) -> None:
    """Nothing, if a YAML file of options can be read in little memory: one value may stand for any number of others.

    Raises:
        OSError: as `read_text`.
        ValueError: it is no UTF-8, refers to values by `*name`, or is nested too deeply.
    """
    import yaml

    depth, text = 0, read_text(path, most=MOST_BYTES_OF_OPTIONS)
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"refers to a value by *{event.anchor}; write the value itself there")
            if depth > _MOST_DEPTH:
                raise ValueError(f"its values are nested more than {_MOST_DEPTH} deep")
    except yaml.YAMLError:
        return  # Its reader says what is wrong.
    _check_values(text)


def _check_values(text: str) -> None:
    """Raise ValueError for YAML with an option twice, or a number that YAML's versions read in different ways."""
    import yaml

    try:
        nodes = [yaml.compose(text, yaml.SafeLoader)]
    except yaml.YAMLError:
        return  # As above.
    for node in nodes:
        if isinstance(node, yaml.MappingNode):
            names = [str(key.value).replace("-", "_") for key, _ in node.value]
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"{twice[0]} is there {names.count(twice[0])} times; name it once")
            nodes += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.ScalarNode) and node.style is None and _ODD_NUMBER.fullmatch(node.value):
            raise ValueError(f"{node.value} is no decimal number; write one, or a text in quotes")


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
