"""Import a published checkpoint as a run that predicts as published."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from texthead import Encoder, Recognizer, load_encoder, text_head
from texthead.apps.checkpoints import published
from texthead.apps.checkpoints.published import Checkpoint, Convention
from texthead.apps.checkpoints.spotting_head import SpottingHead
from texthead.apps.checkpoints.templates_head import MeanProbabilityHead
from texthead.data import Pixels
from texthead.encoders import ClipModel, build_visual, fill
from texthead.errors import DataError, EncoderError, RunError
from texthead.files import locked
from texthead.media import MediaPath
from texthead.models import Temporal
from texthead.recipes import Recipe
from texthead.runs import ENCODER, HERE, is_run, write_run
from texthead.text import class_prompts

Activation = Literal["quick-gelu", "gelu"]

# Tokens of CLIP's tokenizer.
_CLIP_WORDS = 49_408


class Imported(NamedTuple):
    """The result of an import.

    Attributes:
        title: kind of the checkpoint and size of its towers.
        convention: the test protocol of the run, with its short side.
        scale: the logit scale.
        prompts: the prompts of the rows.
        notes: choices made by default.
    """

    title: str
    convention: Convention
    scale: float
    prompts: Sequence[str | Sequence[str]]
    notes: list[str]


def import_published(
    checkpoint: Checkpoint,
    out: Path,
    labels: Sequence[str],
    changes: Mapping[str, Any],
    *,
    encoder: str | None = None,
    frames: int | None = None,
    activation: Activation | None = None,
) -> Imported:
    """Write a checkpoint of OpenAI's CLIP, Text4Vis, BIKE, ActionCLIP or ViFi-CLIP as a run.

    Args:
        checkpoint: as from `read_published`.
        out: the run folder to create.
        labels: the class names, as the text encoder reads them.
        changes: values that replace those of the kind's `Convention`.
        encoder: the encoder that it was fine-tuned from, for parts of the text tower that are not in the file.
        frames: frames per clip, if the file name does not tell.
        activation: the activation of CLIP's towers, if the file does not tell.

    Raises:
        RunError: the folder already contains a run.
        EncoderError: the file lacks a part that no original encoder provides.
        DataError: the options do not fit the file.
    """
    if is_run(out):
        raise RunError(f"{out}: already contains a run; choose another folder")
    path, notes = checkpoint.path, list[str]()
    convention, frames = _settled(checkpoint, frames, activation, changes, notes)
    quick_gelu = activation != "gelu"
    config = published.model_config(checkpoint.clip, str(path), quick_gelu=quick_gelu)
    texts, saved = _encoder(checkpoint, config, encoder, notes)
    mean, std = published.PIXELS[convention.pixels]
    preprocess = {"mean": mean, "std": std, "interpolation": convention.interpolation}
    spec = ClipModel(texts.source, config, preprocess).spec
    visual = build_visual(spec)
    fill(visual.net, {k[7:]: v for k, v in checkpoint.clip.items() if k.startswith("visual.")}, str(path))
    over_frames, module = _temporal(checkpoint, config, convention)
    if checkpoint.kind in ("text4vis", "text4vis-nce") and "visual.proj" in checkpoint.clip:
        notes.append("a file trained with TokenShift, which has no weights, looks the same; it is read as without")
    recipe = Recipe(
        name=f"imported, {checkpoint.kind}",
        frames=frames,
        origin=convention.origin,
        pooling=convention.pooling,
        crops_along=convention.crops_along,
        temporal=over_frames,
        template=convention.template,
    )
    prompts = class_prompts(convention.template, labels)
    scale = float(checkpoint.clip["logit_scale"].exp()) if convention.test_scale is None else convention.test_scale
    if convention.interaction == "vcs":
        head = SpottingHead.from_prompts(texts, prompts, names=labels, scale=scale)
    elif convention.template_pooling == "probabilities" and not isinstance(convention.template, str):
        head = MeanProbabilityHead.from_prompts(texts, prompts, names=labels, scale=scale)
    else:
        head = text_head(texts, labels, prompts=prompts, scale=scale)
    short = convention.short_side(spec.size)
    pixels = Pixels(spec.size, short, spec.interpolation, antialias=convention.antialias)
    file = {"name": path.name, "kind": checkpoint.kind, "fingerprint": MediaPath(path).fingerprint()}
    split = {"source": f"imported from {file['name']}"}  # The training items are unknown.
    with locked(out):
        if saved is not None:
            saved.save(out / ENCODER)
        write_run(out, Recognizer(visual, module, head).eval(), recipe, pixels, labels, split, imported=file)
    over = "transformer" if checkpoint.temporal else "frames" if convention.interaction == "vcs" else "mean of frames"
    details = filter(None, [over, convention.interaction, "quick-gelu" if quick_gelu else "gelu"])
    tower = (published.original(config) or "image tower").removeprefix("openclip:").removesuffix("-quickgelu/openai")
    sizes = f"{config['vision_cfg']['image_size']} pixels, {config['embed_dim']}-d features"
    title = f"{path.name}: {checkpoint.kind}, {tower}, {sizes}, {', '.join(details)}"
    return Imported(title, replace(convention, resize=short), scale, head.prompts or (), notes)


def _settled(
    checkpoint: Checkpoint,
    frames: int | None,
    activation: Activation | None,
    changes: Mapping[str, Any],
    notes: list[str],
) -> tuple[Convention, int]:
    """Return the convention with the changes, and the frames per clip.

    The frames are in file names such as k400-vitb-16-f8.pt and vit-16-32f.pt.

    Raises:
        DataError: neither the file nor the arguments tell, or they disagree.
    """
    path, kind = checkpoint.path, checkpoint.kind
    convention = replace(published.CONVENTIONS[kind], **changes)
    if kind == "bike" and convention.interaction is None:
        raise DataError(
            "files of BIKE's dot product (dp) and video concept spotting (vcs) have the same keys: pass "
            "`interaction=dp` or `interaction=vcs`, as in the configuration that the file was trained with"
        )
    if kind != "bike" and convention.interaction is not None:
        raise DataError(
            f"`interaction={convention.interaction}`: only BIKE's files have one, not {kind}; remove `interaction`"
        )
    named = re.search(r"(?<![a-z0-9])(?:f(\d{1,2})|(\d{1,2})f)(?![a-z0-9])", path.stem.lower())
    if frames is None:
        if named is None and kind != "openai":
            raise DataError(f"{path.name}: the file name lacks the frames per clip; pass `frames`, usually 8, 16 or 32")
        frames = int(named[1] or named[2]) if named else 8
        why = " (from the file name)" if named else " for videos (default)"
        notes.append(f"{frames} frames per clip{why}; pass `frames` to change it")
    if checkpoint.from_openai and activation == "gelu":
        raise DataError(f"`activation=gelu`: {path} is known to have QuickGELU; remove `activation`")
    if not checkpoint.from_openai and activation is None:
        raise DataError(
            f"{path}: does not show the activation of its towers: pass `activation=quick-gelu` for a model fine-tuned "
            "from OpenAI's weights, `activation=gelu` for most of open_clip's own"
        )
    return convention, frames


def _encoder(
    checkpoint: Checkpoint, config: dict, base: str | None, notes: list[str]
) -> tuple[Encoder, ClipModel | None]:
    """Return the encoder with the text tower of the rows, and its model if the run must include it.

    Raises:
        DataError: `base` is given, but the file has a complete text tower.
        EncoderError: the text tower is incomplete, and no original encoder of this architecture completes it, or its
            tokens are not those of CLIP's tokenizer.
    """
    path, tensors, lacks = checkpoint.path, checkpoint.clip, ", ".join(checkpoint.missing_text)
    if lacks:
        if checkpoint.kind not in ("text4vis", "vifi-clip"):
            raise EncoderError(f"{path}: {checkpoint.kind} file lacks {lacks}: download the complete file")
        base = base or published.original(config)
        if base is None:
            raise EncoderError(f"{path}: lacks {lacks}; pass `encoder`, the one it was fine-tuned from")
        notes.append(f"{lacks} come from {base}")
        encoder = load_encoder(base)

        def architecture(tower: list[Tensor], size: int, dim: int) -> str:
            """Return what tells image towers apart, whichever names a library gives to their weights."""
            first = [
                f"{len(tensor)}x{tensor.shape[-1]}" for tensor in tower if tensor.ndim == 4 and tensor.shape[1] == 3
            ]
            count = sum(tensor.numel() for tensor in tower if tensor.ndim == 2 and tensor.is_floating_point())
            return f"{dim}-d features, {size} pixels, width x patch {', '.join(first)}, {count:,} weights in matrices"

        image_tower = [value for key, value in tensors.items() if key.startswith("visual.")]
        own = architecture(image_tower, config["vision_cfg"]["image_size"], config["embed_dim"])
        theirs = architecture([*encoder.visual.net.state_dict().values()], encoder.visual.spec.size, encoder.dim)
        if theirs != own:
            raise EncoderError(
                f"'{base}' has another image tower ({theirs}) than {path} ({own}); pass `encoder`, the one it was "
                "fine-tuned from"
            )
        if "ln_final.weight" not in tensors:
            return encoder, None
        first = ClipModel.from_name(base.removeprefix("openclip:")).tensors()
        tensors = tensors | {key: first[key] for key in checkpoint.missing_text}
        config = published.model_config(tensors, str(path))
    elif base is not None:
        raise DataError(f"encoder {base}: the file has its own text tower; remove `encoder`")
    if (words := config["text_cfg"]["vocab_size"]) != _CLIP_WORDS:
        raise EncoderError(
            f"{path}: its text tower has {words:,} tokens, CLIP's tokenizer {_CLIP_WORDS:,}: texthead does not know "
            "its tokenizer; use a model with CLIP's"
        )
    model = ClipModel(f"openclip:local-dir:{HERE}/{ENCODER}", config, read=lambda: tensors)
    return model.encoder(), model


def _temporal(
    checkpoint: Checkpoint, config: dict, convention: Convention
) -> tuple[Literal["mean", "transformer"], Temporal]:
    """Return the recipe's name of the temporal module, and the module with the file's weights.

    It gives the features of all frames instead of their mean if BIKE weights frames.

    Raises:
        EncoderError: the weights do not fit a temporal transformer.
    """
    frames = convention.interaction == "vcs"
    if not checkpoint.temporal:
        return "mean", Temporal.from_config({"kind": "frames" if frames else "mean"}, nn.Identity())
    layers = len({key.split(".")[2] for key in checkpoint.temporal if key.startswith("transformer.resblocks.")})
    shape = {"dim": config["embed_dim"], "layers": max(1, layers), "heads": published.temporal_heads(config)}
    module = Temporal.from_config({"kind": "frame-transformer" if frames else "transformer", **shape}, nn.Identity())
    fill(module, checkpoint.temporal, str(checkpoint.path))
    return "transformer", module
