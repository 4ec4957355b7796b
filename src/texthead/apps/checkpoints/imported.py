"""Import a published checkpoint as a run that evaluates and predicts under the checkpoint's own test protocol."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from texthead.apps.checkpoints.published import (
    CONVENTIONS,
    PIXELS,
    Checkpoint,
    Convention,
    Kind,
    Pooled,
    model_config,
    original,
    read_published,
    temporal_heads,
)
from texthead.apps.checkpoints.spotting_head import spotting_head
from texthead.data import Pixels
from texthead.encoders import (
    Encoder,
    Published,
    Visual,
    assemble,
    build_visual,
    fill,
    load_encoder,
    openai_tokenizer,
    openclip_tensors,
    save_openclip,
    tower_spec,
)
from texthead.errors import DataError, EncoderError, RunError
from texthead.files import locked
from texthead.media import MediaPath
from texthead.models import (
    FrameTransformer,
    Head,
    MeanPool,
    Recognizer,
    Temporal,
    TemporalTransformer,
    TokenConv,
    text_head,
)
from texthead.recipes import Recipe
from texthead.runs import ENCODER, HERE, is_run, write_run
from texthead.text import fill_templates


@dataclass(frozen=True)
class ImportOptions:
    """Settings that the checkpoint does not hold, or that differ from its kind's convention.

    Args:
        kind: the kind of checkpoint, if its keys do not tell.
        encoder: the encoder that it was fine-tuned from, for parts of the text tower that are not in the file.
        frames: frames per clip, if the file name does not tell.
        resize: short side before cropping, in pixels; None for the kind's own.
        convention: values that replace those of the kind's `Convention`.
        temporal: the temporal module of a Text4Vis file that holds no weights of one.
    """

    kind: Kind | None = None
    encoder: str | None = None
    frames: int | None = None
    resize: int | None = None
    convention: Mapping[str, Any] = field(default_factory=dict)
    temporal: Pooled | None = None


class Imported(NamedTuple):
    """The result of an import.

    Attributes:
        title: kind of the checkpoint and size of its towers.
        convention, recipe, resize: the test protocol of the run.
        scale: the logit scale.
        prompts: the prompts of the rows.
        notes: choices made by default.
    """

    title: str
    convention: Convention
    recipe: Recipe
    resize: int
    scale: float
    prompts: Sequence[str | Sequence[str]]
    notes: list[str]


def import_published(
    path: Path, out: Path, labels: Sequence[str], names: Sequence[str], options: ImportOptions = ImportOptions()
) -> Imported:
    """Write a checkpoint of OpenAI's CLIP, Text4Vis, ActionCLIP or ViFi-CLIP as a run.

    Args:
        path: the checkpoint; code in it is not executed.
        out: the run folder to create.
        labels: the labels to predict.
        names: the class name of each label, as the text encoder reads it.
        options: settings that differ from the kind's convention.

    Raises:
        RunError: the folder already holds a run.
        EncoderError: the file cannot be read, or lacks a part that no original encoder provides.
        DataError: the options do not fit the file.
    """
    if is_run(out):
        raise RunError(f"{out}: already holds a run; choose another folder")
    checkpoint = read_published(path, options.kind)
    convention = _convention(checkpoint, options.convention)
    notes: list[str] = []
    recipe = Recipe(
        name=f"imported, {checkpoint.kind}",
        frames=options.frames or _frames_of(path, 8 if checkpoint.kind == "openai" else None, notes),
        origin=convention.origin,
        pooling=convention.pooling,
        crops_along=convention.crops_along,
        temporal=_temporal_kind(checkpoint, options.temporal, str(path)),
        template=convention.template,
        template_pooling=convention.template_pooling,
    )
    config = model_config(checkpoint.clip, str(path))
    encoder, clip_tensors = _encoder(checkpoint, config, str(path), options.encoder, notes)
    mean, std = PIXELS[convention.pixels]
    preprocess = {"mean": mean, "std": std, "interpolation": convention.interpolation}
    spec = tower_spec(encoder.source, config, preprocess)
    visual = build_visual(spec)
    fill(visual.net, {k[7:]: v for k, v in checkpoint.clip.items() if k.startswith("visual.")}, str(path))
    temporal = _temporal(checkpoint, visual, config, str(path), shift=recipe.temporal == "token-conv")
    scale = float(checkpoint.clip["logit_scale"].exp()) if convention.test_scale is None else convention.test_scale
    head = _head(encoder, names, labels, convention, scale)
    short = convention.resize(spec.size)
    pixels = Pixels(spec.size, short, spec.interpolation, antialias=convention.antialias).with_resize(options.resize)
    file = {"name": path.name, "kind": checkpoint.kind, "fingerprint": MediaPath(path).fingerprint()}
    split = {"source": f"imported from {file['name']}"}  # The training items are unknown.
    with locked(out):
        if is_run(out):
            raise RunError(f"{out}: another process has written a run there; choose another folder")
        if clip_tensors is not None:
            save_openclip(out / ENCODER, model_config(clip_tensors, str(path)), clip_tensors)
        write_run(out, Recognizer(visual, temporal, head).eval(), recipe, pixels, names, split, imported=file)
    title = f"{path.name}: {checkpoint.kind}, {_tower_text(config)}"
    return Imported(title, convention, recipe, pixels.resize, scale, head.prompts or (), notes)


def _convention(checkpoint: Checkpoint, changes: Mapping[str, Any]) -> Convention:
    """Return the kind's convention with the changes."""
    convention = replace(CONVENTIONS[checkpoint.kind], **changes)
    if not isinstance(convention.template, str):
        return convention
    if changes.get("template_pooling") == "probabilities":
        raise DataError("`template_pooling=probabilities` needs several templates: give them in a .txt file")
    return replace(convention, template_pooling="features")


