"""The parts of a model that a recipe asks for: sizes, head, temporal module."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from texthead.data import splits
from texthead.data.protocol import Pixels
from texthead.encoders.encoder import Encoder, Visual, VisualSpec
from texthead.errors import DataError, RunError
from texthead.models.head_rows import lda_weights, orthogonal_weights, random_weights, text_rows, variant_rows
from texthead.models.heads import FrozenHead, LinearHead, ProbeHead, TemplatesHead, TrainableHead
from texthead.models.prompt_head import PromptHead, random_context, template_context
from texthead.models.temporal import MeanPool, Temporal, TemporalTransformer, make_temporal, network
from texthead.recipes import HeadKind, Recipe, check_clip_size
from texthead.text.prompts import class_prompts

Head = FrozenHead | TrainableHead | TemplatesHead | PromptHead | LinearHead | ProbeHead

LDA_ITEMS = 60


def pixels_for(recipe: Recipe, spec: VisualSpec) -> Pixels:
    """The sizes of a recipe on an encoder.

    Raises:
        RunError: a size that the encoder cannot take, or clips that take too much memory.
    """
    size = recipe.size or spec.size
    if size != spec.size and not spec.any_size:
        raise RunError(f"{spec.source} takes {spec.size} pixels only, got size {size}: take size={spec.size}")
    pixels = Pixels(size, recipe.resize or round(size / spec.crop), spec.interpolation, spec.squash)
    check_clip_size(recipe.frames, pixels.size, pixels.resize)
    return pixels


def make_head(
    kind: HeadKind,
    encoder: Encoder,
    labels: Sequence[str],
    recipe: Recipe,
    *,
    names: Sequence[str] | None = None,
    sentences: Sequence[str | Sequence[str] | None] | None = None,
    features: Float[Tensor, "items dim"] | None = None,
    targets: Int[Tensor, " items"] | None = None,
    trainable: bool = False,
    lda_items: int = LDA_ITEMS,
) -> Head:
    """The head of a kind for the labels.

    Args:
        names: what the text encoder reads for each label; the labels themselves if None.
        sentences: each label's own sentence, or several whose rows are averaged, or None for the template.
        features, targets: pretrained features of the training items and their labels' places; LDA and a recipe with
            `center` need them.
        trainable: let a head of fixed rows be trained from them.
        lda_items: LDA is fitted to at most so many items a class, drawn from the seed.

    Source: Sec. 2.2; Eq. 1, 4, 5, 6; Table 1.

    Raises:
        DataError: sentences for a head whose rows are not text, or options that do not go together.
        RunError: LDA or a center without features.
    """
    if kind != "text" and any(sentences or []):
        raise DataError(f"head {kind} makes no rows of sentences: leave them out, or take the head text")
    generator = torch.Generator().manual_seed(recipe.seed)
    if kind == "linear":
        return LinearHead(encoder.dim, names=labels, generator=generator)
    if features is None and (kind == "lda" or recipe.center):
        raise RunError(f"head {kind!r} of recipe {recipe.name!r} needs the pretrained features of the training items")
    center = features.mean(0) if features is not None and recipe.center else None
    behind: dict[str, Any] = {"scale": recipe.scale or encoder.scale, "center": center}
    if kind in ("text", "prompt"):
        behind |= {"text_source": encoder.text_source, "text_map": encoder.text_map}
        own = sentences or [None] * len(labels)
        return _text_head(kind, encoder, labels, recipe, names or labels, own, trainable=trainable, **behind)
    match kind:
        case "normal" | "cosine":
            weight = random_weights(len(labels), encoder.dim, generator=generator)
        case "orthogonal":
            weight = orthogonal_weights(len(labels), encoder.dim, generator=generator)
        case "lda":
            assert features is not None
            assert targets is not None
            picked = splits.at_most([str(place) for place in targets.tolist()], lda_items, seed=recipe.seed)
            weight = lda_weights(features[picked], targets[picked])
        case _:
            raise RunError(f"head must be one of {', '.join(get_args(HeadKind))}, got {kind!r}")
    make = TrainableHead if trainable or kind == "cosine" else FrozenHead
    return make(weight, names=labels, kind=kind, **behind)


def keeps_templates_apart(recipe: Recipe) -> bool:
    """Whether several templates' rows are drawn in training or pooled by probabilities in testing.

    Raises:
        DataError: one template has nothing to draw or to pool.
    """
    apart = (recipe.template_use, recipe.template_pooling) != ("mean", "features")
    if apart and (isinstance(recipe.template, str) or len(recipe.template) < 2):
        raise DataError("template_use and template_pooling are for several templates: give several, as a .txt")
    return apart


def _text_head(
    kind: Literal["text", "prompt"],
    encoder: Encoder,
    labels: Sequence[str],
    recipe: Recipe,
    names: Sequence[str],
    sentences: Sequence[str | Sequence[str] | None],
    *,
    trainable: bool,
    **behind: Any,
) -> Head:
    """Rows of text: of one template, of several, of sentences, or of a learnable template.

    Raises:
        DataError: options that do not go together.
    """
    templates = (recipe.template,) if isinstance(recipe.template, str) else recipe.template
    apart = keeps_templates_apart(recipe)
    if kind == "prompt":
        first, *others = templates
        if trainable:
            raise DataError("train_head trains the rows themselves, and a learnable template makes them: leave it out")
        if others:
            raise DataError(f"head prompt learns one template, got {len(templates)}: give one")
        text = encoder.text
        if recipe.context:
            context = random_context(text, recipe.context, generator=torch.Generator().manual_seed(recipe.seed))
        else:
            context = template_context(text, first)
        after = first.split("{}")[1]
        return PromptHead(text, labels, context=context, after=after, read=names, **behind)
    prompts = class_prompts(recipe.template, names, sentences)
    if apart:
        if any(sentences):
            raise DataError(
                "template_use and template_pooling keep templates apart, and sentences are averaged: leave one out"
            )
        if trainable:
            raise DataError("train_head trains one row a class: leave out template_use and template_pooling")
        variants = variant_rows(encoder, prompts)
        draw, pooling = recipe.template_use == "drawn", recipe.template_pooling
        return TemplatesHead(variants, draw=draw, pooling=pooling, names=labels, kind="text", prompts=prompts, **behind)
    make = TrainableHead if trainable else FrozenHead
    return make(text_rows(encoder, prompts), names=labels, kind="text", prompts=prompts, **behind)


def make_temporal_for(recipe: Recipe, visual: Visual) -> Temporal:
    """The recipe's temporal module, drawn from its seed. One frame has no order: it always gets the mean.

    Raises:
        RunError: a module that does not fit the encoder.
    """
    if recipe.temporal == "mean" or recipe.frames == 1:
        return MeanPool()
    if recipe.temporal != "transformer":
        return make_temporal({"kind": recipe.temporal, "start": recipe.conv_start}, visual)
    heads = None if recipe.width is None else max(1, recipe.width // 64)
    module = TemporalTransformer(
        visual.spec.dim, recipe.layers, recipe.width, heads=heads, mlp_ratio=4 if recipe.width is None else 2
    )
    module.reset(torch.Generator().manual_seed(recipe.seed))
    return module


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
