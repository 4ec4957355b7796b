"""Load a run folder. Its files, each written atomically so that a crash never leaves half a file:

recipe.json        hyper-parameters, visual encoder, temporal module, head
classes.json       one entry per class: label, name, prompt; the tree, if any: the broader names above each label; in an
                   edited run also the original run and the edits
split.json         training and held-out files
metrics.jsonl      one line per optimiser step and per validation
model.safetensors  all weights, including the head's rows
state/             the checkpoint to resume from
encoder/           imported runs only: image and text towers of the checkpoint, in open_clip's format
scores.json        final scores of `texthead train`, with baselines
calibration.json   temperature, threshold and prediction sets of `texthead calibrate`
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
from texthead.encoders.encoder import Encoder, build_visual
from texthead.encoders.lazy import SMALL, LazyVisual, known_digest, note_digest, weights_digest
from texthead.encoders.load import keeps_graph, load_encoder
from texthead.encoders.spec import VisualSpec
from texthead.encoders.weights import sized_as
from texthead.errors import DataError, RunError, TextheadError, check_types, checked, line_of, listed
from texthead.evaluation.calibration import Calibration
from texthead.features.engine import StoredGraph
from texthead.files import MOST_BYTES_OF_LISTS, locked, read_json, write_json
from texthead.media.paths import MediaPath, Span, spans_by_file
from texthead.models.head_table import as_head, head_of_json
from texthead.models.heads import Head
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import make_temporal
from texthead.parallel.caller import apart_from_caller
from texthead.recipes import Recipe, check_clip_size
from texthead.runs.folder import (
    ENCODER,
    RUN_FORMAT,
    check_resumable,
    load_weights,
    rows_digest,
    saved_shapes,
    saved_split,
)
from texthead.runs.hub import check_own, display_name, local_run
from texthead.runs.saved import check_run, classes_file, in_file
from texthead.text.class_tree import ClassTree
from texthead.text.prompts import class_prompts

# Placeholder for the run folder in the source of an encoder inside it.
HERE = "{run}"

CALIBRATION = "calibration.json"

WEIGHTS = "model.safetensors"


def saved_options(
    folder: Path, options: Mapping[str, object] = MappingProxyType({}), *, may_change: Collection[str] = ()
) -> dict[str, Any]:
    """Return the options of the command that started the run in a folder.

    Args:
        folder: the run.
        options: the options of the command that resumes it.
        may_change: names of options that may differ; the result has the value in `options`.

    Raises:
        RunError: there is no run, it was started from Python or finished without a training loop, its classes were
            edited since, or another option differs.
    """
    check_resumable(folder)
    started = read_json(folder / "recipe.json").get("command")
    if not isinstance(started, dict):
        raise RunError(
            f"{folder}: cannot be resumed from the command line: it has no training loop, or was started from Python; "
            "in the latter case use `fine_tune(..., resume=True)`"
        )
    for key in started.keys() & options.keys():
        value = options[key]
        if key in may_change:
            started[key] = value
        elif (list(value) if isinstance(value, tuple) else value) != started[key]:
            raise RunError(f"{folder}: was started with `{key}` {started[key]}, not {value}: leave it out to resume")
    return started


class Edit(NamedTuple):
    """An edit of a run's classes.

    Attributes:
        text: a description of the edit.
        labels: the label that replaces each removed label; None if the class was removed.
    """

    text: str
    labels: Mapping[str, str | None]


@dataclass(frozen=True)
class Run:
    """A trained model loaded from its folder.

    Attributes:
        trained_on, held_out: paths of the training and held-out items; `trained_content` and `held_out_content` are
            their fingerprints.
        classes: the content of `classes.json`; None after `with_classes`, when the head is not the folder's.
        text_tuned: whether the rows come from a text encoder that was trained with the run and was
            not saved.
        calibration: the content of `calibration.json`; `calibration_for` returns the part that is valid.
        edits: class edits since the run was loaded; `class_edits.save_classes` writes them to a new folder.
        allow_download: whether a missing encoder may be downloaded; a run from elsewhere can name any encoder.
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

    @property
    def name(self) -> str:
        """The name for messages: the folder, or `hub:ORG/NAME` for a cached copy of a run on a hub."""
        return display_name(self.folder)

    def was_trained_on(self, path: Path) -> bool:
        """Return whether the file is a training item, a copy of one, or a part of a video that overlaps with one."""
        if self._is_among(path, self.trained_on, self._only_trained, self._held_out_set):
            return True
        media = MediaPath(path)
        return not media.is_member and media.resolved().shares_frames(self._trained_spans)

    def was_held_out(self, path: Path) -> bool:
        """Return whether the file is a held-out item of the run or a copy of one."""
        return self._is_among(path, self._held_out_set, self.held_out_content, self.trained_on)

    @cached_property
    def _only_trained(self) -> frozenset[str]:
        return self.trained_content - self.held_out_content

    @cached_property
    def _trained_spans(self) -> dict[Path, list[Span]]:
        return spans_by_file(map(MediaPath, self.trained_on))

    @cached_property
    def _held_out_set(self) -> frozenset[str]:
        return frozenset(self.held_out)

    @property
    def carries_encoder(self) -> bool:
        """Whether the run folder holds the encoder, as imported runs do; its pretrained weights are not known."""
        return self.spec.source.endswith(f":{self.folder}/{ENCODER}")

    @staticmethod
    def _is_among(path: Path, paths: Collection[str], contents: Collection[str], others: Collection[str]) -> bool:
        media = MediaPath(path)
        if media.is_member:  # A position in a shard does not identify a clip, since shards can be rewritten.
            return media.fingerprint() in contents
        name = str(media.resolved())
        return name in paths or (name not in others and media.fingerprint() in contents)

    @property
    def protocol(self) -> Protocol:
        """The protocol of validation in training: one view, with the recipe's frames, origin and pooling."""
        r = self.recipe
        return Protocol(r.frames, self.pixels, Views.of(r), r.pooling)

    def calibration_for(self, protocol: Protocol) -> tuple[Calibration | None, str | None]:
        """Return (the valid parts of the calibration; the reason if there is none, or only the temperature is valid).

        Threshold and prediction sets depend on the head's rows and on the protocol. If the classes were edited or the
        protocol differs, their guarantees are void, so they are dropped; the temperature is kept as a best guess. Other
        classes (`with_classes`) have no calibration.
        """
        calibration = self.calibration
        if calibration is None:
            name = self.name
            how = f"calibrate {name} does that on held-out items"
            if not self.held_out:
                how = f"calibrate {name} DATA does that on labelled data"
            own = f"probabilities of {name} are not calibrated; texthead {how}"
            # Those of several labels come from cross-validated items.
            return None, None if self.classes is None or self.model.several else own
        if calibration.classes != rows_digest(self.head.weight):
            reason = "the classes have been edited since"
        elif calibration.protocol != protocol.to_json():
            reason = "it was made with other frames, views or sizes"
        else:
            return calibration, None
        promises = calibration.answers_differ or calibration.coverage is not None
        effect = "only the temperature is used, as an estimate" if promises else "the temperature is an estimate"
        return calibration.without_promises(), f"{reason}: {effect}; calibrate again"

    @property
    def head(self) -> Head:
        """The model's head.

        Raises:
            RunError: the head is of a type that a run cannot hold.
        """
        try:
            return as_head(self.model.head)
        except RunError as error:
            raise RunError(f"{self.folder}: {error}") from None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the head's rows."""
        return self.model.names

    @property
    def tree(self) -> ClassTree | None:
        """The broader names above the run's classes, or None."""
        return None if self.classes is None else ClassTree.of_json(self.classes.get("tree"))

    def with_tree(self, tree: ClassTree) -> "Run":
        """Return the run with broader names above its classes; `save_calibration` and `save_tree` write them.

        Raises:
            DataError: other classes replaced the run's, none of them is in the tree, or files have several labels.
        """
        if self.model.several:
            raise DataError("a tree is for runs with one label per file, and this one has several: leave it out")
        if self.classes is None:
            raise DataError("a tree is for the run's own classes: leave out `tree` or `classes`")
        return replace(self, classes={**self.classes, "tree": tree.with_labels(self.labels).above})

    def encoder(self, *, keep_text: bool = False) -> Encoder:
        """Return the pretrained encoder, with the text encoder that produced the head's rows.

        Raises:
            EncoderError: it cannot be loaded, or must be downloaded and the run was loaded without `allow_download`.
        """
        return load_encoder(
            self.spec.source,
            text=self.head.text_source,
            text_map=None if self.head.text_map is None else self.head.text_map.cpu(),
            keep_text=keep_text,
            allow_download=self.allow_download,
            lazy=True,
        )

    def check_text_saved(self) -> None:
        """Raise RunError if the text encoder was trained with the run and not saved, so that no rows can be added."""
        if self.text_tuned:
            raise RunError(
                f"{self.folder}: its text encoder was trained with it and not saved, so it cannot encode other names: "
                "train with a frozen text encoder for that"
            )

    def notes_on_other_classes(self, labels: Sequence[str]) -> list[str]:
        """Return messages on what is lost if text rows of other classes replace the run's rows."""
        if self.head.takes_text:
            entries = self.classes["classes"] if self.classes else []
            fitted = [each["label"] for each in entries if each["prompt"] is None and each["label"] in labels]
            lost = f"`classes` makes all rows from text, also those of {listed(fitted)}, which {self.name} has learned"
            return [f"{lost}; `texthead classes {self.name} add` keeps them"] if fitted else []
        trained = f"{self.folder} was trained with head {self.head.kind}, whose rows are not text"
        remedy = "predict without the run for zero-shot, or retrain with `head=text`"
        return [f"{trained}, so new class names may not work with it: {remedy}"]

    @checked
    @apart_from_caller()
    def with_classes(
        self,
        labels: Sequence[str],
        *,
        names: Sequence[str] | None = None,
        template: str | Sequence[str] | None = None,
        prompts: Sequence[str | Sequence[str] | None] | None = None,
        encoder: Encoder | None = None,
    ) -> "Run":
        """Return the run with a text head for other classes, with its own center and logit scale.

        Args:
            labels: the labels to predict.
            names: the class name of each label for the text encoder; the labels themselves if None.
            template: the run's own if None.
            prompts: for each label a prompt, several whose rows are averaged, or None for the template.
            encoder: the result of `encoder()`, if already loaded.

        Source: Tables 9 and 11: new class names for the same model.

        Raises:
            DataError: there is no label, or lists differ in length.
            RunError: the text encoder was trained with the run and not saved.
        """
        self.check_text_saved()
        encoder, names, own_prompts = encoder or self.encoder(), names or labels, prompts or [None] * len(labels)
        filled = class_prompts(template or self.recipe.template, names, own_prompts)
        head = self.head.with_names(encoder, names, labels=labels, prompts=filled)
        return replace(self, model=self.model.with_head(head), classes=None, calibration=None, edits=())

    def to(self, device: str | torch.device) -> "Run":
        """Move the model to a device, and return this run."""
        self.model.to(device)
        return self

    def __repr__(self) -> str:
        # Not the whole model and all files, which notebooks save with their outputs.
        return f"Run({str(self.folder)!r}, {len(self.labels)} classes)"


