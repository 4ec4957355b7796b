"""Train a run: fit a method on the frozen encoder, or fine-tune it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from texthead.data.dataset import Dataset
from texthead.data.division import Division, divide
from texthead.data.labels import unbalanced_text
from texthead.data.protocol import Protocol
from texthead.encoders.load import AnyEncoder, EncoderOptions
from texthead.errors import DataError, NonNegativeInt, PositiveInt, Share, check_fields, plural
from texthead.evaluation.evaluate import evaluate
from texthead.features.frozen import FrozenEncoder
from texthead.features.reading import Reading
from texthead.models.build import make_recognizer, needs_features, takes_sentences
from texthead.models.head_rows import RowInputs
from texthead.models.head_table import as_head, head_kind
from texthead.models.recognizer import Recognizer
from texthead.parallel.caller import apart_from_caller
from texthead.parallel.distributed import rank, ranks
from texthead.parallel.progress import Reporter
from texthead.recipes import RECIPES, WITHOUT_TEXT, MethodName, Recipe
from texthead.runs.run import save_tree
from texthead.runs.saved import check_out
from texthead.runs.scores import write_scores
from texthead.text.prompts import class_prompts, classes_to_train
from texthead.training.fit_recipe import adapt_recipe
from texthead.training.inputs import readable_division
from texthead.training.start import RunInfo, engine_of
from texthead.training.train import fine_tune, seconds_a_clip
from texthead.transfer.baselines import ScoreTable, When, add_baselines, are_few
from texthead.transfer.comparison import FittedMethod, fit_method, make_task
from texthead.transfer.methods import Experiment
from texthead.transfer.several import as_several


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What kind of run to train.

    Args:
        encoder: an encoder, its name, or options that also say its template and device.
        classes: file of class names or prompts for the labels, as in `read_classes`.
        k: training items drawn for each class; all if None.
        held_out: share of each class to hold out for scoring if the data has no splits; 0 for none, None for 0.2.
        method: method to fit on the frozen encoder, without fine-tuning; None for the default one.
        fine_tune: whether to fine-tune the encoder, the paper's method, instead of fitting a head to frozen features.
        head: kind of the fine-tuned run's head.
        train_head: whether to train the rows of the head too.
        recipe: recipe of the fine-tuned run.
        overrides: recipe values.
        unlabelled: folder of files like those to predict; they refine the method.
        baselines: when to score other methods too.

    Raises:
        DataError: a method or unlabelled files with `fine_tune`.
        RunError: recipe values that are out of range.
    """

    encoder: AnyEncoder = "mini"
    classes: str | None = None
    k: PositiveInt | None = None
    held_out: Share | None = None
    method: MethodName | None = None
    fine_tune: bool = False
    head: str = "text"
    train_head: bool = False
    recipe: Literal["small", "paper", "text4vis"] = "small"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    unlabelled: str | None = None
    baselines: When = "auto"

    def __post_init__(self) -> None:
        check_fields(self)
        overrides = EncoderOptions.of(self.encoder).with_template(self.overrides)
        RECIPES[self.recipe](**overrides)
        for name, value in (("unlabelled", self.unlabelled), ("method", self.method)):
            if value and self.fine_tune:
                raise DataError(f"`{name}` {value} is for a head on the frozen encoder: leave out it or `fine_tune`")


class TrainingPlan(NamedTuple):
    """What a run is trained on.

    Attributes:
        division: the items for training and for scoring.
        inputs: encoder, labels, class names and recipe.
        notes: on the data and the class names.
        changes: recipe values that were adapted to the data.
    """

    division: Division
    inputs: RowInputs
    notes: tuple[str, ...]
    changes: Sequence[str]


@dataclass(frozen=True)
class TrainedRun:
    """A run after training.

    Attributes:
        out: the run folder.
        table: the scores of the baselines, and last the run's; empty if no item is held out.
        protocol, reading: how items are read to score the run.
        records: the metrics of fine-tuning.
        tuned: whether the run is fine-tuned.
    """

    out: Path
    model: Recognizer = field(repr=False)
    table: ScoreTable
    protocol: Protocol
    reading: Reading
    records: Sequence[dict] = ()
    tuned: bool = False

    def __repr__(self) -> str:
        how = "fine-tuned" if self.tuned else "on the frozen encoder"
        return f"TrainedRun({str(self.out)!r}, {how}, {self.table})"


