"""`texthead eval`: a run's score on labelled data, with its own classes or others."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from rich.table import Table
from torch import Tensor

from texthead import confusions, datasets, evaluation, features, prompts, runs
from texthead.calibration import Calibration
from texthead.class_edits import followed, followed_split
from texthead.comparison import Comparison, Division, Pretrained, are_few, baselines, on_features, scored_features
from texthead.datasets import Dataset, Item, splits_of
from texthead.distributed import gather_list, rank
from texthead.encoders import zero_shot_note
from texthead.errors import DataError
from texthead.files import fingerprint, write_csv
from texthead.intervals import grouped_interval
from texthead.prediction import Look, calibration_for
from texthead.prompt_head import PromptHead
from texthead.recognizer import Recognizer
from texthead.shard_files import is_there, resolved
from texthead.terminal import (
    as_asked,
    bar,
    changed_by,
    check_template_fills,
    check_template_is_used,
    given_template,
    notes,
    pick_device,
    read_data,
    results,
    say_names,
    say_other_classes,
    say_prompts,
)


def choose_scored(run: runs.Run, dataset: Dataset, split: str | None) -> tuple[Dataset, str]:
    """The items to score: test, else validation, else the run's own held-out items of this data, else all.

    Raises:
        DataError: no such split, or items that the run was trained on without `--split train`.
    """
    counts = splits_of(dataset)

    def picked(belongs: Callable[[Path], bool]) -> Dataset:
        return replace(dataset, items=tuple(item for item in dataset.items if belongs(item.path)))

    if split:
        chosen, name = dataset.split(split), split  # pyright: ignore[reportArgumentType]
        if not counts and split == "train":
            chosen, name = picked(run.was_trained_on), "the run's training"
        if not len(chosen):
            found = counts or "no splits; leave out --split to score what the run held out"
            raise DataError(f"{dataset.source}: no item of split {split!r}; found {found}")
    elif counts:
        name = next((name for name in ("test", "val") if name in counts), "")
        if not name:
            raise DataError(f"{dataset.source}: only training items {counts}; pass --split train to score them")
        chosen = dataset.split(name)  # pyright: ignore[reportArgumentType]
    else:
        own = picked(run.was_held_out)
        # Copies in other data are not yet the run's data: then all of them are there.
        same = len(own) >= len(run.held_out) or any(str(resolved(item.path)) in run.held_out for item in own.items)
        chosen, name = (own, "the run's held-out") if len(own) and same else (dataset, "all")
    seen = [item for item in chosen.items if run.was_trained_on(item.path)]
    if seen and split != "train":
        raise DataError(
            f"{len(seen)} of {len(chosen)} items were trained on, there or as copies (the first: {seen[0].path}): "
            "name other data, or pass --split train to score training items"
        )
    return chosen, name


def check_order(command: str, options: Any) -> None:
    """Nothing, unless DATA and RUN have changed places.

    Raises:
        DataError: they have.
    """
    if runs.is_run(options.data) and not runs.is_run(options.run):
        raise DataError(f"RUN comes before DATA: texthead {command} {options.data} {options.run}")


def evaluate(options: Any) -> None:
    """`texthead eval`."""
    if options.classes is not None and options.zero_shot:
        raise DataError("--classes and --zero-shot both name the classes: give one")
    other = options.classes is not None or options.zero_shot
    check_template_is_used(options, other, "--classes or --zero-shot")
    check_order("eval", options)
    template = given_template(options)
    run = runs.load_run(options.run)
    views, pooling, pixels = as_asked(options, run.recipe, run.pixels)
    device = pick_device(options.device)
    run.model.to(device)
    dataset, say = read_data(options, options.data), notes()
    for line in dataset.notes:
        say.print(f"note: {line}")
    chosen, split_name = choose_scored(run, dataset, options.split)
    model, labels, names, sentences = run.model, list(run.labels), [], []
    if other:
        labels, names, sentences = _other_classes(options, chosen)
    else:
        chosen, lines = follow_edits(run, chosen)
        for line in lines:
            say.print(f"note: {line}")
    # Of any other split `choose_scored` has refused them.
    trained = sum(run.was_trained_on(item.path) for item in chosen.items) if options.split == "train" else 0
    if trained:
        say.print(f"note: {trained} of these {len(chosen)} items were trained on")
    among = f" among the {len(labels)} of the head" if len(labels) > len(chosen.classes) else ""
    say.print(f"scoring {len(chosen)} items ({split_name}) of {len(chosen.classes)} classes{among}")
    if other:
        say_names(labels, names, None)
        say_other_classes(run, prompts.class_prompts(template or run.recipe.template, names, sentences))
        model = run.with_classes(labels, names=names, template=template, prompts=sentences).model.to(device)
        say_prompts(labels, model.head.prompts)  # pyright: ignore
    with bar("score", "files") as progress:
        result = evaluation.evaluate(
            model,
            chosen,
            frames=options.frames or run.recipe.frames,
            pixels=pixels,
            views=views,
            pooling=pooling,
            skip_unreadable=options.skip_unreadable,
            workers=options.workers,
            progress=progress,
        )
    warmth, said = "", []
    if not other:
        look = Look(options.frames or run.recipe.frames, pixels, views, pooling)
        result, warmth, said = calibrated(run, look, result, chosen)
    parts = Division(chosen, None, chosen, split_name)
    table = _before_training(run, model, parts, labels, options) if other else eval_baselines(run, parts, options)
    frames, beside, own = run.recipe.frames, "", ""
    if views.count > 1:
        beside, own = ", 1 view", f", {options.views} views, mean of {pooling}"
    if options.frames not in (None, frames):
        beside, own = f"{beside}, {frames} frames", f"{own}, {options.frames} frames"
    own += warmth + "".join(f", {name} {value}" for name, value in changed_by(options, run.recipe, run.pixels))
    table.rows = [(f"{method}{beside}", found) for method, found in table.rows]
    title = "this run, new text head" if other else f"this run ({run.model.head.kind} head)"
    table.add(f"{title}{own}", result)
    note = zero_shot_note(run.spec.source) if other else None
    table.lines += [*said, *([note] if note else [])]
    table.show()
    if options.per_class:
        _show_classes(result)
    if options.out and rank() == 0:
        _write_items(Path(options.out), result)
        results().print(f"items: {options.out}")


def follow_edits(run: runs.Run, chosen: Dataset) -> tuple[Dataset, list[str]]:
    """The items under the labels that the run's classes have after its edits, and a line for each label that changed.

    Items of a class that was removed are left out. A label that is one of the run's is taken as it is.

    Raises:
        DataError: no item is left.
    """
    history = run.classes["history"] if run.classes and "history" in run.classes else []
    now = {label: label if label in run.labels else followed(label, history) for label in chosen.classes}
    lines: list[str] = []
    counts = Counter(chosen.labels)
    for before, after in now.items():
        count = counts[before]
        if after is None:
            lines.append(f"{before!r} was removed from the run: {count} of its items not scored")
        elif after != before:
            lines.append(f"{before!r} is called {after!r} in the run now: {count} of its items scored so")
    items = ((item, now[item.label]) for item in chosen.items)
    left = tuple(replace(item, label=label) for item, label in items if label is not None)
    if not left:
        raise DataError(f"{chosen.source}: all {len(chosen)} items are of classes that were removed from the run")
    return replace(chosen, items=left), lines


def _other_classes(options: Any, chosen: Dataset) -> prompts.LabelledClasses:
    """The classes of a new head: the data's own, or given ones under the data's labels."""
    clean = options.names == "clean"
    if options.zero_shot:
        labels = chosen.classes
        names = prompts.clean_names(labels) if clean else labels
        return prompts.LabelledClasses(labels, names, [None] * len(labels))
    classes = prompts.read_classes(options.classes)
    check_template_fills(options.template, classes)
    return prompts.classes_for(classes, chosen.classes, chosen.source, clean=clean)


def _pretrained(run: runs.Run, options: Any) -> Pretrained:
    """The run's encoder as it was before training."""
    encoder = run.encoder()
    encoder.visual.to(next(run.model.parameters()).device)
    cache = features.FeatureCache(
        features.encoder_key(encoder.visual, run.pixels), options.cache and Path(options.cache)
    )
    return Pretrained(encoder, run.pixels, run.recipe.frames, run.recipe.origin, cache, options.workers)