def _saved_calibration(folder: Path) -> Calibration | None:
    """Read `calibration.json`; None if there is none."""
    path = folder / CALIBRATION
    if not path.exists():
        return None
    try:
        return Calibration.from_json(read_json(path, most=MOST_BYTES_OF_LISTS))
    except ValueError as error:
        reason = line_of(error).removeprefix(f"{path}: ")
        raise RunError(f"{path}: {reason}; remove it and run `texthead calibrate` again") from None


def save_calibration(run: Run, calibration: Calibration) -> Run:
    """Write a calibration to the run's folder and return the run with it.

    Raises:
        RunError: the folder is in use by another process, cannot be written, or is the cached copy of a run on a hub.
    """
    check_own(run.folder)
    with locked(run.folder):
        if run.tree is not None and not run.edits:
            write_json(run.folder / "classes.json", run.classes)
        write_json(run.folder / CALIBRATION, calibration.to_json())
    return replace(run, calibration=calibration)


def save_tree(folder: Path, tree: ClassTree) -> None:
    """Write the broader names above a run's classes into its `classes.json`."""
    with locked(folder):
        write_json(folder / "classes.json", {**read_json(folder / "classes.json"), "tree": tree.above})


def _model(
    folder: Path, about: dict[str, Any], classes: dict[str, Any], spec: VisualSpec, pixels: Pixels
) -> Recognizer:
    """Load the model of a run; if a graph of its encoder is saved, the network is not built until needed."""
    weights = folder / WEIGHTS
    shapes = saved_shapes(weights).values()
    digest = known_digest(_files(folder))
    if digest is not None and StoredGraph.of(digest, pixels.size).graph.is_file():
        visual = LazyVisual(spec, partial(_network, weights, spec), digest, weights)
    else:
        with sized_as(shapes, str(folder / "recipe.json")):
            make_temporal(about["temporal"], build_visual(spec))
        visual = build_visual(spec)
    names, prompts = ([entry[key] for entry in classes["classes"]] for key in ("label", "prompt"))
    with in_file(folder / "recipe.json"):
        with sized_as(shapes, f"head {about['head']['type']!r}"):
            head_of_json(about["head"], names, dim=spec.dim)
        head = head_of_json(about["head"], names, dim=spec.dim, prompts=None if None in prompts else prompts)
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
    """Return the files that define the encoder."""
    return [folder / WEIGHTS, folder / "recipe.json"]


