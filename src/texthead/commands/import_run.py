"""`texthead import`: a published checkpoint -> a run that evaluates and predicts as it was measured."""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from texthead.commands.options import resized
from texthead.commands.parser import PositiveInt, argument, option
from texthead.errors import DataError, EncoderError, RunError
from texthead.files import locked
from texthead.recipes import Recipe
from texthead.text import prompts
from texthead.text.class_names import clean_names, read_names

if TYPE_CHECKING:
    from torch import Tensor

    from texthead.encoders.encoder import Encoder, Visual
    from texthead.encoders.published import Checkpoint, Convention
    from texthead.models.temporal import Temporal


@dataclass(frozen=True, kw_only=True)
class Import:
    """Write a checkpoint of OpenAI's CLIP, Text4Vis, ActionCLIP or ViFi-CLIP as a run.

    The run has the conventions that its numbers were measured with. Options that are left out follow the file's kind.

    Args:
        file: a .pt or .pth as it is published; no code in it runs
        classes: CSV with id,name; names.txt or 'a, b'
        out: the run folder to make
        kind: whose file it is, if its keys do not tell
        encoder: the encoder it was tuned from, for what of the text tower is not in the file (OpenAI's, if not given)
        frames: frames of a clip, if the name does not say f8
        names: how names are read
        template: prompt of the rows, or a .txt of them
        template_pooling: what is averaged over templates
        pooling: what is averaged over views, if not the kind's own
        origin: frame of a segment, if not the kind's own
        crops_along: where three crops lie, if not the kind's own
        resize: short side before cropping in pixels, if not the kind's own
        pixels: whose mean and deviation
        interpolation: interpolation of the resize before cropping
        test_scale: factor of the cosines, or learned
    """

    NAME: ClassVar = "import"
    HELP: ClassVar = "a published checkpoint -> a run"
    USAGE: ClassVar = "texthead import FILE --classes NAMES --out RUN [options]"

    file: str = argument("FILE")
    classes: str = option()
    out: str = option(metavar="RUN")
    kind: Literal["openai", "text4vis", "text4vis-nce", "actionclip", "vifi-clip"] | None = None
    encoder: str | None = option(None, "SOURCE")
    frames: PositiveInt | None = None
    names: Literal["clean", "verbatim"] = "verbatim"
    template: str | None = None
    template_pooling: Literal["features", "probabilities"] | None = None
    pooling: Literal["features", "logits", "probabilities"] | None = None
    origin: Literal["first", "centre", "dense"] | None = None
    crops_along: Literal["width", "long-side"] | None = None
    resize: PositiveInt | None = None
    pixels: Literal["clip", "imagenet"] | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    test_scale: str | None = option(None, "NUMBER")

    def __call__(self) -> None:
        from texthead.commands.console import notes, results, say_names, say_prompts
        from texthead.data.protocol import Pixels
        from texthead.encoders.encoder import build_visual
        from texthead.encoders.openclip import save_openclip, tower_spec
        from texthead.encoders.published import PIXELS, model_config, read_published
        from texthead.encoders.weights import fill
        from texthead.media.fingerprints import fingerprint
        from texthead.models.heads import text_head
        from texthead.models.recognizer import Recognizer
        from texthead.runs import run
        from texthead.runs.folder import write_run

        path, out, say = Path(self.file), Path(self.out), notes()
        if run.is_run(out):
            raise RunError(f"{out}: holds a run already; choose another --out")
        labels = read_names(self.classes)
        names = clean_names(labels) if self.names == "clean" else labels
        checkpoint = read_published(path, self.kind)
        convention = _convention(checkpoint, self)
        recipe = _recipe(checkpoint, convention, path, self)
        config = model_config(checkpoint.clip, str(path))
        say.print(f"{path.name}: {checkpoint.kind}, {_described(config)}")
        encoder, own = _encoder(checkpoint, config, str(path), self.encoder)
        mean, std = PIXELS[convention.pixels]
        preprocess = {"mean": mean, "std": std, "interpolation": convention.interpolation}
        spec = tower_spec(encoder.source, config, preprocess)
        visual = build_visual(spec)
        fill(visual.net, {k[7:]: v for k, v in checkpoint.clip.items() if k.startswith("visual.")}, str(path))
        temporal = _temporal(checkpoint, visual, config, str(path))
        scale = float(checkpoint.clip["logit_scale"].exp()) if convention.test_scale is None else convention.test_scale
        head = text_head(
            encoder,
            names,
            labels=labels,
            template=convention.template,
            scale=scale,
            pooling=convention.template_pooling,
        )
        model = Recognizer(visual, temporal, head).eval()
        pixels = resized(Pixels(spec.size, convention.resize(spec.size), spec.interpolation), self.resize)
        file = {"name": path.name, "kind": checkpoint.kind, "fingerprint": fingerprint(path)}
        with locked(out):
            if run.is_run(out):
                raise RunError(f"{out}: holds a run by now, of another process; choose another --out")
            if own is not None:
                save_openclip(out / run.ENCODER, model_config(own, str(path)), own)
            # No training item is known.
            lists = ("train", "train_labels", "train_content", "held_out", "held_out_labels", "held_out_content")
            split = {"source": f"imported from {file['name']}", **{key: [] for key in lists}}
            write_run(out, model, recipe, pixels, names, split, imported=file)
        say_names(labels, names, None)
        say_prompts(labels, head.prompts or ())
        _say_conventions(convention, recipe, scale, pixels.resize)
        results().print(f"run: {out}")