# The plan, a fitted method, the model to fine-tune.
TrainingEvent = TrainingPlan | FittedMethod | Recognizer


@apart_from_caller()
def train(
    data: Dataset,
    out: str | Path,
    options: RunOptions = RunOptions(),
    reading: Reading = Reading(cache=True),
    *,
    workers: NonNegativeInt | None = None,
    resume: bool = False,
    command: dict[str, object] | None = None,
    reporter: Reporter = Reporter(),
) -> TrainedRun:
    """Train a run and score it beside baselines, as `texthead train` does.

    By default, fit a method on the frozen encoder, in seconds; with `options.fine_tune`, fine-tune the encoder.

    Args:
        out: the run folder.
        reading: how files are read and encoded.
        workers: data-loader workers of fine-tuning; those of `reading` if None.
        resume: continue the fine-tuning of the run in `out`, with the options that it was started with.
        command: the options to save in the run folder.
        reporter: gets progress, messages, skipped files, the records of fine-tuning and each `TrainingEvent`.

    Raises:
        DataError: the data cannot be divided, the encoder or a file does not fit the options, or no item can be read.
        MediaError: an item cannot be read, unless `reading` skips such items.
        RunError: `out` holds a run, none to resume, or one with other options.
    """
    for name, value in (("method", options.method), ("unlabelled", options.unlabelled)):
        if value and (resume or ranks() > 1):
            raise DataError(f"`{name}` {value} fits a new run in one process: leave it out, or `resume` and torchrun")
    check_out(Path(out), resume=resume)
    encoder = EncoderOptions.of(options.encoder)
    options = replace(options, encoder=encoder, overrides=encoder.with_template(options.overrides))
    workers = reading.workers if workers is None else workers
    training = _Training(Path(out), options, reading, workers, resume, command, reporter)
    plan = training.plan(data)
    reporter.event(plan)
    trained = training.fine_tune(plan) if training.must_tune else training.fit(plan)
    if data.tree is not None and rank() == 0:
        save_tree(trained.out, data.tree)
    return trained


