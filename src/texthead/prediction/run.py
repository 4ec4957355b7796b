"""A run: a model with what is known about it, which predicts, and is scored, calibrated and reported."""

import copy
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from texthead.data.dataset import Dataset, Split
from texthead.data.division import Division, unscored
from texthead.data.labels import are_unbalanced, item_weights
from texthead.data.protocol import Pixels, Protocol, Views
from texthead.data.reading import as_dataset
from texthead.encoders.encoder import Encoder
from texthead.encoders.load import load_encoder, zero_shot_note
from texthead.encoders.spec import VisualSpec
from texthead.errors import DataError, MediaError, OpenShare, PositiveInt, RunError, checked
from texthead.evaluation.calibration import (
    Calibration,
    Rates,
    Unknown,
    calibrate,
    checked_temperature,
    effective_items,
    measure,
    missing_guarantees,
    with_level,
)
from texthead.evaluation.evaluate import ItemScores, evaluate, score
from texthead.features.clips import FILES_OF_CHUNK
from texthead.features.reading import ReadOptions, check_any, engines_text, readable
from texthead.features.views import item_features
from texthead.files import locked, new_folder, write_json
from texthead.media.find import find_media
from texthead.media.paths import MediaPath, fingerprints
from texthead.models.head_table import as_head
from texthead.models.heads import Head
from texthead.models.recognizer import Recognizer
from texthead.parallel.caller import apart_from_caller
from texthead.parallel.progress import Reporter
from texthead.prediction.predictions import Prediction, entry_scores, predictions_of, refined_scores
from texthead.recipes import Recipe
from texthead.runs.folder import CALIBRATION, ENCODER, WEIGHTS, rows_digest, save_model, write_run
from texthead.runs.hub import check_own, display_name
from texthead.runs.metrics import read_records
from texthead.runs.scores import SCORES
from texthead.runs.split import CalibrationPlan, RunSplit
from texthead.text.class_names import clean_names
from texthead.text.class_tree import ClassTree
from texthead.text.prompts import class_prompts
from texthead.transfer.baselines import ScoreTable

# Copied unchanged; all but the recipe is on the trained weights, so not on mixed ones.
_COPIED_FILES = ("recipe.json", "metrics.jsonl", SCORES)

# The level at which broader names answer if neither a calibration nor the caller gives one.
USUAL_LEVEL = 0.9


class Edit(NamedTuple):
    """An edit of a run's classes.

    Attributes:
        text: a description of the edit.
        labels: the label that replaces each removed label; None if the class was removed.
    """

    text: str
    labels: Mapping[str, str | None]


class RunCalibration(NamedTuple):
    """A calibration, and the items that it was fitted to.

    Attributes:
        calibration: it is saved with the run, and has its cross-fitted effect on these items.
        items: the readable items of the run's classes.
        split: name of the items.
        scores: the run's scores of these.
        targets: their label indices.
        errors: the calibration error before the temperature, after it and by chance, in points, cross-validated, with
            items weighted as for the temperature.
        unscaled: why the temperature is 1; "" if it is fitted.
        lines: how the items are weighted, and which guarantee their number does not allow.
    """

    calibration: Calibration
    items: Dataset
    split: str
    scores: Float[Tensor, "items classes"]
    targets: Int[Tensor, " items"]
    errors: tuple[float, float, float]
    unscaled: str
    lines: list[str]

    def __repr__(self) -> str:
        return f"RunCalibration({self.calibration}, {self.split} items of {self.items})"