def _frames_of(path: Path, default: int | None, notes: list[str]) -> int:
    """Return the frames per clip from the file name, as in k400-vitb-16-f8.pt or vit-16-32f.pt, else the default.

    Raises:
        DataError: the name does not tell, and there is no default.
    """
    named = re.search(r"(?<![a-z0-9])(?:f(\d{1,2})|(\d{1,2})f)(?![a-z0-9])", path.stem.lower())
    if named is None and default is None:
        raise DataError(f"{path.name}: the file name lacks the frames per clip; pass `frames`, usually 8, 16 or 32")
    frames = int(named[1] or named[2]) if named else default or 0
    why = " (from the file name)" if named else " for videos (default)"
    notes.append(f"{frames} frames per clip{why}; pass `frames` to change it")
    return frames


def _encoder(
    checkpoint: Checkpoint, config: dict, path: str, base: str | None, notes: list[str]
) -> tuple[Encoder, dict[str, Tensor] | None]:
    """Return the encoder with the text tower of the rows, and its weights if the run must include them.

    Raises:
        DataError: `base` is given, but the file has a complete text tower.
        EncoderError: the text tower is incomplete, and no original encoder is known to complete it.
    """
    missing = checkpoint.missing_text
    if missing and checkpoint.kind not in ("text4vis", "vifi-clip"):
        raise EncoderError(f"{path}: {checkpoint.kind} file lacks {', '.join(missing)}: download the complete file")
    if not missing and base is not None:
        raise DataError(f"encoder {base}: the file has its own text tower; leave out `encoder`")
    base = base or original(config)
    if missing and base is None:
        raise EncoderError(f"{path}: lacks {', '.join(missing)}; pass `encoder`, the one it was fine-tuned from")
    if missing:
        notes.append(f"{', '.join(missing)} come from {base}")
    if base is not None and "ln_final.weight" in missing:
        encoder = load_encoder(base)
        if encoder.dim != config["embed_dim"]:
            raise EncoderError(
                f"{base!r} has {encoder.dim}-d features, {path} {config['embed_dim']}-d; pass `encoder`, the one it "
                "was fine-tuned from"
            )
        return encoder, None
    tensors = dict(checkpoint.clip)
    if base is not None and missing:
        if not base.startswith("openclip:"):
            raise EncoderError(f"encoder {base}: the missing {', '.join(missing)} can only come from openclip:...")
        first = openclip_tensors(base.removeprefix("openclip:"))
        tensors |= {key: first[key] for key in missing}
    source = f"openclip:local-dir:{HERE}/{ENCODER}"
    return assemble(Published(source, model_config(tensors, path), {}, lambda: tensors, openai_tokenizer)), tensors


