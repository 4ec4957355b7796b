"""`texthead train`: divides the data, fits the recipe to it, trains, and shows the result beside the simple things."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from texthead import datasets, evaluation, features, prompts, runs, training
from texthead.comparison import Comparison, Division, Pretrained, are_few, baselines, write_report
from texthead.datasets import Dataset, splits_of
from texthead.distributed import rank
from texthead.encoders import load_encoder
from texthead.errors import DataError, RunError
from texthead.files import fingerprints
from texthead.frame_order import blind_to_order, order_test
from texthead.how_sure import how_sure
from texthead.mistakes import strips
from texthead.model_parts import keeps_templates_apart, make_head, make_temporal_for, pixels_for
from texthead.prediction import Look
from texthead.recipes import Recipe
from texthead.recognizer import Recognizer
from texthead.sampling import Views
from texthead.scores import Score, Scores, write_scores
from texthead.shard_files import resolved
from texthead.tensorboard_log import TensorBoardLog
from texthead.terminal import (
    bar,
    check_template_fills,
    notes,
    pick_device,
    read_data,
    results,
    say_names,
    say_prompts,
)
from texthead.towers import Encoder

FEW_STEPS = 40
FEW_TO_REORDER = 500  # items; each takes some 15 ms of a core
HELD_OUT = 0.2


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


def with_validation(train_set: Dataset, val_set: Dataset) -> Dataset:
    """The items of two sources as one dataset: those of the first to train on, those of the second to validate.

    Raises:
        DataError: a source with several splits of its own, or an item that is in both.
    """
    for role, dataset, alone in (("DATA", train_set, {"train"}), ("--val", val_set, {"val", "test"})):
        own = splits_of(dataset)
        if own and (len(own) > 1 or not set(own) <= alone):
            raise DataError(f"{dataset.source}: has its own splits {own}, so it cannot be {role} beside another source")
    trained = {resolved(item.path) for item in train_set.items}
    both = [item for item in val_set.items if resolved(item.path) in trained]
    if both:
        raise DataError(
            f"{len(both)} of {len(val_set)} items of {val_set.source} are in {train_set.source} too "
            f"(the first: {both[0].path}): an item is trained on or scored, not both"
        )
    said = [*train_set.notes, *(line for line in val_set.notes if line not in train_set.notes)]
    contents = set(fingerprints([item.path for item in train_set.items])) - {""}
    prints = fingerprints([item.path for item in val_set.items])
    own = [place for place, content in enumerate(prints) if content not in contents]
    total, copies = len(val_set), sorted(set(range(len(val_set))) - set(own))
    if copies:
        told = f"{val_set.source}: {len(copies)} of {total} items are copies of training items"
        if not own:
            raise DataError(f"{told}: name other data in --val")
        said.append(f"{told} and not scored ({val_set.items[copies[0]].path})")
        val_set = val_set.pick(own)
    classes = set(train_set.classes)
    other = [item for item in val_set.items if item.label not in classes]
    if other:
        said.append(
            f"{val_set.source}: {len(other)} of {total} items are of classes without a training item "
            f"({other[0].label!r}) and not scored"
        )
    items = [replace(item, split="train") for item in train_set.items]
    items += [replace(item, split="val") for item in val_set.items]
    return Dataset(tuple(items), train_set.source, tuple(said))


def suit(recipe: Recipe, train_set: Dataset, encoder: Encoder, *, given: frozenset[str]) -> tuple[Recipe, list[str]]:
    """The recipe as the data and the encoder need it, and a line for each thing that was changed.

    What the user gave (`given`, names of recipe values) is never changed.
    """
    said: list[str] = []
    spec = encoder.visual.spec
    if train_set.only_images and recipe.frames > 1 and "frames" in given:
        raise RunError(f"--frames {recipe.frames}: all items are images, a clip of one frame; leave out --frames")
    if train_set.only_images and recipe.frames > 1:
        recipe = replace(recipe, frames=1)
        said.append("all items are images: 1 frame a clip, mean pooling")
    if recipe.temporal != "mean" and recipe.frames == 1:
        if "temporal" in given:
            raise RunError(f"--temporal {recipe.temporal}: clips have one frame, which has no neighbours; leave it out")
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


def check_given_is_used(recipe: Recipe, head: str, *, given: frozenset[str]) -> None:
    """Nothing, unless an option is given that the other options make useless.

    Raises:
        RunError: such an option.
    """
    if head == "text":
        keeps_templates_apart(recipe)
    rules = {
        "conv_start": (recipe.temporal in ("conv", "token-conv"), "--temporal conv or token-conv"),
        "width": (recipe.temporal == "transformer", "--temporal transformer"),
        "layers": (recipe.temporal == "transformer", "--temporal transformer"),
        "context": (head == "prompt", "--head prompt"),
        "template_use": (head == "text", "--head text"),
        "template_pooling": (head == "text", "--head text"),
    }
    for name, (used, what) in rules.items():
        if name in given and not used:
            raise RunError(f"--{name.replace('_', '-')} does nothing without {what}: give it too, or leave both out")
    for option, on in (("grad-checkpointing", recipe.grad_checkpointing), ("patch-dropout", recipe.patch_dropout)):
        if on and recipe.freeze_encoder:
            raise RunError(f"--{option} does nothing with --freeze-encoder, which needs no backward pass through it")


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
    cache = features.FeatureCache(features.encoder_key(encoder.visual, pixels), options.cache and Path(options.cache))
    ground = Pretrained(encoder, pixels, recipe.frames, recipe.origin, cache, options.workers)
    compare = are_few(options.baselines, len(parts.train))
    found = None
    if compare or recipe.center or options.head == "lda" or options.skip_unreadable:
        found, parts = _readable(ground, parts, skip=options.skip_unreadable)
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
        baselines(ground, table, names, recipe, found, targets, skip=options.skip_unreadable, prompts=shown)
    model = Recognizer(encoder.visual, temporal, head).to(device)
    with bar("train", "clips") as progress, board or nullcontext():
        records = training.train(
            model,
            parts.train,
            parts.val,
            recipe,
            out=out,
            held_out=parts.scored,
            names=names,
            shard=options.shard,
            compiled=options.compile,
            cache=cache,
            workers=options.workers,
            resume=options.resume,
            checkpoint_every=options.checkpoint_every,
            command=command,
            progress=progress,
            say=progress.say,
            follow=board and board.add,
        )
    look, kept = Look(recipe.frames, pixels, Views(origin=recipe.origin)), cache if recipe.freeze_encoder else None
    _score(out, model, table, look, kept, options)
    _report(out, model, records, table, look, kept, options)


def named(options: Any, train_set: Dataset) -> tuple[list[str], list[tuple[str, ...] | None], list[str]]:
    """(the class name of each training label, its own sentences or None, what is to be said of it).

    Without --classes, names come from the labels.

    Raises:
        DataError: a label that is not among the classes, or options that do nothing together.
    """
    labels, clean = train_set.classes, options.names == "clean"
    if options.classes is None:
        return prompts.clean_names(labels) if clean else labels, [None] * len(labels), []
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
    if runs.is_run(out) and not resume:
        raise RunError(f"{out}: holds a run already; pass --resume to continue it, or choose another --out")
    if not runs.is_run(out) and out.is_dir() and any(path.is_dir() for path in out.iterdir()):
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


def _readable(ground: Pretrained, parts: Division, *, skip: bool) -> tuple[torch.Tensor, Division]:
    """The pretrained features of the readable training items, and the division without the others.

    What cannot be read is an error, or left out if `skip`. The scored items keep theirs: they are listed and counted
    beside the result.
    """
    found, positions, errors = ground.features(parts.train, skip=skip, title="encode training items")
    for error in errors:
        notes().print(f"skipped: {error}")
    train = parts.train.pick(positions) if errors else parts.train
    if train.classes != parts.train.classes:
        lost = sorted(set(parts.train.classes) - set(train.classes))
        raise DataError(f"class {lost[0]!r} has no readable training item: mend its files or remove the class")
    val = parts.val
    if skip and val is not None:
        val = val.pick(ground.features(val, skip=True, title="encode held-out items")[1])
    return found, replace(parts, train=train, val=val if val is not None and len(val) else None)


def _score(
    out: Path, model: Recognizer, table: Comparison, look: Look, kept: features.FeatureCache | None, options: Any
) -> None:
    """The run's own score, printed with what stands beside it and kept in the run folder.

    `kept` are the features of an encoder that was not trained.
    """
    if not len(table.parts.scored):
        notes().print("note: no held-out item, so nothing was scored")
        return
    with bar("score", "files") as progress:
        result = evaluation.evaluate(
            model,
            table.parts.scored,
            frames=look.frames,
            pixels=look.pixels,
            views=look.views,
            cache=kept,
            skip_unreadable=options.skip_unreadable,
            workers=options.workers,
            progress=progress,
        )
    table.add(f"this run ({options.head} head)", result)
    table.show()
    if rank() == 0:
        write_scores(out, Scores(table.parts.scored_name, tuple(Score.of(*row) for row in table.rows)))


def _report(
    out: Path,
    model: Recognizer,
    records: Sequence[dict],
    table: Comparison,
    look: Look,
    kept: features.FeatureCache | None,
    options: Any,
) -> None:
    """`report.html` in the run folder, with what takes no more than seconds: no frame is encoded for it again."""
    shown, order, sure = [], "", None
    if table.rows:
        blind = blind_to_order(model, look.frames)
        order = blind or f"Not tested here; `texthead report {out}` does."
        if not blind and kept is not None and len(table.parts.scored) <= FEW_TO_REORDER:
            order = order_test(
                model,
                table.parts.scored,
                frames=look.frames,
                pixels=look.pixels,
                views=look.views,
                cache=kept,
                skip_unreadable=options.skip_unreadable,
                workers=options.workers,
            )
    if rank() == 0:
        if table.rows:
            _, own = table.rows[-1]
            shown, sure = strips(own, look), how_sure(own)
        write_report(out / "report.html", out, model, records, table, shown, order, sure)
    results().print(f"run: {out}   report: {out / 'report.html'}")
