"""Train a run: fit a method on the frozen encoder, or fine-tune it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from texthead.data.dataset import Dataset
from texthead.data.division import divide
from texthead.data.labels import unbalanced_text
from texthead.data.reading import as_dataset
from texthead.encoders.load import AnyEncoder, EncoderOptions
from texthead.errors import DataError, NonNegativeInt, PositiveInt, Share
from texthead.evaluation.evaluate import evaluate
from texthead.features.reading import ReadOptions
from texthead.files import locked
from texthead.models.build import make_recognizer, takes_sentences
from texthead.models.head_rows import RowInputs
from texthead.models.head_table import as_head, head_kind
from texthead.models.multilabel_head import MultiLabelHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.parallel.caller import apart_from_caller
from texthead.parallel.distributed import raise_on_all_ranks, rank, world_size
from texthead.parallel.progress import Reporter, silent
from texthead.prediction.load import run_in
from texthead.prediction.run import Run
from texthead.recipes import RECIPES, WITHOUT_TEXT, MethodName, RecipeName
from texthead.runs.folder import save_tree, write_run
from texthead.runs.saved import check_out
from texthead.runs.scores import write_scores
from texthead.training.start import RunInfo, split_json
from texthead.training.train import fine_tune
from texthead.transfer.baselines import FEW_ITEMS, ScoreTable, add_baselines
from texthead.transfer.experiment import Experiment, evaluation_of, load_experiment
from texthead.transfer.methods import names_line, suited
from texthead.transfer.multilabel import as_multilabel


@apart_from_caller()
def train(
    data: Dataset | str | Path,
    out: str | Path,
    encoder: AnyEncoder = "mini",
    *,
    classes: str | None = None,
    k: PositiveInt | None = None,
    held_out: Share | None = None,
    method: MethodName | None = None,
    fine_tune: bool = False,
    head: str = "text",
    train_head: bool = False,
    recipe: RecipeName = "small",
    overrides: Mapping[str, Any] = MappingProxyType({}),
    unlabelled: str | None = None,
    reading: ReadOptions = ReadOptions(cache=True),
    workers: NonNegativeInt | None = None,
    resume: bool = False,
    command: dict[str, object] | None = None,
    planned: Callable[[Experiment], object] = silent,
    reporter: Reporter = Reporter(),
) -> Run:
    """Train a run and score it beside baselines, as `texthead train` does.

    By default, fit a method on the frozen encoder, in seconds; with `fine_tune`, fine-tune the encoder, the paper's
    method. The run is the one that `load_run` loads from `out`, with the model in memory; in other processes than the
    first, which writes the folder, it has none.

    Args:
        data: labelled items, or their source as for `read_dataset`.
        out: the run folder.
        encoder: an encoder, its name, or options that also say its template and device.
        classes: file of class names or prompts for the labels, as in `read_classes`.
        k: training items drawn for each class; all if None.
        held_out: fraction of each class to hold out for scoring if the data has no splits; 0 for none, None for 0.2.
        method: method to fit on the frozen encoder; None for the default one.
        fine_tune: whether to fine-tune the encoder instead of fitting a head to frozen features.
        head: kind of the fine-tuned run's head.
        train_head: whether to train the rows of the head too.
        recipe: recipe of the fine-tuned run.
        overrides: recipe values.
        unlabelled: folder of files like those to predict; they refine the method.
        reading: how files are read and encoded.
        workers: data-loader workers of fine-tuning; those of `reading` if None.
        resume: continue the fine-tuning of the run in `out`, with the options that it was started with.
        command: the options to save in the run folder.
        planned: gets what will be trained, before its items are encoded.
        reporter: gets progress, messages, skipped files and the records of fine-tuning.

    Raises:
        DataError: the data cannot be divided, the encoder or a file does not fit the options, or no item can be read.
        MediaError: an item cannot be read, unless `reading` skips such items.
        RunError: `out` holds a run, none to resume, or one with other options.
    """
    tunes, make = resume or fine_tune or world_size() > 1, RECIPES[recipe]
    for name, value in (("method", method), ("unlabelled", unlabelled)):
        if value and tunes:
            remedy = "remove it, or remove `fine_tune` and `resume` and start without torchrun"
            raise DataError(f"`{name}` {value} is for a head on the frozen encoder: {remedy}")
    for name, value, default in (
        ("head", head, "text"),
        ("train_head", train_head, False),
        ("recipe", recipe, "small"),
    ):
        if value != default and not tunes:
            raise DataError(f"`{name}` {value} is for fine-tuning: add `fine_tune=True`, or remove it")
    out, options = Path(out), EncoderOptions.from_encoder(encoder)
    check_out(out, resume=resume)
    draft = make(**options.with_template(overrides))
    data = as_dataset(data)
    division = divide(data, seed=draft.seed, held_out=held_out, k=k)
    workers = reading.workers if workers is None else workers
    if tunes and not draft.frozen and reading.engine == "auto":
        reading = replace(reading, engine="eager")  # As in training: engines differ in last bits.
    experiment = load_experiment(division, options, classes, overrides, reading, reporter, make=make if tunes else None)
    if any(experiment.sentences) and not takes_sentences(head):
        raise DataError(f"head {head} does not use sentences: remove them from {classes}")
    if tunes:
        _check_head(head, experiment)
    planned(experiment)
    if tunes:
        model, table = _fine_tune(
            experiment, out, head, workers, reporter, train_head=train_head, resume=resume, command=command
        )
    else:
        model, table = _fit(experiment, out, method, unlabelled, reporter)
    with raise_on_all_ranks():
        if data.tree is not None and rank() == 0:
            save_tree(out, data.tree)
    if rank() > 0:
        return replace(Run.from_model(model), scores=table)
    run = replace(run_in(out, model), scores=table)
    for line in run.split.copies(division.scored, "held-out" if division.drawn else division.scored_name):
        reporter.note(line)
    return run


# --- a method on the frozen encoder


def _fit(
    experiment: Experiment, out: Path, method: MethodName | None, unlabelled: str | None, reporter: Reporter
) -> tuple[Recognizer, ScoreTable]:
    """Fit a method, score it beside the others, and write it as a run."""
    name = experiment.check_method(method)
    probe = name in ("text-probe", "probe")
    if unlabelled and not probe:
        raise DataError(f"`unlabelled` {unlabelled} refines a text-probe or a probe, not {name}: remove one of the two")
    compared = len(experiment.division.scored) and len(experiment.items.data) <= FEW_ITEMS
    others: list[MethodName] = [other for other in experiment.methods if compared and other != name]
    experiment, lines = suited(experiment, [name, *others], unlabelled)
    items, tests, division = experiment.items, experiment.tests, experiment.division
    # A run keeps the items that could be read.
    table = ScoreTable(replace(division, train=items.data, scored=tests.data if tests else division.scored))
    table.add_methods(experiment, others)
    scored, head = dict(table.rows), experiment.fit(name)
    if tests:
        scored[name] = evaluation_of(head, tests)
        table.rows.append((f"this run ({name})", scored[name]))
    for error in experiment.skipped:
        reporter.skipped(error)
    if probe:
        lines = [unbalanced_text(experiment.recipe.class_shares, experiment.counts), *lines]
    if name != "probe":
        own = scored if name == "text-probe" else {}
        lines = [*lines, names_line(experiment.encoder, experiment.names, experiment.prompts, own)]
    for line in filter(None, lines):
        reporter.note(line)
    inner, encoder = head.head if isinstance(head, MultiLabelHead) else head, experiment.encoder
    inner.text_source, inner.text_map = encoder.text_source, encoder.text_map
    model = Recognizer(encoder.visual, MeanPool(), head)
    split, sizes = split_json(table.division.train, table.division.scored), experiment.frozen.protocol.sizes
    with locked(out):
        check_out(out, resume=False)  # Another process may have written a run since the first check.
        if table.rows:
            write_scores(out, table.scores())
        about = {"chosen": name, "engine": experiment.engine}
        write_run(out, model, experiment.recipe, sizes, experiment.names, split, **about)
    return model, table


# --- fine-tuning


def _fine_tune(
    experiment: Experiment,
    out: Path,
    head: str,
    workers: int,
    reporter: Reporter,
    *,
    train_head: bool,
    resume: bool,
    command: dict[str, object] | None,
) -> tuple[Recognizer, ScoreTable]:
    """Fine-tune the encoder, and score the run beside baselines of the encoder before training."""
    recipe, division, frozen = experiment.recipe, experiment.division, experiment.frozen
    reading, multilabel = frozen.reading, division.train.multilabel
    counts = [] if multilabel else [*division.train.counts.values()]
    if line := unbalanced_text(recipe.class_shares, counts):
        reporter.note(line)
    compare = len(division.train) <= FEW_ITEMS
    needed = multilabel or recipe.center or head_kind(head)[0].min_items_per_class > 0
    if compare or needed or reading.skip_unreadable:
        # Without unreadable items; those to test stay, so that they are reported with the result.
        division = replace(division, train=experiment.items.data)
        if reading.skip_unreadable and division.val is not None:
            readable = frozen.files(division.val.paths, "encode held-out items").positions
            division = replace(division, val=division.val.select(readable) or None)
        for error in experiment.items.skipped:
            reporter.skipped(error)
    table = ScoreTable(division)
    if compare and len(division.scored):
        add_baselines(table, experiment)
    inputs = RowInputs(
        experiment.encoder,
        experiment.labels,
        recipe,
        names=experiment.names,
        sentences=experiment.sentences,
        features=experiment.items.features if needed else None,
        targets=division.train.targets(experiment.labels),
        items=division.train.item_names,
    )
    model = make_recognizer(head, inputs, trainable=train_head)
    model = model.to(experiment.encoder.visual.mean.device)
    if multilabel:
        items, given = experiment.items, isinstance(recipe.scale, int | float)
        model = model.with_head(as_multilabel(as_head(model.head), items.features, items.targets, keep_scale=given))
    fine_tune(
        model,
        division.train,
        division.val,
        recipe,
        out=out,
        resume=resume,
        reading=replace(reading, workers=workers),
        info=RunInfo(experiment.names, division.scored, command),
        reporter=reporter,
    )
    if len(division.scored):
        # The cache holds features of the encoder before training.
        reading = reading if recipe.frozen else replace(reading, cache=False)
        scored = evaluate(model, division.scored, frozen.protocol, reading, reporter=reporter)
        # Validation items set the threshold of a multi-label head.
        chose = scored.metric != "top-1" and division.scored_name == "val"
        table.rows.append((f"this run ({head} head){', threshold set on these items' * chose}", scored))
        if rank() == 0:
            write_scores(out, table.scores())
    return model, table


def _check_head(kind: str, experiment: Experiment) -> None:
    """Raise DataError unless training can start with this kind of head on the items and the encoder."""
    rows, encoder = head_kind(kind)[0], experiment.encoder
    if experiment.division.train.multilabel and rows.min_items_per_class:
        raise DataError(f"head {kind} is for single-label data, and these files have several labels: use another head")
    if rows.needs_text and not encoder.has_text:
        raise DataError(
            f"head {kind}: {encoder.source} has no text encoder: add one (`text`), or use another head: {WITHOUT_TEXT}"
        )
