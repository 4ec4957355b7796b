"""Files written whole or not at all, JSON objects and tables in them, and the place of what can be computed again."""

import csv
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from texthead.errors import MediaError, RunError
from texthead.frame_files import frame_files, is_template
from texthead.shard_files import is_member, member
from texthead.text_files import MOST_BYTES, read_value


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
    # Containers that write into one folder often have the same process numbers.
    beside = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
        raise RunError(f"{path}: missing; {path.parent} is no finished run (continue it with --resume)") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(value, dict):
        raise RunError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def content_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes; of a folder of frames that of all files' in the order of their numbers.

    Raises:
        OSError: the file cannot be read.
        MediaError: a folder of frames that is missing or lacks one, or a clip that its shard does not list.
    """
    if is_member(path):
        return member(path).sha256
    digests = [_sha256(file) for file in (frame_files(path) if is_template(path) else [path])]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest() if is_template(path) else digests[0]


def _sha256(file: Path) -> str:
    if not file.is_file():  # A pipe or a device may never end.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def fingerprint(path: Path) -> str:
    """A digest of a file's size and its first and last 64 kB, whatever its name; "" if it cannot be read.

    It is equal for copies: it tells which files a run has seen without reading them whole. Of a folder of frames it
    takes the names and so the number of all frames, and the same of eight frames, evenly placed. A clip in a shard has
    that of the file that it was made from: the two are the same data.
    """
    if is_template(path):
        return _frames_fingerprint(path)
    if is_member(path):
        with suppress(MediaError):
            return member(path).source
        return ""
    part = 1 << 16
    if not path.is_file():  # To open a pipe would wait for somebody to write to it.
        return ""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(str(size).encode() + file.read(part))
            file.seek(max(part, size - part))
            digest.update(file.read(part))
    except OSError:
        return ""
    return digest.hexdigest()[:32]


def _frames_fingerprint(path: Path, most: int = 8) -> str:
    try:
        frames = frame_files(path)
    except MediaError:
        return ""
    last = len(frames) - 1
    chosen = sorted({i * last // (most - 1) for i in range(most)})
    parts = [fingerprint(frames[i]) for i in chosen]
    digest = hashlib.sha256("/".join([frame.name for frame in frames] + parts).encode())
    return digest.hexdigest()[:32] if all(parts) else ""


def fingerprints(paths: Sequence[Path]) -> list[str]:
    """The fingerprint of each file or folder of frames, read by several threads."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(fingerprint, paths))