@dataclass(frozen=True)
class Run:
    """A model that predicts: a trained one, loaded from its folder, or one that was made in Python (`Run.from_model`).

    Attributes:
        pixels: how frames become the model's input.
        split: the items that it was trained on and held out, and the folder that says so.
        classes: the content of `classes.json`; None without a folder, and after `with_classes`, when the head is not
            the folder's.
        text_tuned: whether the rows come from a text encoder that was trained with the run and was not saved.
        calibration: the content of `calibration.json`; `calibration_for` returns the part that is valid.
        edits: class edits since the run was loaded, which `save` writes to a new folder.
        allow_download: whether a missing encoder may be downloaded; a run from elsewhere can name any encoder.
        mix: the weight of the trained encoder, interpolated with the pretrained one.
        scores: of a run that `train` returns, its scores beside baselines, which have no rows if no item was held out.
    """

    model: Recognizer
    recipe: Recipe
    pixels: Pixels
    split: RunSplit = field(default_factory=RunSplit)
    classes: dict[str, Any] | None = None
    text_tuned: bool = False
    calibration: Calibration | None = None
    edits: tuple[Edit, ...] = ()
    allow_download: bool = False
    mix: float = 1.0
    scores: ScoreTable | None = field(default=None, compare=False)

    @staticmethod
    @checked
    def from_model(model: Recognizer) -> "Run":
        """Return a run of a model that was made in Python, with the protocol of its encoder; it has no folder."""
        own = model.protocol
        views = {"origin": own.views.origin, "stride": own.views.stride}
        recipe = Recipe("python", own.frames, **views, tune="none", class_shares="equal")
        return Run(model, recipe, own.sizes)

    @property
    def name(self) -> str:
        """The name for messages: the folder, or `hub:ORG/NAME` for a cached copy of a run on a hub."""
        return self.spec.source if self.split.folder is None else display_name(self.split.folder)

    @property
    def folder(self) -> Path:
        """The run folder; raises RunError if there is none."""
        if self.split.folder is None:
            raise RunError(f"{self.name}: was made in Python and has no folder: write one with `save`, and load it")
        return self.split.folder

    @property
    def spec(self) -> VisualSpec:
        """What the encoder takes and gives."""
        return self.model.spec

    @property
    def carries_encoder(self) -> bool:
        """Whether the run folder holds the encoder, as imported runs do; its pretrained weights are not known."""
        return self.spec.source.endswith(f":{self.split.folder}/{ENCODER}")

    @property
    def protocol(self) -> Protocol:
        """The protocol of validation in training: one view, with the recipe's frames, origin and pooling."""
        r = self.recipe
        return Protocol(r.frames, self.pixels, Views.from_recipe(r), r.pooling)

    def protocol_for(self, protocol: Protocol | None) -> Protocol:
        """Return a protocol, with the run's sizes if it has none; the run's own if None."""
        if protocol is None:
            return self.protocol
        return protocol if protocol.pixels else replace(protocol, pixels=self.pixels)

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
            if not self.split.held_out:
                how = f"calibrate {name} DATA does that on labelled data"
            own = f"probabilities of {name} are not calibrated; texthead {how}"
            # Those of multi-label runs come from cross-validated items.
            return None, None if self.classes is None or self.model.multilabel else own
        if calibration.classes != rows_digest(self.head.weight):
            reason = "the classes have been edited since"
        elif calibration.protocol != protocol.to_json():
            reason = "it was made with other frames, views or sizes"
        else:
            return calibration, None
        promises = calibration.answers_differ or calibration.coverage is not None
        effect = "only the temperature is used, as an estimate" if promises else "the temperature is an estimate"
        return calibration.temperature_only(), f"{reason}: {effect}; calibrate again"

    def usual_level(self, calibration: Calibration | None) -> float | None:
        """Return the level of answers if none is given: 0.9 with broader names and no calibrated threshold or level."""
        return USUAL_LEVEL if self._broader and not (calibration and calibration.answers_differ) else None

    def answering(
        self, protocol: Protocol, at_least: float | None = None, *, sets: bool = False, refined: bool = False
    ) -> Calibration | None:
        """Return the valid part of the calibration, with answers at a level if one is given; see `predictions`.

        Args:
            sets: whether prediction sets are needed.
            refined: the scores were refined with unlabelled files, for which no calibration is valid.

        Raises:
            DataError: the level is not a probability, the run is multi-label, or there are no prediction sets.
        """
        for option, value in (("sets", sets), ("unlabelled", refined), ("at_least", at_least is not None)):
            if value:
                self._check_one_label(option)
        if sets and refined:
            raise DataError("prediction sets are not valid with unlabelled files; remove `sets` or `unlabelled`")
        calibration = None if refined else self.calibration_for(protocol)[0]
        if at_least is not None:
            calibration = (calibration or Calibration(1.0, 0)).at_least(at_least, self._broader)
        if sets and (calibration is None or calibration.coverage is None):
            raise DataError(
                "prediction sets need a calibration for these classes and views; run texthead calibrate RUN DATA"
            )
        return calibration

    def _check_one_label(self, option: str) -> None:
        if self.model.multilabel:
            raise DataError(f"`{option}` is for single-label runs, and this run is multi-label: remove `{option}`")

    @property
    def head(self) -> Head:
        """The model's head.

        Raises:
            RunError: the head is of a type that a run cannot hold.
        """
        try:
            return as_head(self.model.head)
        except RunError as error:
            raise RunError(f"{self.name}: {error}") from None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the head's rows."""
        return self.model.names

    @property
    def tree(self) -> ClassTree | None:
        """The broader names above the run's classes, or None."""
        return None if self.classes is None else ClassTree.from_json(self.classes.get("tree"))

    @property
    def _broader(self) -> dict[str, list[int]]:
        """The positions of the classes below each broader name; empty without a tree, or if it has none that tells."""
        return self.tree.broader(self.labels) if self.tree else {}

    def with_tree(self, tree: ClassTree) -> "Run":
        """Return the run with broader names above its classes, which `calibrate` writes.

        A level for other broader names is dropped.

        Raises:
            DataError: other classes replaced the run's, none of them is in the tree, or the run is multi-label.
        """
        self._check_one_label("tree")
        if self.classes is None:
            raise DataError("a tree is for the run's own classes: remove `tree` or `classes`")
        tree, calibration = tree.with_labels(self.labels), self.calibration
        if calibration and calibration.level and calibration.level.broader != tree.broader(self.labels):
            calibration = replace(calibration, level=None)
        return replace(self, classes={**self.classes, "tree": tree.above}, calibration=calibration)

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

    def check_saved(self) -> None:
        """Raise RunError unless the run has its folder's classes and weights, and the folder is the user's own."""
        check_own(folder := self.folder)
        if self.classes is None or self.edits or self.mix != 1:
            raise RunError(f"{folder}: has other classes or weights than this run: write it with `save`, and load that")

    def check_text_saved(self) -> None:
        """Raise RunError if the text encoder was trained with the run and not saved, so that no rows can be added."""
        if self.text_tuned:
            raise RunError(
                f"{self.folder}: its text encoder was trained with it and not saved, so it cannot encode other names: "
                "train with a frozen text encoder for that"
            )

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
            RunError: the text encoder was trained with the run and not saved; or the run is multi-label and its head is
                not of text, so that no threshold holds for new classes.
        """
        self.check_text_saved()
        if self.model.multilabel and not self.head.takes_text:
            raise RunError(
                f"{self.name}: its head is {self.head.kind!r}, whose thresholds for several labels do not hold for "
                "text rows: train with `head=text` to name new classes"
            )
        encoder, names = encoder or self.encoder(), names or labels
        filled = class_prompts(template or self.recipe.template, names, prompts)
        head = self.head.with_names(encoder, names, labels=labels, prompts=filled)
        return replace(self, model=self.model.with_head(head), classes=None, calibration=None, edits=())

    def mixed(self, mix: float) -> "Run":
        """Return the run with its encoder mixed with the pretrained one: 1 is the run as saved, 0 the pretrained one.

        Batch-norm statistics are mixed too, but not their batch counts. Temporal module, head and logit scale stay. The
        calibration is dropped, since it is for other weights.

        Source: WiSE-FT (Wortsman et al. 2022).

        Raises:
            RunError: the run is imported, so that its pretrained encoder is not known.
            EncoderError: the pretrained encoder cannot be loaded.
        """
        if self.carries_encoder:
            raise RunError(f"{self.folder}: an imported run has no pretrained encoder to mix with: remove `mix`")
        model = copy.deepcopy(self.model)
        pretrained = load_encoder(self.spec.source, allow_download=self.allow_download).visual.state_dict()
        with torch.no_grad():
            for name, tensor in model.visual.state_dict().items():
                if tensor.is_floating_point():
                    tensor.lerp_(pretrained[name].to(tensor), 1 - mix)
        return replace(self, model=model, calibration=None, mix=mix)

    @checked
    def save(self, out: str | Path) -> None:
        """Write the run to a new folder, which `load_run` reads.

        After class edits, items have their new labels in `split.json`. Checkpoints and report describe what was trained
        and are not copied.

        Raises:
            RunError: `out` exists, or cannot be written; or the model cannot be rebuilt from a folder.
        """
        split = self.split.relabelled([edit.labels for edit in self.edits], multilabel=self.model.multilabel)
        with new_folder(Path(out)) as folder:
            if self.classes is None:
                write_run(folder, self.model, self.recipe, self.pixels, self.labels, split)
                return
            write_json(folder / "split.json", split)
            write_json(folder / "classes.json", self.classes)
            save_model(folder / WEIGHTS, self.model)
            if self.calibration:
                write_json(folder / CALIBRATION, self.calibration.to_json())
            for name in _COPIED_FILES if self.mix == 1 else _COPIED_FILES[:1]:
                if (self.folder / name).is_file():
                    shutil.copyfile(self.folder / name, folder / name)
            if self.carries_encoder:
                shutil.copytree(self.folder / ENCODER, folder / ENCODER)

    def to(self, device: str | torch.device) -> "Run":
        """Move the model to a device, and return this run."""
        self.model.to(device)
        return self

    def __repr__(self) -> str:
        # Not the whole model and all files, which notebooks save with their outputs.
        return f"Run({self.name!r}, {len(self.labels)} classes)"

    # ---- predict

    @checked
    @apart_from_caller()
    def predict(
        self,
        inputs: str | Path | Sequence[str | Path],
        protocol: Protocol | None = None,
        reading: ReadOptions = ReadOptions(),
        *,
        top: PositiveInt = 5,
        sets: bool = False,
        at_least: float | None = None,
        unlabelled: str | Path | Sequence[str | Path] = (),
        reporter: Reporter = Reporter(),
    ) -> list[Prediction]:
        """Return the `top` classes of each file, in the order of `find_media`, with the calibration where valid.

        The model is left in evaluation mode.

        Args:
            protocol: frames, views and sizes; the run's own if None.
            reading: workers, batch and engine.
            sets: include the size of the prediction set; `top` grows to contain it.
            at_least: answer with the most specific name of the run's tree whose probability reaches this (0-1), or
                without a tree with the best class if it does, in place of what the calibration's threshold and level
                decide.
            unlabelled: more files and folders for transductive prediction: `refine` scores all files as one batch, so
                the probabilities of a file depend on the others, and all features are held in memory. A calibrated
                temperature is applied first; a threshold is ignored.
            reporter: gets progress and messages.

        Raises:
            DataError: a path does not exist, a folder has no media, no file can be read, or `sets` is given without
                prediction sets or with `unlabelled`.
            MediaError: files cannot be read; raised after all were tried. If the reading skips unreadable files, their
                predictions have the error instead.
        """
        options = {"top": top, "sets": sets, "at_least": at_least, "unlabelled": unlabelled, "reporter": reporter}
        return list(self.predictions(inputs, protocol, reading, **options))

    def predictions(
        self,
        inputs: str | Path | Sequence[str | Path],
        protocol: Protocol | None = None,
        reading: ReadOptions = ReadOptions(),
        *,
        top: int = 5,
        sets: bool = False,
        at_least: float | None = None,
        unlabelled: str | Path | Sequence[str | Path] = (),
        reporter: Reporter = Reporter(),
    ) -> Iterator[Prediction]:
        """Yield what `predict` returns, as it comes."""
        model, protocol = self.model, self.protocol_for(protocol)
        calibration = self.answering(protocol, at_least, sets=sets, refined=bool(unlabelled))
        names = find_media(inputs, reporter)
        others: list[str] = []
        if unlabelled:
            own = {MediaPath(name).resolved() for name in names}
            others = [name for name in find_media(unlabelled, reporter) if MediaPath(name).resolved() not in own]
        features = item_features(model, names + others, protocol, reading, reporter, "predict")
        size = len(names + others) if unlabelled else FILES_OF_CHUNK
        errors: list[MediaError] = []
        start = 0
        while entries := [*islice(features, size)]:
            errors += [entry for entry in entries if isinstance(entry, MediaError)]
            scores, problems = entry_scores(model, entries, protocol.pooling)
            if unlabelled:
                check_any(names + others, range(len(entries) - len(errors)), errors)
                if lost := sum(isinstance(entry, MediaError) for entry in entries[len(names) :]):
                    reporter.note(f"{lost} of {len(others)} unlabelled files cannot be read and are skipped")
                scores = refined_scores(model, entries, scores, self.answering(protocol, at_least), reporter)
            paths = [Path(name) for name in names[start : start + len(entries)]]
            rows = self.labels, paths, scores[: len(paths)], problems[: len(paths)]
            yield from predictions_of(*rows, top=top, calibration=calibration, sets=sets, thresholds=model.thresholds)
            start += len(entries)
        readable(errors, skip=reading.skip_unreadable)
        check_any(names, range(start - len(errors)), errors)

    # ---- evaluate

    def eval_items(self, dataset: Dataset | str | Path | None = None, split: Split | None = None) -> Division:
        """Return the items of a dataset to score, and the training items of the run's classes.

        Args:
            dataset: labelled items, or their source as for `read_dataset`; None for those that the run held out.
            split: test, val or train; None for test, else val, else the items that the run held out, else all.

        Raises:
            DataError: no such split, or the run was trained on items of another split than train.
        """
        dataset = None if dataset is None else as_dataset(dataset)
        return self.split.eval_items(dataset, split, self.labels, multilabel=self.model.multilabel)

    @checked
    @apart_from_caller()
    def evaluate(
        self,
        items: Dataset | str | Path | Division | None = None,
        protocol: Protocol | None = None,
        reading: ReadOptions = ReadOptions(),
        *,
        at_least: float | None = None,
        reporter: Reporter = Reporter(),
    ) -> ScoreTable:
        """Score the run on labelled items that it was not trained on, at its temperature.

        Args:
            items: what `eval_items` returns, or what it takes.
            protocol: frames, views and sizes; None for the run's own.
            reading: how files are read.
            at_least: probability that an answer must reach, as in `predict`; None for what the calibration
                decides, or with broader names and no calibrated threshold or level 0.9.
            reporter: gets progress and messages.

        Raises:
            DataError: as `eval_items`, or a label has no class.
            MediaError: an item cannot be read and `reading` does not skip such items.
        """
        division = items if isinstance(items, Division) else self.eval_items(items)
        other_classes = self.split.folder is not None and self.classes is None
        if other_classes:
            division = replace(division, train=division.train.select([]))
        elif lost := unscored(division.scored, division.scored_name, self.labels) if self.model.multilabel else []:
            scored = division.scored.with_classes(self.labels)
            division = replace(division, scored=scored, notes=(*division.notes, *lost))
        protocol = self.protocol_for(protocol)
        own, why = self.calibration_for(protocol)
        calibration = self.answering(protocol, self.usual_level(own) if at_least is None else at_least)
        engines = set[str]()
        raw = evaluate(self.model, division.scored, protocol, reading, reporter=replace(reporter, used=engines.add))
        new = raw.without(calibration.content) if calibration else None
        result, temperature, notes, lines, engine = raw, "", [], [], engines_text(engines)
        if own and calibration:
            result = replace(raw, scores=calibration.apply(raw.scores))
            temperature = f", temperature {calibration.temperature:.3g}" if calibration.temperature != 1 else ""
            lines = calibration.effects(new.scores, new.targets, new.groups) if new else []
            if new is not raw:
                left = new.count if new else 0
                rest = f"what follows is of the other {left}" if new else "use other items to test it"
                seen = f"{raw.count - left} of these {raw.count} items, for which the calibration error is too low"
                lines.insert(0, f"the calibration was fitted to {seen}: {rest}")
            notes = [f"{self.folder / CALIBRATION}: {why}"] if why else []
        title = f"this run ({self.head.title})" if self.classes else "this run"
        if other_classes:
            title, note = "this run, new text head", zero_shot_note(self.spec.source, clean_names(self.labels))
            lines += filter(None, [note])
        title += f"{_protocol_changes(protocol, self.protocol, self.mix)}{temperature}"
        answers = calibration.answered(new.scores, new.targets, new.groups) if calibration and new else None
        return ScoreTable(division, [(title, result)], lines, raw, engine, [*division.notes, *notes], answers)

    @checked
    @apart_from_caller()
    def report(
        self,
        items: Dataset | str | Path | Division | None = None,
        reading: ReadOptions = ReadOptions(cache=True),
        *,
        out: str | Path | None = None,
        reporter: Reporter = Reporter(),
    ) -> Path:
        """Write the HTML report of a run, and return its path.

        Args:
            items: as in `evaluate`.
            reading: with a cache, the next report encodes nothing again.
            out: the HTML file; None for `report.html` in the run folder.
            reporter: gets progress and messages.

        Raises:
            DataError, MediaError: as `evaluate`.
            RunError: the run has no folder, or it is the cached copy of a run on a hub and `out` is None.
        """
        path = Path(out or self.folder / "report.html")
        if out is None:
            check_own(self.folder)
        scores = self.evaluate(items, None, reading, reporter=reporter)
        self.write_report(path, scores, reporter)
        return path

    def write_report(self, path: Path, scores: ScoreTable, reporter: Reporter = Reporter()) -> None:
        """Write the report of scores at the run's own protocol.

        Args:
            path: the HTML file.
            scores: as from `evaluate` or `train`.
            reporter: gets progress and messages.
        """
        from texthead.report.examples import examples_of, thumbnails
        from texthead.report.html import write_html
        from texthead.report.probabilities import calibration_report
        from texthead.report.run_page import run_html, saved_values

        records, weight = read_records(self.folder), self.head.weight.detach().cpu().double()
        rows = F.normalize(weight - weight.mean(-1, keepdim=True), dim=-1)  # Pearson's; 0 for constant rows.
        sections = saved_values(self.folder, trained=any(record.get("kind") == "train" for record in records))
        sections |= {"summary": (), "examples": (), "calibration_report": None, "answers": scores.answers}
        if scores.rows:
            calibration, why = self.calibration_for(self.protocol)
            lines = [f"{CALIBRATION}: {why}."] if calibration and why else []
            reliability = calibration_report(scores.raw or scores.result, calibration=calibration, lines=lines)
            shown = examples_of(scores.result, self.protocol, reporter=reporter)
            sections |= {"summary": scores.summary(), "examples": shown, "calibration_report": reliability}
            sections |= {"thumbnails": thumbnails(scores.result, self.protocol)}
        result = scores.result if scores.rows else None
        write_html(path, run_html(self.labels, records, result, (rows @ rows.T).numpy(), **sections))

    # ---- calibrate

    def calibration_items(
        self, dataset: Dataset | str | Path | None = None, unknown: Dataset | None = None, split: Split | None = None
    ) -> CalibrationPlan:
        """Return the items of a dataset to calibrate on.

        Args:
            dataset: labelled items, or their source as for `read_dataset`; None for those that the run held out.
            unknown: items that belong to no class of the run, besides those in `dataset`.
            split: train, val or test; None for val, else test, else the items that the run held out.

        Raises:
            DataError: no such split, the run was trained on the items, or is multi-label.
            RunError: the run has no folder, one with other classes or weights, or one in the hub's cache.
        """
        if self.model.multilabel:
            raise DataError(
                f"{self.folder}: calibrate is for single-label runs; the probabilities and thresholds of a "
                "multi-label run come from its cross-validated training items"
            )
        self.check_saved()
        dataset = None if dataset is None else as_dataset(dataset)
        return self.split.calibration_items(dataset, unknown, split, self.labels)

    @checked
    @apart_from_caller()
    def calibrate(
        self,
        items: Dataset | str | Path | CalibrationPlan | None = None,
        protocol: Protocol | None = None,
        reading: ReadOptions = ReadOptions(),
        *,
        false_accept: OpenShare = 0.05,
        coverage: OpenShare = 0.9,
        wrong: OpenShare = 0.05,
        reporter: Reporter = Reporter(),
    ) -> RunCalibration:
        """Fit a temperature, a rejection threshold and prediction sets, and write them into the run's folder.

        This object does not change: `load_run` gives the calibrated run.
        A temperature that does not lower the cross-validated calibration error is not used: it stays 1.
        A run with a tree (`with_tree`) also gets a level for broader names, and the tree is written too.

        Args:
            items: what `calibration_items` returns, or what it takes.
            protocol: frames, views and sizes; None for the run's own.
            false_accept: fraction of unknown items that may get a class, 0-1.
            coverage: fraction of prediction sets that must contain the true class, 0-1.
            wrong: fraction of items that may get a wrong answer if the run has a tree, 0-1.
            reporter: gets progress, messages and skipped files.

        Raises:
            DataError: as `calibration_items`, or a rate is out of range.
            MediaError: an item cannot be read and `reading` does not skip such items.
            RunError: the run has no folder, or is in the hub's cache.
        """
        plan = items if isinstance(items, CalibrationPlan) else self.calibration_items(items)
        protocol = self.protocol_for(protocol)

        def scored(items: Dataset, title: str) -> ItemScores:
            result = score(self.model, items, protocol, reading, reporter, title)
            for error in result.skipped:
                reporter.skipped(error)
            return result

        known = scored(plan.items, "score items")
        unknown = scored(plan.unknown, "score unknown items") if len(plan.unknown) else None
        made = self._fit_calibration(plan, known, unknown, protocol, Rates(false_accept, coverage, wrong))
        self.with_calibration(made.calibration)
        return made

    def _fit_calibration(
        self, plan: CalibrationPlan, known: ItemScores, unknown: ItemScores | None, protocol: Protocol, rates: Rates
    ) -> RunCalibration:
        """Fit a temperature and what the number of items allows of a threshold, prediction sets and a level.

        Args:
            known, unknown: the readable items of the plan.
        """
        scores, items, labels, tree = known.scores, known.items, self.labels, self.tree
        targets, shares = items.targets(labels), self.recipe.class_shares
        others = unknown.items.groups if unknown else []
        weights, counted = (
            torch.from_numpy(item_weights(shares, len(labels), targets.numpy(), groups))
            for groups in (None, items.groups)
        )
        temperature, after, errors, unscaled = checked_temperature(scores, targets, weights, groups=items.groups)
        # In the guarantees a group counts as one item.
        own = {"weights": counted, "groups": items.groups}
        worth = effective_items(**own)
        missing = missing_guarantees(worth, len(set(others)), rates, (items.groups, others))
        broader = self._broader if "level" not in missing else {}
        lines = [line for part, line in missing.items() if self._broader or part != "level"]
        sizes = targets.bincount()[targets.bincount() > 0].tolist()
        if effective_items(weights) < len(targets) and ("sets" in missing or are_unbalanced(sizes)):
            lines.insert(
                0,
                f"temperature and sets count classes as `class_shares` says ({shares}), not as in these items "
                f"({min(sizes)} to {max(sizes)} per class): for the sets, the {len(targets)} items are worth {worth}",
            )
        strange = None
        if unknown and "threshold" not in missing:
            above = [tree.ancestors(label) if tree else () for label in unknown.items.labels]
            # No class of the run is right for them.
            classes = [False] * len(labels)
            rows = [[*classes, *(name in names for name in broader)] for names in above]
            strange = Unknown(unknown.scores, others, torch.tensor(rows) if broader else None)
        coverage = None if "sets" in missing else rates.coverage
        own |= {"unknown": strange}
        fitted = calibrate(
            scores, targets, false_accept=rates.false_accept, coverage=coverage, temperature=temperature, **own
        )
        if broader:
            fitted = with_level(fitted, scores, targets, broader, wrong=rates.wrong, **own)
        strangers = unknown and unknown.scores
        fitted = replace(
            fitted,
            classes=rows_digest(self.head.weight),
            protocol=protocol.to_json(),
            source=f"{items.source} ({plan.split})",
            content=frozenset(fingerprints([item.path for item in (*items.items, *plan.unknown.items)])) - {""},
            measured=measure(fitted, scores, targets, after=after, unknown=strangers, groups=items.groups),
        )
        return RunCalibration(fitted, items, plan.split, scores, targets, errors, unscaled, lines)

    def with_calibration(self, calibration: Calibration) -> "Run":
        """Write a calibration, and the tree, into the folder, and return the run with it.

        Raises:
            RunError: the folder has other classes or weights, is in use by another process, cannot be written, or is
                the cached copy of a run on a hub.
        """
        self.check_saved()
        with locked(self.folder):
            if self.tree is not None:
                write_json(self.folder / "classes.json", self.classes)
            write_json(self.folder / CALIBRATION, calibration.to_json())
        return replace(self, calibration=calibration)


def _protocol_changes(protocol: Protocol, own: Protocol, mix: float) -> str:
    """Return how the run sees the items, where that is not as in training, to append to the title of its result.

    Args:
        own: the run's own protocol.
        mix: weight of the trained encoder.
    """
    parts = [f"mix {mix:g}"] if mix != 1 else []
    parts += [f"{protocol.views} views, mean of {protocol.pooling}"] if protocol.views.count > 1 else []
    parts += [f"{protocol.frames} frames"] if protocol.frames != own.frames else []
    return "".join(f", {part}" for part in parts)
