"""`texthead compare`: recognisers on a frozen encoder side by side, and the best of them as a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn

from texthead import choosing, datasets, evaluation, features, prompts, runs
from texthead.choosing import FrozenItems, Ground, Method
from texthead.datasets import Dataset, Pixels, splits_of
from texthead.encoders import load_encoder, zero_shot_note
from texthead.errors import DataError, RunError
from texthead.intervals import grouped_interval
from texthead.mini import minilm_folder
from texthead.model_parts import pixels_for
from texthead.recipes import RECIPES, Recipe
from texthead.recognizer import Recognizer
from texthead.sampling import Views
from texthead.terminal import bar, notes, pick_device, read_data, results, say_names
from texthead.train_job import check_out, divide, suit
from texthead.training import split_json

Right = dict[str, np.ndarray]


class FramesApart(nn.Module):
    """The features of a clip's frames one behind the other, for who wants them apart again."""

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, frames, dim) -> (batch, frames * dim)."""
        return frames.flatten(1)


def encoded(ground: Ground, dataset: Dataset, pixels: Pixels, *, skip: bool, workers: int, title: str) -> FrozenItems:
    """The readable items of a dataset with the features of their frames.

    Raises:
        DataError: no item can be read, or a label that is not among those of the training items.
        MediaError: an item cannot be read, unless `skip`.
    """
    with bar(title, "files") as progress:
        entries = evaluation.item_features(
            Recognizer(ground.encoder.visual, FramesApart(), nn.Identity()),
            [item.path for item in dataset.items],
            frames=ground.recipe.frames,
            pixels=pixels,
            views=Views(origin=ground.recipe.origin),
            cache=ground.cache,
            workers=workers,
            progress=progress,
        )
    positions, errors = features.readable(entries, skip=skip)
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
    names = tuple(prompts.clean_names(labels) if clean else labels)
    encoder = load_encoder(source)
    # Each fold has epochs of its own, and features are not flipped.
    recipe, said = suit(recipe, train_set, encoder, given=given | {"epochs", "flip"})
    for line in said:
        notes().print(f"note: {line}")
    encoder.visual.to(pick_device(device)).eval()
    pixels = pixels_for(recipe, encoder.visual.spec)
    kept = features.FeatureCache(features.encoder_key(encoder.visual, pixels), cache)
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
    how = {"skip": options.skip_unreadable, "workers": options.workers}
    items = encoded(ground, train_set, pixels, title="encode training items", **how)
    tests = encoded(ground, scored, pixels, title="encode held-out items", **how) if len(scored) else None
    if items.data.classes != list(ground.labels):
        lost = sorted(set(ground.labels) - set(items.data.classes))
        raise DataError(f"class {lost[0]!r} has no readable training item: mend its files or remove the class")

    every = choosing.methods(ground)
    parts = choosing.folds(items, seed=options.seed)
    right, tested = judged(every, items, tests, parts)
    first = choosing.settled(every, items)
    chosen = choosing.choice(first, right, items.groups) if right else first
    _show(every, right, tested, items, tests, scored_name, chosen)
    _say_choice(right, items, parts, first, chosen)
    note = zero_shot_note(ground.encoder.source)
    if note:
        results().print(note)
    if options.choose:
        method = next(method for method in every if method.title == chosen)
        _write(out, ground, method, items, scored, pixels)
        results().print(f"run: {out}   `texthead predict {out} FILE...` uses it")


def _divided(dataset: Dataset, options: Any) -> tuple[Dataset, Dataset, str]:
    """(training items, held-out items, what those are called): all train where the data has no splits."""
    for line in dataset.notes:
        notes().print(f"note: {line}")
    if splits_of(dataset):
        parts = divide(dataset, seed=options.seed, part=None, k=options.k)
        train_set, scored, name = parts.train, parts.scored, parts.scored_name
    else:
        train_set = dataset if options.k is None else dataset.k_shot(options.k, seed=options.seed)
        scored, name = dataset.pick([]), ""
    drawn = f" (K = {options.k}, drawn with seed {options.seed})" if options.k is not None else ""
    held = f", {len(scored)} {name} items that nothing is chosen by" if len(scored) else ""
    notes().print(f"{len(train_set)} training items of {len(train_set.classes)} classes{drawn}{held}")
    return train_set, scored, name


def judged(
    every: Sequence[Method], items: FrozenItems, tests: FrozenItems | None, parts: choosing.Folds
) -> tuple[Right, Right]:
    """Which items each method names rightly: (of the training items, cross-validated; of the held-out items).

    A method that needs more items of a class than there are is in neither.
    """
    right: Right = {}
    tested: Right = {}
    least = int(items.targets.bincount().min())
    done, total = 0, len(every) * (len(parts.parts) + (tests is not None))
    with bar("compare", "fits") as progress:

        def step() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        for method in every:
            found = choosing.cross_validated(method, items, parts.parts, step) if parts.parts else None
            if found is not None:
                right[method.title] = found
            if tests is not None and least >= method.least:
                tested[method.title] = choosing.right_answers(method.fit(items).model, tests)
                step()
    return right, tested


def _show(
    every: Sequence[Method],
    right: Right,
    tested: Right,
    items: FrozenItems,
    tests: FrozenItems | None,
    scored_name: str,
    chosen: str,
) -> None:
    """Print the table."""
    table = Table(title=f"frozen encoder, {len(items.data)} training items")
    table.add_column("method", no_wrap=True)
    columns = [("folds", right, items.groups)] if right else []
    columns += [(scored_name, tested, tests.groups)] if tests is not None else []
    for title, _, _ in columns:
        table.add_column(title, justify="right")
        table.add_column("95 % interval")
    for method in every:
        cells = [method.title + (" *" if method.title == chosen else "")]
        for _, found, groups in columns:
            cells += _cells(found.get(method.title), groups)
        table.add_row(*cells)
    results().print(table)


def _say_choice(right: Right, items: FrozenItems, parts: choosing.Folds, first: str, chosen: str) -> None:
    """Print how the choice was made."""
    if not right:
        weight = ", with the weight that was set on drawn videos" if chosen == choosing.TEXT_AND_MEANS else ""
        results().print(
            f"* {chosen}{weight}: nothing is cross-validated where a class has fewer than {choosing.FEWEST} items"
        )
        return
    kept = "groups whole" if parts.whole else "groups divided, since they are too few to keep each whole"
    how = f"{len(parts.parts)} folds{f', {kept}' if _grouped(items) else ''}"
    if chosen == first:
        why = f"is taken unless another leads it by {choosing.ERRORS:g} standard errors, and none does"
    else:
        why = f"leads {first!r}, which is taken otherwise, by {choosing.ERRORS:g} standard errors"
    results().print(f"* {chosen} {why} (cross-validated, {how})")


def _grouped(items: FrozenItems) -> bool:
    return len(set(items.groups)) < len(items.groups)


def _cells(right: np.ndarray | None, groups: Sequence[Any]) -> tuple[str, str]:
    if right is None:
        return "-", "too few items"
    low, high = grouped_interval(right, groups)
    return f"{100 * right.mean():.1f}", f"{low:.1f}-{high:.1f}"


def _write(out: Path, ground: Ground, method: Method, items: FrozenItems, scored: Dataset, pixels: Pixels) -> None:
    """The method fitted to all training items, as a run."""
    fitted = method.fit(items)
    model = Recognizer(ground.encoder.visual, fitted.model.temporal, fitted.model.head)
    split = split_json(items.data, scored)
    with runs.locked(out):
        runs.write_run(out, model, fitted.recipe, pixels, ground.names, split, chosen=method.title)
