"""The run folder: what a recogniser needs to live on, written so that a crash never leaves half a file.

recipe.json        hyper-parameters, visual encoder, temporal module, head
classes.json       one entry a class: label, name, prompt; in an edited run also which run was edited, and how
split.json         which files were trained on and which were held out
metrics.jsonl      one line an optimiser step, one a validation
model.safetensors  all weights, the head's rows among them
state/             what --resume continues from
encoder/           of an imported run: the image and text towers of the file, in open_clip's format
scores.json        what `texthead train` scored at its end, and what stands beside it
calibration.json   temperature, threshold and sets, where `texthead calibrate` has found them
report.html        the report
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import nn

from texthead.data.protocol import Pixels, Protocol, Views
from texthead.encoders.encoder import Encoder, LazyVisual, VisualSpec, as_visual, build_visual
from texthead.encoders.load import load_encoder
from texthead.encoders.weights import sized_as
from texthead.errors import DataError, EncoderError, RunError, TextheadError, listed
from texthead.evaluation.calibration import Calibration
from texthead.features.engine import Kept, known_digest, note_digest, weights_digest
from texthead.files import MOST_BYTES_OF_LISTS, locked, read_json, write_json
from texthead.media.fingerprints import fingerprint
from texthead.media.paths import Span, resolved, shares_frames, spans_by_file
from texthead.media.shard import is_member
from texthead.models.build import as_head
from texthead.models.heads import Head
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import make_temporal
from texthead.notebook import html_table
from texthead.recipes import Recipe, check_clip_size
from texthead.runs.folder import (
    ENCODER,
    FORMAT,
    OLDER_FORMATS,
    check_edit_is_whole,
    check_not_edited,
    empty_head,
    load_weights,
    saved_shapes,
    saved_split,
)
from texthead.runs.hub import check_own, local_run, push_to_hub
from texthead.runs.saved import check_run, is_run
from texthead.runs.scores import read_scores
from texthead.text.prompts import class_prompts

# What stands for the run's own folder in the source of an encoder that lies in it.
HERE = "{run}"

CALIBRATION = "calibration.json"

WEIGHTS = "model.safetensors"

# Parameters of an encoder whose graph is made in about a second.
_SMALL = 16_000_000


def begun_with(
    folder: Path, options: Mapping[str, object] = MappingProxyType({}), *, may_change: Collection[str] = ()
) -> dict[str, Any]:
    """Return the options of the command that began the run in a folder.

    Args:
        folder: the run.
        options: those of the command that resumes it.
        may_change: names of options that may differ now; their value is that of `options`.

    Raises:
        RunError: no run there, one that a program began, one whose classes were edited since, or another option that
            differs.
    """
    if not is_run(folder):
        raise RunError(f"{folder}: no run to resume (no recipe.json in it); leave out resume to start one")
    check_not_edited(folder)
    begun = read_json(folder / "recipe.json").get("command")
    if not isinstance(begun, dict):
        raise RunError(f"{folder}: there is nothing to resume: it was finished at once, or begun by a program of yours")
    for key in begun.keys() & options.keys():
        value = options[key]
        if key in may_change:
            begun[key] = value
        elif (list(value) if isinstance(value, tuple) else value) != begun[key]:
            raise RunError(f"{folder}: was begun with {key} {begun[key]}, not {value}: leave {key} out to resume")
    return begun


class Edit(NamedTuple):
    """An edit of a run's classes, in words.

    Attributes:
        labels: the labels that it took away, and what the items of each are called now; None if their class is gone.
    """

    text: str
    labels: Mapping[str, str | None]


@dataclass(frozen=True)
class Run:
    """A recogniser read back from its folder.

    `classes` is what `classes.json` says of the head's rows. It is None where the head is not the folder's, after
    `with_classes`. `edits` are those since the run was loaded, which `class_edits.save_classes` writes into a folder of
    their own. `text_tuned` says that the rows come from a text encoder that was trained with the run (online matching)
    and is not in the folder. `calibration` is what the folder holds of it; `prediction.calibration_for` says what of it
    holds for these rows. `allow_download` says whether the encoder that the run names may be downloaded where it is
    not on this machine: a run from elsewhere can name any.
    """

    folder: Path
    model: Recognizer
    recipe: Recipe
    spec: VisualSpec
    pixels: Pixels
    trained_on: frozenset[str]
    held_out: tuple[str, ...]
    trained_content: frozenset[str]
    held_out_content: frozenset[str]
    classes: dict[str, Any] | None = None
    text_tuned: bool = False
    calibration: Calibration | None = None
    edits: tuple[Edit, ...] = ()
    allow_download: bool = False

    push_to_hub = push_to_hub

    def was_trained_on(self, path: Path) -> bool:
        """Whether the file is a training item, by its path or as a copy of one, or a part that overlaps with one."""
        if self._is_among(path, self.trained_on, self._only_trained, self._held):
            return True
        return not is_member(path) and shares_frames(resolved(path), self._trained_spans)

    def was_held_out(self, path: Path) -> bool:
        """Whether the file is an item that the run held out: by its path, or as a copy of one elsewhere."""
        return self._is_among(path, self._held, self.held_out_content, self.trained_on)

    @cached_property
    def _only_trained(self) -> frozenset[str]:
        return self.trained_content - self.held_out_content

    @cached_property
    def _trained_spans(self) -> dict[Path, list[Span]]:
        return spans_by_file(self.trained_on)

    @cached_property
    def _held(self) -> frozenset[str]:
        return frozenset(self.held_out)

    @property
    def carries_encoder(self) -> bool:
        """Whether the encoder lies in the run itself: an imported one, of which nothing is known before training."""
        return self.spec.source.endswith(f":{self.folder}/{ENCODER}")

    @staticmethod
    def _is_among(path: Path, paths: Collection[str], contents: Collection[str], others: Collection[str]) -> bool:
        if is_member(path):  # Its path says where it lies in a shard, which can be made anew of other clips.
            return fingerprint(path) in contents
        name = str(resolved(path))
        return name in paths or (name not in others and fingerprint(path) in contents)

    @property
    def protocol(self) -> Protocol:
        """How the run was scored in training: one view, with the recipe's frames, origin and pooling."""
        r = self.recipe
        return Protocol(r.frames, self.pixels, Views.of(r), r.pooling)

    @property
    def head(self) -> Head:
        """The model's head.

        Raises:
            RunError: a head that no run can hold.
        """
        try:
            return as_head(self.model.head)
        except RunError as error:
            raise RunError(f"{self.folder}: {error}") from None

    @property
    def labels(self) -> tuple[str, ...]:
        """The data's labels, in the order of the head's rows."""
        return self.model.names

    def encoder(self, *, keep_text: bool = False) -> Encoder:
        """Return the encoder as it was before training, with the text half that the head's rows came from.

        Raises:
            EncoderError: it cannot be loaded, or would have to be downloaded and the run was loaded without
                `allow_download`.
        """
        return load_encoder(
            self.spec.source,
            text=self.head.text_source,
            text_map=None if self.head.text_map is None else self.head.text_map.cpu(),
            keep_text=keep_text,
            allow_download=self.allow_download,
        )

    def check_text_is_kept(self) -> None:
        """Nothing, if new names can have rows beside those of the run.

        Raises:
            RunError: the text encoder was trained with the run and is not kept.
        """
        if self.text_tuned:
            raise RunError(
                f"{self.folder}: its text encoder was trained with it and is not kept, so other names have no rows "
                "that fit: train with frozen text for those"
            )

    def lost_by_other_classes(self) -> list[str]:
        """What is lost where text rows take the place of the run's own, a sentence each."""
        said = []
        if not self.head.takes_text:
            said.append(
                f"{self.folder} was trained with head {self.head.kind}, whose rows are not text, so new class names "
                "may not work with it: predict without the run for zero-shot, or retrain with head text"
            )
        if self.calibration is not None:
            said.append(
                "the run's calibration is of its own classes; probabilities of these are as the head gives them"
            )
        return said

    def with_classes(
        self,
        labels: Sequence[str],
        *,
        names: Sequence[str] | None = None,
        template: str | Sequence[str] | None = None,
        prompts: Sequence[str | Sequence[str] | None] | None = None,
        encoder: Encoder | None = None,
    ) -> "Run":
        """The same run with a text head for other classes, behind its own center and logit scale.

        Args:
            labels: what predictions say.
            names: what the text encoder reads for each label; the labels themselves if None.
            template: the run's own if None, a learned one too.
            prompts: each label's own sentence, or several whose rows are averaged, or None for the template.
            encoder: what `encoder` gives, if it is at hand; loaded if None.

        Source: Tables 9 and 11: new names behind the same model.

        Raises:
            RunError: the text encoder was trained with the run and is not kept.
        """
        self.check_text_is_kept()
        encoder, names, given = encoder or self.encoder(), names or labels, prompts or [None] * len(labels)
        if self.head.learned_template and template is None:
            if any(given):
                raise DataError(f"{self.folder}: has a learned template: give names without sentences, or a template")
            shown = None
        else:
            shown = class_prompts(template or self.recipe.template, names, given)
        head = self.head.with_names(encoder, names, labels=labels, prompts=shown)
        return replace(self, model=self.model.with_head(head), classes=None, calibration=None, edits=())

    def __repr__(self) -> str:
        # Not the whole model and all files, which notebooks save with their outputs.
        return f"Run({str(self.folder)!r}, {len(self.labels)} classes)"

    def _repr_html_(self) -> str:
        """Return classes, recipe and scores, for a notebook."""
        recipe, temporal = self.recipe, type(self.model.temporal).__name__
        # A head that is fitted in one go takes none.
        epochs = "" if recipe.tune == "none" else f", {recipe.epochs} epochs"
        rows: list[tuple[str, object]] = [
            ("classes", f"{len(self.labels)}: {listed(self.labels)}"),
            ("encoder", f"{self.spec.source}, {'frozen' if recipe.freeze_encoder else f'trained ({recipe.tune})'}"),
            ("model", f"{temporal}, head {self.head.kind}"),
            ("recipe", f"{recipe.name}: {recipe.frames} frames, {self.pixels.size} pixels{epochs}"),
            ("prompt", recipe.template if isinstance(recipe.template, str) else listed(recipe.template, most=3)),
            ("files", f"{len(self.trained_on)} to train, {len(self.held_out)} held out"),
        ]
        # They are of the classes in the folder.
        scores = read_scores(self.folder) if self.classes and not self.edits else None
        scored, methods = scores or ("", ())
        for score in methods:
            interval = f"{score.top1:.1f} % ({score.low:.1f}-{score.high:.1f})"
            rows.append((f"top-1 of {score.method}", f"{interval}, {score.items} {scored} items"))
        return html_table(("", ""), rows, caption=f"run {self.folder}")


