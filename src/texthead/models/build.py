"""The parts of a model that a recipe asks for: sizes, head, temporal module."""

import json
from typing import Any, get_args

import torch
from torch import nn

from texthead.data.protocol import Pixels
from texthead.encoders.encoder import Visual, VisualSpec
from texthead.errors import DataError, RunError
from texthead.models.head_rows import ROW_KINDS, RowInputs, variant_rows
from texthead.models.heads import FrozenHead, Head, LinearHead, ProbeHead, TemplatesHead, TrainableHead
from texthead.models.prompt_head import PromptHead
from texthead.models.recognizer import Recognizer
from texthead.models.spotting_head import SpottingHead
from texthead.models.temporal import AttentivePool, MeanPool, Temporal, TemporalTransformer, make_temporal, network
from texthead.recipes import HeadKind, Recipe, check_clip_size

# The heads that a run can hold, by the name that `recipe.json` has for them.
HEADS: dict[str, type[Head]] = {
    head.__name__: head
    for head in (FrozenHead, TrainableHead, TemplatesHead, PromptHead, LinearHead, ProbeHead, SpottingHead)
}


def pixels_for(recipe: Recipe, spec: VisualSpec) -> Pixels:
    """The sizes of a recipe on an encoder, wherever no clip is drawn for training.

    Raises:
        RunError: a size that the encoder cannot take, or clips that take too much memory.
    """
    return _pixels(recipe, spec, recipe.test_size or recipe.size or spec.size)


def training_pixels_for(recipe: Recipe, spec: VisualSpec) -> Pixels:
    """The sizes of the clips that a recipe trains an encoder on.

    Raises: as `pixels_for`.
    """
    return _pixels(recipe, spec, recipe.size or spec.size)


def _pixels(recipe: Recipe, spec: VisualSpec, size: int) -> Pixels:
    if size != spec.size and not spec.any_size:
        raise RunError(f"{spec.source} takes {spec.size} pixels only, got size {size}: take size={spec.size}")
    pixels = Pixels(size, recipe.resize or round(size / spec.crop), spec.interpolation, spec.squash)
    check_clip_size(recipe.frames, pixels.size, pixels.resize)
    return pixels


def as_head(head: nn.Module) -> Head:
    """Return the head, if it can be built again from a run folder alone.

    Raises:
        RunError: a head of another class.
    """
    if not isinstance(head, Head) or HEADS.get(type(head).__name__) is not type(head):
        raise RunError(
            f"head is a {type(head).__name__}: a run holds {', '.join(HEADS)}; "
            "hand your rows to FrozenHead(rows, names=..., kind='...') or TrainableHead, or add your class to "
            "models.build.HEADS"
        )
    return head


def make_head(kind: str, inputs: RowInputs, *, trainable: bool = False) -> Head:
    """The head of a kind for the labels, before training.

    Args:
        trainable: let a head of fixed rows be trained from them.

    Source: Sec. 2.2; Eq. 1, 4, 5, 6; Table 1.

    Raises:
        DataError: sentences for a head whose rows are not text, or options that do not go together.
        RunError: LDA or a center without features.
    """
    labels, recipe, encoder, sentences = inputs.labels, inputs.recipe, inputs.encoder, any(inputs.sentences or [])
    if kind != "text" and sentences:
        raise DataError(f"head {kind} makes no rows of sentences: leave them out, or take the head text")
    if kind == "prompt" and trainable:
        raise DataError("train_head trains the rows themselves, and a learnable template makes them: leave it out")
    for head in HEADS.values():
        if kind == head.START:
            return head.start(inputs)
    if kind not in ROW_KINDS:
        raise RunError(f"head must be one of {', '.join(get_args(HeadKind))}, got {kind!r}")
    rows = ROW_KINDS[kind]
    options: dict[str, Any] = {"names": labels, "kind": kind, "scale": recipe.scale or encoder.scale}
    options["center"] = inputs.center
    if rows.of_text:
        options |= {"prompts": inputs.prompts, "text_source": encoder.text_source, "text_map": encoder.text_map}
    if rows.of_text and keeps_templates_apart(recipe):
        if sentences or trainable:
            raise DataError(
                "template_use and template_pooling keep templates apart, while sentences are averaged and a trainable "
                "head has one row a class: leave one out"
            )
        draw, pooling = recipe.template_use == "drawn", recipe.template_pooling
        return TemplatesHead(variant_rows(encoder, inputs.prompts), draw=draw, pooling=pooling, **options)
    make = TrainableHead if trainable or rows.trained else FrozenHead
    return make(rows.make(inputs), **options)