@dataclass(frozen=True)
class _Training:
    """The steps of `train`."""

    out: Path
    options: RunOptions
    reading: Reading
    workers: int
    resume: bool
    command: dict[str, object] | None
    reporter: Reporter

    @property
    def must_tune(self) -> bool:
        """Whether to fine-tune."""
        return self.resume or self.options.fine_tune or ranks() > 1

    def plan(self, data: Dataset) -> TrainingPlan:
        """Divide the data, load the encoder, and adapt the recipe to both."""
        options, make = self.options, RECIPES[self.options.recipe]
        recipe = make(**options.overrides)
        division = divide(data, seed=recipe.seed, held_out=options.held_out, k=options.k)
        labels, chosen = division.train.classes, EncoderOptions.of(options.encoder)
        names, sentences, lines = classes_to_train(
            labels,
            division.train.source,
            options.classes,
            template=options.overrides.get("template"),
            clean=chosen.clean,
        )
        if any(sentences) and not takes_sentences(options.head):
            raise DataError(f"head {options.head} does not use sentences: remove them from {options.classes}")
        encoder = chosen.load(class_prompts(recipe.template, names, sentences), lazy=not self.must_tune)
        if self.must_tune and division.train.several and head_kind(options.head)[0].items:
            raise DataError(
                f"head {options.head} is fitted to files with one label each, and these have several: take another head"
            )
        if self.must_tune and head_kind(options.head)[0].of_text and not encoder.has_text:
            raise DataError(
                f"head {options.head}: {encoder.source} has no text encoder: give it one (`text`), or take another "
                f"head: {WITHOUT_TEXT}"
            )
        recipe, changes = adapt_recipe(make, options.overrides, division.train, encoder)
        inputs = RowInputs(encoder, labels, recipe, names=names, sentences=sentences)
        if self.must_tune:  # `fit_method` counts the readable items.
            counts = [] if division.train.several else [*division.train.labelling.counts.values()]
            lines += filter(None, [unbalanced_text(recipe.class_shares, counts)])
        return TrainingPlan(division, inputs, (*data.notes, *division.notes, *lines), changes)

    def fit(self, plan: TrainingPlan) -> TrainedRun:
        """Fit a method on the frozen encoder."""
        options, division, inputs = self.options, plan.division, plan.inputs
        values = {key: value for key, value in options.overrides.items() if key != "tune"}
        names, sentences = inputs.names or inputs.labels, inputs.sentences or []
        task, _ = make_task(inputs.encoder, division.train, names, sentences, values, self.reading, self.reporter)
        fitted = fit_method(task, division, options.method, baselines=options.baselines, unlabelled=options.unlabelled)
        self.reporter.event(fitted)
        model, reading = fitted.save(self.out), task.frozen.reading
        reading = replace(reading, workers=0, skip_unreadable=False, engine="eager")
        return TrainedRun(self.out, model, fitted.table, task.frozen.protocol, reading)

    def start(self, plan: TrainingPlan) -> tuple[RowInputs, Division, ScoreTable, FrozenEncoder]:
        """Prepare fine-tuning: score the baselines, and encode the training items if the head needs their features.

        Returns: what the head is made from, the readable items, the baselines' scores, and the encoder before training.
        """
        division, inputs = plan.division, plan.inputs
        recipe, encoder, wanted = inputs.recipe, inputs.encoder, self.reading.engine
        # Engines differ in last bits, on which trained weights depend, so all features come from one engine.
        engine = engine_of(self.out, wanted) if self.resume else wanted
        exact = "eager" if engine == "auto" and not recipe.frozen else engine
        reading = replace(self.reading, engine=exact)
        frozen = FrozenEncoder(encoder, encoder.visual.spec.protocol(recipe), reading, self.reporter)
        compare = are_few(self.options.baselines, len(division.train))
        items, needed = None, division.train.several or needs_features(self.options.head, recipe)
        if compare or needed or reading.skip_unreadable:
            items, division = readable_division(frozen, division)
            for error in items.skipped:
                self.reporter.skipped(error)
        table = ScoreTable(division)
        if compare and items is not None and len(division.scored):
            labels, names = tuple(inputs.labels), tuple(inputs.names or inputs.labels)
            add_baselines(table, Experiment(frozen, labels, names, inputs.prompts, recipe), items)
        targets = items.targets if items else division.train.labelling.targets(inputs.labels)
        features = items.features if items else None
        inputs = replace(inputs, features=features, targets=targets, items=division.train.names)
        return inputs, division, table, frozen

    def fine_tune(self, plan: TrainingPlan) -> TrainedRun:
        """Train the run and score it."""
        (inputs, division, table, frozen), options = self.start(plan), self.options
        protocol, reading = frozen.protocol, frozen.reading
        visual = inputs.encoder.visual
        model = make_recognizer(options.head, inputs, trainable=options.train_head).to(visual.mean.device)
        if division.train.several:
            assert inputs.features is not None
            assert inputs.targets is not None
            head = as_several(as_head(model.head), inputs.features, inputs.targets)
            model = model.with_head(head)
        self.reporter.event(model)
        self._say_cost(model, inputs.recipe, len(division.train))
        records = fine_tune(
            model,
            division.train,
            division.val,
            inputs.recipe,
            out=self.out,
            resume=self.resume,
            reading=replace(reading, workers=self.workers),
            info=RunInfo(inputs.names, division.scored, self.command),
            reporter=self.reporter,
        )
        # The cache holds features of the encoder before training.
        reading = reading if inputs.recipe.frozen else replace(reading, cache=False)
        if len(division.scored):
            scored = evaluate(model, division.scored, protocol, reading, reporter=self.reporter)
            # Validation items set the threshold of several labels.
            chose = scored.metric != "top-1" and division.scored_name == "val"
            reused = ", threshold set on these items" if chose else ""
            table.add(f"this run ({options.head} head){reused}", scored)
            if rank() == 0:
                write_scores(self.out, table.scores())
        return TrainedRun(self.out, model, table, protocol, reading, records, tuned=True)

    def _say_cost(self, model: Recognizer, recipe: Recipe, clips: int) -> None:
        """Report how many steps fine-tuning takes, and about how long if the encoder is trained from the start."""
        steps, estimate = recipe.epochs * math.ceil(clips / recipe.batch), ""
        if not self.resume and not recipe.frozen:
            minutes = max(1, round(seconds_a_clip(model, recipe) * clips * recipe.epochs / 60))
            span = "a minute" if minutes == 1 else f"{minutes} minutes"
            estimate = f"; about {span} here, plus reading the files"
        of_clips = f"{plural(recipe.epochs, 'epoch')} of {plural(clips, 'clip')}"
        self.reporter.say(f"fine-tuning: {plural(steps, 'step')}, {of_clips}{estimate}")
