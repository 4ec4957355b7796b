"""`texthead train`: divides the data, fits the recipe to it, trains, and shows the result beside the simple things."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from texthead.commands.console import bar, check_template_fills, notes, read_data, results, say_names, say_prompts
from texthead.commands.score_table import show_table
from texthead.data import dataset as datasets
from texthead.data.dataset import Dataset, splits_of
from texthead.data.division import HELD_OUT, Division, divide, with_validation
from texthead.data.protocol import Protocol, Views
from texthead.encoders.load import load_encoder
from texthead.errors import DataError, RunError
from texthead.evaluation import evaluate
from texthead.evaluation.frame_order import blind_to_order, order_test
from texthead.features.cache import FeatureCache, encoder_key
from texthead.features.reading import Reading
from texthead.features.views import Pretrained
from texthead.models.build import make_head, make_temporal_for, pixels_for
from texthead.models.recognizer import Recognizer
from texthead.parallel.device import pick_device
from texthead.parallel.distributed import rank
from texthead.recipes import Recipe
from texthead.report.mistakes import strips
from texthead.report.probabilities import how_sure
from texthead.report.run_page import write_report
from texthead.runs import run
from texthead.runs.scores import Score, Scores, write_scores
from texthead.text import prompts
from texthead.text.class_names import clean_names
from texthead.training import train as training
from texthead.training.execution import Callbacks, Execution, RunInfo
from texthead.training.fit_recipe import check_given_is_used, suit
from texthead.training.tensorboard import TensorBoardLog
from texthead.transfer.baselines import Comparison, are_few, baselines

FEW_TO_REORDER = 500  # items; each takes some 15 ms of a core


def train(options: Any, recipe: Recipe, *, given: frozenset[str], command: dict[str, object]) -> None:
    """`texthead train`.

    Args:
        given: names of the recipe's values that the user gave.
        command: what a resumed run takes from here.
    """
    out = Path(options.out)
    check_out(out, resume=options.resume)
    check_given_is_used(recipe, options.head, given=given)
    device = pick_device(options.device)
    board = TensorBoardLog(out / "tensorboard") if options.tensorboard and rank() == 0 else None
    dataset = _read(options)
    parts = divide(dataset, seed=recipe.seed, part=options.held_out, k=options.k)
    labels = parts.train.classes
    names, sentences, said = named(options, parts.train)
    shown = prompts.class_prompts(recipe.template, names, sentences)
    encoder = load_encoder(options.encoder, text=options.text, prompts=prompts.flat(shown))
    if options.head in ("text", "prompt") and not encoder.has_text:
        raise DataError(
            f"--head {options.head}: {options.encoder} has no text encoder; use linear, normal, orthogonal or lda"
        )
    recipe, changed = suit(recipe, parts.train, encoder, given=given)
    drawn = f" (drawn with seed {recipe.seed}, {options.held_out or HELD_OUT:.0%} a class)"
    _announce(parts, (*dataset.notes, *said, *changed), "" if splits_of(dataset) else drawn)
    say_names(labels, names, recipe.template if options.head == "text" and not any(sentences) else None)
    if any(sentences):
        say_prompts(labels, shown)

    encoder.visual.to(device)
    pixels = pixels_for(recipe, encoder.visual.spec)
    temporal = make_temporal_for(recipe, encoder.visual)
    cache = FeatureCache(encoder_key(encoder.visual, pixels), options.cache and Path(options.cache))
    protocol = Protocol(recipe.frames, pixels, Views(origin=recipe.origin))
    reading = Reading(workers=options.workers, cache=cache, skip_unreadable=options.skip_unreadable)
    ground = Pretrained(encoder, protocol, reading, bar)
    compare = are_few(options.baselines, len(parts.train))
    found = None
    if compare or recipe.center or options.head == "lda" or options.skip_unreadable:
        found, parts = _readable(ground, parts)
    targets = torch.tensor(datasets.label_indices(parts.train, labels))
    head = make_head(
        options.head,
        encoder,
        labels,
        recipe,
        names=names,
        sentences=sentences,
        features=found,
        targets=targets,
        trainable=options.train_head,
    )
    if options.head == "prompt":
        say_prompts(labels, head.prompts)  # pyright: ignore
    table = Comparison(parts, labels)
    if compare and found is not None and len(parts.scored):
        baselines(ground, table, names, recipe, found, targets, prompts=shown)
    model = Recognizer(encoder.visual, temporal, head).to(device)
    with bar("train", "clips") as progress, board or nullcontext():
        records = training.train(
            model,
            parts.train,
            parts.val,
            recipe,
            out=out,
            resume=options.resume,
            execution=Execution(options.workers, cache, options.shard, options.compile, options.checkpoint_every),
            info=RunInfo(names, parts.scored, command),
            callbacks=Callbacks(progress, progress.say, record=board.add if board else Callbacks().record),
        )
    # An encoder that was trained has other features than the cache.
    reading = reading if recipe.freeze_encoder else replace(reading, cache=None)
    _score(out, model, table, protocol, reading, options.head)
    _report(out, model, records, table, protocol, reading)


def named(options: Any, train_set: Dataset) -> tuple[list[str], list[tuple[str, ...] | None], list[str]]:
    """(the class name of each training label, its own sentences or None, what is to be said of it).

    Without --classes, names come from the labels.

    Raises:
        DataError: a label that is not among the classes, or options that do nothing together.
    """
    labels, clean = train_set.classes, options.names == "clean"
    if options.classes is None:
        return clean_names(labels) if clean else labels, [None] * len(labels), []
    classes = prompts.read_classes(options.classes)
    if any(classes.values()) and options.head != "text":
        raise DataError(f"--head {options.head} makes no rows of sentences: leave them out of {options.classes}")
    check_template_fills(getattr(options, "template", None), classes)
    found = prompts.classes_for(classes, labels, train_set.source, clean=clean)
    places = [found.labels.index(label) for label in labels]
    rest = [label for label in found.labels if label not in labels]
    more = f" and {len(rest) - 8} more" if len(rest) > 8 else ""
    said = [f"{options.classes}: without a training item, and so left out: {', '.join(rest[:8])}{more}"] if rest else []
    return [found.names[i] for i in places], [found.sentences[i] for i in places], said


def check_out(out: Path, *, resume: bool) -> None:
    """Nothing, if a run can be begun in the folder, or be resumed there.

    Raises:
        RunError: it holds a run already, or folders that are none.
    """
    if run.is_run(out) and not resume:
        raise RunError(f"{out}: holds a run already; pass --resume to continue it, or choose another --out")
    if not run.is_run(out) and out.is_dir() and any(path.is_dir() for path in out.iterdir()):
        raise RunError(f"{out}: holds other folders and no run; choose a new folder for --out")


def _read(options: Any) -> Dataset:
    """The labelled files of DATA, and those of --val as what is held out."""
    dataset = read_data(options, options.data)
    if options.val is None:
        return dataset
    if options.held_out is not None:
        raise DataError(f"--held-out {options.held_out}: --val {options.val} is what is held out; give one of them")
    return with_validation(dataset, read_data(options, options.val))


def _announce(parts: Division, lines: Sequence[str], drawn: str) -> None:
    """What was changed, and who trains and who is scored."""
    say = notes()
    for line in lines:
        say.print(f"note: {line}")
    say.print(
        f"{len(parts.train)} training items of {len(parts.train.classes)} classes, "
        f"{len(parts.scored)} {parts.scored_name} items to score{drawn}"
    )


def _readable(ground: Pretrained, parts: Division) -> tuple[torch.Tensor, Division]:
    """The pretrained features of the readable training items, and the division without the others.

    What cannot be read is an error, or left out where the reading skips it. The scored items keep theirs: they are
    listed and counted beside the result.
    """
    found, positions, errors = ground.features(parts.train, "encode training items")
    for error in errors:
        notes().print(f"skipped: {error}")
    train = parts.train.pick(positions) if errors else parts.train
    if train.classes != parts.train.classes:
        lost = sorted(set(parts.train.classes) - set(train.classes))
        raise DataError(f"class {lost[0]!r} has no readable training item: mend its files or remove the class")
    val = parts.val
    if ground.reading.skip_unreadable and val is not None:
        val = val.pick(ground.features(val, "encode held-out items")[1])
    return found, replace(parts, train=train, val=val if val is not None and len(val) else None)


def _score(out: Path, model: Recognizer, table: Comparison, protocol: Protocol, reading: Reading, head: str) -> None:
    """Print the run's own score beside the baselines, and write it into the run folder."""
    if not len(table.parts.scored):
        notes().print("note: no held-out item, so nothing was scored")
        return
    with bar("score", "files") as progress:
        result = evaluate.evaluate(model, table.parts.scored, protocol, reading, progress=progress)
    table.add(f"this run ({head} head)", result)
    show_table(table)
    if rank() == 0:
        write_scores(out, Scores(table.parts.scored_name, tuple(Score.of(*row) for row in table.rows)))


def _report(
    out: Path,
    model: Recognizer,
    records: Sequence[dict],
    table: Comparison,
    protocol: Protocol,
    reading: Reading,
) -> None:
    """`report.html` in the run folder, with what takes no more than seconds: no frame is encoded for it again."""
    shown, order, sure = [], "", None
    if table.rows:
        blind = blind_to_order(model, protocol.frames)
        order = blind or f"Not tested here; `texthead report {out}` does."
        if not blind and reading.cache is not None and len(table.parts.scored) <= FEW_TO_REORDER:
            order = order_test(model, table.parts.scored, protocol, reading)
    if rank() == 0:
        if table.rows:
            _, own = table.rows[-1]
            shown, sure = strips(own, protocol), how_sure(own)
        write_report(out / "report.html", out, model, records, table, shown, order, sure)
    results().print(f"run: {out}   report: {out / 'report.html'}")
