"""What --resume continues from: the metrics so far and the state after the last checkpoint, both whole."""

import json
import os
from pathlib import Path

import torch
from torch import nn

from texthead.errors import RunError
from texthead.files import read_json, replacing


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line, also kept as `records`; of several processes one writes the file."""

    def __init__(self, path: Path, *, write: bool = True):
        self.path = path
        self.write = write
        self.records: list[dict] = []

    def add(self, **record: object) -> None:
        """Append a record."""
        self.records.append(record)
        if not self.write:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written ({error.strerror}); the last checkpoint is kept") from None

    def note(self, text: str) -> None:
        """Append a remark."""
        self.add(kind="note", text=text)

    def sync(self) -> None:
        """Wait until all lines are on the disk, so that no checkpoint knows of more."""
        if not self.write:
            return
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def cut(self, count: int) -> None:
        """Keep the first `count` lines only: what came after the checkpoint is done again."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()[:count]
            self.records = [json.loads(line) for line in lines]
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path}: cannot be read ({error}); restore it or choose another --out") from None
        if len(lines) < count:
            raise RunError(
                f"{self.path}: {len(lines)} lines, the checkpoint comes after {count}: restore it or choose another run"
            )
        if not self.write:
            return
        with replacing(self.path) as beside:
            beside.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def check_not_edited(out: Path) -> None:
    """Nothing, if the classes of the run are those that training began with.

    Raises:
        RunError: they were edited since: the checkpoint is of another head.
    """
    edits = len(read_json(out / "classes.json").get("history", []))
    if edits:
        raise RunError(
            f"{out}: its classes were edited after training ({edits} {'edit' if edits == 1 else 'edits'} in "
            "classes.json), and a resumed run would have the old head: train into another --out"
        )


def begin(out: Path, about: dict, split: dict, classes: dict, *, resume: bool) -> dict | None:
    """The state to go on from, or None for a run from the start."""
    existing = out / "recipe.json"
    if not resume:
        if existing.exists():
            raise RunError(
                f"{out}: holds a run already; pass --resume (resume=True) to continue it, or choose another --out"
            )
        return None
    if not existing.is_file():
        raise RunError(f"{out}: no run to resume (no recipe.json in it); leave out --resume to start one")
    check_not_edited(out)
    before, trained, named = (read_json(out / name) for name in ("recipe.json", "split.json", "classes.json"))
    begun = before.get("recipe", {})
    for key, value in about["recipe"].items():
        if begun.get(key) != value:
            raise RunError(f"{out}: was begun with {key} = {begun.get(key)!r}, not {value!r}: resume it as it was")
    if before.get("objective") != about.get("objective"):
        was, now = (each.get("objective") or "the cross-entropy" for each in (before, about))
        raise RunError(f"{out}: was begun with the objective {was}, not {now}: resume it as it was")
    same_items = all(trained.get(key) == split[key] for key in ("train", "train_labels"))
    # Which command began it is for people to read.
    before, about = ({key: value for key, value in each.items() if key != "command"} for each in (before, about))
    if before != about or named != classes or not same_items:
        raise RunError(f"{out}: was begun with another encoder, head or other training items: resume it as it was")
    return load_state(out / "state" / "last.pt")


def restore(
    state: dict, model: nn.Module, optimizer: torch.optim.Optimizer, log: MetricsLog, out: Path
) -> tuple[int, int]:
    """(epoch, step) to go on at, after putting a checkpoint back.

    Raises:
        RunError: the checkpoint is of another model, or the metrics file is shorter than it.
    """
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _no_checkpoint(out / "state" / "last.pt", error) from None
    log.cut(state["records"])
    here, before = torch.get_num_threads(), state["threads"]
    if here != before:
        log.note(f"resumed with {here} threads, begun with {before}: last bits may differ")
    return state["epoch"], state["step"]


_STATE = {"model", "optimizer", "epoch", "step", "records", "threads"}


def load_state(path: Path) -> dict | None:
    """What `save_state` wrote, or None before the first checkpoint; code in the file is never run.

    Raises:
        RunError: the file is damaged, or no checkpoint.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # On damaged files torch raises nearly every kind there is.
        raise _no_checkpoint(path, error) from None
    if not isinstance(state, dict) or set(state) != _STATE:
        raise _no_checkpoint(path, KeyError())
    return state


def _no_checkpoint(path: Path, error: Exception) -> RunError:
    # torch's own messages go over many lines and advise to load without safety.
    return RunError(
        f"{path}: no checkpoint of this run ({type(error).__name__}): restore it from a copy, or choose another --out"
    )


def save_state(
    out: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, epoch: int, step: int, records: int
) -> None:
    """The checkpoint that --resume continues from.

    Raises:
        RunError: a weight is not finite (a step can overflow without its loss showing it), or the disk is full; the
            checkpoint before stays.
    """
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise RunError(
                f"{name} is not finite after step {step}: lower lr; the checkpoint before in {out / 'state'} is kept"
            )
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": epoch,
        "step": step,
        "records": records,
        "threads": torch.get_num_threads(),
    }
    with replacing(out / "state" / "last.pt") as beside, beside.open("wb") as file:
        torch.save(state, file)
