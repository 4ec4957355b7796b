"""Fit methods to the features of a frozen encoder: compare them, or save one as a run."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from texthead.data.dataset import Dataset
from texthead.data.division import Division, check_no_class_lost, divide_or_train
from texthead.data.labels import unbalanced_text, weighted_text
from texthead.data.reading import listed_files
from texthead.encoders.encoder import Encoder
from texthead.encoders.load import AnyEncoder, EncoderOptions, zero_shot_note
from texthead.errors import DataError, MediaError, PositiveInt
from texthead.evaluation.class_sizes import RareClasses
from texthead.evaluation.intervals import Rate
from texthead.evaluation.results import Evaluation
from texthead.evaluation.summary import kind_text, sentence
from texthead.features.frames import check_any
from texthead.features.frozen import FrozenEncoder, FrozenItems
from texthead.features.reading import Reading, engines_text
from texthead.files import locked
from texthead.media.find import find_media
from texthead.models.recognizer import Recognizer
from texthead.models.several_head import SeveralHead
from texthead.models.temporal import MeanPool
from texthead.parallel.caller import apart_from_caller
from texthead.parallel.progress import Reporter
from texthead.recipes import MethodName, small
from texthead.runs.folder import write_run
from texthead.runs.saved import check_out
from texthead.runs.scores import write_scores
from texthead.text.prompts import class_prompts, classes_to_train
from texthead.training.fit_recipe import adapt_recipe
from texthead.training.start import split_json
from texthead.transfer import methods
from texthead.transfer.baselines import ScoreTable, When, are_few

# Default number of frames per video.
QUICK_FRAMES = 4


# --- the task


def load_task(
    train_set: Dataset,
    options: EncoderOptions,
    classes: str | None = None,
    overrides: Mapping[str, Any] = MappingProxyType({}),
    reading: Reading = Reading(cache=True),
    reporter: Reporter = Reporter(),
) -> tuple[methods.Experiment, list[str]]:
    """Return (encoder, prompts and recipe that all methods share; a line for each value that the data changed).

    Args:
        classes: a file of class names or prompts for the labels, as in `read_classes`.
        overrides: recipe values, as in `make_task`.
        reporter: gets progress and messages.
    """
    overrides = options.with_template(overrides)
    template = overrides.get("template")
    names, sentences, lines = classes_to_train(
        train_set.classes, train_set.source, classes, template=template, clean=options.clean
    )
    encoder = options.load(class_prompts(template or small().template, names, sentences))
    task, changes = make_task(encoder, train_set, names, sentences, overrides, reading, reporter)
    return task, [*lines, *changes]


def make_task(
    encoder: Encoder,
    train_set: Dataset,
    names: Sequence[str],
    sentences: Sequence[str | Sequence[str] | None],
    overrides: Mapping[str, Any] = MappingProxyType({}),
    reading: Reading = Reading(cache=True),
    reporter: Reporter = Reporter(),
) -> tuple[methods.Experiment, list[str]]:
    """Do the same as `load_task` with a loaded encoder, class names, and prompts that replace the template.

    The recipe is `small` with the overrides, at the encoder's own input size: at 128 pixels videos lose 2 to 7 points,
    while more frames gain nothing (LOG.md).
    """
    # Epochs and flips have no effect on frozen features.
    fixed = {"flip": 0.0, "epochs": small().epochs, "temporal": "mean", "tune": "none", "size": None}
    spec = encoder.visual.spec
    if spec.unit == "frame" and not train_set.only_images:
        fixed["frames"] = QUICK_FRAMES
    recipe, changes = adapt_recipe(small, {**fixed, **overrides}, train_set, encoder)
    frozen = FrozenEncoder(encoder, spec.protocol(recipe), reading, reporter)
    prompts = class_prompts(recipe.template, names, sentences)
    return methods.Experiment(frozen, tuple(train_set.classes), tuple(names), prompts, recipe), changes


def _encode(
    task: methods.Experiment, method: MethodName, division: Division, unlabelled: str | None
) -> tuple[methods.Experiment, FrozenItems, FrozenItems | None, tuple[MediaError, ...], list[str], str]:
    """Encode items and unlabelled files; return (task, training items, scored items, errors, lines, engines).

    The task has the penalty and unlabelled files that suit the items; lines say what changed. The errors are those of
    all unreadable files.

    Raises:
        DataError: a class has no readable training item, or no item can be read.
        MediaError: a file cannot be read, unless the task's reading skips such files.
    """
    engines: set[str] = set()
    frozen = copy.copy(task.frozen)
    frozen.reporter = replace(frozen.reporter, used=engines.add)
    items = frozen.items(division.train, task.labels, "encode training items")
    check_no_class_lost(division.train, items.data)
    tests = frozen.items(division.scored, task.labels, "encode held-out items") if division.scored else None
    skipped = [*items.skipped, *(tests.skipped if tests else ())]
    task, line = methods.choose_penalty(task, method, items)
    lines = [line]
    if unlabelled:
        paths = find_media(listed_files(unlabelled), frozen.reporter)
        files = frozen.files(paths, "encode unlabelled files")
        check_any(paths, files.positions, files.skipped)
        task, line = methods.check_unlabelled(replace(task, unlabelled=files.features), method, items)
        lines.append(line)
        skipped += files.skipped
    return task, items, tests, tuple(skipped), lines, engines_text(engines)


# --- compare


@dataclass(frozen=True, repr=False)
class MethodScores:
    """What a comparison measures.

    Attributes:
        validated: the cross-validated evaluation of each method; empty if classes have one item each.
        tested: the evaluation of each method on the held-out items; empty without such items.
        scored_name: the split of the held-out items.
        items: the training items.
        folds: the folds of the cross-validation.
        skipped: errors of unreadable files.
        lines: what to know about the labels' shares, the class names, the folds, the penalty and unlabelled files.
        engine: the engines that computed the features.
        weights: what each cross-validated item counts, as `class_shares` says; None if all count the same.
        unfitted: the evaluation of zero-shot, which learns from no label, on the labelled items if there is no other.
        names: the methods, the default first.
    """

    validated: dict[str, Evaluation]
    tested: dict[str, Evaluation]
    scored_name: str
    items: FrozenItems
    folds: methods.Folds
    skipped: tuple[MediaError, ...] = ()
    lines: tuple[str, ...] = ()
    engine: str = ""
    weights: np.ndarray | None = None
    unfitted: Mapping[str, Evaluation] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        """What the rates are: top-1, or with several labels mAP."""
        return next((each.metric for scores in self._by_column.values() for each in scores.values()), "top-1")

    @property
    def lead(self) -> methods.Lead | None:
        """The lead of the best other method over the default one, cross-validated; None if no other is ahead.

        Items are weighted as `class_shares` says.
        """
        groups = self.items.pick(self.folds.scored).groups
        return methods.best_rival(self.validated, groups, self.weights) if self.validated else None

    def columns(self, *, by_class: bool = False) -> dict[str, dict[str, Rate]]:
        """Return, for each way of scoring that there is, the metric of each method in percent and its 95 % interval.

        Args:
            by_class: return the means over classes instead, where classes differ in size.
        """
        return {
            title: {name: score.class_mean if by_class else score.rate for name, score in own.items()}
            for title, own in self._by_column.items()
            if own and (not by_class or any(score.sizes_differ for score in own.values()))
        }

    @property
    def _by_column(self) -> dict[str, Mapping[str, Evaluation]]:
        return {"cross-validated": self.validated, "labelled items": self.unfitted, self.scored_name: self.tested}

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table as text: the metric of each method by column, and below it the mean over classes."""
        columns, means, rows = self.columns(), self.columns(by_class=True), []
        for name in self.validated or self.tested or self.unfitted:
            for title, rates in ((name, columns), ("  mean over classes", means)):
                # 100 for 100.0, so that the table fits 80 columns.
                cells = [
                    "{:.1f} ({:.1f}-{:.1f})".format(*rates[column][name]).replace("100.0", "100")
                    if column in rates
                    else ""
                    for column in columns
                ]
                rows += [(title, *cells)] if any(cells) else []
        return rows

    def summary(self) -> list[str]:
        """Return the default's result in a line, and which other method is ahead of it in cross-validation."""
        lines = [sentence(own, "labelled", how="by names alone") for own in self.unfitted.values()]
        scores, where = (self.tested, self.scored_name) if self.tested else (self.validated, "cross-validated")
        lines += [f"{name}: {sentence(own, where)}" for name, own in list(scores.items())[:1]]
        if not self.validated:
            return lines
        items, lead = self.items, self.lead
        how = f"{len(self.folds.pairs)} folds of {len(items.data)} {kind_text(items.data.paths)}"
        if len(set(items.groups)) < len(items.groups):
            few = "groups divided between folds, since there are too few"
            how += f", {'each group in one fold' if self.folds.grouped else few}"
        how += weighted_text(self.weights) if self.weights is not None else ""
        if lead is None or lead.low <= 0:
            clearly = "clearly " * (lead is not None)
            return [*lines, f"in cross-validation no method is {clearly}ahead of it ({how})"]
        points = f"{lead.points:.1f} points (95 %: {lead.low:.1f} to {lead.high:.1f}; {how})"
        saved = f"in Python, `method={lead.rival}` of th.RunOptions saves it as a run"
        return [*lines, f"in cross-validation {lead.rival} is ahead of it by {points}; {saved}"]

    @property
    def rare(self) -> RareClasses | None:
        """The default's result on the held-out items of classes with few training items; None if there are none."""
        counts = self.items.data.labelling.counts
        return next((score.rare(counts) for score in self.tested.values()), None)

    def __repr__(self) -> str:
        columns = self.columns().items()
        columns_text = (f"{title}: {name} {own[0]:.1f}" for title, column in columns for name, own in column.items())
        return f"MethodScores({self.metric} in percent, {', '.join(columns_text)})"


