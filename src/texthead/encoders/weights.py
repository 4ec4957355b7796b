"""Read tensors from safetensors and torch checkpoints, without running code that they hold."""

import math
import re
import threading
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from texthead.errors import EncoderError, RunError
from texthead.files import MOST_BYTES_OF_LISTS, read_json

# Keys under which published training code stores its weights, and a prefix of their names.
_WRAPPERS = ("state_dict", "model_state_dict", "model")

_PREFIX = "module."

# Values and tensors that a network may have in addition to its file: buffers, and parts that are built and dropped.
_MOST_BESIDE, _MOST_TENSORS_BESIDE = 10_000_000, 1000

# Limits for a network whose weights are not known yet; each layer of a transformer has about 16 tensors.
_MOST_VALUES, _MOST_TENSORS = 10**12, 10_000

# Keys in a config whose value is the length of a list that libraries allocate.
_COUNTS, _MOST_COUNTED = re.compile(r"^num_|layer|depth|stages"), 100_000

# Entries of CLIP's files that are not weights.
_SETTINGS = ("input_resolution", "context_length", "vocab_size", "attn_mask")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name, on the CPU, without wrapper keys and the prefix `module.`.

    Raises:
        EncoderError: the file is missing, damaged, of another kind, or needs to run code.
    """
    content: Any = read_checkpoint(path)
    for key in _WRAPPERS:
        if isinstance(content.get(key), dict):
            content = content[key]
    tensors = named_tensors(content)
    if not tensors:
        raise EncoderError(f"{path}: has no tensors; give a file of weights")
    return tensors


def named_tensors(values: dict) -> dict[str, Tensor]:
    """Return the tensors among the values by name, without the prefix `module.` of data-parallel training."""
    tensors = {str(key): value for key, value in values.items() if isinstance(value, Tensor)}
    if all(key.startswith(_PREFIX) for key in tensors):
        tensors = {key.removeprefix(_PREFIX): value for key, value in tensors.items()}
    return tensors


def clip_tensors(values: dict) -> dict[str, Tensor]:
    """Return the tensors of a CLIP model as `named_tensors`, without entries that are no weights."""
    return {key: value for key, value in named_tensors(values).items() if key.split(".")[-1] not in _SETTINGS}


def read_checkpoint(path: Path) -> dict:
    """Return the content of a weights file, on the CPU.

    It may be `.safetensors`, or a file that `torch.load` reads with `weights_only=True`, also with yacs settings, which
    become plain dicts.

    Raises:
        EncoderError: the file is missing, damaged, of another kind, or needs to run code.
    """
    if not path.is_file():
        raise EncoderError(
            f"{path}: {'is a folder, expected a file' if path.is_dir() else 'no such file; check the path'}"
        )
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            # ViFi-CLIP's files contain yacs settings, which are read as plain dicts.
            plain: list[Any] = [(OrderedDict, "yacs.config.CfgNode")]
            # The error below is enough.
            with torch.serialization.safe_globals(plain), warnings.catch_warnings(action="ignore"):
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # The readers may raise anything on damaged files.
        # torch's own messages have many lines and suggest unsafe loading.
        kind = type(error).__name__
        raise EncoderError(
            f"{path}: cannot be read as weights ({kind}); download it again, or give safetensors or a torch checkpoint "
            "of tensors (openclip:ViT-B-16/openai and its like in place of OpenAI's TorchScript)"
        ) from None
    if not isinstance(content, dict):
        raise EncoderError(f"{path}: contains a {type(content).__name__}, expected tensors by name")
    _check_complete(path, content)
    return content


def _check_complete(path: Path, content: dict, depth: int = 3) -> None:
    """Raise EncoderError if a tensor has more values than the file stores, as with a stride of 0."""
    for key, value in content.items():
        if isinstance(value, dict) and depth:
            _check_complete(path, value, depth - 1)
        if not isinstance(value, Tensor):
            continue
        if value.layout != torch.strided or value.is_meta or value.nbytes > value.untyped_storage().nbytes():
            raise EncoderError(
                f"{path}: {key!r} claims shape {tuple(value.shape)}, but the file stores fewer values: use a "
                "checkpoint with complete tensors"
            )


def fill(net: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load tensors into a network with exactly their names and shapes, mostly without copying.

    Raises:
        EncoderError: a name or shape differs, or there are integers where the network has floats.
    """
    if problem := misfit(net, tensors):
        raise EncoderError(f"'{source}': {problem}; use weights of this architecture")
    # Copy unaligned tensors of a mapped file, since kernels can round differently on them.
    aligned = {key: value.clone() if value.data_ptr() % 64 else value for key, value in tensors.items()}
    net.load_state_dict(aligned, assign=True)


