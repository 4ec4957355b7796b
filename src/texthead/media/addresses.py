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

# The address of each copy, without a password.
COPIED: dict[Path, str] = {}


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
    problem, remedy = "the address cannot be read", "download the file, and name your copy"
    faults = raising(partial(MediaError, path), problem, remedy, Exception)  # fsspec raises errors of its libraries.
    with faults, fsspec.open(url, "rb") as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)  # pyright: ignore[reportArgumentType]
    COPIED[target] = without_password(url)
    return target


@cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="texthead-")


def hint_on_path(path: Path) -> str:
    """Return what to do about a missing path."""
    is_address = re.match(r"[a-z][a-z0-9+.-]+(::|:/)", path.as_posix())
    return "an address is read only as an argument: download the file" if is_address else "check the path"
