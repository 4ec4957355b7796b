"""The commands: what `train`, `eval`, `predict` and `head` do with their options, and what they print.

Results go to standard output; progress, notes and warnings to standard error.
"""

import csv
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from texthead import datasets, evaluation, features, prompts, runs, training
from texthead.comparison import Comparison, Division, Pretrained, baselines, write_report
from texthead.datasets import Dataset, Item, Pixels, read_dataset, splits_of
from texthead.encoders import Encoder, Visual, load_encoder, zero_shot_note
from texthead.errors import DataError, RunError
from texthead.files import read_json, replacing
from texthead.heads import CosineHead, class_correlation, text_head, text_weights
from texthead.prediction import Prediction
from texthead.prediction import predict as predict_files
from texthead.recipes import Recipe
from texthead.recognizer import Recognizer
from texthead.sampling import Views
from texthead.temporal import MeanPool
from texthead.terminal import bar, notes, pick_device, results

FEW_ITEMS = 2000
FEW_STEPS = 40
HELD_OUT = 0.2


# --- train ----------------------------------------------------------------------------------------------------------


def divide(dataset: Dataset, *, seed: int, part: float | None, k: int | None) -> Division:
    """The data's own splits, or a drawn one: seeded, stratified, groups whole.

    Raises:
        DataError: no item to train on, or none to hold out, or a part to hold out of data that is divided already.
    """
    if not splits_of(dataset):
        dataset = dataset.with_drawn_split(HELD_OUT if part is None else part, seed=seed)
    elif part is not None:
        raise DataError(f"--held-out {part}: {dataset.source} has its own splits {splits_of(dataset)}; leave it out")
    train, val, test = (dataset.split(name) for name in ("train", "val", "test"))
    if not len(train):
        raise DataError(f"{dataset.source}: no item of split 'train'; found {splits_of(dataset)}")
    if k is not None:
        train = train.k_shot(k, seed=seed)
    scored, name = (test, "test") if len(test) else (val, "val")
    # Labels that only occur outside training have no row; `eval --zero-shot` is for them.
    val, scored = val.with_classes(train.classes), scored.with_classes(train.classes)
    return Division(train, val if len(val) else None, scored, name)


def suit(recipe: Recipe, train_set: Dataset, encoder: Encoder, *, given: frozenset[str]) -> tuple[Recipe, list[str]]:
    """The recipe as the data and the encoder need it, and a line for each thing that was changed.

    What the user gave (`given`, names of recipe values) is never changed.
    """
    said: list[str] = []
    spec = encoder.visual.spec
    if train_set.only_images and recipe.frames > 1 and "frames" not in given:
        recipe = replace(recipe, frames=1)
        said.append("all items are images: 1 frame a clip, mean pooling")
    if recipe.temporal == "transformer" and recipe.frames == 1 and "temporal" not in given:
        recipe = replace(recipe, temporal="mean")
    if recipe.size not in (None, spec.size) and not spec.any_size and "size" not in given:
        said.append(f"{spec.source} takes {spec.size} pixels only: size {recipe.size} -> {spec.size}")
        recipe = replace(recipe, size=spec.size)
    sided = prompts.mirrored_names(train_set.classes)
    if sided and recipe.flip and "flip" not in given:
        said.append(f"flips are off: {len(sided)} class names say left or right ({sided[0]!r})")
        recipe = replace(recipe, flip=0.0)
    steps = math.ceil(len(train_set) / recipe.batch)
    if recipe.name == "small" and steps * recipe.epochs < FEW_STEPS and "epochs" not in given:
        epochs = math.ceil(FEW_STEPS / steps)
        said.append(f"few items: epochs {recipe.epochs} -> {epochs}, for at least {FEW_STEPS} steps")
        recipe = replace(recipe, epochs=epochs, warmup=epochs / 10)
    return recipe, said


