"""Write and load the checkpoint that a run resumes from: one safetensors file."""

from collections import defaultdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from texthead.errors import RunError, in_quotes, listed
from texthead.files import MAX_BYTES_OF_LISTS, read_json, replacing
from texthead.parallel.distributed import raise_on_all_ranks, rank, world_size
from texthead.runs.folder import check_resumable, load_weights, opened
from texthead.runs.metrics import MetricsLog


def check_as_started(out: Path, about: dict, split: dict, classes: dict) -> None:
    """Raise RunError if a run to resume is missing, or was started with other settings, items or classes."""
    check_resumable(out)
    before, named = (read_json(out / name) for name in ("recipe.json", "classes.json"))
    trained = read_json(out / "split.json", most=MAX_BYTES_OF_LISTS)
    started, wanted = ({**each.get("recipe", {}), "objective": each.get("objective")} for each in (before, about))
    for key, value in wanted.items():
        if (was := started.get(key)) != value:
            raise RunError(
                f"{out}: was started with `{key}` {in_quotes(was)}, not {in_quotes(value)}: resume with that value"
            )
    same_items = all(trained.get(key) == split[key] for key in ("train", "train_labels"))
    # The command may differ, and the engine is only known once features are computed.
    ignored = ("command", "engine")
    before, about = ({key: value for key, value in each.items() if key not in ignored} for each in (before, about))
    if before != about or named != classes or not same_items:
        raise RunError(f"{out}: was started with another encoder, head or training items: resume with the same ones")
    pairs = zip(split["train"], trained["train_content"], split["train_content"], strict=True)
    if changed := [path for path, was, now in pairs if was != now]:
        raise RunError(
            f"{out}: was started with other content of {listed(changed, 2)}: restore it, or train into another folder"
        )


# The file in a run folder.
_LAST = Path("state", "last.safetensors")

_COUNTS = {"epoch", "step", "records", "threads", "processes"}

# Prefix of optimiser state; names of weights begin with "model." or "objective.".
_OPTIMIZER = "optimizer."

_ADAMW = {"step", "exp_avg", "exp_avg_sq"}


def load_state(out: Path) -> dict[str, int] | None:
    """Return the counts of the last checkpoint; None if there is none yet.

    Raises:
        RunError: the file is damaged or not of a checkpoint.
    """
    path = out / _LAST
    if not path.exists():
        return None
    with opened(path) as file:
        counts = file.metadata() or {}
    if set(counts) != _COUNTS or not all(value.isdecimal() for value in counts.values()):
        raise _not_of_this_run(path)
    return {key: int(value) for key, value in counts.items()}


def restore(
    state: dict[str, int], module: nn.Module, optimizer: torch.optim.Optimizer, log: MetricsLog, out: Path
) -> tuple[int, int]:
    """Load a checkpoint, on any number of processes, and return the (epoch, step) to continue at.

    Raises:
        RunError: the checkpoint is damaged or of another model, or the metrics file lacks steps before it.
    """
    path, saved = out / _LAST, defaultdict[str, dict[str, Tensor]](dict)
    load_weights(path, module, lambda key: not key.startswith(_OPTIMIZER))
    with opened(path) as file:
        for name in file.keys():  # noqa: SIM118
            weight, _, key = name.removeprefix(_OPTIMIZER).rpartition(".")
            if name.startswith(_OPTIMIZER):
                saved[weight][key] = file.get_tensor(name).clone()  # The tensor itself is mapped from the file.
    names = {parameter: name for name, parameter in module.named_parameters()}
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    # A weight that never had a gradient has no state.
    moments = {index: saved.pop(names[each]) for index, each in enumerate(trained) if names[each] in saved}
    shapes = {index: {"step": (), **dict.fromkeys(_ADAMW - {"step"}, trained[index].shape)} for index in moments}
    if saved or shapes != {index: {key: each.shape for key, each in own.items()} for index, own in moments.items()}:
        raise _not_of_this_run(path)
    for index, own in moments.items():
        # Fused AdamW needs moments in the memory format of their weight, such as channels-last.
        own |= {key: torch.empty_like(trained[index]).copy_(own[key]) for key in _ADAMW - {"step"}}
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    log.cut(state["records"])
    for name, now in (("threads", torch.get_num_threads()), ("processes", world_size())):
        if now != state[name]:
            text = f"{name}: {state[name]} at the start, now {now}: results may differ in the last bits"
            log.add(kind="note", text=text)
    return state["epoch"], state["step"]


def save_state(
    out: Path, module: nn.Module, optimizer: torch.optim.Optimizer, log: MetricsLog, *, epoch: int, step: int
) -> None:
    """Write a checkpoint in the first process, in place of the last one.

    The metrics so far are flushed to disk first.

    Raises:
        RunError: a weight is not finite (a step can overflow although its loss is finite), or the disk is full; the
            previous checkpoint is kept.
    """
    with raise_on_all_ranks():
        if rank() > 0:
            return
        log.sync()
        state = dict(module.state_dict())
        for name, tensor in state.items():
            if not torch.isfinite(tensor).all():
                raise RunError(
                    f"{name} is not finite after step {step}: lower `lr`; the previous checkpoint in {out / 'state'} "
                    "is kept"
                )
        names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
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
        counts = {"epoch": epoch, "step": step, "records": len(log.records)}
        counts |= {"threads": torch.get_num_threads(), "processes": world_size()}
        with replacing(out / _LAST) as temp:
            save_file(tensors, temp, {key: str(value) for key, value in counts.items()})


def _not_of_this_run(path: Path) -> RunError:
    return RunError(f"{path}: not a checkpoint of this run: restore it from a copy, or choose another folder")