def _before_training(
    run: runs.Run, model: Recognizer, parts: Division, labels: Sequence[str], options: Any
) -> Comparison:
    """What the same rows get from the encoder before training: "w/o train" in Tables 9 and 11.

    Of an imported run that carries its encoder, there is no encoder before training.
    """
    table = Comparison(parts, labels)
    if run.carries_encoder or not are_few(options.baselines, len(parts.scored)):
        return table
    ground = _pretrained(run, options)
    found, result = scored_features(ground, table, skip=options.skip_unreadable)
    table.add("zero-shot, before training", replace(result, scores=on_features(model.head, found)))
    return table


def eval_baselines(run: runs.Run, parts: Division, options: Any) -> Comparison:
    """Zero-shot and probe beside an evaluation, where the training items are few and still there."""
    table = Comparison(parts, run.labels)
    assert run.classes is not None
    split = followed_split(run.folder, run.classes.get("history", []))
    pairs = zip(split["train"], split["train_labels"], strict=True)
    known = [(Path(path), label) for path, label in pairs if label in run.labels]
    paths = [path for path, _ in known]
    if not paths or not are_few(options.baselines, len(paths)):
        return table  # A run of which all trained classes were removed has nothing to probe.
    gone = gather_list([path for path in paths if not is_there(path)] if rank() == 0 else [])
    if gone:
        notes().print(f"note: zero-shot and probe are not shown: {len(gone)} training files are gone ({gone[0]})")
        return table
    ground = _pretrained(run, options)
    items = tuple(Item(path, label) for path, label in known)
    trained = Dataset(items, split["source"])
    found, _, _ = ground.features(trained, skip=False, title="encode training items")
    targets = torch.tensor(datasets.label_indices(trained, run.labels))
    entries = run.classes["classes"]
    names = [entry["name"] for entry in entries]
    # What stands for learned vectors is no prompt that another encoder could read.
    learned = isinstance(run.model.head, PromptHead)
    given = [None if learned else entry["prompt"] for entry in entries]
    shown = prompts.class_prompts(run.recipe.template, names, given)
    baselines(ground, table, run.labels, run.recipe, found, targets, skip=options.skip_unreadable, prompts=shown)
    return table