def train(options: Any, recipe: Recipe, *, given: frozenset[str]) -> None:
    """`texthead train`."""
    out, say = Path(options.out), notes()
    if runs.is_run(out) and not options.resume:
        raise RunError(f"{out}: holds a run already; pass --resume to continue it, or choose another --out")
    if options.resume and not runs.is_run(out):
        raise RunError(f"{out}: no run to resume (no recipe.json in it); leave out --resume to start one")
    device = pick_device(options.device)
    dataset = read_dataset(options.data)
    parts = divide(dataset, seed=recipe.seed, part=options.held_out, k=options.k)
    labels = parts.train.classes
    names = prompts.clean_names(labels) if options.names == "clean" else labels
    prompts.check_template(recipe.template)
    encoder = load_encoder(options.encoder)
    recipe, changed = suit(recipe, parts.train, encoder, given=given)
    for line in (*dataset.notes, *changed):
        say.print(f"note: {line}")
    drawn = f" (drawn with seed {recipe.seed}, {options.held_out or HELD_OUT:.0%} a class)"
    say.print(
        f"{len(parts.train)} training items of {len(labels)} classes, "
        f"{len(parts.scored)} {parts.scored_name} items to score"
        f"{'' if splits_of(dataset) else drawn}"
    )
    _say_names(labels, names, recipe.template if options.head == "text" else None)

    encoder.visual.to(device)
    pixels = training.pixels_for(recipe, encoder.visual.spec)
    cache = features.FeatureCache(features.encoder_key(encoder.visual, pixels), options.cache and Path(options.cache))
    ground = Pretrained(encoder, pixels, recipe.frames, recipe.origin, cache, options.workers)
    compare = options.baselines == "always" or (options.baselines == "auto" and len(parts.train) <= FEW_ITEMS)
    found = None
    if compare or recipe.center or options.head == "lda" or options.skip_unreadable:
        found, parts = _readable_training(ground, parts, skip=options.skip_unreadable, say=say)
    if options.skip_unreadable and parts.val is not None:
        # The scored items keep theirs: they are listed and counted beside the result.
        kept = parts.val.pick(ground.features(parts.val, skip=True, title="encode held-out items")[1])
        parts = replace(parts, val=kept if len(kept) else None)
    targets = torch.tensor(datasets.label_indices(parts.train, labels))
    head = training.make_head(
        options.head,
        encoder,
        labels,
        recipe,
        names=names,
        features=found,
        targets=targets,
        trainable=options.train_head,
    )
    table = Comparison(parts, labels)
    if compare and found is not None and len(parts.scored):
        table = baselines(ground, parts, labels, names, recipe, found, targets, skip=options.skip_unreadable)
    model = Recognizer(encoder.visual, training.make_temporal_for(recipe, encoder.dim), head).to(device)
    with bar("train", "clips") as progress:
        records = training.train(
            model,
            parts.train,
            parts.val,
            recipe,
            out=out,
            held_out=parts.scored,
            names=names,
            cache=cache,
            workers=options.workers,
            resume=options.resume,
            progress=progress,
        )
    if len(parts.scored):
        table.add(f"this run ({options.head} head)", _final(model, parts, recipe, pixels, cache, options))
        table.show()
    else:
        say.print("note: no held-out item, so nothing was scored")
    write_report(out, model, records, table)
    results().print(f"run: {out}   report: {out / 'report.html'}")


def _say_names(labels: Sequence[str], names: Sequence[str], template: str | None) -> None:
    """The class names and the prompt, as the text encoder reads them."""
    say = notes()
    changed = [f"{label} -> {name}" for label, name in zip(labels, names, strict=True) if label != name]
    if changed:
        more = f" and {len(changed) - 8} more" if len(changed) > 8 else ""
        say.print(f"class names cleaned: {', '.join(changed[:8])}{more} (--names verbatim keeps them)")
    if template is not None:
        say.print(f"prompt: {prompts.fill_template(template, names)[0]!r} and {len(names) - 1} more like it")


def _readable_training(
    ground: Pretrained, parts: Division, *, skip: bool, say: Console
) -> tuple[torch.Tensor, Division]:
    """The pretrained features of the readable training items, and the division without the others."""
    found, positions, errors = ground.features(parts.train, skip=skip, title="encode training items")
    for error in errors:
        say.print(f"skipped: {error}")
    if not errors:
        return found, parts
    kept = parts.train.pick(positions)
    if kept.classes != parts.train.classes:
        lost = sorted(set(parts.train.classes) - set(kept.classes))
        raise DataError(f"class {lost[0]!r} has no readable training item: mend its files or remove the class")
    return found, replace(parts, train=kept)


def _final(
    model: Recognizer, parts: Division, recipe: Recipe, pixels: Pixels, cache: features.FeatureCache, options: Any
) -> evaluation.Evaluation:
    """The run's own score."""
    with bar("score", "files") as progress:
        return evaluation.evaluate(
            model,
            parts.scored,
            frames=recipe.frames,
            pixels=pixels,
            views=Views(origin=recipe.origin),
            cache=cache if recipe.freeze_encoder else None,
            skip_unreadable=options.skip_unreadable,
            workers=options.workers,
            progress=progress,
        )