def _convention(checkpoint: "Checkpoint", command: Import) -> "Convention":
    """The kind's convention, changed by what was given."""
    from texthead.encoders.published import CONVENTIONS

    given: dict[str, Any] = {
        "template_pooling": command.template_pooling,
        "origin": command.origin,
        "pooling": command.pooling,
        "crops_along": command.crops_along,
        "pixels": command.pixels,
        "interpolation": command.interpolation,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if command.template is not None:
        given["template"] = prompts.read_template(command.template)
    if command.test_scale is not None:
        given["test_scale"] = None if command.test_scale == "learned" else _number(command.test_scale)
    found = replace(CONVENTIONS[checkpoint.kind], **given)
    if not isinstance(found.template, str):
        return found
    if command.template_pooling == "probabilities":
        raise DataError("--template-pooling probabilities is for several templates: give a .txt to --template")
    return replace(found, template_pooling="features")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise DataError(f"--test-scale must be learned or a number above 0, got {text!r}")
    return value


def _recipe(checkpoint: "Checkpoint", convention: "Convention", path: Path, command: Import) -> Recipe:
    """What the run is tested with."""
    return Recipe(
        name=f"imported, {checkpoint.kind}",
        frames=command.frames or _frames_of(path, 8 if checkpoint.kind == "openai" else None),
        origin=convention.origin,
        pooling=convention.pooling,
        crops_along=convention.crops_along,
        temporal="transformer" if checkpoint.temporal else "token-conv" if checkpoint.token_convs else "mean",
        template=convention.template,
        template_pooling=convention.template_pooling,
    )


def _frames_of(path: Path, default: int | None) -> int:
    """Frames of a clip: in no file, mostly in its name, as k400-vitb-16-f8.pt or vit-16-32f.pt; else the default.

    Raises:
        DataError: the name does not say.
    """
    from texthead.commands.console import notes

    named = re.search(r"(?<![a-z0-9])(?:f(\d{1,2})|(\d{1,2})f)(?![a-z0-9])", path.stem.lower())
    if named is None and default is not None:
        notes().print(f"note: {default} frames a clip, where it is a video (--frames changes it)")
        return default
    if named is None:
        raise DataError(f"{path.name}: no file says how many frames a clip had: pass --frames, mostly 8, 16 or 32")
    frames = int(named[1] or named[2])
    notes().print(f"note: {frames} frames a clip, by the file's name (--frames changes it)")
    return frames


def _encoder(
    checkpoint: "Checkpoint", config: dict, path: str, base: str | None
) -> "tuple[Encoder, dict[str, Tensor] | None]":
    """The encoder whose text tower the rows come from; and its weights, where the run has to carry them.

    Raises:
        DataError: an original is named, and the file needs none.
        EncoderError: a part of the text tower is not in the file, and there is no original to take it from.
    """
    from texthead.commands.console import notes
    from texthead.encoders.load import load_encoder
    from texthead.encoders.openclip import Published, assemble, openai_tokenizer, openclip_tensors
    from texthead.encoders.published import model_config, original
    from texthead.runs import run

    missing = checkpoint.missing_text
    if missing and checkpoint.kind not in ("text4vis", "vifi-clip"):
        raise EncoderError(f"{path}: a file of {checkpoint.kind} that lacks {', '.join(missing)}: get it again, whole")
    if not missing and base is not None:
        raise DataError(f"--encoder {base}: the file has a text tower of its own; leave it out")
    base = base or original(config)
    if missing and base is None:
        raise EncoderError(f"{path}: lacks {', '.join(missing)}: name the encoder that it was tuned from in --encoder")
    if missing:
        notes().print(f"note: {', '.join(missing)} come from {base}")
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
            raise EncoderError(
                f"--encoder {base}: the missing {', '.join(missing)} can be taken from openclip:... only"
            )
        first = openclip_tensors(base.removeprefix("openclip:"))
        own |= {key: first[key] for key in missing}
    source = f"openclip:local-dir:{run.HERE}/{run.ENCODER}"
    return assemble(Published(source, model_config(own, path), {}, lambda: own, openai_tokenizer)), own


def _temporal(checkpoint: "Checkpoint", visual: "Visual", config: dict, source: str) -> "Temporal":
    """The temporal module of the file, with its weights.

    Raises:
        EncoderError: weights that are no temporal transformer of this encoder, or kernels that do not fit its blocks.
    """
    from torch import Tensor

    from texthead.encoders.published import temporal_heads
    from texthead.encoders.weights import fill
    from texthead.models.temporal import MeanPool, Temporal, TemporalTransformer, TokenConv

    if checkpoint.temporal and checkpoint.token_convs:
        raise EncoderError(f"{source}: holds a temporal transformer and TokenT1D: texthead has one of them at a time")
    weights: dict[str, Tensor] = checkpoint.temporal
    if checkpoint.temporal:
        layers = len({key.split(".")[2] for key in checkpoint.temporal if key.startswith("transformer.")})
        temporal: Temporal = TemporalTransformer(config["embed_dim"], max(1, layers), heads=temporal_heads(config))
    elif checkpoint.token_convs:
        temporal = TokenConv(visual)
        weights = {f"convs.{i}.weight": kernel for i, kernel in enumerate(checkpoint.token_convs)}
    else:
        return MeanPool()
    fill(temporal, weights, source)
    return temporal


def _described(config: dict) -> str:
    from texthead.encoders.published import original

    vision = config["vision_cfg"]
    name = (original(config) or "").removeprefix("openclip:").removesuffix("-quickgelu/openai")
    return f"{name or 'an image tower'} of {vision['image_size']} pixels, {config['embed_dim']} numbers a feature"


def _say_conventions(convention: "Convention", recipe: Recipe, scale: float, resize: int) -> None:
    from texthead.commands.console import notes

    learned = "learned" if convention.test_scale is None else "fixed"
    notes().print(
        f"as its numbers were measured: {recipe.origin} frame of a segment, views averaged by {convention.pooling}, "
        f"three crops along the {convention.crops_along.replace('-', ' ')}, pixels of {convention.pixels} "
        f"({convention.interpolation}, short side {resize}), logit scale {scale:.4g} ({learned})"
    )
