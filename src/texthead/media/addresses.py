"""Files at remote addresses, which only an argument may name: they are copied to this machine, through fsspec.

An address in a list or a run is a missing file.
"""

import re
import shutil
import tempfile
from functools import cache, partial
from pathlib import Path

from texthead.errors import MediaError, raising, without_password

# A scheme of fsspec, without chains of them (`simplecache::`); pathlib makes `http:/host` of `http://host`.
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(?!.*::)")

# A file beside a copy, with its address.
_SOURCE = ".address"


def address(path: str | Path) -> str | None:
    """Return the URL of a remote path, for fsspec; None for a local path.

    `Path("http://host/a.mp4")` collapses to `http:/host/a.mp4`; its address is `http://host/a.mp4`.
    """
    text = path.as_posix() if isinstance(path, Path) else path
    match = _ADDRESS.match(text)
    return f"{match[1]}://{text[match.end() :]}" if match and not Path(path).exists() else None


def local_copy(path: Path) -> Path:
    """Return the path, or for an address a copy of its file, which is removed when the program ends.

    Raises:
        MediaError: the address cannot be read.
    """
    url = address(path)
    if url is None:
        return path
    import fsspec

    target = Path(tempfile.mkdtemp(dir=_folder().name)) / path.name
    target.with_name(_SOURCE).write_text(without_password(url), encoding="utf-8")
    problem, remedy = "the address cannot be read", "download the file, and name your copy"
    faults = raising(partial(MediaError, path), problem, remedy, Exception)  # fsspec raises errors of its libraries.
    with faults, fsspec.open(url, "rb") as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)  # pyright: ignore[reportArgumentType]
    return target


def copied_from(path: Path) -> str | None:
    """Return the address, without a password, that `local_copy` copied the file from; None for other files."""
    if not _folder.cache_info().currsize or not path.is_relative_to(_folder().name):
        return None
    return path.with_name(_SOURCE).read_text(encoding="utf-8")


@cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="texthead-")


def hint_on_path(path: Path) -> str:
    """Return what to do about a missing path that exists with / for \\, has a *, or is an address; else ""."""
    if "\\" in str(path) and Path(str(path).replace("\\", "/")).exists():
        return "with / in place of \\ it exists: write / between folders"
    if "*" in path.name:
        return "* is not expanded on Windows and in quotes: name the folder"
    return (
        "an address is read only as an argument: download the file"
        if re.match(r"[a-z][a-z0-9+.-]+(::|:/)", path.as_posix())
        else ""
    )