def _texts(values: object) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("a list of files is none of texts")
    return values


def _saved_calibration(folder: Path) -> Calibration | None:
    """What `calibration.json` holds; None without one."""
    path = folder / CALIBRATION
    if not path.exists():
        return None
    try:
        return Calibration.from_json(read_json(path, most=MOST_BYTES_OF_LISTS))
    except ValueError as error:
        told = " ".join(str(error).split())[:200]
        raise RunError(f"{path}: {told}; `texthead calibrate` writes it anew once it is removed") from None


def save_calibration(run: Run, calibration: Calibration) -> Run:
    """Write a calibration into the run's folder and return the run with it.

    Raises:
        RunError: the folder is held by another process, cannot be written, or is the cached copy of a run on a hub.
    """
    check_own(run.folder)
    with locked(run.folder):
        write_json(run.folder / CALIBRATION, calibration.to_json())
    return replace(run, calibration=calibration)


def _spec(about: dict[str, Any], folder: Path) -> VisualSpec:
    """Return what describes the encoder; an imported run carries its encoder, and may have been moved."""
    try:
        spec = VisualSpec.from_json(about)
    except EncoderError as error:
        raise RunError(f"{folder / 'recipe.json'}: {error}") from None
    return replace(spec, source=spec.source.replace(HERE, str(folder)))


