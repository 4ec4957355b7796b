"""`texthead import`: write a published checkpoint as a run that evaluates and predicts as published."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_type_hints

from texthead.cli import argument, console, option
from texthead.errors import DataError, PositiveInt, converted, either
from texthead.text import read_names, read_template


@dataclass(frozen=True, kw_only=True)
class Import:
    """Write a checkpoint of CLIP (OpenAI's or open_clip's), Text4Vis, BIKE, ActionCLIP or ViFi-CLIP as a run.

    The run predicts in the way in which the published results were measured.

    Args:
        file: a published .pt or .pth file
        classes: names in the order of training: "a, b", names.txt or a CSV (id,name)
        out: run folder to create
        kind: project that published the file, if its keys leave it open
        activation: activation of CLIP's towers, if the file leaves it open
        interaction: of BIKE: dp (mean frame) or vcs (frames weighted by words)
        encoder: encoder it was fine-tuned from (default: OpenAI's)
        frames: frames per clip (default: from the file name, 8 from f8)
        set: override a test setting, e.g. pooling=logits; repeatable
    """

    JSON: ClassVar = (
        "run, kind, notes, classes, scale, learned_scale, resize, origin, pooling, crops_along, pixels, interpolation"
    )

    file: str = argument("FILE")
    classes: str = option(metavar="NAMES")
    out: str = option(metavar="RUN", writes="/")
    kind: Literal["openai", "text4vis", "text4vis-nce", "bike", "actionclip", "vifi-clip"] | None = option(None, "NAME")
    activation: Literal["quick-gelu", "gelu"] | None = option(None, "NAME")
    interaction: Literal["dp", "vcs"] | None = option(None, "NAME")
    encoder: str | None = option(None, "NAME")
    frames: PositiveInt | None = option(None, "N")
    set: list[str] = option(list, "KEY=VALUE", repeated=True)

    def __call__(self) -> None:
        console.status(f"importing {self.file}")
        from texthead.apps.checkpoints.imported import import_published
        from texthead.apps.checkpoints.published import read_published

        labels, changes = read_names(self.classes), _settings(self.set)
        if self.interaction is not None:
            changes["interaction"] = self.interaction
        hints = {name: getattr(self, name) for name in ("encoder", "frames", "activation")}
        checkpoint = read_published(Path(self.file), self.kind)
        made = import_published(checkpoint, Path(self.out), labels, changes, **hints)
        console.notes().print(made.title)
        console.say_notes(*made.notes)
        console.say_prompts(labels, made.prompts)
        convention = made.convention
        learned = "learned" if convention.test_scale is None else "fixed"
        console.notes().print(
            f"as published: {convention.origin} frame of a segment, {convention.pooling} averaged over views, three "
            f"crops along the {convention.crops_along.replace('-', ' ')}, pixels of {convention.pixels} "
            f"({convention.interpolation}, short side {convention.resize}), logit scale {made.scale:.4g} ({learned})"
        )
        about = {"kind": made.title, "notes": made.notes, "classes": labels}
        about |= {"scale": made.scale, "learned_scale": learned == "learned"}
        same = ("resize", "origin", "pooling", "crops_along", "pixels", "interpolation")
        about |= {name: getattr(convention, name) for name in same}
        console.results().print(f"run: {self.out}")
        console.show_json({"run": self.out, **about})
        console.next_command("texthead", "predict", self.out, "FILE")


def _settings(changes: Sequence[str]) -> dict[str, Any]:
    """Return the values of texts such as "pooling=logits"; raise DataError for an unknown key or a wrong value."""
    from texthead.apps.checkpoints.published import Convention

    hints, values = get_type_hints(Convention, include_extras=True), dict[str, Any]()
    for change in changes:
        key, _, text = change.partition("=")
        if key not in hints:
            raise DataError(f"--set {change}: must be {either([*hints])} with its value, e.g. pooling=logits")
        value: Any = None if change == "test_scale=learned" else text
        with suppress(ValueError):
            value = json.loads(text)
        values[key] = read_template(text) if key == "template" else converted(key, value, hints[key])
    return values
