"""Read tensors from safetensors and torch checkpoints, without running code that they hold."""

import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from texthead.errors import EncoderError

# Keys under which published training code stores its weights, and a prefix of their names.
_WRAPPERS = ("state_dict", "model_state_dict", "model")

_PREFIX = "module."

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
        raise EncoderError(f"{path}: has no tensors; use a file of weights")
    return tensors


def named_tensors(values: dict) -> dict[str, Tensor]:
    """Return the tensors among the values by name, without the prefix `module.` of data-parallel training."""
    tensors = {str(key): value for key, value in values.items() if isinstance(value, Tensor)}
    if all(key.startswith(_PREFIX) for key in tensors):
        tensors = {key.removeprefix(_PREFIX): value for key, value in tensors.items()}
    return tensors


def clip_tensors(values: dict) -> dict[str, Tensor]:
    """Return the tensors of a CLIP model as `named_tensors`, without entries that are not weights."""
    return {key: value for key, value in named_tensors(values).items() if key.split(".")[-1] not in _SETTINGS}


def read_checkpoint(path: Path) -> dict:
    """Return the content of a weights file, on the CPU.

    It may be `.safetensors`, or a file that `torch.load` reads with `weights_only=True`, also with yacs settings, which
    become plain dicts.

    Raises:
        EncoderError: the file is missing, damaged, of another kind, or needs to run code.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            # ViFi-CLIP's files contain yacs settings, which are read as plain dicts.
            plain: list[Any] = [(OrderedDict, "yacs.config.CfgNode")]
            # The error below is enough.
            with torch.serialization.safe_globals(plain), warnings.catch_warnings(action="ignore"):
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        return {**content}
    except Exception as error:  # The readers may raise anything on damaged files.
        # torch's own messages have many lines and suggest unsafe loading.
        kind = type(error).__name__
        raise EncoderError(
            f"{path}: cannot be read as weights ({kind}); download it again, or use safetensors or a torch checkpoint "
            "of tensors (openclip:ViT-B-16/openai and its like in place of OpenAI's TorchScript)"
        ) from None


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
