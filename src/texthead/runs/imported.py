"""A published checkpoint -> a run that evaluates and predicts as the checkpoint's numbers were measured."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from texthead.data.protocol import Pixels
from texthead.encoders.encoder import Encoder, Visual, build_visual
from texthead.encoders.load import load_encoder
from texthead.encoders.openclip import (
    Published,
    assemble,
    openai_tokenizer,
    openclip_tensors,
    save_openclip,
    tower_spec,
)
from texthead.encoders.published import (
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
from texthead.encoders.weights import fill
from texthead.errors import DataError, EncoderError, RunError
from texthead.files import locked
from texthead.media.fingerprints import fingerprint
from texthead.models.heads import Head, text_head
from texthead.models.recognizer import Recognizer
from texthead.models.spotting_head import spotting_head
from texthead.models.temporal import FrameTransformer, MeanPool, Temporal, TemporalTransformer, TokenConv
from texthead.recipes import Recipe
from texthead.runs.folder import ENCODER, write_run
from texthead.runs.run import HERE
from texthead.runs.saved import is_run
from texthead.text.prompts import fill_templates


@dataclass(frozen=True)
class ImportOptions:
    """What is not as in the checkpoint or as its kind's numbers were measured.

    Args:
        kind: whose file it is, if its keys do not tell.
        encoder: the encoder it was tuned from, for what of the text tower is not in the file.
        frames: frames of a clip, if the file's name does not say.
        resize: short side before cropping in pixels, if not the kind's own.
        convention: other values of the kind's `Convention`.
        temporal: what a Text4Vis file without weights of a temporal module was trained with.
    """

    kind: Kind | None = None
    encoder: str | None = None
    frames: int | None = None
    resize: int | None = None
    convention: Mapping[str, Any] = field(default_factory=dict)
    temporal: Pooled | None = None


class Imported(NamedTuple):
    """What was made of a checkpoint.

    Attributes:
        title: whose file it is and how large its towers are.
        convention, recipe, resize: how the run is tested.
        scale: the logit scale.
        prompts: the prompts of the rows.
        notes: what was decided on the way.
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
        path: the file; no code in it runs.
        out: the run folder to make.
        labels: what predictions say.
        names: the class name of each label, as the text encoder reads it.
        options: what differs from the file's kind.

    Raises:
        RunError: the folder holds a run.
        EncoderError: the file cannot be read, or lacks a part that cannot be taken from an original.
        DataError: options that do not fit the file.
    """
    if is_run(out):
        raise RunError(f"{out}: holds a run already; choose another folder")
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
    encoder, own = _encoder(checkpoint, config, str(path), options.encoder, notes)
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
    file = {"name": path.name, "kind": checkpoint.kind, "fingerprint": fingerprint(path)}
    # No training item is known.
    lists = ("train", "train_labels", "train_content", "held_out", "held_out_labels", "held_out_content")
    split = {"source": f"imported from {file['name']}", **{key: [] for key in lists}}
    with locked(out):
        if is_run(out):
            raise RunError(f"{out}: holds a run by now, of another process; choose another folder")
        if own is not None:
            save_openclip(out / ENCODER, model_config(own, str(path)), own)
        write_run(out, Recognizer(visual, temporal, head).eval(), recipe, pixels, names, split, imported=file)
    title = f"{path.name}: {checkpoint.kind}, {_described(config)}"
    return Imported(title, convention, recipe, pixels.resize, scale, head.prompts or (), notes)


def _convention(checkpoint: Checkpoint, changes: Mapping[str, Any]) -> Convention:
    """Return the kind's convention with the changes."""
    convention = replace(CONVENTIONS[checkpoint.kind], **changes)
    if not isinstance(convention.template, str):
        return convention
    if changes.get("template_pooling") == "probabilities":
        raise DataError("template_pooling=probabilities is for several templates: give several, as a .txt")
    return replace(convention, template_pooling="features")


def _frames_of(path: Path, default: int | None, notes: list[str]) -> int:
    """Return the frames of a clip: in no file, mostly in its name, as k400-vitb-16-f8.pt or vit-16-32f.pt.

    Raises:
        DataError: the name does not say, and there is no default.
    """
    named = re.search(r"(?<![a-z0-9])(?:f(\d{1,2})|(\d{1,2})f)(?![a-z0-9])", path.stem.lower())
    if named is None and default is None:
        raise DataError(f"{path.name}: no file says how many frames a clip had: give frames, mostly 8, 16 or 32")
    frames = int(named[1] or named[2]) if named else default or 0
    why = ", by the file's name" if named else ", where it is a video"
    notes.append(f"{frames} frames a clip{why} (frames changes it)")
    return frames


