"""Select the encoder weights to train: all, adapters of its attention, its norms, or none."""

import re
from contextlib import ExitStack

import torch
from torch import nn

from texthead.encoders.encoder import VisualEncoder
from texthead.errors import EncoderError, RunError
from texthead.extras import needs
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import network
from texthead.recipes import Recipe

# Query, key and value weights of attention: in torch and open_clip, in timm, or as three layers.
_ATTENTION = re.compile(r"(.*\.)?(in_proj_weight|(qkv|[qkv]_proj|query|key|value)\.weight)")


def tuned(model: Recognizer, recipe: Recipe) -> ExitStack:
    """Freeze the encoder except for the part that the recipe trains; `close` merges adapters and unfreezes it.

    Also switches gradient checkpointing on or off, and off the patch dropout of a published config.

    Source: LayerNorm and batch norm alone: 2SFS (Farina et al. 2025). Adapters: CLIP-LoRA
    (Zanella and Ben Ayed 2024), rank 2 and scale 1 / sqrt(2) on query, key and value.
    Differs: a fused weight of query, key and value has one adapter, and adapters have no dropout (peft adds them to
    weights, so there is no input to drop).

    Raises:
        EncoderError: the encoder has no such part.
        RunError: peft is not installed, or the encoder has no such switch.
    """
    visual, net = model.visual_encoder, network(model.visual_encoder)
    if (switch := getattr(visual.net, "set_grad_checkpointing", None)) is not None:
        switch(recipe.grad_checkpointing)
    if recipe.grad_checkpointing and not any(getattr(each, "grad_checkpointing", False) for each in visual.modules()):
        raise RunError(f"{visual.spec.source} does not support gradient checkpointing: remove `grad_checkpointing`")
    for name in ("patch_dropout", "patch_drop"):
        if hasattr(getattr(net, name, None), "prob"):
            getattr(net, name).prob = 0.0
    with ExitStack() as after:
        if recipe.tune not in ("all", "none"):
            for parameter in visual.parameters():
                after.callback(parameter.requires_grad_, parameter.requires_grad)
            visual.requires_grad_(False)
        if recipe.tune == "lora":
            _add_adapters(model, visual, recipe, after)
        elif recipe.tune == "norm":
            for parameter in _norms(visual):
                parameter.requires_grad_(True)
        return after.pop_all()


def _norms(visual: VisualEncoder) -> list[nn.Parameter]:
    """Return the scales and biases of all norms."""
    kinds = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
    norms = [module for module in visual.modules() if isinstance(module, kinds)]
    parameters = [parameter for norm in norms for parameter in norm.parameters(recurse=False)]
    if not parameters:
        raise EncoderError(f"{visual.spec.source} has no layer norm or batch norm with weights: use another `tune`")
    return parameters


def _add_adapters(model: Recognizer, visual: VisualEncoder, recipe: Recipe, after: ExitStack) -> None:
    """Add adapters to the attention weights, initialised from the recipe's seed; closing `after` merges them."""
    targets = [name for name, _ in visual.net.named_parameters() if _ATTENTION.fullmatch(name)]
    if not targets:
        raise EncoderError(f"{visual.spec.source} has no attention to adapt: use `tune=norm`")
    with needs("lora", "`tune=lora`"):
        from peft import LoraConfig, LoraModel
    # Adapters target weights, not layers: peft's adapters of nn.MultiheadAttention include its output layer, and they
    # add and subtract themselves at every pass, which changes the last bits of frozen weights.
    config = LoraConfig(r=2, lora_alpha=1, use_rslora=True, target_modules=[], target_parameters=targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        adapters = LoraModel(visual.net, config, "default")
    after.callback(adapters.merge_and_unload)
    model.eval()  # Batch norms must not learn from a blank clip.
    weights = [parameter for parameter in visual.parameters() if parameter.requires_grad]
    clip = torch.zeros(1, recipe.frames, 3, visual.spec.size, visual.spec.size, device=weights[0].device)
    used = torch.autograd.grad(model.features(clip).sum(), weights, allow_unused=True)
    if any(gradient is None for gradient in used):
        raise EncoderError(f"{visual.spec.source}: adapters do not reach all of its attention: use `tune=norm`")