def _recipe_and_pixels(about: dict[str, Any], written_as: int, folder: Path) -> tuple[Recipe, Pixels]:
    """The hyper-parameters and sizes in `recipe.json`."""
    try:
        recipe = Recipe.from_json({**OLDER_FORMATS.get(written_as, {}), **about["recipe"]})
        pixels = Pixels(**about["pixels"])
        check_clip_size(recipe.frames, pixels.size, pixels.resize)
    except RunError as error:
        raise RunError(f"{folder / 'recipe.json'}: {error}") from None
    return recipe, pixels


def _model(
    folder: Path, about: dict[str, Any], classes: dict[str, Any], spec: VisualSpec, pixels: Pixels
) -> Recognizer:
    """Return the model of a run, its encoder without a network where a graph of it is kept."""
    weights = folder / WEIGHTS
    shapes = saved_shapes(weights)
    digest = known_digest(_files(folder))
    if digest is not None and Kept.of(digest, pixels.size).graph.is_file():
        visual = LazyVisual(spec, partial(_network, weights, spec), digest)
    else:
        with sized_as(shapes.values(), str(folder / "recipe.json")):
            make_temporal(about["temporal"], build_visual(spec))
        visual = build_visual(spec)
    head = empty_head(about["head"], classes, spec.dim, shapes)
    model = Recognizer(visual, make_temporal(about["temporal"], visual), head)
    if isinstance(visual, LazyVisual):
        rest = nn.ModuleDict({"temporal": model.temporal, "head": model.head})
        load_weights(weights, rest, lambda key: not key.startswith("visual."))
    else:
        load_weights(weights, model)
    return model