# --- eval -----------------------------------------------------------------------------------------------------------


def choose_scored(run: runs.Run, dataset: Dataset, split: str | None) -> tuple[Dataset, str]:
    """The items to score: test, else validation, else the run's own held-out items of this data, else all.

    Raises:
        DataError: no such split, or items that the run was trained on without `--split train`.
    """
    counts = splits_of(dataset)

    def path_of(item: Item) -> str:
        return str(item.path.resolve())

    if split:
        chosen, name = dataset.split(split), split  # pyright: ignore[reportArgumentType]
        if not counts:
            chosen = replace(
                dataset, items=tuple(i for i in dataset.items if (path_of(i) in run.trained_on) == (split == "train"))
            )
        if not len(chosen):
            raise DataError(f"{dataset.source}: no item of split {split!r}; found {counts or 'no splits'}")
    elif counts:
        name = next((name for name in ("test", "val") if name in counts), "")
        if not name:
            raise DataError(f"{dataset.source}: only training items {counts}; pass --split train to score them")
        chosen = dataset.split(name)  # pyright: ignore[reportArgumentType]
    else:
        held = set(run.held_out)
        own = tuple(item for item in dataset.items if path_of(item) in held)
        chosen, name = (replace(dataset, items=own), "the run's held-out") if own else (dataset, "all")
    seen = [item for item in chosen.items if path_of(item) in run.trained_on]
    if seen and split != "train":
        raise DataError(
            f"{len(seen)} of {len(chosen)} items were trained on (the first: {seen[0].path}): "
            "name other data, or pass --split train to score training items"
        )
    return chosen, name


def new_head(run: runs.Run, labels: Sequence[str], names: Sequence[str], template: str | None) -> CosineHead:
    """A text head for other classes on a run's features, with the run's own center and scale."""
    encoder = load_encoder(run.spec.source)
    old = run.model.head
    own = isinstance(old, CosineHead)
    template = template or run.recipe.template
    return text_head(
        encoder,
        names,
        template=template,
        scale=old.scale if own else None,
        center=old.center if own else None,
    ).renamed(labels)


def evaluate(options: Any) -> None:
    """`texthead eval`."""
    if options.classes is not None and options.zero_shot:
        raise DataError("--classes and --zero-shot both name the classes: give one")
    other = options.classes is not None or options.zero_shot
    _check_template_is_used(options, other, "--classes or --zero-shot")
    run = runs.load_run(options.run)
    run.model.to(pick_device(options.device))
    dataset, say = read_dataset(options.data), notes()
    for line in dataset.notes:
        say.print(f"note: {line}")
    chosen, split_name = choose_scored(run, dataset, options.split)
    say.print(f"scoring {len(chosen)} items ({split_name}) of {len(chosen.classes)} classes")
    model, labels = run.model, list(run.labels)
    if other:
        labels, names = _other_classes(options, chosen)
        _say_names(labels, names, options.template or run.recipe.template)
        model = run.model.with_head(new_head(run, labels, names, options.template).to(pick_device(options.device)))
    views = Views.parse(options.views, origin=run.recipe.origin)
    with bar("score", "files") as progress:
        result = evaluation.evaluate(
            model,
            chosen,
            frames=run.recipe.frames,
            pixels=run.pixels,
            views=views,
            pooling=options.pooling,
            skip_unreadable=options.skip_unreadable,
            workers=options.workers,
            progress=progress,
        )
    parts = Division(chosen, None, chosen, split_name)
    table = Comparison(parts, labels)
    if not other:
        table = _eval_baselines(run, parts, labels, options)
    title = "this run, new text head" if other else f"this run ({run.model.head.kind} head)"
    table.add(f"{title}{'' if views.count == 1 else f', {options.views} views, mean of {options.pooling}'}", result)
    note = zero_shot_note(run.spec.source) if other else None
    if note:
        table.lines.append(note)
    table.show()
    if options.csv:
        _write_items(Path(options.csv), result)


def _check_template_is_used(options: Any, other: bool, how: str) -> None:
    """Nothing, unless a template is given for a head that stays as it is."""
    if options.template is not None and not other:
        raise DataError(f"--template {options.template!r} makes the prompts of a new head: give {how} too")


