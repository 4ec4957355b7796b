"""What --resume continues from: the metrics so far and the state after the last checkpoint, both whole."""

import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from texthead.errors import RunError
from texthead.files import MOST_BYTES_OF_LISTS, read_json, sync_folder, write_json
from texthead.parallel.distributed import rank, ranks, same_as_first, together
from texthead.runs.folder import check_not_edited
from texthead.runs.metrics import MetricsLog


def begin(out: Path, about: dict, split: dict, classes: dict, *, resume: bool) -> dict | None:
    """The state to go on from, or None for a run from the start."""
    existing = out / "recipe.json"
    if not resume:
        if existing.exists():
            raise RunError(f"{out}: holds a run already; pass resume to continue it, or choose another folder")
        return None
    if not existing.is_file():
        raise RunError(f"{out}: no run to resume (no recipe.json in it); leave out resume to start one")
    check_not_edited(out)
    before, named = (read_json(out / name) for name in ("recipe.json", "classes.json"))
    trained = read_json(out / "split.json", most=MOST_BYTES_OF_LISTS)
    if before.get("format") != about["format"]:
        raise RunError(
            f"{out}: was begun by a version of texthead with other checkpoints (format {before.get('format')!r}, now "
            f"{about['format']}): finish it with that version, or train into another folder"
        )
    begun = before.get("recipe", {})
    if about["recipe"]["precision"] == "auto":  # Settled when the run was begun.
        about = {**about, "recipe": {**about["recipe"], "precision": begun.get("precision")}}
    for key, value in about["recipe"].items():
        if begun.get(key) != value:
            raise RunError(f"{out}: was begun with {key} = {begun.get(key)!r}, not {value!r}: resume it as it was")
    if before.get("objective") != about.get("objective"):
        was, now = (each.get("objective") or "the cross-entropy" for each in (before, about))
        raise RunError(f"{out}: was begun with the objective {was}, not {now}: resume it as it was")
    same_items = all(trained.get(key) == split[key] for key in ("train", "train_labels"))
    # Which command began it is for people to read; the engine is known once features are there.
    beside = ("command", "engine")
    before, about = ({key: value for key, value in each.items() if key not in beside} for each in (before, about))
    if before != about or named != classes or not same_items:
        raise RunError(f"{out}: was begun with another encoder, head or other training items: resume it as it was")
    return load_state(out)


_POINTER = "last.json"

_COUNTS = {"epoch", "step", "records", "threads", "processes"}

# In front of the names of what the optimiser remembers; those of weights begin with "model." or "objective.".
_OPTIMIZER = "optimizer."

_ADAMW = {"step", "exp_avg", "exp_avg_sq"}


def load_state(out: Path) -> dict[str, int] | None:
    """The counts of the last checkpoint, or None before the first one.

    Raises:
        RunError: the file is damaged, or no checkpoint.
    """
    path = out / "state" / _POINTER
    if not path.exists():
        return None
    state = read_json(path)
    if set(state) != _COUNTS or not all(type(value) is int for value in state.values()):
        raise _no_checkpoint(path, KeyError())
    return state


def restore(
    state: dict[str, int], module: nn.Module, optimizer: torch.optim.Optimizer, log: MetricsLog, out: Path
) -> tuple[int, int]:
    """(epoch, step) to go on at, after putting a checkpoint back, on as many processes as there are now.

    Raises:
        RunError: the checkpoint is damaged or of another model, or the metrics file is shorter than it.
    """
    # A second that prediction, which reads this module too, need not wait for.
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    folder = _folder(out, state["step"])
    try:
        # Safetensors: no file runs code. What torch calls its own format begins with a pickle.
        reader = HuggingFaceStorageReader(str(folder))
        found = reader.read_metadata().state_dict_metadata
        wanted = {**module.state_dict(), **_remembered(found, module, optimizer)}
        if set(found) != set(wanted):
            raise KeyError(*sorted(set(found) ^ set(wanted))[:1])
        with _quiet():
            load(wanted, storage_reader=reader, no_dist=ranks() == 1)
        # AdamW expects `step` on a particular device; reloading the state dict moves it there.
        optimizer.load_state_dict(optimizer.state_dict())
    except (Exception, CheckpointException) as error:  # On damaged files it raises nearly every kind there is.
        raise _no_checkpoint(folder, _first_failure(error)) from None
    log.cut(state["records"])
    here, before = torch.get_num_threads(), state["threads"]
    if here != before:
        log.note(f"resumed with {here} threads, begun with {before}: last bits may differ")
    if ranks() != state["processes"]:
        log.note(f"resumed with {ranks()} processes, begun with {state['processes']}: last bits may differ")
    return state["epoch"], state["step"]