def _network(weights: Path, spec: VisualSpec) -> nn.Module:
    """Return the network of a run's encoder with its weights."""
    visual = build_visual(spec)
    load_weights(weights, nn.ModuleDict({"visual": visual}), lambda key: key.startswith("visual."))
    return visual.net


def _files(folder: Path) -> list[Path]:
    """Return the files that an encoder is read from."""
    return [folder / WEIGHTS, folder / "recipe.json"]


def keep_graph(run: Run) -> None:
    """Keep a graph of the encoder, if onnxruntime is faster here, so that the run loads without building its network.

    Of a large encoder only one that is there already: it takes seconds to make.
    """
    model = run.model
    if isinstance(model.visual, LazyVisual) or not model.sees_frames_apart or model.device.type != "cpu":
        return
    visual = as_visual(model.visual)
    digest = weights_digest(visual)
    kept = Kept.of(digest, run.pixels.size)
    choice = kept.choice()
    if choice is None and sum(weight.numel() for weight in visual.parameters()) <= _SMALL:
        side = run.pixels.size
        noise = torch.randint(256, (8, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        choice = kept.make(visual, noise)
    if choice is not None and choice["engine"] == "onnxruntime":
        note_digest(_files(run.folder), digest)


def load_run(folder: str | Path, *, allow_download: bool = False) -> Run:
    """Return the recogniser in a run folder, ready to predict. It needs no text encoder and no pretrained weights.

    Args:
        folder: the run folder, or `hub:ORG/NAME[@REVISION]`, which is downloaded unless it is in the hub's cache.
        allow_download: whether the encoder that the run names may be downloaded, where new classes or mixed weights
            need it and it is not on this machine.

    Raises:
        RunError: the folder is no finished run, a file in it does not fit the others, or the hub cannot be read.
        EncoderError: its encoder is not known to the installed libraries.
    """
    folder = local_run(folder)
    check_run(folder)
    about, classes, split = read_json(folder / "recipe.json"), read_json(folder / "classes.json"), saved_split(folder)
    written_as = about.get("format")
    if written_as not in (FORMAT, *OLDER_FORMATS):
        raise RunError(
            f"{folder}: format {written_as!r}, this version reads {', '.join(map(str, OLDER_FORMATS))} and {FORMAT}: "
            "use the version that made it"
        )
    try:
        spec = _spec(about["encoder"], folder)
        recipe, pixels = _recipe_and_pixels(about, written_as, folder)
        model = _model(folder, about, classes, spec, pixels)
        trained_on, held_out = frozenset(_texts(split["train"])), tuple(_texts(split["held_out"]))
        # Files that could not be read have no content to be known by.
        contents = [frozenset(_texts(split[key])) - {""} for key in ("train_content", "held_out_content")]
        check_edit_is_whole(folder, classes, split, as_head(model.head).weight)
    except TextheadError:
        raise
    except KeyError as error:
        raise RunError(f"{folder}: recipe.json, classes.json or split.json lacks {error}") from None
    except Exception as error:  # timm, open_clip and torch make nearly every kind of values that no run has.
        told = " ".join(str(error).split())[:200]
        raise RunError(f"{folder}: recipe.json, classes.json or split.json holds what no run has ({told})") from None
    tuned = (about.get("objective") or {}).get("text") == "online"
    trained = model.eval(), recipe, spec, pixels, trained_on, held_out, *contents
    return Run(
        folder,
        *trained,
        classes=classes,
        text_tuned=tuned,
        calibration=_saved_calibration(folder),
        allow_download=allow_download,
    )
