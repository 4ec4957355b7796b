"""Upload a run to a hub, with a model card."""

import json
import re
import shutil
from pathlib import Path

from huggingface_hub import HfApi

from texthead import Run
from texthead.apps.export.model_card import model_card, without_folders
from texthead.downloads import hub_errors
from texthead.errors import RunError
from texthead.files import scratch_folder, write_json
from texthead.runs import ENCODER, read_records


def push_to_hub(
    run: Run,
    repo_id: str,
    *,
    private: bool | None = None,
) -> str:
    """Upload the run with a model card, and return the URL of the commit; `load_run("hub:ORG/NAME")` loads it.

    Not uploaded: data paths, reports, checkpoints and the command that made the run.

    Args:
        repo_id: ORG/NAME, or NAME for your own account; created if it does not exist.
        private: whether a new repository is private; None for the account's default.

    Raises:
        RunError: the run's classes or weights are not those saved in its folder, or the hub refuses.
    """
    if not re.fullmatch(r"([\w.-]+/)?[\w.-]+", repo_id):
        raise RunError(f"'{repo_id}' is not the name of a repository: use NAME or ORG/NAME")
    run.check_saved()
    api, address = HfApi(), f"hub:{repo_id}"
    with hub_errors(address):
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    with scratch_folder() as folder:
        write_public(run, folder, repo_id)
        with hub_errors(address):
            message = "Upload a texthead run"
            commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    return str(commit.commit_url)


def write_public(run: Run, folder: Path, repo_id: str) -> None:
    """Write the files to upload: without data paths, reports, checkpoints or the command that made the run.

    Digests of the items' content stay, so that copies of training items are still recognised.
    """
    for name in ("model.safetensors", "scores.json"):
        if (run.folder / name).is_file():
            shutil.copyfile(run.folder / name, folder / name)
    if run.carries_encoder:
        shutil.copytree(run.folder / ENCODER, folder / ENCODER)
    split = {**run.split.lists}
    for key in ("train", "held_out"):
        split[key] = [f"{key}/{index}" for index in range(len(split[key]))]
    write_json(folder / "split.json", {**split, "source": run.split.data_name})
    for name in ("recipe.json", "classes.json", "calibration.json"):
        if (run.folder / name).is_file():
            values = json.loads((run.folder / name).read_text(encoding="utf-8"))
            values.pop("command", None)
            write_json(folder / name, without_folders(values))
    records = [record for record in read_records(run.folder) if record.get("kind") != "note"]
    if records:
        lines = "".join(f"{json.dumps(record)}\n" for record in records)
        (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    name = repo_id.rpartition("/")[2]
    card = model_card(run, run.protocol, name, run.calibration_for(run.protocol)[0], address=f"hub:{repo_id}")
    (folder / "README.md").write_text(card, encoding="utf-8")