def make_recognizer(
    kind: str, inputs: RowInputs, *, visual: Visual | None = None, trainable: bool = False
) -> Recognizer:
    """The model before training: the encoder (or another `visual`), the recipe's temporal module, a head of a kind.

    Raises:
        DataError, RunError: as `make_head` and `make_temporal_for`.
    """
    visual = visual or inputs.encoder.visual
    temporal = make_temporal_for(inputs.recipe, visual)
    return Recognizer(visual, temporal, make_head(kind, inputs, trainable=trainable))


def needs_features(kind: str, recipe: Recipe) -> bool:
    """Whether the training items are encoded before there is a head of the kind."""
    return recipe.center or (kind in ROW_KINDS and ROW_KINDS[kind].items > 0)


def keeps_templates_apart(recipe: Recipe) -> bool:
    """Whether several templates' rows are drawn in training or pooled by probabilities in testing.

    Raises:
        DataError: one template has nothing to draw or to pool.
    """
    apart = (recipe.template_use, recipe.template_pooling) != ("mean", "features")
    if apart and (isinstance(recipe.template, str) or len(recipe.template) < 2):
        raise DataError("template_use and template_pooling are for several templates: give several, as a .txt")
    return apart


def make_temporal_for(recipe: Recipe, visual: Visual) -> Temporal:
    """The recipe's temporal module, drawn from its seed. One frame has no order: it always gets the mean.

    Raises:
        RunError: a module that does not fit the encoder.
    """
    if recipe.temporal == "mean" or recipe.frames == 1:
        return MeanPool()
    if recipe.temporal not in ("transformer", "attentive"):
        return make_temporal({"kind": recipe.temporal, "start": recipe.conv_start}, visual)
    ratio = 4 if recipe.width is None else 2
    if recipe.temporal == "attentive":
        module = AttentivePool(visual.spec.dim, recipe.width, mlp_ratio=ratio)
    else:
        heads = None if recipe.width else _published_heads(visual.spec)
        module = TemporalTransformer(visual.spec.dim, recipe.layers, recipe.width, heads=heads, mlp_ratio=ratio)
    module.reset(torch.Generator().manual_seed(recipe.seed))
    return module


def _published_heads(spec: VisualSpec) -> int | None:
    """Return the attention heads of the paper's temporal transformer: the width of the text tower over 64, if known.

    Source: published code: 8 for RN50, whose features have 1024 numbers and whose text tower 512.
    """
    width = json.loads(spec.config).get("text_width")
    return None if width is None or spec.dim % max(1, width // 64) else max(1, width // 64)


def drop_patches(visual: nn.Module, part: float) -> None:
    """Let a ViT go without a part of its patches in training, drawn anew for each frame; 0 takes all.

    Raises:
        RunError: an encoder that takes no patches, or knows no way to leave some out.
    """
    net = network(visual)
    if not part:
        for name in ("patch_dropout", "patch_drop"):
            if hasattr(getattr(net, name, None), "prob"):
                getattr(net, name).prob = 0.0
        return
    import open_clip.transformer
    from timm.layers.patch_dropout import PatchDropout, PatchDropoutWithIndices
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    if isinstance(net, open_clip.transformer.VisionTransformer):
        net.patch_dropout = open_clip.transformer.PatchDropout(part).train(net.training)
    elif isinstance(net, VisionTransformer):
        net.patch_drop = PatchDropout(part, num_prefix_tokens=net.num_prefix_tokens).train(net.training)
    elif isinstance(net, Eva):
        net.patch_drop = PatchDropoutWithIndices(part, num_prefix_tokens=net.num_prefix_tokens).train(net.training)
    else:
        raise RunError(
            f"{type(net).__name__} has no patches to leave out: use patch_dropout with a ViT of open_clip or timm, "
            "or leave it out"
        )