def _encoder(
    checkpoint: Checkpoint, config: dict, path: str, base: str | None, notes: list[str]
) -> tuple[Encoder, dict[str, Tensor] | None]:
    """Return the encoder whose text tower the rows come from, and its weights where the run has to carry them.

    Raises:
        DataError: an original is named, and the file needs none.
        EncoderError: a part of the text tower is not in the file, and there is no original to take it from.
    """
    missing = checkpoint.missing_text
    if missing and checkpoint.kind not in ("text4vis", "vifi-clip"):
        raise EncoderError(f"{path}: a file of {checkpoint.kind} that lacks {', '.join(missing)}: get it again, whole")
    if not missing and base is not None:
        raise DataError(f"encoder {base}: the file has a text tower of its own; leave it out")
    base = base or original(config)
    if missing and base is None:
        raise EncoderError(f"{path}: lacks {', '.join(missing)}: name the encoder that it was tuned from (encoder)")
    if missing:
        notes.append(f"{', '.join(missing)} come from {base}")
    if base is not None and "ln_final.weight" in missing:
        encoder = load_encoder(base)
        if encoder.dim != config["embed_dim"]:
            raise EncoderError(
                f"{base!r} has {encoder.dim} numbers a feature, {path} {config['embed_dim']}: name its original"
            )
        return encoder, None
    own = dict(checkpoint.clip)
    if base is not None and missing:
        if not base.startswith("openclip:"):
            raise EncoderError(f"encoder {base}: the missing {', '.join(missing)} can be taken from openclip:... only")
        first = openclip_tensors(base.removeprefix("openclip:"))
        own |= {key: first[key] for key in missing}
    source = f"openclip:local-dir:{HERE}/{ENCODER}"
    return assemble(Published(source, model_config(own, path), {}, lambda: own, openai_tokenizer)), own


def _temporal_kind(
    checkpoint: Checkpoint, pooled: Pooled | None, path: str
) -> Literal["mean", "transformer", "token-conv"]:
    """Return what a recipe calls the temporal module of a file.

    Raises:
        DataError: a file of Text4Vis that may be of either, or an answer where there is no question.
    """
    if checkpoint.temporal or checkpoint.token_convs:
        if pooled is not None:
            raise DataError(f"temporal {pooled}: {path} holds the weights of its temporal module; leave it out")
        return "transformer" if checkpoint.temporal else "token-conv"
    if pooled is None and checkpoint.kind == "text4vis":
        raise DataError(
            f"{path}: mean pooling and TokenShift have no weights of their own, so the file does not say which it was "
            "trained with: pass temporal=mean or temporal=token-shift"
        )
    return "token-conv" if pooled == "token-shift" else "mean"


def _temporal(checkpoint: Checkpoint, visual: Visual, config: dict, source: str, *, shift: bool) -> Temporal:
    """Return the temporal module of the file, with its weights; `shift` is TokenShift's where there are none.

    Raises:
        EncoderError: weights that are no temporal transformer of this encoder, or kernels that do not fit its blocks.
    """
    if checkpoint.temporal and checkpoint.token_convs:
        raise EncoderError(f"{source}: holds a temporal transformer and TokenT1D: texthead has one of them at a time")
    if checkpoint.temporal:
        layers = len({key.split(".")[2] for key in checkpoint.temporal if key.startswith("transformer.")})
        kind = FrameTransformer if CONVENTIONS[checkpoint.kind].spotting else TemporalTransformer
        transformer = kind(config["embed_dim"], max(1, layers), heads=temporal_heads(config))
        fill(transformer, checkpoint.temporal, source)
        return transformer
    if CONVENTIONS[checkpoint.kind].spotting:
        raise EncoderError(
            f"{source}: holds no temporal transformer, behind which BIKE spots words; a file that averages frames is "
            "read with kind=text4vis-nce and template='This is a video about {}'"
        )
    if checkpoint.token_convs:
        convs = TokenConv(visual)
        fill(convs, {f"convs.{i}.weight": kernel for i, kernel in enumerate(checkpoint.token_convs)}, source)
        return convs
    return TokenConv(visual) if shift else MeanPool()


def _head(encoder: Encoder, names: Sequence[str], labels: Sequence[str], how: Convention, scale: float) -> Head:
    """Return the head of the kind's convention.

    Raises:
        DataError: several templates where words are spotted.
    """
    if how.spotting:
        prompts = fill_templates(how.template, names)
        return spotting_head(encoder, names, labels=labels, scale=scale, prompts=prompts)
    return text_head(encoder, names, labels=labels, template=how.template, scale=scale, pooling=how.template_pooling)


def _described(config: dict) -> str:
    vision = config["vision_cfg"]
    name = (original(config) or "").removeprefix("openclip:").removesuffix("-quickgelu/openai")
    return f"{name or 'an image tower'} of {vision['image_size']} pixels, {config['embed_dim']} numbers a feature"
