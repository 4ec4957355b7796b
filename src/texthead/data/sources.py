"""The table of what reads labelled data, and a check that a source exists, without reading it."""

from pathlib import Path

from texthead.errors import DataError
from texthead.extensions import find
from texthead.media.paths import MediaPath

# What reads labelled data, in the order in which it is asked: modules or objects with `accepts(source)`, which returns
# whether `read(source)` can return its `Dataset`. If `read` has a parameter `labels`, `root`, `frame_template` or
# `suffix`, the caller may give the option of this name. Installed packages add theirs as entry points of this group.
SOURCE_GROUP = "texthead.sources"
SOURCE_FUNCTIONS = ("accepts", "read")
SOURCES = {name: f"texthead.data.reading:{name}" for name in ("lists", "shards", "manifests", "folders")}
SOURCES["yaml"] = "texthead.data.data_file"


def check_source(source: str | Path) -> None:
    """Raise DataError if a data source is a path that does not exist."""
    if not MediaPath(source).exists() and str(source).partition(":")[0] not in find(SOURCE_GROUP):
        raise unknown_source(Path(source))


def unknown_source(path: Path) -> DataError:
    """Return the error for a source that nothing reads."""
    kinds = "class folders, a CSV with path,label, a YAML file that describes other data"
    missing = not MediaPath(path).exists()
    problem = "no such file or folder; expected" if missing else "not a known format of labels; expected"
    others = "".join(f", what {name} reads" for name, entry in find(SOURCE_GROUP).items() if not entry.ours)
    return DataError(f"{path}: {problem} {kinds}{others}, or datasets:FOLDER_OR_ID")