class ComparisonPlan(NamedTuple):
    """What is compared: the items, what the methods share, and a line for each recipe value that the data changed."""

    division: Division
    task: methods.Experiment
    changes: Sequence[str]


@apart_from_caller()
def compare(
    data: Dataset | Division,
    encoder: AnyEncoder = "mini",
    *,
    classes: str | None = None,
    k: PositiveInt | None = None,
    overrides: Mapping[str, Any] = MappingProxyType({}),
    unlabelled: str | None = None,
    reading: Reading = Reading(cache=True),
    reporter: Reporter = Reporter(),
) -> MethodScores:
    """Score the methods on a frozen encoder side by side, as `texthead compare` does.

    Items are encoded once for all methods.

    Args:
        data: labelled items; without splits, none are held out.
        encoder: an encoder, its name, or options that also say its template and device.
        classes: a file of class names or prompts for the labels, as in `read_classes`.
        k: training items drawn for each class; all if None.
        overrides: recipe values, such as frames, size, seed and class_shares.
        unlabelled: folder of files like those to predict; they refine the probes if they help.
        reporter: gets progress, messages, and as an event the `ComparisonPlan`, before that takes time.

    Raises:
        DataError: a class has no readable training item, or no item can be read.
        MediaError: an item cannot be read, unless `reading` skips such items.
    """
    division = data if isinstance(data, Division) else divide_or_train(data, seed=overrides.get("seed", 0), k=k)
    unused = len(division.val or ()) if division.scored_name == "test" else 0
    ignored = [f"{unused} val item{'s are' if unused > 1 else ' is'} not used"] * bool(unused)
    for note in (*division.notes, *ignored):
        reporter.note(note)
    options = EncoderOptions.of(encoder)
    task, changes = load_task(division.train, options, classes, overrides, reading, reporter)
    reporter.event(ComparisonPlan(division, task, changes))
    shares = task.recipe.class_shares
    task, items, tests, skipped, lines, engine = _encode(task, task.methods[0], division, unlabelled)
    least, seed = methods.MIN_ITEMS, task.recipe.seed
    cv = methods.folds(items, seed=seed)
    if not cv.pairs:
        least, cv = 2, methods.folds(items, seed=seed, least=2)
    validated: dict[str, Evaluation] = {}
    unfitted: dict[str, Evaluation] = {}
    tested: dict[str, Evaluation] = {}
    with task.frozen.reporter.bar("compare", "methods") as progress:
        for number, name in enumerate(task.methods, 1):
            if cv.pairs:
                validated[name] = methods.cross_validated(partial(task.fit, name), items, cv)
            if tests is not None:
                tested[name] = methods.evaluation_of(task.fit(name, items), tests)
            progress(number, len(task.methods))
    if not validated and not tested and "zero-shot" in task.methods:
        unfitted["zero-shot"] = methods.evaluation_of(task.fit("zero-shot", items), items)
    counts = [] if items.several else items.targets.bincount().tolist()
    scored, name = items.pick(cv.scored), division.scored_name or "held out"
    lines = [unbalanced_text(shares, counts), *lines]
    if cv.pairs and min(counts, default=least) < least:
        few = f"{len(counts) - len(scored.data.classes)} of {len(counts)} classes have fewer"
        lines.append(f"{few} than {least} items: only the others are cross-validated")
    if cv.pairs and least == 2 and not items.several:
        lines.append("each fold learns from about half of these few items, so a run on all of them should be better")
    if not cv.pairs:
        alone = ": only names alone, which learn from no label, have a score" if unfitted else ""
        lines.append(f"not cross-validated, which takes two classes with 2 or more items{alone}")
    if task.encoder.has_text:
        lines.append(methods.names_line(task.encoder, task.names, task.prompts, tested))
        lines.append(zero_shot_note(task.encoder.source, task.names) or "")
    default = task.methods[0]
    if validated and tested:
        lines.append(methods.near_copies_line(validated[default], scored, tested[default], name))
    weights = task.weights(scored) if cv.pairs else None
    lines = tuple(filter(None, lines))
    return MethodScores(
        validated, tested, name, items, cv, skipped, lines, engine, weights, unfitted, tuple(task.methods)
    )


