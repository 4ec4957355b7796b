"""Models of transformers: their folders, here or on the hub, and their visual half. None of a folder's code runs."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor, nn

from texthead.encoders.weights import check_folder, read_tensors, sized_as
from texthead.errors import EncoderError

_SMALL_FILES = ["*.json", "*.txt", "*.model"]

_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?|[\w-]+")

# Ways of computing attention that are part of torch; others are fetched from a hub.
_ATTENTION = ("eager", "sdpa")

# What gives features, in the order in which they are asked for; a model without any is called itself.
_VISUAL = ("get_video_features", "get_vision_features", "get_image_features")


def folder_of(source: str | Path, *, weights: bool = True) -> Path:
    """Return the folder itself, or the hub client's own copy of `ORG/NAME` or `ORG/NAME@REVISION`, with its weights.

    Raises:
        EncoderError: no such folder, and no name on the hub; a file in it that is none, or too large.
        Others, of the hub's client, for a name that it cannot fetch.
    """
    if Path(source).is_dir():
        check_folder(Path(source))
        return Path(source)
    if not _NAME.fullmatch(str(source)):
        raise EncoderError(f"{source}: no such folder, and no ORG/NAME of the hub; check the path")
    from huggingface_hub import snapshot_download

    name, _, revision = str(source).partition("@")
    take = partial(snapshot_download, name, revision=revision or None)
    folder = Path(take(allow_patterns=[*_SMALL_FILES, *(["*.safetensors"] if weights else [])]))
    if weights and not any(folder.glob("*.safetensors")):
        folder = Path(take(allow_patterns=[*_SMALL_FILES, "pytorch_model*.bin"]))
    check_folder(folder)
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


# ---- the visual half


class Tower(nn.Module):
    """The visual half of a model: frames, or clips of several, -> features.

    What takes no part in the features is left out of the model.

    Args:
        model: of transformers.
        frames: how many it sees at once.
        size: side of a frame in pixels.
        tokens: how many features it gives of them.
    """

    def __init__(self, model: Any, frames: int, size: int, tokens: int):
        super().__init__()
        self.tokens = tokens
        self.model = _bare(model)
        used, _ = traced(model if next(model.parameters()).is_meta else empty(model.config), frames, size)
        for name in {name for name, _ in model.named_children()} - used:
            setattr(model, name, None)
        for name, parameter in [*model.named_parameters(recurse=False)]:
            if parameter.numel() == 1:  # The logit scale and bias.
                delattr(model, name)

    def forward(self, pixels: Float[Tensor, "units *frames 3 height width"]) -> Float[Tensor, "units *tokens dim"]:
        """Return the feature of each frame, or the features of each clip, one after the other in time."""
        features = _features(self.model, pixels)
        if features.ndim == 2:
            features = features[:, None]
        features = features.unflatten(1, (self.tokens, -1)).mean(2)
        return features if pixels.ndim == 5 else features[:, 0]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Run the blocks again in the backward pass, where the model can."""
        self.grad_checkpointing = enable and self.model.supports_gradient_checkpointing
        if self.grad_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        elif self.model.supports_gradient_checkpointing:
            self.model.gradient_checkpointing_disable()


def _method(model: nn.Module) -> str:
    """Return the name of the function that gives a model's features; "" where it is the model itself."""
    return next((name for name in _VISUAL if hasattr(model, name)), "")


def _features(model: Any, pixels: Tensor) -> Float[Tensor, "units dim"] | Float[Tensor, "units patches dim"]:
    """Return what a model makes of each frame or clip: one feature, its class token, or the tokens of all patches."""
    method = _method(model)
    see = getattr(model, method) if method else model
    found = see(**_as_patches(pixels, model)) if "spatial_shapes" in signature(see).parameters else see(pixels)
    if isinstance(found, Tensor):
        return found
    if not method and _has_class_token(model):
        return found.last_hidden_state[:, 0]
    if getattr(found, "pooler_output", None) is not None:
        return found.pooler_output.flatten(1)
    patches = found.last_hidden_state
    return patches.flatten(2).transpose(1, 2) if patches.ndim == 4 else patches


def _as_patches(pixels: Float[Tensor, "units 3 height width"], model: Any) -> dict[str, Tensor | None]:
    """Return what a model takes that sees pictures of any shape as lists of patches (SigLIP 2, NaFlex)."""
    side = model.config.vision_config.patch_size
    patches = pixels.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 4, 5, 1)
    shape = torch.tensor([patches.shape[1:3]] * len(pixels), device="cpu")  # It is read as plain numbers.
    # Without a mask all patches count.
    return {"pixel_values": patches.flatten(1, 2).flatten(2), "pixel_attention_mask": None, "spatial_shapes": shape}


def _has_class_token(model: nn.Module) -> bool:
    return any(name.endswith("cls_token") for name, _ in model.named_parameters())


def _bare(model: Any) -> Any:
    """Return the model without a layer behind the class token, which most published towers have no weights for."""
    if not _method(model) and _has_class_token(model) and hasattr(model, "pooler"):
        model.pooler = None
    return model


def empty(config: Any) -> nn.Module:
    """Return a model without memory for its weights."""
    from transformers import AutoModel

    with torch.device("meta"):
        return _bare(AutoModel.from_config(config).eval())


def traced(model: nn.Module, frames: int, size: int) -> tuple[set[str], tuple[int, ...]]:
    """Return (the parts that the features of a model on the device "meta" need, the shape of these features)."""
    used: set[nn.Module] = set()
    hooks = [module.register_forward_hook(lambda module, *_: used.add(module)) for module in model.modules()]
    with torch.device("meta"), torch.no_grad():
        clip = (frames,) if frames > 1 else ()
        shape = _features(model, torch.zeros(1, *clip, 3, size, size)).shape
    for hook in hooks:
        hook.remove()
    return {name for name, child in model.named_children() if not used.isdisjoint(child.modules())}, tuple(shape)


def build_tower(source: str, config: str, frames: int, size: int, tokens: int) -> Tower:
    """Return the visual half that a configuration describes, with random weights.

    Raises:
        EncoderError: an architecture that this version of transformers does not know.
    """
    from transformers import AutoModel

    with faults(source):
        return Tower(AutoModel.from_config(config_from(config)), frames, size, tokens)
