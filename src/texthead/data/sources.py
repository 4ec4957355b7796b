"""Check that a data source exists, without reading it."""

from pathlib import Path

from texthead.errors import DataError
from texthead.extras import check_extra
from texthead.media.paths import surely_missing

HUB_PREFIX = "datasets:"


def check_source(source: str | Path) -> None:
    """Raise DataError if a data source is a path that does not exist, or needs an extra that is not installed."""
    if str(source).startswith(HUB_PREFIX):
        check_extra("datasets", f"{HUB_PREFIX}...", DataError)
    elif surely_missing(source):
        raise no_source(Path(source))


def no_source(path: Path) -> DataError:
    """Return the error for a path that is not a data source."""
    if path.suffix.lower() == ".txt":
        return DataError(f"{path}: no such list; check the path")
    kinds = "class folders, a CSV with path,label, a .txt list, a .json of Label Studio"
    return DataError(f"{path}: no such file or folder; give {kinds}, or {HUB_PREFIX}FOLDER_OR_ID")