def keep_graph(folder: Path, model: Recognizer, side: int) -> None:
    """Save a graph of a run's encoder if it can be exported, so that the run loads without building the network.

    For large encoders only an existing graph is used, since exporting takes seconds.

    Args:
        side: of the frames, in pixels.
    """
    visual = model.visual_encoder
    if not model.sees_frames_apart or model.device.type != "cpu" or not keeps_graph(visual.spec.source):
        return
    digest = weights_digest(visual)
    if digest == known_digest(_files(folder)):
        return
    saved = StoredGraph.of(digest, side)
    record = saved.record()
    if record is None and sum(weight.numel() for weight in visual.parameters()) <= SMALL:
        noise = torch.randint(256, (8, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        record = saved.make(visual, noise)
    if record is not None and record["exact"]:
        note_digest(_files(folder), digest)


def load_run(folder: str | Path, *, allow_download: bool = False) -> Run:
    """Load a run, ready to predict. Needs no text encoder and no pretrained weights.

    Args:
        folder: the run folder, or `hub:ORG/NAME[@REVISION]`, which is downloaded unless it is in the hub's cache.
        allow_download: whether the run's pretrained encoder may be downloaded if new classes or mixed weights need it
            and it is not on this machine.

    Raises:
        RunError: the folder is not a finished run, its files do not fit together, or the hub cannot be read.
        EncoderError: the installed libraries do not know its encoder.
    """
    folder = local_run(folder)
    check_run(folder)
    about, classes, split = read_json(folder / "recipe.json"), classes_file(folder), saved_split(folder)
    written_as = about.get("format")
    if written_as is None:
        raise RunError(f"{folder}/recipe.json: has no 'format'; restore it from a copy")
    if written_as != RUN_FORMAT:
        raise RunError(
            f"{folder}: format {written_as!r}, this version reads {RUN_FORMAT}: use the version that made it"
        )
    try:
        with in_file(folder / "recipe.json"):
            spec, recipe = VisualSpec.from_json(about["encoder"]), Recipe.from_json(about["recipe"])
            check_types(Pixels, about["pixels"])
            pixels = Pixels(**about["pixels"])
            check_clip_size(recipe.frames, pixels.size, pixels.resize)
        # Runs can be moved.
        spec = replace(spec, source=spec.source.replace(HERE, str(folder)))
        model = _model(folder, about, classes, spec, pixels)
        ClassTree.of_json(classes.get("tree"))  # Raises an error for a damaged one.
        trained_on, held_out = frozenset(split["train"]), tuple(split["held_out"])
        # Files that could not be read have an empty fingerprint.
        contents = [frozenset(split[key]) - {""} for key in ("train_content", "held_out_content")]
        tuned = (about.get("objective") or {}).get("trains_text") is True
    except TextheadError:
        raise
    except Exception as error:  # On damaged values, timm, open_clip and torch raise errors of nearly any type.
        raise RunError(
            f"{folder}: recipe.json, classes.json or split.json is damaged ({line_of(error)}); restore them from a copy"
        ) from None
    trained = model.eval(), recipe, spec, pixels, trained_on, held_out, *contents
    return Run(
        folder,
        *trained,
        classes=classes,
        text_tuned=tuned,
        calibration=_saved_calibration(folder),
        allow_download=allow_download,
    )
