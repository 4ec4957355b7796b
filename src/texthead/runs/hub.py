"""Download a run from a hub (`hub:ORG/NAME[@REVISION]`), and names of runs on hubs."""

import re
from pathlib import Path

from texthead.downloads import cache_without_network, hub_errors
from texthead.errors import RunError
from texthead.runs.folder import ENCODER

PREFIX = "hub:"

# Reports and checkpoints are not on hubs: they hold pictures of the data and training state.
_FILES = ("recipe.json", "classes.json", "split.json", "calibration.json", "metrics.jsonl", "README.md")
_FILES += ("model.safetensors", "scores.json")

_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")

# Snapshot folders in the cache of the hub's client.
_CACHED = re.compile(r"/models--([^/]+?)--([^/]+)/snapshots/[0-9a-f]+/?$")


def local_run(run: str | Path) -> Path:
    """Return the folder of a run; download `hub:ORG/NAME[@REVISION]` to the hub client's cache if it is not there.

    Token, cache and offline mode are huggingface_hub's: `hf auth login`, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE.

    Raises:
        RunError: the name is malformed, or the repository cannot be read or holds no run.
    """
    if not str(run).startswith(PREFIX):
        return Path(run)
    address = str(run).removeprefix(PREFIX)
    if not _NAME.fullmatch(address):
        raise RunError(f"{run}: a run on a hub must be hub:ORG/NAME or hub:ORG/NAME@REVISION, got '{address}'")
    from huggingface_hub import snapshot_download

    name, _, revision = address.partition("@")
    with cache_without_network() as problem, hub_errors(str(run), problem):
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=[*_FILES, f"{ENCODER}/*"]))
    if not (folder / "recipe.json").is_file():
        raise RunError(f"{run}: the repository has no run (no recipe.json in it); `texthead export --to` uploads one")
    return folder


def check_own(folder: Path) -> None:
    """Raise RunError if a folder is in the hub client's cache, which must not be written to."""
    if _CACHED.search(folder.as_posix()):
        name = display_name(folder).removeprefix(PREFIX)
        raise RunError(
            f"{PREFIX}{name} is the cached copy of a run on a hub and must not be changed: download the run to a "
            f"folder of your own first (`hf download {name} --local-dir RUN`)"
        )


def display_name(folder: Path) -> str:
    """Return the name of a run for messages: its folder, or `hub:ORG/NAME` for a cached copy."""
    cached = _CACHED.search(folder.as_posix())
    return f"{PREFIX}{cached[1]}/{cached[2]}" if cached else str(folder)