def _temporal_kind(
    checkpoint: Checkpoint, pooled: Pooled | None, path: str
) -> Literal["mean", "transformer", "token-conv"]:
    """Return the recipe's name of the file's temporal module.

    Raises:
        DataError: `temporal` is needed for a Text4Vis file and missing, or is given although the file determines it.
    """
    if checkpoint.temporal or checkpoint.token_convs:
        if pooled is not None:
            raise DataError(f"`temporal={pooled}`: {path} has weights of its temporal module; leave out `temporal`")
        return "transformer" if checkpoint.temporal else "token-conv"
    if pooled is None and checkpoint.kind == "text4vis":
        raise DataError(
            f"{path}: mean pooling and TokenShift have no weights, so the file does not show which it was trained "
            "with: pass `temporal=mean` or `temporal=token-shift`"
        )
    return "token-conv" if pooled == "token-shift" else "mean"


def _temporal(checkpoint: Checkpoint, visual: Visual, config: dict, source: str, *, shift: bool) -> Temporal:
    """Return the file's temporal module with its weights; for a file without any, TokenShift if `shift`, else the mean.

    Raises:
        EncoderError: the weights do not fit a temporal transformer or token convolutions of this encoder.
    """
    if checkpoint.temporal and checkpoint.token_convs:
        raise EncoderError(f"{source}: holds a temporal transformer and TokenT1D: texthead supports only one of them")
    if checkpoint.temporal:
        layers = len({key.split(".")[2] for key in checkpoint.temporal if key.startswith("transformer.")})
        kind = FrameTransformer if CONVENTIONS[checkpoint.kind].spotting else TemporalTransformer
        transformer = kind(config["embed_dim"], max(1, layers), heads=temporal_heads(config))
        fill(transformer, checkpoint.temporal, source)
        return transformer
    if CONVENTIONS[checkpoint.kind].spotting:
        raise EncoderError(
            f"{source}: holds no temporal transformer, which BIKE's word spotting needs; if the model averages frames, "
            "pass `kind=text4vis-nce` and `template='This is a video about {}'`"
        )
    if checkpoint.token_convs:
        convs = TokenConv(visual)
        fill(convs, {f"convs.{i}.weight": kernel for i, kernel in enumerate(checkpoint.token_convs)}, source)
        return convs
    return TokenConv(visual) if shift else MeanPool()


def _head(encoder: Encoder, names: Sequence[str], labels: Sequence[str], convention: Convention, scale: float) -> Head:
    """Return the head of the kind's convention.

    Raises:
        DataError: several templates for a word-spotting head.
    """
    template, pooling = convention.template, convention.template_pooling
    if convention.spotting:
        prompts = fill_templates(template, names)
        return spotting_head(encoder, labels, scale=scale, prompts=prompts)
    return text_head(encoder, names, labels=labels, template=template, scale=scale, pooling=pooling)


def _tower_text(config: dict) -> str:
    vision = config["vision_cfg"]
    name = (original(config) or "").removeprefix("openclip:").removesuffix("-quickgelu/openai")
    return f"{name or 'image tower'}, {vision['image_size']} pixels, {config['embed_dim']}-d features"