def misfit(net: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Return how tensors differ from those of a network in name, shape, or in being floats; empty if they do not."""
    expected = net.state_dict()
    for key in sorted({*expected} | {*tensors}):
        own, other = (tuple(each[key].shape) if key in each else "none" for each in (tensors, expected))
        if own != other:
            return f"{key!r} has shape {own} in the weights, {other} in the network"
        if expected[key].is_floating_point() and not tensors[key].is_floating_point():
            return f"{key!r} is of type {tensors[key].dtype} in the weights, {expected[key].dtype} in the network"
    return ""


def check_folder(folder: Path) -> None:
    """Raise EncoderError if an encoder's folder has a pipe, a file that is too large, or a config with huge counts.

    Libraries would block on a pipe, and allocate as many layers or labels as a config says.
    """
    paths = sorted(folder.iterdir())
    names = {path.name for path in paths}
    for path in paths:
        if path.is_dir() or not path.exists():
            continue
        is_text = path.suffix in (".jinja", ".json", ".model", ".txt")  # Libraries read these into memory.
        if not path.is_file() or (is_text and path.stat().st_size > MOST_BYTES_OF_LISTS):
            raise EncoderError(
                f"{path}: is not a file of at most {MOST_BYTES_OF_LISTS:,} bytes; save the model again, or remove it"
            )
        values: dict[str, Any] = {}
        if path.name == "config.json" or path.name.endswith(".index.json"):
            with suppress(RunError):  # The library that reads it reports invalid JSON.
                values = read_json(path, most=MOST_BYTES_OF_LISTS)
        _check_counts(path, values)
        shards = values.get("weight_map")
        if isinstance(shards, dict) and (lost := {*map(str, shards.values())} - names):
            raise EncoderError(f"{path}: lists '{min(lost)}', which must be a file beside it; save the model again")


def _check_counts(path: Path, values: object) -> None:
    for key, value in values.items() if isinstance(values, dict) else ():
        _check_counts(path, value)
        if type(value) is int and value > _MOST_COUNTED and _COUNTS.search(key):
            raise EncoderError(f"{path}: {key} must be at most {_MOST_COUNTED:,}, got {value}; check the file")


@contextmanager
def sized_as(shapes: Collection[Sequence[int]] | None, source: str) -> Iterator[None]:
    """Build networks in the block on the device "meta", and limit their size to about that of these tensors.

    A config of a hundred bytes can describe a network of any size; here it takes no memory.

    Args:
        shapes: those of the weights; None if they are not known yet, to limit the size to that of the largest models.
        source: the encoder, for the message.

    Raises:
        EncoderError: the network is much larger.
    """
    most_values, most_tensors, rule = _MOST_VALUES, _MOST_TENSORS, "more than any known model: use another"
    if shapes is not None:
        stored = sum(map(math.prod, shapes))
        most_values, most_tensors = 2 * stored + _MOST_BESIDE, 4 * len(shapes) + _MOST_TENSORS_BESIDE
        rule = f"but the weights hold {stored:,} in {len(shapes):,} tensors; use config and weights of one model"
    thread = threading.get_ident()
    values = tensors = 0

    def count(_: nn.Module, __: str, value: Tensor | None) -> None:
        nonlocal values, tensors
        if value is not None and threading.get_ident() == thread:
            values, tensors = values + value.numel(), tensors + 1
            if values > most_values or tensors > most_tensors:
                raise EncoderError(f"{source}: its config describes a network of more than {values:,} values, {rule}")

    with ExitStack() as hooks, torch.device("meta"):
        hooks.callback(nn.modules.module.register_module_parameter_registration_hook(count).remove)
        hooks.callback(nn.modules.module.register_module_buffer_registration_hook(count).remove)
        yield
