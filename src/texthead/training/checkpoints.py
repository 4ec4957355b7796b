"""Write and load the checkpoints that a run resumes from."""

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from texthead.errors import RunError, in_quotes, line_of
from texthead.files import MOST_BYTES_OF_LISTS, read_json, replacing, write_json
from texthead.parallel.distributed import rank, ranks, same_as_first, together
from texthead.platform import sync_folder
from texthead.runs.folder import check_resumable
from texthead.runs.metrics import MetricsLog
from texthead.runs.saved import is_run


def begin(out: Path, about: dict, split: dict, classes: dict, *, resume: bool) -> dict | None:
    """Return the counts of the checkpoint to resume from; None for a new run.

    Raises:
        RunError: a new run in the folder of another, or a run to resume that is missing or has other settings.
    """
    if not resume:
        if is_run(out):
            raise RunError(f"{out}: already holds a run; pass `resume` to continue it, or choose another folder")
        return None
    check_resumable(out)
    before, named = (read_json(out / name) for name in ("recipe.json", "classes.json"))
    trained = read_json(out / "split.json", most=MOST_BYTES_OF_LISTS)
    if before.get("format") != about["format"]:
        raise RunError(
            f"{out}: was started by a version of texthead with other checkpoints (format {before.get('format')!r}, now "
            f"{about['format']}): finish it with that version, or train into another folder"
        )
    started = before.get("recipe", {})
    for key, value in {**about["recipe"], "objective": about.get("objective")}.items():
        was = before.get(key) if key == "objective" else started.get(key)
        if was != value:
            raise RunError(
                f"{out}: was started with `{key}` {in_quotes(was)}, not {in_quotes(value)}: resume with that value"
            )
    same_items = all(trained.get(key) == split[key] for key in ("train", "train_labels"))
    # The command may differ, and the engine is only known once features are computed.
    ignored = ("command", "engine")
    before, about = ({key: value for key, value in each.items() if key not in ignored} for each in (before, about))
    if before != about or named != classes or not same_items:
        raise RunError(f"{out}: was started with another encoder, head or training items: resume with the same ones")
    return load_state(out)


_POINTER = "last.json"

# The file of a checkpoint of one process, as torch names it.
_ONLY_FILE = "shard-00001-model-00001-of-00001.safetensors"

_COUNTS = {"epoch", "step", "records", "threads", "processes"}

# Prefix of optimiser state; names of weights begin with "model." or "objective.".
_OPTIMIZER = "optimizer."

_ADAMW = {"step", "exp_avg", "exp_avg_sq"}


def load_state(out: Path) -> dict[str, int] | None:
    """Return the counts of the last checkpoint; None if there is none yet.

    Raises:
        RunError: the file is damaged or not of a checkpoint.
    """
    path = out / "state" / _POINTER
    if not path.exists():
        return None
    state = read_json(path)
    if set(state) != _COUNTS or not all(type(value) is int for value in state.values()):
        raise _bad_checkpoint(path, KeyError())
    return state


def restore(
    state: dict[str, int], module: nn.Module, optimizer: torch.optim.Optimizer, log: MetricsLog, out: Path
) -> tuple[int, int]:
    """Load a checkpoint, on any number of processes, and return the (epoch, step) to continue at.

    Raises:
        RunError: the checkpoint is damaged or of another model, or the metrics file lacks steps before it.
    """
    # The import takes a second, and prediction imports this module too.
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    folder = _folder(out, state["step"])
    try:
        # Safetensors, since torch's own format starts with a pickle, which can run code.
        reader = HuggingFaceStorageReader(str(folder))
        saved = reader.read_metadata().state_dict_metadata
        expected = {**module.state_dict(), **_empty_optimizer_state(saved, module, optimizer)}
        if set(saved) != set(expected):
            raise KeyError(*sorted(set(saved) ^ set(expected))[:1])
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # Of a single process.
            load(expected, storage_reader=reader, no_dist=ranks() == 1)
        # AdamW expects `step` on a particular device; reloading the state dict moves it there.
        optimizer.load_state_dict(optimizer.state_dict())
    except (Exception, CheckpointException) as error:  # On damaged files, torch raises errors of nearly any type.
        raise _bad_checkpoint(folder, _first_failure(error)) from None
    log.cut(state["records"])
    for name, now in (("threads", torch.get_num_threads()), ("processes", ranks())):
        if now != state[name]:
            text = f"{name}: {state[name]} at the start, now {now}: results may differ in the last bits"
            log.add(kind="note", text=text)
    return state["epoch"], state["step"]