def save_state(
    out: Path, module: nn.Module, optimizer: torch.optim.Optimizer, log: MetricsLog, *, epoch: int, step: int
) -> None:
    """Write the checkpoint that --resume continues from; each process writes a part of it.

    It is a folder of safetensors files, begun anew where a stop left one, and a small file beside it that names the
    folder that is whole; that file is replaced last. The metrics so far are put on the disk before. All processes take
    the first one's batch-norm statistics.

    Raises:
        RunError: a weight is not finite (a step can overflow without its loss showing it), or the disk is full; the
            checkpoint before stays.
    """
    same_as_first(module.buffers())
    folder, tensors = _folder(out, step), _tensors(module, optimizer)
    with together():
        log.sync()
        for name, tensor in module.state_dict().items():
            if not torch.isfinite(_own_part(tensor)).all():
                raise RunError(
                    f"{name} is not finite after step {step}: lower lr; the checkpoint before in {out / 'state'} is "
                    "kept"
                )
        if rank() == 0:
            _empty(folder)
    _write(folder, tensors)
    counts = {"epoch": epoch, "step": step, "records": len(log.records)}
    with together():
        if rank() == 0:
            sync_folder(folder)
            sync_folder(folder.parent)
            here = {"threads": torch.get_num_threads(), "processes": ranks()}
            write_json(folder.parent / _POINTER, {**counts, **here})
            for old in folder.parent.iterdir():
                if old == folder or old.name == _POINTER:
                    continue
                if old.is_dir():
                    shutil.rmtree(old)
                else:  # What a process was writing when it was killed.
                    old.unlink()


def _folder(out: Path, step: int) -> Path:
    return out / "state" / f"step-{step}"


def _empty(folder: Path) -> None:
    """Make a folder with nothing in it."""
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}); what was there before is kept") from None


def _write(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Put tensors into files of a folder, each process some of them."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    try:
        with _quiet():
            writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
            save(tensors, storage_writer=writer, no_dist=ranks() == 1)
    except CheckpointException as error:
        fault = _first_failure(error)
        if rank() == 0:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(fault, KeyboardInterrupt):
            raise fault from None
        told = " ".join(str(fault).split())[:300]
        raise RunError(f"{folder}: cannot be written ({told}); what was there before is kept") from None


def _tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights and what the optimiser remembers of them, by name, as safetensors takes them."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    found = dict(module.state_dict())
    for parameter, remembered in optimizer.state.items():
        found.update({f"{_OPTIMIZER}{names[parameter]}.{key}": tensor for key, tensor in remembered.items()})
    tensors, places = {}, set()
    for name, tensor in found.items():
        tensors[name] = tensor.detach().contiguous()
        # Tied weights have two names, and safetensors takes no memory twice.
        place = _own_part(tensors[name]).untyped_storage().data_ptr()
        if place in places:
            tensors[name] = tensors[name].clone()
        places.add(place)
    return tensors


def _remembered(found: Mapping[str, Any], module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Put zeros into AdamW's state for what a checkpoint has of it; return them by name.

    Raises: KeyError for a weight that the checkpoint lacks a part of the state of.
    """
    parameters, zeros = dict(module.named_parameters()), {}
    for name, about in found.items():
        if not name.startswith(_OPTIMIZER):
            continue
        of, _, key = name.removeprefix(_OPTIMIZER).rpartition(".")
        parameter = parameters[of]
        count = torch.zeros(about.size, dtype=about.properties.dtype)
        zeros[name] = optimizer.state[parameter][key] = count if key == "step" else torch.zeros_like(parameter)
    for parameter, remembered in optimizer.state.items():
        if set(remembered) != _ADAMW:
            raise KeyError(*(name for name, each in parameters.items() if each is parameter))
    return zeros


def _own_part(tensor: Tensor) -> Tensor:
    """What this process has of a tensor that is cut; else all of it."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor  # pyright: ignore


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning that one process is alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        yield


def _first_failure(error: BaseException) -> BaseException:
    """The first process's error in one that torch has gathered."""
    failures = getattr(error, "failures", None)
    return next(iter(failures.values()))[0] if failures else error


def _no_checkpoint(path: Path, error: BaseException) -> RunError:
    # torch's own messages go over many lines.
    return RunError(
        f"{path}: no checkpoint of this run ({type(error).__name__}): restore it from a copy, or choose another folder"
    )
