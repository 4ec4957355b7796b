"""`texthead compare`: recognisers on a frozen encoder side by side, and the best of them as a run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn

from texthead.commands.console import bar, notes, read_data, results, say_names
from texthead.commands.train import check_out
from texthead.data import dataset as datasets
from texthead.data.dataset import Dataset, splits_of
from texthead.data.division import divide
from texthead.data.protocol import Pixels, Protocol, Views
from texthead.encoders.load import load_encoder, zero_shot_note
from texthead.encoders.mini import minilm_folder
from texthead.errors import DataError, RunError
from texthead.evaluation.intervals import grouped_interval
from texthead.features import frames as features
from texthead.features.cache import FeatureCache, encoder_key
from texthead.features.reading import Reading
from texthead.features.views import item_features
from texthead.files import locked
from texthead.models.build import pixels_for
from texthead.models.recognizer import Recognizer
from texthead.parallel.device import pick_device
from texthead.recipes import RECIPES, Recipe
from texthead.runs.folder import write_run
from texthead.runs.scores import Score, Scores, write_scores
from texthead.text import prompts
from texthead.text.class_names import clean_names
from texthead.training.fit_recipe import suit
from texthead.training.start import split_json
from texthead.transfer import methods
from texthead.transfer.methods import FrozenItems, Ground, Method

Right = dict[str, np.ndarray]


class FramesApart(nn.Module):
    """The features of a clip's frames one behind the other, for who wants them apart again."""

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, frames, dim) -> (batch, frames * dim)."""
        return frames.flatten(1)


def encoded(ground: Ground, dataset: Dataset, pixels: Pixels, reading: Reading, title: str) -> FrozenItems:
    """The readable items of a dataset with the features of their frames.

    Raises:
        DataError: no item can be read, or a label that is not among those of the training items.
        MediaError: an item cannot be read, unless the reading skips such items.
    """
    with bar(title, "files") as progress:
        entries = item_features(
            Recognizer(ground.encoder.visual, FramesApart(), nn.Identity()),
            [item.path for item in dataset.items],
            Protocol(ground.recipe.frames, pixels, Views(origin=ground.recipe.origin)),
            replace(reading, cache=ground.cache),
            progress,
        )
    positions, errors = features.readable(entries, skip=reading.skip_unreadable)
    for error in errors:
        notes().print(f"skipped: {error}")
    if not positions:
        raise DataError(f"{dataset.source}: none of {len(dataset)} items can be read: {errors[0]}")
    kept = dataset.pick(positions)
    rows = torch.stack([entry[0] for entry in entries if isinstance(entry, Tensor)])
    frames = rows.unflatten(1, (ground.recipe.frames, -1)).clone()
    return FrozenItems(kept, frames, torch.tensor(datasets.label_indices(kept, ground.labels)))


def make_ground(
    source: str,
    train_set: Dataset,
    recipe: Recipe,
    *,
    given: frozenset[str] = frozenset(),
    clean: bool,
    cache: Path | None,
    device: str,
) -> Ground:
    """The encoder, the names and the recipe that all methods share, as the data needs them.

    Args:
        given: names of recipe values that the user gave, which are never changed.
        clean: whether labels become class names by taking underscores and the like out.
    """
    labels = tuple(train_set.classes)
    names = tuple(clean_names(labels) if clean else labels)
    encoder = load_encoder(source)
    # Each fold has epochs of its own, and features are not flipped.
    recipe, said = suit(recipe, train_set, encoder, given=given | {"epochs", "flip"})
    for line in said:
        notes().print(f"note: {line}")
    encoder.visual.to(pick_device(device)).eval()
    pixels = pixels_for(recipe, encoder.visual.spec)
    kept = FeatureCache(encoder_key(encoder.visual, pixels), cache)
    shown = prompts.flat(prompts.fill_templates(recipe.template, names))
    sentences = load_encoder(source, text=f"text:{minilm_folder()}", prompts=shown)

    def suited(own: Recipe, items: Dataset) -> Recipe:
        return suit(own, items, encoder, given=frozenset({"temporal"}))[0]

    return Ground(encoder, sentences, labels, names, recipe, kept, suited)


def compare(options: Any) -> None:
    """`texthead compare`."""
    if options.choose != (options.out is not None):
        raise RunError("--choose trains the best as a run and --out names its folder: give both or neither")
    out = Path(options.out or "")
    if options.choose:
        check_out(out, resume=False)
    train_set, scored, scored_name = _divided(read_data(options, options.data), options)
    changes = {key: options[key] for key in ("frames", "size", "template") if options[key] is not None}
    if "template" in changes:
        changes["template"] = prompts.read_template(options.template)
    recipe = RECIPES["small"](**changes, seed=options.seed)
    cache = None if options.cache is None else Path(options.cache)
    clean = options.names == "clean"
    ground = make_ground(
        options.encoder,
        train_set,
        recipe,
        given=frozenset(changes),
        clean=clean,
        cache=cache,
        device=options.device,
    )
    say_names(ground.labels, ground.names, ground.recipe.template if ground.encoder.has_text else None)
    pixels = pixels_for(ground.recipe, ground.encoder.visual.spec)
    reading = Reading(workers=options.workers, skip_unreadable=options.skip_unreadable)
    items = encoded(ground, train_set, pixels, reading, "encode training items")
    tests = encoded(ground, scored, pixels, reading, "encode held-out items") if len(scored) else None
    if items.data.classes != list(ground.labels):
        lost = sorted(set(ground.labels) - set(items.data.classes))
        raise DataError(f"class {lost[0]!r} has no readable training item: mend its files or remove the class")

    every = methods.methods(ground)
    parts = methods.folds(items, seed=options.seed)
    right, tested = judged(every, items, tests, parts)
    first = methods.settled(every, items)
    chosen = methods.choice(first, right, items.groups) if right else first
    _show(every, right, tested, items, scored_name, chosen)
    _say_choice(right, items, parts, first, chosen)
    note = zero_shot_note(ground.encoder.source)
    if note:
        results().print(note)
    if options.choose:
        method = next(method for method in every if method.title == chosen)
        own = [tested.pop(chosen)._replace(method=f"this run ({chosen})")] if tested else []
        scores = Scores(scored_name, (*tested.values(), *own)) if own else None
        _write(out, ground, method, items, scored, pixels, scores)
        results().print(f"run: {out}   `texthead predict {out} FILE...` uses it")


def _divided(dataset: Dataset, options: Any) -> tuple[Dataset, Dataset, str]:
    """(training items, held-out items, what those are called): all train where the data has no splits.

    Validation items beside test ones are used for nothing, which is said.
    """
    for line in dataset.notes:
        notes().print(f"note: {line}")
    unused = 0
    if splits_of(dataset):
        parts = divide(dataset, seed=options.seed, part=None, k=options.k)
        train_set, scored, name = parts.train, parts.scored, parts.scored_name
        unused = splits_of(dataset).get("val", 0) if name == "test" else 0
    else:
        train_set = dataset if options.k is None else dataset.k_shot(options.k, seed=options.seed)
        scored, name = dataset.pick([]), ""
    drawn = f" (K = {options.k}, drawn with seed {options.seed})" if options.k is not None else ""
    held = f", {len(scored)} {name} items that nothing is chosen by" if len(scored) else ""
    notes().print(f"{len(train_set)} training items of {len(train_set.classes)} classes{drawn}{held}")
    if unused:
        notes().print(f"note: {unused} val item{'s are' if unused > 1 else ' is'} not used")
    return train_set, scored, name


def judged(
    every: Sequence[Method], items: FrozenItems, tests: FrozenItems | None, parts: methods.Folds
) -> tuple[Right, dict[str, Score]]:
    """(which training items each method names rightly, cross-validated; its score on the held-out items).

    A method that needs more items of a class than there are is in neither.
    """
    right: Right = {}
    tested: dict[str, Score] = {}
    least = int(items.targets.bincount().min())
    done, total = 0, len(every) * (len(parts.parts) + (tests is not None))
    with bar("compare", "fits") as progress:

        def step() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        for method in every:
            found = methods.cross_validated(method, items, parts.parts, step) if parts.parts else None
            if found is not None:
                right[method.title] = found
            if tests is not None and least >= method.least:
                found = methods.evaluation_of(method.fit(items).model, tests)
                tested[method.title] = Score.of(method.title, found)
                step()
    return right, tested


def _show(
    every: Sequence[Method],
    right: Right,
    tested: dict[str, Score],
    items: FrozenItems,
    scored_name: str,
    chosen: str,
) -> None:
    """Print the table."""
    table = Table("method", title=f"frozen encoder, {len(items.data)} training items: top-1 in percent (95 % interval)")
    folds = {title: (100 * found.mean(), *grouped_interval(found, items.groups)) for title, found in right.items()}
    scores = {title: (score.top1, score.low, score.high) for title, score in tested.items()}
    columns = [(title, found) for title, found in (("cross-validated", folds), (scored_name, scores)) if found]
    for title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for method in every:
        star = " *" if method.title == chosen else ""
        cells = [_cell(*found[method.title]) if method.title in found else "too few items" for _, found in columns]
        table.add_row(f"{method.title}{star}", *cells)
    results().print(table)


def _say_choice(right: Right, items: FrozenItems, parts: methods.Folds, first: str, chosen: str) -> None:
    """Print how the choice was made."""
    if not right:
        weight = ", with the weight that was set on drawn videos" if chosen == methods.TEXT_AND_MEANS else ""
        results().print(
            f"* {chosen}{weight}: nothing is cross-validated where a class has fewer than {methods.FEWEST} items"
        )
        return
    kept = "groups whole" if parts.whole else "groups divided, since they are too few to keep each whole"
    how = f"{len(parts.parts)} folds{f', {kept}' if _grouped(items) else ''}"
    if chosen == first:
        why = f"is taken unless another leads it by {methods.ERRORS:g} standard errors, and none does"
    else:
        why = f"leads {first!r}, which is taken otherwise, by {methods.ERRORS:g} standard errors"
    results().print(f"* {chosen} {why} (cross-validated, {how})")


def _grouped(items: FrozenItems) -> bool:
    return len(set(items.groups)) < len(items.groups)


def _cell(top1: float, low: float, high: float) -> str:
    """As in `66.7 (41.7-84.8)`; 100 without its zero, so that the table fits into 80 columns."""
    own, least, most = (f"{value:.1f}".replace("100.0", "100") for value in (top1, low, high))
    return f"{own} ({least}-{most})"


def _write(
    out: Path,
    ground: Ground,
    method: Method,
    items: FrozenItems,
    scored: Dataset,
    pixels: Pixels,
    scores: Scores | None,
) -> None:
    """The method fitted to all training items, as a run, with its scores where items were held out."""
    fitted = method.fit(items)
    model = Recognizer(ground.encoder.visual, fitted.model.temporal, fitted.model.head)
    split = split_json(items.data, scored)
    with locked(out):
        if scores:
            write_scores(out, scores)
        write_run(out, model, fitted.recipe, pixels, ground.names, split, chosen=method.title)