def _other_classes(options: Any, chosen: Dataset) -> tuple[list[str], list[str]]:
    """(labels, class names) of a new head: the data's own, or the given names with the data's labels matched."""
    clean = options.names == "clean"
    if options.zero_shot:
        labels = chosen.classes
        return labels, prompts.clean_names(labels) if clean else labels
    given = prompts.read_names(options.classes)
    names = prompts.clean_names(given) if clean else given
    place = {name: i for i, name in enumerate(names)} | {name: i for i, name in enumerate(given)}
    labels = list(given)
    for label in chosen.classes:
        key = label if label in place else prompts.clean_name(label)
        if key not in place:
            raise DataError(f"{chosen.source}: label {label!r} is not among the {len(given)} names of --classes")
        labels[place[key]] = label
    return labels, names


def _eval_baselines(run: runs.Run, parts: Division, labels: Sequence[str], options: Any) -> Comparison:
    """Zero-shot and probe beside an evaluation, where the training items are few and still there."""
    split = read_json(run.folder / "split.json")
    paths = [Path(path) for path in split["train"]]
    few = options.baselines == "always" or (options.baselines == "auto" and len(paths) <= FEW_ITEMS)
    if not few:
        return Comparison(parts, labels)
    gone = [path for path in paths if not path.exists()]
    if gone:
        notes().print(f"note: zero-shot and probe are not shown: {len(gone)} training files are gone ({gone[0]})")
        return Comparison(parts, labels)
    encoder = load_encoder(run.spec.source)
    cache = features.FeatureCache(
        features.encoder_key(encoder.visual, run.pixels), options.cache and Path(options.cache)
    )
    ground = Pretrained(encoder, run.pixels, run.recipe.frames, run.recipe.origin, cache, options.workers)
    items = tuple(Item(path, label) for path, label in zip(paths, split["train_labels"], strict=True))
    trained = Dataset(items, split["source"])
    found, _, _ = ground.features(trained, skip=False, title="encode training items")
    targets = torch.tensor(datasets.label_indices(trained, labels))
    names = [entry["name"] for entry in read_json(run.folder / "classes.json")["classes"]]
    return baselines(ground, parts, labels, names, run.recipe, found, targets, skip=options.skip_unreadable)


def _write_items(path: Path, result: evaluation.Evaluation) -> None:
    """One line an item: path, label, the best name, its probability."""
    best = result.scores.softmax(-1).max(-1)
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "predicted", "probability"])
        rows = zip(result.paths, result.targets.tolist(), best.indices.tolist(), best.values.tolist(), strict=True)
        for item, target, predicted, probability in rows:
            writer.writerow([item, result.names[target], result.names[predicted], f"{probability:.4f}"])


# --- predict --------------------------------------------------------------------------------------------------------


def predict(options: Any) -> None:
    """`texthead predict`."""
    first, *rest = options.inputs
    if options.json and options.csv:
        raise DataError("--json and --csv both say what is printed: give one")
    if options.top < 1:
        raise DataError(f"--top must be at least 1, got {options.top}")
    with_run = runs.is_run(first)
    if with_run and not rest:
        raise DataError(f"{first} is a run: name files or folders behind it")
    if not with_run and options.classes is None:
        raise DataError(
            f"{first} is no run (no recipe.json in it), so --classes is required: name a run first, or the classes"
        )
    _check_template_is_used(options, options.classes is not None, "--classes")
    model, views_origin = _predictor(first if with_run else None, options)
    note = _zero_shot_line(model, options)
    with bar("predict", "files") as progress:
        found = predict_files(
            model,
            rest if with_run else options.inputs,
            top=options.top,
            views=Views.parse(options.views, origin=views_origin),
            pooling=options.pooling,
            skip_unreadable=options.skip_unreadable,
            workers=options.workers if len(options.inputs) > 2 or Path(options.inputs[-1]).is_dir() else 0,
            progress=progress,
        )
    _print_predictions(found, options)
    if note:
        notes().print(note)


def _predictor(run_folder: str | None, options: Any) -> tuple[runs.Run | Recognizer, Any]:
    """The run with its own or new classes, or a zero-shot model; and which frame of a segment it takes."""
    device = pick_device(options.device)
    given = prompts.read_names(options.classes) if options.classes is not None else []
    names = prompts.clean_names(given) if given and options.names == "clean" else given
    if run_folder is None:
        encoder: Encoder = load_encoder(options.encoder)
        head = text_head(encoder, names, template=options.template or "{}").renamed(given)
        return Recognizer(encoder.visual, MeanPool(), head).to(device), "centre"
    run = runs.load_run(run_folder)
    if given:
        head = new_head(run, given, names, options.template)
        run = replace(run, model=run.model.with_head(head))
    run.model.to(device)
    return run, run.recipe.origin


