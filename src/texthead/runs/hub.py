"""Download a run from a hub (`hub:ORG/NAME[@REVISION]`), and upload a run with a model card."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from texthead.errors import RunError
from texthead.files import scratch_folder, write_json
from texthead.runs.folder import ENCODER, data_name, saved_split
from texthead.runs.metrics import read_records

if TYPE_CHECKING:
    from texthead.runs.run import Run

PREFIX = "hub:"

# Uploaded unchanged. Reports and checkpoints are not uploaded: they hold pictures of the data and training state.
_UNCHANGED = ("model.safetensors", "scores.json")

_FILES = (*_UNCHANGED, "recipe.json", "classes.json", "split.json", "calibration.json", "metrics.jsonl", "README.md")

_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")

# Snapshot folders in the cache of the hub's client.
_CACHED = re.compile(r"/models--([^/]+?)--([^/]+)/snapshots/[0-9a-f]+/?$")

# Encoder names that end in a path.
_SOURCE = re.compile(r"((?:hf|text|openclip:local-dir):|(?:openclip|timm):[^/]+/)(.+)")


def local_run(run: str | Path) -> Path:
    """Return the folder of a run; download `hub:ORG/NAME[@REVISION]` to the hub client's cache if it is not there.

    Token, cache and offline mode are huggingface_hub's: `hf auth login`, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE.

    Raises:
        RunError: the name is malformed, or the repository cannot be read or holds no run.
    """
    if not str(run).startswith(PREFIX):
        return Path(run)
    place = str(run).removeprefix(PREFIX)
    if not _NAME.fullmatch(place):
        raise RunError(f"{run}: a run on a hub must be hub:ORG/NAME or hub:ORG/NAME@REVISION, got {place!r}")
    from huggingface_hub import snapshot_download

    name, _, revision = place.partition("@")
    with _hub_errors(str(run)):
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=[*_FILES, f"{ENCODER}/*"]))
    if not (folder / "recipe.json").is_file():
        raise RunError(f"{run}: the repository holds no run (no recipe.json in it); `texthead export --to` uploads one")
    return folder


def check_own(folder: Path) -> None:
    """Raise RunError if a folder is in the hub client's cache, which must not be written to."""
    if _CACHED.search(str(folder)):
        name = display_name(folder).removeprefix(PREFIX)
        raise RunError(
            f"{PREFIX}{name} is the cached copy of a run on a hub and must not be changed: download the run to a "
            f"folder of your own first (`hf download {name} --local-dir RUN`)"
        )


def display_name(folder: Path) -> str:
    """Return the name of a run for messages: its folder, or `hub:ORG/NAME` for a cached copy."""
    cached = _CACHED.search(str(folder))
    return f"{PREFIX}{cached[1]}/{cached[2]}" if cached else str(folder)


def check_repository(repo_id: str) -> None:
    """Raise RunError if a repository name is not NAME or ORG/NAME."""
    if not re.fullmatch(r"([\w.-]+/)?[\w.-]+", repo_id):
        raise RunError(f"{repo_id!r} is not the name of a repository: give NAME or ORG/NAME")


def push_to_hub(
    run: "Run",
    repo_id: str,
    *,
    commit_message: str = "Upload a texthead run",
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload the run with a model card, and return the URL of the commit; `load_run("hub:ORG/NAME")` loads it.

    Not uploaded: data paths, reports, checkpoints and the command that made the run.

    Args:
        repo_id: ORG/NAME, or NAME for your own account; created if it does not exist.
        commit_message: message of the commit.
        private: whether a new repository is private; None for the account's default.
        token: hub token; None for the one of `hf auth login` or HF_TOKEN.
        branch: branch to write to, created if it does not exist; None for the main one.
        create_pr: open a pull request with the files.

    Raises:
        RunError: the run's classes are not saved in its folder, or the hub refuses.
    """
    from huggingface_hub import HfApi

    check_repository(repo_id)
    if run.classes is None or run.edits:
        raise RunError(
            f"{run.folder}: this run's classes differ from those saved in its folder; save it first, with save_classes"
        )
    api, place = HfApi(token=token), f"{PREFIX}{repo_id}"
    with _hub_errors(place):
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if branch is not None:
            api.create_branch(repo_id, branch=branch, exist_ok=True)
    with scratch_folder() as folder:
        write_public(run, folder, repo_id)
        with _hub_errors(place):
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message,
                revision=branch,
                create_pr=create_pr,
            )
    return str(commit.commit_url)


def write_public(run: "Run", folder: Path, repo_id: str) -> None:
    """Write the files to upload: without data paths, reports, checkpoints or the command that made the run.

    Digests of the items' content stay, so that copies of training items are still recognised.
    """
    from texthead.runs.model_card import model_card

    for name in _UNCHANGED:
        if (run.folder / name).is_file():
            shutil.copyfile(run.folder / name, folder / name)
    if run.carries_encoder:
        shutil.copytree(run.folder / ENCODER, folder / ENCODER)
    split = saved_split(run.folder)
    for part in ("train", "held_out"):
        split[part] = [f"{part}/{place}" for place in range(len(split[part]))]
    write_json(folder / "split.json", {**split, "source": data_name(split)})
    for name in ("recipe.json", "classes.json", "calibration.json"):
        if (run.folder / name).is_file():
            write_json(folder / name, _public(json.loads((run.folder / name).read_text(encoding="utf-8"))))
    records = [record for record in read_records(run.folder) if record.get("kind") != "note"]
    if records:
        lines = "".join(f"{json.dumps(record)}\n" for record in records)
        (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    address = f"{PREFIX}{repo_id}"
    card = model_card(
        run,
        run.protocol,
        repo_id.rpartition("/")[2],
        made=run.calibration,
        library="texthead",
        use=_use_section(address),
        maker=f"texthead export RUN --to {address}",
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def _public(values: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a file of a run without the command, and with file names in place of absolute paths."""
    return {key: _without_folders(value) for key, value in values.items() if key != "command"}


def _without_folders(value: Any) -> Any:
    """Replace each absolute path in a JSON value by its file name."""
    if isinstance(value, dict):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    if not isinstance(value, str):
        return value
    source = _SOURCE.fullmatch(value)
    start, path = (source[1], source[2]) if source else ("", value)
    return f"{start}{Path(path).name}" if Path(path).is_absolute() else value


def _use_section(address: str) -> str:
    return f"""## Use

    pip install texthead
    texthead predict {address} clip.mp4 photo.png

In Python:

    import texthead as th

    run = th.load_run("{address}")
    predictions = th.predict(run, ["clip.mp4"])

Other classes for the same model: `--classes "a kite, a bird"`, or `run.with_classes(["a kite", "a bird"])`. That needs
the text encoder, which `--allow-download` lets texthead fetch."""


@contextmanager
def _hub_errors(place: str) -> Iterator[None]:
    """Convert errors of the hub's client to RunError."""
    try:
        yield
    except Exception as error:  # The client also raises errors of its HTTP library, which is another in each version.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {' '.join(lines[:2])[:300]}"
        raise RunError(
            f"{place}: the hub refused or cannot be reached ({reason}); check name, revision, connection and token "
            "(hf auth login)"
        ) from None
