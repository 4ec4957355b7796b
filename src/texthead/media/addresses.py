"""Remote addresses, for fsspec.

What the caller or the command line names is read. An address in a file (a list, a run) is an error unless the user
allows it, since the file may be a stranger's.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from texthead.errors import MediaError, either

# Schemes of fsspec. It can chain others (`simplecache::`, `reference::`), which write copies or read a file that names
# more addresses; those are not addresses here.
SCHEMES = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "abfss", "hdfs", "sftp", "hf", "memory")

_REMOTE = re.compile(rf"({'|'.join(SCHEMES)}):/+(?!.*::)")

# Any scheme, or chain of them.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+(::|:/)")

# Where allowed addresses are stored, one per line: processes that are started later inherit the environment.
_VARIABLE = "TEXTHEAD_ADDRESSES"


def address(path: str | Path) -> str | None:
    """Return the URL of a remote path, for fsspec; None for a local path.

    `Path("http://host/shards")` collapses to `http:/host/shards`; its address is `http://host/shards`.
    """
    text = path.as_posix() if isinstance(path, Path) else path
    found = _REMOTE.match(text)
    return f"{found[1]}://{text[found.end() :]}" if found and not Path(path).exists() else None


def allow_addresses(*names: str | Path) -> None:
    """Let files name these addresses and what is below them, in this process and its workers; the text "*" allows all.

    Addresses that are arguments themselves, as in `read_dataset("http://host/shards")`, are always read. Names that are
    no addresses are ignored.
    """
    for name in names:
        folder = (
            path.parent.parent if (path := Path(name)).parent.suffix == ".tar" else path
        )  # The index is beside a shard.
        url = "*" if name == "*" else address(folder)
        if url and url not in (known := _allowed()):
            os.environ[_VARIABLE] = "\n".join([*known, url])


def _allowed() -> list[str]:
    return os.environ.get(_VARIABLE, "").splitlines()


def allowed_address(path: str | Path) -> str | None:
    """Return the URL of a remote path, as `address`.

    Raises:
        MediaError: it comes from a file, and is not allowed.
    """
    if (url := address(path)) is None or "*" in (allowed := _allowed()):
        return url
    if ".." in unquote(url).split("/") or not any(f"{url}/".startswith(f"{each.rstrip('/')}/") for each in allowed):
        problem = "the address comes from a file, and only those that you name yourself are read; if you trust the file"
        raise MediaError(path, f"{problem}, allow it with `allow_addresses`")
    return url


def hint_on_path(path: Path) -> str:
    """Return what to do about a path that does not exist, but does with / for \\, or has a scheme; else ""."""
    if "\\" in str(path) and Path(str(path).replace("\\", "/")).exists():
        return "with / in place of \\ it exists: write / between folders"
    return f"addresses begin with {either(SCHEMES)}, followed by ://" if _SCHEME.match(str(path)) else ""
