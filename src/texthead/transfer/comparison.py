"""Run the methods of a comparison: encode items once, cross-validate, score held-out items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from texthead.data.dataset import Dataset, label_indices
from texthead.data.protocol import Pixels, Protocol, Views
from texthead.encoders.load import load_encoder
from texthead.encoders.mini import minilm_folder
from texthead.errors import DataError, MediaError
from texthead.features.cache import FeatureCache, encoder_key
from texthead.features.frames import readable
from texthead.features.reading import Reading
from texthead.features.views import item_features
from texthead.files import locked
from texthead.models.build import pixels_for
from texthead.models.recognizer import Recognizer
from texthead.parallel.progress import Bar, no_bar
from texthead.recipes import Recipe, small
from texthead.runs.folder import write_run
from texthead.runs.scores import RunScores, Score, write_scores
from texthead.text.class_names import clean_names
from texthead.text.prompts import fill_templates, flat
from texthead.training.fit_recipe import suit
from texthead.training.start import split_json
from texthead.transfer import methods
from texthead.transfer.methods import FrozenItems, Ground, Method

Right = dict[str, np.ndarray]


class FramesApart(nn.Module):
    """The features of a clip's frames one behind the other, to be split again."""

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, frames, dim) -> (batch, frames * dim)."""
        return frames.flatten(1)


@dataclass(frozen=True)
class Setting:
    """What a comparison is made with, before the data is known.

    Args:
        source: the encoder, as `load_encoder` takes it.
        clean: whether labels become class names by taking underscores and the like out.
        cache: folder of the feature cache.
        device: where the encoder runs; the CPU if None.
    """

    source: str
    clean: bool = True
    cache: Path | None = None
    device: torch.device | None = None


def make_ground(
    train_set: Dataset, setting: Setting, overrides: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Ground, list[str]]:
    """Return (encoder, names and recipe that all methods share, a line for each recipe value that the data changed).

    The recipe is `small` with the overrides.
    """
    labels = tuple(train_set.classes)
    names = tuple(clean_names(labels) if setting.clean else labels)
    encoder = load_encoder(setting.source)
    # Each fold has epochs of its own, and features are not flipped.
    fixed = {"epochs": small().epochs, "flip": small().flip}
    recipe, changes = suit(small, {**fixed, **overrides}, train_set, encoder)
    encoder.visual.to(setting.device or torch.device("cpu")).eval()
    cache = FeatureCache(encoder_key(encoder.visual, pixels_for(recipe, encoder.visual.spec)), setting.cache)
    prompts = flat(fill_templates(recipe.template, names))
    sentences = load_encoder(setting.source, text=f"text:{minilm_folder()}", prompts=prompts)

    def suited(own: Recipe, items: Dataset) -> Recipe:
        return suit(partial(replace, own), {"temporal": own.temporal}, items, encoder)[0]

    return Ground(encoder, sentences, labels, names, recipe, cache, suited), changes


def encode_frozen(
    ground: Ground, dataset: Dataset, pixels: Pixels, reading: Reading, title: str, bar: Bar = no_bar
) -> tuple[FrozenItems, list[MediaError]]:
    """Return (the readable items with the features of their frames, the errors of the others).

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
    positions, errors = readable(entries, skip=reading.skip_unreadable)
    if not positions:
        raise DataError(f"{dataset.source}: none of {len(dataset)} items can be read: {errors[0]}")
    kept = dataset.pick(positions)
    rows = torch.stack([entry[0] for entry in entries if isinstance(entry, Tensor)])
    frames = rows.unflatten(1, (ground.recipe.frames, -1)).clone()
    return FrozenItems(kept, frames, torch.tensor(label_indices(kept, ground.labels))), errors


def judged(
    every: Sequence[Method],
    items: FrozenItems,
    tests: FrozenItems | None,
    folds: methods.Folds,
    bar: Bar = no_bar,
) -> tuple[Right, dict[str, Score]]:
    """Return (which training items each method gets right, cross-validated; its score on the held-out items).

    A method that needs more items of a class than there are is in neither.
    """
    right: Right = {}
    tested: dict[str, Score] = {}
    least = int(items.targets.bincount().min())
    done, total = 0, len(every) * (len(folds.pairs) + (tests is not None))
    with bar("compare", "fits") as progress:

        def step() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        for method in every:
            hits = methods.cross_validated(method, items, folds.pairs, step) if folds.pairs else None
            if hits is not None:
                right[method.title] = hits
            if tests is not None and least >= method.least:
                tested[method.title] = Score.of(method.title, methods.evaluation_of(method.fit(items).model, tests))
                step()
    return right, tested


def write_method(
    out: Path, ground: Ground, method: Method, items: FrozenItems, scored: Dataset, scores: RunScores | None
) -> None:
    """Write a method, fitted to all training items, as a run, with its scores where items were held out."""
    fitted = method.fit(items)
    model = Recognizer(ground.encoder.visual, fitted.model.temporal, fitted.model.head)
    pixels = pixels_for(ground.recipe, ground.encoder.visual.spec)
    with locked(out):
        if scores:
            write_scores(out, scores)
        split = split_json(items.data, scored)
        write_run(out, model, fitted.recipe, pixels, ground.names, split, chosen=method.title)
