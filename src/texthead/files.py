"""Atomic file writes, JSON and CSV files, size limits for files that are read, and the cache folder."""

import csv
import io
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from texthead.errors import DataError, RunError, raising
from texthead.platform import replace

if TYPE_CHECKING:
    from filelock import AcquireReturnProxy, FileLock

# Limit for files of names and options: a larger one is the wrong file. Lists have one line per item.
MAX_BYTES = 16 * 2**20

MAX_BYTES_OF_LISTS = 256 * 2**20


def path_list(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return paths as a list; a single path is a list of one."""
    return [Path(paths)] if isinstance(paths, str | Path) else [*map(Path, paths)]


def cache_dir() -> Path:
    """Return the cache folder: $TEXTHEAD_CACHE, else `texthead` in the user's cache folder."""
    override = os.environ.get("TEXTHEAD_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(override) if override else Path(base) / "texthead"


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder; when the block succeeds, sync it and rename it to `path`.

    Without `sync` a power cut may truncate the file: for data that can be recomputed.

    Raises:
        RunError: the disk is full or read-only; the old content of `path` is still there.
    """
    temporary = path.with_name(f".{path.name}.{_MARK}{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clean_once(path.parent)
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        # safetensors replaces the file by one that only its owner can read.
        temporary.chmod(mode)
        if sync:
            with temporary.open("r+b") as file:  # Windows syncs only files opened for writing.
                os.fsync(file.fileno())
        replace(temporary, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch reports a full disk, and an interrupt, as an unexpected position.
        cause: BaseException | None = error
        while cause and not isinstance(cause, OSError | KeyboardInterrupt):
            cause = cause.__context__
        if isinstance(cause, KeyboardInterrupt):
            raise cause from None
        raise RunError(f"{path}: cannot be written ({cause or error}); nothing was overwritten") from error
    finally:
        # The file is gone after the rename, and never existed if the folder could not be created.
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that is renamed to `out` when the block succeeds.

    Raises:
        RunError: `out` exists, or cannot be written.
    """
    try:
        if out.exists():
            raise RunError(f"{out}: already exists; choose another folder, or remove it")
        out.parent.mkdir(parents=True, exist_ok=True)
        _clean_once(out.parent)
        with scratch_folder(out.parent, f".{out.name}.") as temporary:
            folder = temporary / "folder"
            folder.mkdir()
            yield folder
            replace(folder, out)
    except OSError as error:
        raise RunError(f"{out}: cannot be written ({error.strerror or error}); choose another folder") from error


@contextmanager
def scratch_folder(where: Path | None = None, prefix: str = "") -> Iterator[Path]:
    """Yield a temporary folder, removed at the end.

    Args:
        where: the parent folder; None is the system's folder for temporary files.
        prefix: start of its name.
    """
    with tempfile.TemporaryDirectory(prefix=f"{prefix}{_MARK}", dir=where, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


# In the name of an unfinished file or folder.
_MARK = "texthead-tmp-"

# Seconds after which an unchanged one is taken for that of a killed process.
_DAY = 86_400.0

# Seconds to wait for others that change the same file; each takes milliseconds.
_TURN = 10.0


def remove_leftovers(folder: Path, pattern: str = ".*", age: float = _DAY) -> None:
    """Remove unfinished files and folders from a folder that have not changed for `age` seconds."""
    for path in [*folder.glob(f"{pattern}{_MARK}*")]:
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime >= age:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@cache
def _clean_once(folder: Path) -> None:
    """Remove leftovers once per process: the folder may hold very many files."""
    remove_leftovers(folder)


def write_json(path: Path, value: object) -> None:
    """Write a value to a JSON file atomically. Bytes of paths that are not UTF-8 are escaped."""
    # The error handler writes `\\udce9`, as JSON does.
    with replacing(path) as temp, temp.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file with a header atomically. Paths that are not UTF-8 keep their bytes."""
    with replacing(path) as temp, temp.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def write_records(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as a CSV; its columns are those of the rows, in the order in which they first occur."""
    columns = [*dict.fromkeys(column for row in rows for column in row)]
    write_csv(path, columns, ([row.get(column, "") for column in columns] for row in rows))


def csv_text(rows: Iterable[Sequence[object]], end: str = "\r\n") -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(rows)
    return text.getvalue()


def read_json(path: Path, *, most: int = MAX_BYTES) -> dict:
    """Return the object in a JSON file of at most `most` bytes.

    Raises:
        RunError: the file is missing, too large, or not a JSON object.
    """
    if not path.is_file() and not path.is_dir():  # Reading a pipe could block.
        raise RunError(f"{path}: missing; {path.parent} is not a finished run (continue it with `resume`)")
    with raising(RunError, f"{path}: cannot be read as JSON", "restore it from a copy"):
        value = read_value(path, most=most)
    if not isinstance(value, dict):
        raise RunError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process and remove what killed processes left unfinished in it and below.

    Raises:
        RunError: another process holds the lock, or the folder cannot be written.
    """
    with lock(folder / ".lock", f"{folder}: in use by another process; wait for it or choose another folder"):
        remove_leftovers(folder, "**/.*", 0.0)
        yield


@contextmanager
def in_turn(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file that several processes change, `.NAME.lock` beside it.

    Args:
        wait: wait up to ten seconds while another process holds it.

    Raises:
        RunError: another process holds it, or the folder cannot be written.
    """
    problem = f"{path}: in use by another process; end that process or wait for it"
    with lock(path.with_name(f".{path.name}.lock"), problem, _TURN if wait else 0.0):
        yield


def lock(path: Path, problem: str, seconds: float = 0.0) -> "AcquireReturnProxy[FileLock]":
    """Return the lock of a file, held until the end of a `with` block; wait `seconds` if another process holds it.

    Raises:
        RunError: another process still holds it, with `problem`, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    with raising(RunError, f"{path.parent}: cannot be written", "choose another folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
        # By default Windows would remove the file at the end, while another process opens it.
        held = FileLock(path, seconds, thread_local=False, poll_interval=0.005, preserve_lock_file=True)
        try:
            return held.acquire()
        except Timeout:
            raise RunError(problem) from None


def read_text(path: Path, *, most: int = MAX_BYTES) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Raises: OSError if it cannot be read, or has more than `most` bytes; UnicodeDecodeError if it is not UTF-8.
    """
    if path.stat().st_size > most:
        raise OSError(f"has more than {most:,} bytes, the limit for such a file")
    return path.read_text(encoding="utf-8-sig")


def read_value(
    path: Path, *, most: int = MAX_BYTES, pairs: Callable[[list[tuple[str, Any]]], dict] | None = None
) -> Any:
    """Return the value in a JSON file; `pairs` makes a dict from the (key, value) pairs of an object.

    Raises:
        OSError: as `read_text`.
        ValueError: it is not JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(read_text(path, most=most), object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("values are nested too deeply") from None


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the dict of an object; json and YAML themselves keep the last of two equal keys.

    Raises:
        ValueError: a key occurs twice.
    """
    unique: dict[str, Any] = {}
    for key, value in pairs:
        if key in unique:
            raise ValueError(f"the key {key!r:.80} occurs twice; join the two")
        unique[key] = value
    return unique


def read_yaml(path: Path, form: str) -> dict[str, Any]:
    """Return the mapping in a YAML file. It holds texts, lists and mappings only: `no` and 010 stay texts.

    Args:
        form: an example of such a file, for messages.

    Raises:
        DataError: the file is missing, is not a YAML mapping, has a key twice, or an alias.
    """
    import yaml

    # Aliases could stand for any number of lists.
    class Loader(yaml.BaseLoader):
        def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                raise ValueError("aliases are not read: write each name once")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            without_twins([(str(key.value), None) for key, _ in node.value])
            return super().construct_mapping(node, deep)

    with raising(DataError, f"{path}: cannot be read as YAML", f"use {form}", RecursionError, yaml.YAMLError):
        value = yaml.load(read_text(path), Loader)
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a mapping such as {form}, found {type(value).__name__}")
    return value


def unused(path: Path) -> Path:
    """Return a path that does not exist: this one, or the first of path-2, path-3, ..."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