def save_state(
    out: Path, module: nn.Module, optimizer: torch.optim.Optimizer, log: MetricsLog, *, epoch: int, step: int
) -> None:
    """Write a checkpoint; each process writes a part of it.

    A checkpoint is a folder of safetensors files; a small file next to it names the last complete folder and is
    replaced at the end. An incomplete folder of an earlier stop is overwritten. The metrics so far are flushed to disk
    first. All processes take the batch-norm statistics of the first.

    Raises:
        RunError: a weight is not finite (a step can overflow although its loss is finite), or the disk is full; the
            previous checkpoint is kept.
    """
    same_as_first(module.buffers())
    folder, tensors = _folder(out, step), _tensors(module, optimizer)
    with together():
        log.sync()
        for name, tensor in module.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise RunError(
                    f"{name} is not finite after step {step}: lower `lr`; the previous checkpoint in {out / 'state'} "
                    "is kept"
                )
        if rank() == 0:
            _empty(folder)
    _write(folder, tensors)
    counts = {"epoch": epoch, "step": step, "records": len(log.records)}
    with together():
        if rank() == 0:
            sync_folder(folder)
            sync_folder(folder.parent)
            current = {"threads": torch.get_num_threads(), "processes": ranks()}
            write_json(folder.parent / _POINTER, {**counts, **current})
            for old in folder.parent.iterdir():
                if old == folder or old.name == _POINTER:
                    continue
                if old.is_dir():
                    shutil.rmtree(old)
                else:  # A temporary file of a process that was killed.
                    old.unlink()


def _folder(out: Path, step: int) -> Path:
    return out / "state" / f"step-{step}"


def _empty(folder: Path) -> None:
    """Create an empty folder, and remove the old one."""
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}); the previous checkpoint is kept") from None


def _write(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors to files in a folder, each process a part of them."""
    if ranks() == 1:  # torch's writer takes three times as long, and its import half a second.
        try:
            with replacing(folder / _ONLY_FILE) as temp:
                save_file(tensors, temp)
        except RunError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise RunError(f"{error}; the previous checkpoint is kept") from None
        return
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    try:
        save(tensors, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as error:
        failure = _first_failure(error)
        if rank() == 0:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(failure, KeyboardInterrupt):
            raise failure from None
        raise RunError(f"{folder}: cannot be written ({line_of(failure)}); the previous checkpoint is kept") from None


def _tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return weights and optimiser state by name, in a form that safetensors can write."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    state = dict(module.state_dict())
    for parameter, moments in optimizer.state.items():
        state.update({f"{_OPTIMIZER}{names[parameter]}.{key}": tensor for key, tensor in moments.items()})
    tensors, addresses = {}, set()
    for name, tensor in state.items():
        tensors[name] = tensor.detach().contiguous()
        # Tied weights have two names, but safetensors does not accept shared memory.
        address = tensors[name].untyped_storage().data_ptr()
        if address in addresses:
            tensors[name] = tensors[name].clone()
        addresses.add(address)
    return tensors


def _empty_optimizer_state(
    saved: Mapping[str, Any], module: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Fill AdamW's state with zeros for the entries of a checkpoint, and return these tensors by name.

    Raises: KeyError if the checkpoint has only a part of the state of a weight.
    """
    parameters, zeros = dict(module.named_parameters()), {}
    for name, about in saved.items():
        if not name.startswith(_OPTIMIZER):
            continue
        weight, _, key = name.removeprefix(_OPTIMIZER).rpartition(".")
        parameter = parameters[weight]
        count = torch.zeros(about.size, dtype=about.properties.dtype)
        zeros[name] = optimizer.state[parameter][key] = count if key == "step" else torch.zeros_like(parameter)
    for parameter, moments in optimizer.state.items():
        if set(moments) != _ADAMW:
            raise KeyError(*(name for name, each in parameters.items() if each is parameter))
    return zeros


def _first_failure(error: BaseException) -> BaseException:
    """Return the error of the first failed process from an error that torch gathered."""
    failures = getattr(error, "failures", None)
    return next(iter(failures.values()))[0] if failures else error


def _bad_checkpoint(path: Path, error: BaseException) -> RunError:
    # Only the type, since torch's messages span many lines.
    return RunError(
        f"{path}: not a checkpoint of this run ({type(error).__name__}): restore it from a copy, or choose another "
        "folder"
    )
