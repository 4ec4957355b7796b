"""transformers models: their folders, local or on the hub, and their visual towers. Never runs code from a folder."""

import math
import re
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from texthead.encoders.figures import published_figures
from texthead.encoders.spec import VisualSpec
from texthead.errors import EncoderError

_SMALL_FILES = ["*.json", "*.txt", "*.model"]

_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?|[\w-]+")

# How to repair a model that cannot be loaded.
REMEDY = "use a folder in transformers' format; a name on the hub needs a connection once"

# Attention implementations that are part of torch; others are downloaded from a hub.
_ATTENTION = ("eager", "sdpa")

# The method that returns text rows.
OF_TEXTS = "get_text_features"

# Methods that return features, in order of preference; a model without any of them is called itself.
_VISUAL = ("get_video_features", "get_vision_features", "get_image_features")


def folder_of(source: str | Path, *, weights: bool = True) -> Path:
    """Return a local folder, or the hub client's cached copy of `ORG/NAME` or `ORG/NAME@REVISION`, with its weights.

    Raises:
        EncoderError: the source is neither a folder nor a name on the hub, or the repository has no weights.
        Others, of the hub client, for a name that it cannot download.
    """
    if Path(source).is_dir():
        return Path(source)
    if not _NAME.fullmatch(str(source)):
        raise EncoderError(f"{source}: neither a folder nor an ORG/NAME on the hub; check the path")
    from huggingface_hub import snapshot_download

    name, revision = named_revision(str(source))
    take = partial(snapshot_download, name, revision=revision)
    folder = Path(take(allow_patterns=[*_SMALL_FILES, *(["*.safetensors"] if weights else [])]))
    if weights and not any(folder.glob("*.safetensors")):
        folder = Path(take(allow_patterns=[*_SMALL_FILES, "pytorch_model*.bin"]))
        if not any(folder.glob("pytorch_model*.bin")):
            raise EncoderError(
                f"{source}: the repository has no model.safetensors or pytorch_model.bin at revision "
                f"{revision or 'main'!r}; name one that has (hf:{name}@REVISION, a branch, commit or refs/pr/NUMBER), "
                "or another repository with the model in transformers' format"
            )
    return folder


def named_revision(name: str) -> tuple[str, str | None]:
    """Return the repository and revision of ORG/NAME[@REVISION]: by default the one in `figures.csv`, or None."""
    name, _, revision = name.partition("@")
    return name, revision or published_figures().get(f"hf:{name}", {}).get("revision")


def config_of(folder: Path) -> Any:
    """Return the folder's configuration.

    Raises: ValueError, OSError or others of transformers for an unknown model type, or one that needs custom code.
    """
    from transformers import AutoConfig

    return plain(AutoConfig.from_pretrained(folder, trust_remote_code=False))


def plain(config: Any) -> Any:
    """Return a configuration without random masks, and attention implementations that are not torch's."""
    if hasattr(config, "mask_ratio"):
        config.mask_ratio = 0.0
    for each in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        if each is not None and getattr(each, "_attn_implementation", None) not in (None, *_ATTENTION):
            each._attn_implementation = "sdpa"
    return config


