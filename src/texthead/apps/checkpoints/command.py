"""`texthead import`: write a published checkpoint as a run that evaluates and predicts as published."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from texthead.cli import PositiveInt, argument, check_outputs, console, option
from texthead.errors import DataError
from texthead.text import clean_names, read_names, read_template


@dataclass(frozen=True, kw_only=True)
class Import:
    """Write a checkpoint of CLIP (OpenAI's or open_clip's), Text4Vis, BIKE, ActionCLIP or ViFi-CLIP as a run.

    By default the run predicts in the way in which the published results were measured, which depends on the kind of
    file. A video classifier in the format of transformers (V-JEPA 2, VideoMAE, TimeSformer, ViViT) gives the same
    scores as there; of the options only --classes, --names and --out apply.

    Args:
        file: a published .pt or .pth file, hf:FOLDER or hf:ORG/NAME; code in it does not run
        classes: class names in the order used in training: CSV with id,name, names.txt or "a, b" (default: those in the
            configuration of an hf: model)
        out: run folder to make
        kind: project that published the file, if texthead cannot tell from its keys
        activation: activation of CLIP's towers, for a file that does not show it; gelu for most of open_clip's own
        interaction: for a file of BIKE: dp (cosine of the mean frame) or vcs (frames weighted by the words of the
            prompt), as in the configuration it was trained with
        temporal: temporal module without weights that a Text4Vis file was trained with, alone or below the file's
            transformer
        encoder: encoder that the file was fine-tuned from (default: OpenAI's); the text encoder comes from there if the
            file has none
        frames: number of frames per clip (default: from the file name, such as 8 from f8)
        names: clean: write labels as words (horse_riding becomes horse riding); verbatim: leave them as they are
        template: prompt with one {} for the class name, or a .txt file with one prompt per line
        pooling: what is averaged over the views (default: as published)
        origin: position of a frame within its segment of the video (default: as published)
        crops_along: side along which three crops are placed (default: as published)
        resize: short side before cropping, in pixels (default: as published)
        pixels: mean and standard deviation that normalise the pixels (default: as published)
        interpolation: interpolation when resizing before the crop (default: as published)
        test_scale: scale of the cosine similarities: a number above 0, or learned
    """

    JSON: ClassVar = (
        "run, kind, notes, classes, scale, learned_scale, resize, origin, pooling, crops_along, pixels, interpolation"
    )

    file: str = argument("FILE")
    classes: str | None = option(None, "NAMES")
    out: str = option(metavar="RUN")
    kind: Literal["openai", "text4vis", "text4vis-nce", "bike", "actionclip", "vifi-clip"] | None = None
    activation: Literal["quick-gelu", "gelu"] | None = None
    interaction: Literal["dp", "vcs"] | None = None
    temporal: Literal["mean", "token-shift"] | None = None
    encoder: str | None = option(None, "SOURCE")
    frames: PositiveInt | None = None
    names: Literal["clean", "verbatim"] = "verbatim"
    template: str | None = None
    pooling: Literal["features", "logits", "probabilities"] | None = None
    origin: Literal["first", "centre", "middle", "dense"] | None = None
    crops_along: Literal["width", "long-side"] | None = None
    resize: PositiveInt | None = None
    pixels: Literal["clip", "imagenet"] | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    test_scale: str | None = option(None, "NUMBER")

    def check(self) -> None:
        """Raise DataError if the run folder cannot be written."""
        check_outputs(self, out="/")

    def __call__(self) -> None:
        if self.file.startswith("hf:"):
            self._classifier()
        else:
            self._checkpoint()

    def _classifier(self) -> None:
        for field in fields(self):
            if field.name not in ("file", "classes", "out", "names") and getattr(self, field.name) is not None:
                raise DataError(f"--{field.name.replace('_', '-')} does not apply to {self.file}; leave it out")
        from texthead.apps.checkpoints.imported import import_classifier

        console.doing(f"importing {self.file}")
        labels = None if self.classes is None else read_names(self.classes)
        made, labels = import_classifier(self.file, Path(self.out), labels, clean=self.names == "clean")
        console.notes().print(made)
        console.results().print(f"run: {self.out}")
        console.show_json({"run": self.out, "kind": made, "notes": [], "classes": labels})
        console.next_command("texthead", "predict", self.out, "FILE")

    def _checkpoint(self) -> None:
        if self.classes is None:
            if Path(self.file).is_dir():
                raise DataError(f"{self.file} is a folder: write hf:{self.file} for a classifier of transformers")
            raise DataError(f"{self.file}: has no class names; give them with --classes")
        from texthead.apps.checkpoints.imported import ImportOptions, import_published

        labels = read_names(self.classes)
        names = clean_names(labels) if self.names == "clean" else labels
        keys = ("interaction", "origin", "pooling", "crops_along", "pixels", "interpolation")
        convention: dict[str, Any] = {key: getattr(self, key) for key in keys if getattr(self, key) is not None}
        if self.template is not None:
            convention["template"] = read_template(self.template)
        if self.test_scale is not None:
            convention["test_scale"] = None if self.test_scale == "learned" else _number(self.test_scale)
        own = (self.kind, self.encoder, self.frames, self.resize, convention, self.temporal, self.activation)
        console.doing(f"importing {self.file}")
        made = import_published(Path(self.file), Path(self.out), labels, names, ImportOptions(*own))
        console.notes().print(made.title)
        console.say_notes(*made.notes)
        console.say_names(labels, names, None)
        console.say_prompts(labels, made.prompts)
        learned = "learned" if made.convention.test_scale is None else "fixed"
        console.notes().print(
            f"as published: {made.recipe.origin} frame of a segment, {made.convention.pooling} averaged over views, "
            f"three crops along the {made.convention.crops_along.replace('-', ' ')}, pixels of "
            f"{made.convention.pixels} ({made.convention.interpolation}, short side {made.resize}), logit scale "
            f"{made.scale:.4g} ({learned})"
        )
        console.results().print(f"run: {self.out}")
        document = {"run": self.out, "kind": made.title, "notes": made.notes, "classes": labels}
        document |= {"scale": made.scale, "learned_scale": learned == "learned", "resize": made.resize}
        same = ("origin", "pooling", "crops_along", "pixels", "interpolation")
        console.show_json(document | {name: getattr(made.convention, name) for name in same})
        console.next_command("texthead", "predict", self.out, "FILE")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise DataError(f"--test-scale must be learned or a number above 0, got {text!r}")
    return value