# --- save a method as a run


@dataclass(frozen=True)
class FittedMethod:
    """A method fitted to the training items, and its scores.

    Attributes:
        table: the scores on the held-out items, the method's own last; empty without such items.
        skipped, lines, engine: as in `MethodScores`.
    """

    task: methods.Experiment
    name: MethodName
    items: FrozenItems
    table: ScoreTable
    skipped: tuple[MediaError, ...]
    lines: tuple[str, ...]
    engine: str

    def save(self, out: str | Path) -> Recognizer:
        """Write the method as a run with its scores, and return the model."""
        out, encoder, table = Path(out), self.task.encoder, self.table
        head = self.task.fit(self.name, self.items)
        inner = head.head if isinstance(head, SeveralHead) else head
        inner.text_source, inner.text_map = encoder.text_source, encoder.text_map
        model = Recognizer(encoder.visual, MeanPool(), head)
        with locked(out):
            check_out(out, resume=False)  # Another process may have written a run since the first check.
            if table.rows:
                table.rows[-1] = f"this run ({self.name})", table.rows[-1][1]
                write_scores(out, table.scores())
            split = split_json(self.items.data, table.division.scored)
            about = {"chosen": self.name, "engine": self.engine}
            pixels = self.task.frozen.protocol.sizes
            write_run(out, model, self.task.recipe, pixels, self.task.names, split, **about)
        return model


