"""The visual half of a model of transformers, by what the model can do."""

from inspect import signature
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from texthead.encoders.transformers_folder import config_from, faults

# What gives features, in the order in which they are asked for; a model without any is called itself.
_VISUAL = ("get_video_features", "get_vision_features", "get_image_features")


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
