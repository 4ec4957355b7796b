"""Folders in transformers' format, here or on the hub: found, checked and loaded. None of their code runs."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import safe_open

from texthead.encoders.weights import read_tensors, sized_as
from texthead.errors import EncoderError

_SMALL_FILES = ["*.json", "*.txt", "*.model"]

_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?|[\w-]+")

# Ways of computing attention that are part of torch; others are fetched from a hub.
_ATTENTION = ("eager", "sdpa")


def folder_of(source: str | Path, *, weights: bool = True) -> Path:
    """Return the folder itself, or the hub client's own copy of `ORG/NAME` or `ORG/NAME@REVISION`, with its weights.

    Raises:
        EncoderError: no such folder, and no name on the hub.
        Others, of the hub's client, for a name that it cannot fetch.
    """
    if Path(source).is_dir():
        return Path(source)
    if not _NAME.fullmatch(str(source)):
        raise EncoderError(f"{source}: no such folder, and no ORG/NAME of the hub; check the path")
    from huggingface_hub import snapshot_download

    name, _, revision = str(source).partition("@")
    take = partial(snapshot_download, name, revision=revision or None)
    folder = Path(take(allow_patterns=[*_SMALL_FILES, *(["*.safetensors"] if weights else [])]))
    if weights and not any(folder.glob("*.safetensors")):
        folder = Path(take(allow_patterns=[*_SMALL_FILES, "pytorch_model*.bin"]))
    return folder


def config_of(folder: Path) -> Any:
    """Return the folder's configuration.

    Raises: ValueError, OSError or others of transformers for a kind that it does not know, or that asks for code.
    """
    from transformers import AutoConfig

    return _plain(AutoConfig.from_pretrained(folder, trust_remote_code=False))


def config_from(text: str) -> Any:
    """Return the configuration of what `config.to_json_string` wrote."""
    from transformers import AutoConfig

    values = json.loads(text)
    return _plain(AutoConfig.for_model(values.pop("model_type"), **values))


def without_text(config: Any) -> Any:
    """Return the configuration with as small a text half as can be built: what describes the visual half alone."""
    text = getattr(config, "text_config", None)
    if text is not None:
        text.num_hidden_layers = 1
        text.vocab_size = min(text.vocab_size, 1000)
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            if (getattr(text, name, None) or 0) >= text.vocab_size:
                setattr(text, name, 0)
    return config


def _plain(config: Any) -> Any:
    """Return the configuration without a wish for attention that is not torch's."""
    for each in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        if each is not None and getattr(each, "_attn_implementation", None) not in (None, *_ATTENTION):
            each._attn_implementation = "sdpa"
    return config


def loaded(folder: Path, source: str) -> tuple[Any, set[str]]:
    """Return (the model of a folder as float32, the names of weights that its files lack).

    Raises:
        EncoderError: a network that is much larger than its weights, or weights of other shapes.
        Others, of transformers, for files that it cannot read.
    """
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    check_size(folder, source)
    model, found = AutoModel.from_pretrained(
        folder,
        config=config_of(folder),
        dtype=torch.float32,
        trust_remote_code=False,
        use_safetensors=True if any(folder.glob("*.safetensors")) else None,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    for key, given, needed in sorted(found["mismatched_keys"]):
        raise EncoderError(
            f"{source}: {key!r} has shape {tuple(given)} in the weights, the configuration asks for {tuple(needed)}: "
            "they do not belong together"
        )
    return model.eval().requires_grad_(False), set(found["missing_keys"])


def check_size(folder: Path, source: str) -> None:
    """Nothing, unless a folder describes a network much larger than its weights, which transformers would build first.

    Raises:
        EncoderError: it does, or there are no weights, or they cannot be read.
    """
    from transformers import AutoModel

    shapes: list[Sequence[int]] = []
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            shapes += [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
    if not shapes:
        shapes = [value.shape for path in folder.glob("pytorch_model*.bin") for value in read_tensors(path).values()]
    if not shapes:
        raise EncoderError(f"{folder}: holds no model.safetensors or pytorch_model.bin; write it with save_pretrained")
    with sized_as(shapes, source):
        AutoModel.from_config(config_of(folder))


@contextmanager
def faults(source: str) -> Iterator[None]:
    """Turn what transformers and the hub's client raise into EncoderError."""
    try:
        yield
    except EncoderError:
        raise
    except Exception as error:  # They raise nearly every kind there is.
        told = " ".join(str(error).split())[:200]
        raise EncoderError(
            f"{source}: cannot be loaded ({type(error).__name__}: {told}); name a folder in transformers' format, or "
            "connect once for a name on the hub"
        ) from None