def calibrated(
    run: runs.Run, look: Look, result: evaluation.Evaluation, chosen: Dataset
) -> tuple[evaluation.Evaluation, str, list[str]]:
    """(the result after the run's temperature, what to add to its title, what to say of threshold and sets)."""
    calibration, why = calibration_for(run, look)
    if calibration is None:
        return result, "", []
    if why:
        notes().print(f"note: {run.folder / runs.CALIBRATION}: {why}")
    after = replace(result, scores=calibration.apply(result.scores))
    return after, f", temperature {calibration.temperature:.3g}", _promises(calibration, result, chosen)


def _promises(calibration: Calibration, result: evaluation.Evaluation, chosen: Dataset) -> list[str]:
    """What threshold and sets do to these items; a note where the calibration was learned from them."""
    lines: list[str] = []
    seen = sum(fingerprint(item.path) in calibration.content for item in chosen.items)
    if seen:
        lines.append(
            f"{seen} of these {len(chosen)} items are those that the calibration was learned from: its numbers (ECE, "
            "threshold, sets) flatter it here; report them on others"
        )
    if calibration.threshold:
        away = ~calibration.is_known(result.scores)
        right = int((away & (result.scores.argmax(1) == result.targets)).sum())
        lines.append(
            f"none of these: {share(away, result.groups)} of the items are turned away (best probability not above "
            f"{calibration.threshold.probability:.3f}), {right} of which are named rightly without it"
        )
    if calibration.coverage:
        sets, held = calibration.sets(result.scores), calibration.holds(result.scores, result.targets)
        lines.append(
            f"label sets: {share(held, result.groups)} hold the label "
            f"({100 * calibration.coverage.level:g} % promised), "
            f"{float(sets.sum(1).float().mean()):.2f} labels on average"
        )
    return lines


def share(hits: Bool[Tensor, " items"], groups: Sequence[Hashable] | None) -> str:
    """The share of the items that are hits, in percent, with its 95 % interval, which takes groups into account."""
    low, high = grouped_interval(hits.numpy(), groups)
    return f"{100 * int(hits.sum()) / len(hits):.1f} % ({low:.1f}-{high:.1f})"


def _show_classes(result: evaluation.Evaluation, most: int = 10) -> None:
    """Print precision and recall of each class, and which classes are taken for which: the most frequent pairs."""
    confusion = result.confusion()
    table = Table("class", "items", "recall", "named so", "precision", title="each class, in percent (95 % interval)")
    for row in result.classes:
        recall, precision = (
            "{:.1f} ({:.1f}-{:.1f})".format(*rate) if rate else "-" for rate in (row.recall, row.precision)
        )
        table.add_row(row.name, str(row.items), recall, str(row.said), precision)
    results().print(table)
    pairs = confusions.wrong_pairs(confusion)
    for truth, said, count in pairs[:most]:
        whole = int(confusion[truth].sum())
        results().print(f"{result.names[truth]} taken for {result.names[said]}: {count} of {whole}")
    if len(pairs) > most:
        more = len(pairs) - most
        results().print(f"and {more} more pair{'s' * (more > 1)} (--out FILE writes what each item is taken for)")


def _write_items(path: Path, result: evaluation.Evaluation) -> None:
    """One line an item: path, label, the best name, its probability."""
    best = result.scores.softmax(-1).max(-1)
    found = zip(result.paths, result.targets.tolist(), best.indices.tolist(), best.values.tolist(), strict=True)
    rows = ((item, result.names[target], result.names[place], f"{value:.4f}") for item, target, place, value in found)
    write_csv(path, ("path", "label", "predicted", "probability"), rows)
