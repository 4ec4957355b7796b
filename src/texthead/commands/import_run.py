"""`texthead import`: a published checkpoint -> a run that evaluates and predicts as it was measured."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from texthead.commands.outputs import check_folder
from texthead.commands.parser import PositiveInt, argument, option
from texthead.errors import DataError
from texthead.text import prompts
from texthead.text.class_names import clean_names, read_names


@dataclass(frozen=True, kw_only=True)
class Import:
    """Write a checkpoint of OpenAI's CLIP, Text4Vis, BIKE, ActionCLIP or ViFi-CLIP as a run.

    The run has the conventions that its numbers were measured with. Options that are left out follow the file's kind.

    Args:
        file: a .pt or .pth as it is published; no code in it runs
        classes: CSV with id,name; names.txt or 'a, b'
        out: the run folder to make
        kind: whose file it is, if its keys do not tell
        temporal: what a Text4Vis file without weights of a temporal module was trained with
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

    file: str = argument("FILE")
    classes: str = option(metavar="NAMES")
    out: str = option(metavar="RUN")
    kind: Literal["openai", "text4vis", "text4vis-nce", "bike", "actionclip", "vifi-clip"] | None = None
    temporal: Literal["mean", "token-shift"] | None = None
    encoder: str | None = option(None, "SOURCE")
    frames: PositiveInt | None = None
    names: Literal["clean", "verbatim"] = "verbatim"
    template: str | None = None
    template_pooling: Literal["features", "probabilities"] | None = None
    pooling: Literal["features", "logits", "probabilities"] | None = None
    origin: Literal["first", "centre", "middle", "dense"] | None = None
    crops_along: Literal["width", "long-side"] | None = None
    resize: PositiveInt | None = None
    pixels: Literal["clip", "imagenet"] | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    test_scale: str | None = option(None, "NUMBER")

    def check(self) -> None:
        """Raise DataError if the run folder cannot be written."""
        check_folder(f"--out {self.out}", Path(self.out))

    def __call__(self) -> None:
        from texthead.commands.console import notes, results, say_names, say_notes, say_prompts
        from texthead.runs.imported import ImportOptions, import_published

        labels = read_names(self.classes)
        names = clean_names(labels) if self.names == "clean" else labels
        own = ("template_pooling", "origin", "pooling", "crops_along", "pixels", "interpolation")
        convention: dict[str, Any] = {key: getattr(self, key) for key in own if getattr(self, key) is not None}
        if self.template is not None:
            convention["template"] = prompts.read_template(self.template)
        if self.test_scale is not None:
            convention["test_scale"] = None if self.test_scale == "learned" else _number(self.test_scale)
        options = ImportOptions(self.kind, self.encoder, self.frames, self.resize, convention, self.temporal)
        made = import_published(Path(self.file), Path(self.out), labels, names, options)
        notes().print(made.title)
        say_notes(made.notes)
        say_names(labels, names, None)
        say_prompts(labels, made.prompts)
        learned = "learned" if made.convention.test_scale is None else "fixed"
        notes().print(
            f"as its numbers were measured: {made.recipe.origin} frame of a segment, views averaged by "
            f"{made.convention.pooling}, three crops along the {made.convention.crops_along.replace('-', ' ')}, pixels "
            f"of {made.convention.pixels} ({made.convention.interpolation}, short side {made.resize}), logit scale "
            f"{made.scale:.4g} ({learned})"
        )
        results().print(f"run: {self.out}")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise DataError(f"--test-scale must be learned or a number above 0, got {text!r}")
    return value