def loaded(folder: Path, source: str) -> tuple[Any, set[str]]:
    """Return (the model of a folder in float32, the names of weights missing from its files).

    Raises:
        EncoderError: the shapes of weights differ from those in the configuration.
        Others, of transformers, for files that it cannot read.
    """
    import transformers

    transformers.logging.disable_progress_bar()
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # Missing weights are errors below; a classifier's are not used.
    try:
        model, info = transformers.AutoModel.from_pretrained(
            folder,
            config=config_of(folder),
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True if any(folder.glob("*.safetensors")) else None,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    finally:
        transformers.logging.set_verbosity(verbosity)
    for key, actual, expected in sorted(info["mismatched_keys"]):
        raise EncoderError(
            f"{source}: {key!r} has shape {tuple(actual)} in the weights, {tuple(expected)} in the configuration; "
            "take both from the same model"
        )
    return model.eval().requires_grad_(False), set(info["missing_keys"])


def check_complete(model: nn.Module, missing: set[str], source: str) -> None:
    """Raise EncoderError if weights of the model are missing."""
    lost = sorted(missing & {name for name, _ in model.named_parameters()})
    if lost:
        raise EncoderError(
            f"{source}: its weights lack {len(lost)} tensors ({lost[0]!r}); use config and weights of the same model"
        )


# ---- the visual tower


class Tower(nn.Module):
    """The visual tower of a model: frames or clips -> features.

    Submodules that do not contribute to the features are removed from the model.

    Args:
        model: the transformers model.
        spec: its spec: frames and pixels of its input, and its grids of features.
    """

    def __init__(self, model: Any, spec: VisualSpec):
        super().__init__()
        self.grid, self.finest = spec.grid, spec.finest or spec.grid
        self.model = _bare(model)
        used, _ = traced(model if next(model.parameters()).is_meta else empty(model.config), spec.frames, spec.size)
        for name in {name for name, _ in model.named_children()} - used:
            setattr(model, name, None)
        for name, parameter in [*model.named_parameters(recurse=False)]:
            if parameter.numel() == 1:  # The logit scale and bias.
                delattr(model, name)

    def forward(self, pixels: Float[Tensor, "units *frames 3 height width"]) -> Float[Tensor, "units *tokens dim"]:
        """Return the feature of each frame, or the features of each clip by step, row and column."""
        features = _features(self.model, pixels)
        if features.ndim == 2:
            features = features[:, None]
        if pixels.ndim == 4:
            return features.mean(1)
        features = features.unflatten(1, (math.prod(self.finest), -1)).mean(2).unflatten(1, self.finest)
        for axis, (bins, cells) in enumerate(zip(self.grid, self.finest, strict=True), 1):
            if bins != cells:
                # A cell on a border of two bins belongs to both, in parts: for 3 cells in 2 bins the columns are
                # 2/3, 1/3, 0 and 0, 1/3, 2/3.
                cell, start = torch.arange(cells)[:, None], torch.arange(bins) * cells / bins
                overlap = torch.minimum(cell + 1, start + cells / bins) - torch.maximum(cell, start)
                weights = (overlap.clamp_min(0) * bins / cells).to(features)
                features = torch.tensordot(features.movedim(axis, -1), weights, dims=1).movedim(-1, axis)
        return features.flatten(1, 3)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in the backward pass, if the model supports it."""
        self.grad_checkpointing = enable and self.model.supports_gradient_checkpointing
        # Some versions of transformers warn of one name, the others lack the other.
        kind = "activation" if hasattr(self.model, "activation_checkpointing_enable") else "gradient"
        if self.grad_checkpointing:
            getattr(self.model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
        elif any(getattr(module, "gradient_checkpointing", False) for module in self.model.modules()):
            getattr(self.model, f"{kind}_checkpointing_disable")()


def _method(model: nn.Module) -> str:
    """Return the name of the method that returns a model's features; "" if it is the model itself."""
    return next((name for name in _VISUAL if hasattr(model, name)), "")


def _features(model: Any, pixels: Tensor) -> Float[Tensor, "units dim"] | Float[Tensor, "units patches dim"]:
    """Return the output for each frame or clip: a pooled feature, the class token, or the tokens of all patches."""
    method = _method(model)
    run = getattr(model, method) if method else model
    names = signature(getattr(run, "forward", run)).parameters
    output = run(**{next((name for name in names if name.startswith("pixel_values")), next(iter(names))): pixels})
    if isinstance(output, Tensor):
        return output
    tokens = getattr(output, "pooler_output", None)
    if tokens is None or (not method and _takes_class_token(model) and output.last_hidden_state.ndim == 3):
        tokens = output.last_hidden_state
    elif tokens.ndim != 3:
        return tokens.flatten(1)
    if tokens.ndim == 3 and (tokens.shape[1] == 1 or _has_class_token(model)):
        return tokens[:, 0]
    return tokens.flatten(2).transpose(1, 2) if tokens.ndim == 4 else tokens


def _has_class_token(model: nn.Module) -> bool:
    return any(name.endswith("cls_token") for name, _ in model.named_parameters())


def _takes_class_token(model: nn.Module) -> bool:
    """Whether the class token is the feature: not if a mean and a norm follow (BEiT)."""
    pooler = getattr(model, "pooler", None)
    return _has_class_token(model) and (pooler is None or any(isinstance(each, nn.Linear) for each in pooler.modules()))


def _bare(model: Any) -> Any:
    """Remove the projection after the class token, for which most published towers have no weights."""
    if not _method(model) and _takes_class_token(model) and hasattr(model, "pooler"):
        model.pooler = None
    return model


def empty(config: Any) -> nn.Module:
    """Return a model on the device "meta", which allocates no memory for weights."""
    from transformers import AutoModel

    with torch.device("meta"):
        return _bare(AutoModel.from_config(config).eval())


def traced(model: nn.Module, frames: int, size: int) -> tuple[set[str], tuple[int, ...]]:
    """Return (names of the submodules that the features need, shape of the features) of a model on device "meta"."""
    used: set[nn.Module] = set()
    hooks = [module.register_forward_hook(lambda module, *_: used.add(module)) for module in model.modules()]
    with torch.device("meta"), torch.no_grad():
        clip, training = (frames,) if frames > 1 else (), model.training
        shape = _features(model.eval(), torch.zeros(1, *clip, 3, size, size)).shape
    model.train(training)
    for hook in hooks:
        hook.remove()
    return {name for name, child in model.named_children() if not used.isdisjoint(child.modules())}, tuple(shape)