def _zero_shot_line(model: runs.Run | Recognizer, options: Any) -> str | None:
    if options.classes is None:
        return None
    visual = model.model.visual if isinstance(model, runs.Run) else model.visual
    assert isinstance(visual, Visual)
    return zero_shot_note(visual.spec.source)


def _print_predictions(found: Sequence[Prediction], options: Any) -> None:
    if options.json:
        entries = [
            {"path": str(p.path), "top": [{"name": n, "probability": round(v, 6)} for n, v in p.top]}
            | ({"error": p.error} if p.error else {})
            for p in found
        ]
        print(json.dumps(entries, indent=1, ensure_ascii=False))
        return
    if options.csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(["path", "rank", "name", "probability", "error"])
        for p in found:
            writer.writerows([p.path, rank, n, f"{v:.6f}", ""] for rank, (n, v) in enumerate(p.top, 1))
            if p.error:
                writer.writerow([p.path, "", "", "", p.error])
        return
    show = results()
    for p in found:
        show.print(f"{p.path}")
        for n, v in p.top:
            show.print(f"  {100 * v:5.1f} %  {n}")
        if p.error:
            show.print(f"  not read: {p.error}")


# --- head -----------------------------------------------------------------------------------------------------------


def head(options: Any) -> None:
    """`texthead head`."""
    if options.plot and Path(options.plot).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise DataError(f"--plot must end in .png, .svg or .pdf, got {Path(options.plot).name!r}")
    given = prompts.read_names(options.classes)
    names = prompts.clean_names(given) if options.names == "clean" else given
    encoder = load_encoder(options.encoder)
    recipe = Recipe(name="head", template=options.template, seed=options.seed)
    found = targets = None
    if (options.init == "lda") != bool(options.data):
        raise DataError("--init lda and --data go together: LDA's rows come from the features of labelled items")
    if options.init == "lda":
        found, targets = _lda_ground(options, given, encoder)
    if options.init == "text":
        _say_names(given, names, options.template)
        rows = text_weights(encoder, names, template=options.template)
    else:
        made = training.make_head(options.init, encoder, given, recipe, features=found, targets=targets)
        rows = made.weight.detach()  # pyright: ignore[reportCallIssue]
    correlation = class_correlation(rows)
    show = results()
    show.print(f"{len(rows)} rows of {rows.shape[1]} ({options.init})")
    upper = torch.triu_indices(len(rows), len(rows), 1)
    order = correlation[upper[0], upper[1]].argsort(descending=True)
    table = Table("correlation", "class", "class", title="most alike pairs")
    for pair in order[:10].tolist():
        a, b = int(upper[0, pair]), int(upper[1, pair])
        table.add_row(f"{correlation[a, b]:.3f}", given[a], given[b])
    if len(rows) > 1:
        show.print(table)
    if options.plot:
        _save_plot(Path(options.plot), correlation, given, options.init)
    if options.out:
        with replacing(Path(options.out)) as beside:
            from safetensors.torch import save_file

            save_file(
                {"weight": rows.contiguous()}, beside, metadata={"names": json.dumps(given), "init": options.init}
            )
        show.print(f"rows: {options.out}")


def _lda_ground(options: Any, labels: Sequence[str], encoder: Encoder) -> tuple[torch.Tensor, torch.Tensor]:
    """Pretrained features and label places of the training items (of all, where the data has no splits)."""
    dataset = read_dataset(options.data)
    items = dataset.split("train") if splits_of(dataset) else dataset
    targets = torch.tensor(datasets.label_indices(items, labels))
    spec = encoder.visual.spec
    pixels = Pixels(spec.size, round(spec.size / spec.crop), spec.interpolation)
    cache = features.FeatureCache(features.encoder_key(encoder.visual, pixels))
    ground = Pretrained(encoder, pixels, 1 if items.only_images else 8, "centre", cache, options.workers)
    found, positions, errors = ground.features(items, skip=options.skip_unreadable, title="encode items")
    for error in errors:
        notes().print(f"skipped: {error}")
    return found, targets[positions]


def _save_plot(path: Path, correlation: torch.Tensor, names: Sequence[str], init: str) -> None:
    from texthead.figures import plot_correlation

    figure = plot_correlation(correlation.numpy(), names, f"inter-class correlation, {init} rows")
    with replacing(path) as beside:
        figure.savefig(beside, format=path.suffix[1:].lower(), dpi=150, bbox_inches="tight")
    results().print(f"plot: {path}")