def fit_method(
    task: methods.Experiment,
    division: Division,
    method: MethodName | None,
    *,
    baselines: When = "never",
    unlabelled: str | None = None,
) -> FittedMethod:
    """Fit a method to the training items on a frozen encoder, and score it on the held-out ones.

    Args:
        method: "text-probe" (the default), "probe" (the default for encoders without text), "zero-shot" or
            "zero-shot-centred".
        baselines: whether to score the other methods too; "auto": with at most 2,000 training items.
        unlabelled: folder of files like those to predict; they refine a probe if they help.

    Raises:
        DataError: the encoder or `unlabelled` does not allow the method, a class has no readable training item, or no
            item can be read.
        MediaError: an item cannot be read, unless the task skips such items.
    """
    name = task.check_method(method)
    if unlabelled and name not in ("text-probe", "probe"):
        raise DataError(f"`unlabelled` {unlabelled} refines a text-probe or a probe, not {name}: leave one of them out")
    shares = task.recipe.class_shares
    task, items, tests, skipped, lines, engine = _encode(task, name, division, unlabelled)
    # A run keeps the items that could be read.
    table = ScoreTable(replace(division, train=items.data, scored=tests.data if tests else division.scored))
    if tests is not None:
        others = task.methods if are_few(baselines, len(items.data)) else ()
        table.add_methods(task, [*(other for other in others if other != name), name], items, tests)
    table.add_note(task)
    if name != "probe":
        scored = dict(table.rows) if name == "text-probe" else {}
        lines = [*lines, methods.names_line(task.encoder, task.names, task.prompts, scored)]
    if name in ("text-probe", "probe"):
        counts = [] if items.several else items.targets.bincount().tolist()
        lines = [unbalanced_text(shares, counts), *lines]
    return FittedMethod(task, name, items, table, skipped, tuple(filter(None, lines)), engine)
