"""Run the methods of a comparison: encode items once, cross-validate, score held-out items."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from texthead.data.dataset import Dataset, label_indices
from texthead.data.division import Division, check_no_class_lost, divide_or_train
from texthead.data.protocol import Protocol, Views
from texthead.encoders.encoder import Encoder
from texthead.encoders.load import load_encoder
from texthead.errors import DataError, MediaError
from texthead.evaluation.intervals import grouped_interval
from texthead.features.cache import FeatureCache, encoder_key
from texthead.features.frames import readable
from texthead.features.reading import Reading
from texthead.features.views import item_features
from texthead.files import locked
from texthead.media.find import find_media
from texthead.models.build import pixels_for
from texthead.models.head_table import as_head
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.notebook import html_table
from texthead.parallel.progress import Bar, bar_or, no_bar
from texthead.recipes import small
from texthead.runs.folder import write_run
from texthead.runs.saved import check_out
from texthead.runs.scores import RunScores, Score, write_scores
from texthead.text.prompts import class_prompts, classes_to_train, flat
from texthead.training.fit_recipe import suit
from texthead.training.start import split_json
from texthead.transfer import methods
from texthead.transfer.methods import FrozenItems, Ground, Method

Right = dict[str, np.ndarray]

# Default number of frames per video.
FRAMES = 4


class FramesApart(nn.Module):
    """Concatenate the features of a clip's frames, to be split again later."""

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, frames, dim) -> (batch, frames * dim)."""
        return frames.flatten(1)


@dataclass(frozen=True)
class Setting:
    """Options of a comparison that do not depend on the data.

    Args:
        source: the encoder, as in `load_encoder`.
        text: a text-only encoder in place of the encoder's own text encoder, as in `load_encoder`.
        classes: a file of class names or prompts for the labels, as in `read_classes`.
        clean: whether to clean labels for use as class names, such as removing underscores.
        cache: folder of the feature cache.
        device: device of the encoder; the CPU if None.
    """

    source: str
    text: str | None = None
    classes: str | None = None
    clean: bool = True
    cache: Path | None = None
    device: torch.device | None = None


@dataclass(frozen=True, repr=False)
class MethodScores:
    """What a comparison measures.

    Attributes:
        right: which training items each method gets right, cross-validated; empty if a class has too few items.
        tested: the score of each method on the held-out items; empty without such items.
        groups: the group of each training item, for intervals.
        scored_name: the split of the held-out items.
    """

    right: Right
    tested: dict[str, Score]
    groups: Sequence[Hashable]
    scored_name: str = "held out"

    def columns(self) -> dict[str, dict[str, tuple[float, float, float]]]:
        """Return, for each way of scoring that there is, the top-1 of each method in percent and its 95 % interval."""
        folds = {
            name: (100 * float(own.mean()), *grouped_interval(own, self.groups)) for name, own in self.right.items()
        }
        scores = {name: (score.top1, score.low, score.high) for name, score in self.tested.items()}
        return {title: own for title, own in (("cross-validated", folds), (self.scored_name, scores)) if own}

    def __repr__(self) -> str:
        columns = self.columns().items()
        shown = (f"{title}: {name} {own[0]:.1f}" for title, column in columns for name, own in column.items())
        return f"MethodScores(top-1 in percent, {', '.join(shown)})"

    def _repr_html_(self) -> str:
        columns = self.columns()
        rows = [
            [name, *("{:.1f} ({:.1f}-{:.1f})".format(*column[name]) for column in columns.values())]
            for name in self.right or self.tested
        ]
        caption = "frozen encoder: top-1 in percent (95 % interval)"
        return html_table(("method", *columns), rows, caption=caption)


def compare(
    dataset: Dataset,
    encoder: str = "mini",
    *,
    k: int | None = None,
    seed: int = 0,
    reading: Reading = Reading(),
    cache: Path | None = None,
) -> MethodScores:
    """Score the methods on a frozen encoder side by side, as `texthead compare` does.

    Args:
        encoder: as `load_encoder` takes it.
        k: training items drawn for each class; all if None.
        cache: folder of the feature cache.

    Raises:
        DataError, MediaError: as `encode_parts`.
    """
    parts = divide_or_train(dataset, seed=seed, k=k)
    ground, _ = make_ground(parts.train, Setting(encoder, cache=cache), {"seed": seed})
    bar = partial(bar_or, None)
    items, tests = encode_parts(ground, parts, reading, bar)
    every = methods.methods(ground)
    scores = judged(every, items, tests, methods.folds(items, seed=seed), bar)
    return replace(scores, scored_name=parts.scored_name)


def make_ground(
    train_set: Dataset, setting: Setting, overrides: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Ground, list[str]]:
    """Return (encoder, prompts and recipe shared by all methods; a line for each value that the data changed).

    The recipe is `small` with the overrides, at the encoder's own input size: at 128 pixels videos lose 2 to 7 points,
    while more frames gain nothing (LOG.md).
    """
    template = overrides.get("template")
    names, sentences, lines = classes_to_train(
        train_set.classes, train_set.source, setting.classes, template=template, clean=setting.clean
    )
    prompts = class_prompts(template or small().template, names, sentences)
    encoder = load_encoder(setting.source, text=setting.text, prompts=flat(prompts))
    encoder.visual.to(setting.device or torch.device("cpu"))
    ground, changes = ground_of(encoder, train_set, names, sentences, overrides, setting.cache)
    return ground, [*lines, *changes]


def ground_of(
    encoder: Encoder,
    train_set: Dataset,
    names: Sequence[str],
    sentences: Sequence[str | Sequence[str] | None],
    overrides: Mapping[str, Any] = MappingProxyType({}),
    cache: Path | None = None,
) -> tuple[Ground, list[str]]:
    """Do the same as `make_ground` with a loaded encoder, class names, and prompts that replace the template."""
    # Epochs and flips have no effect on frozen features.
    fixed = {"flip": 0.0, "epochs": small().epochs, "temporal": "mean", "tune": "none", "size": None}
    if encoder.visual.spec.unit == "frame" and not train_set.only_images:
        fixed["frames"] = FRAMES
    recipe, changes = suit(small, {**fixed, **overrides}, train_set, encoder)
    encoder.visual.eval()
    pixels = pixels_for(recipe, encoder.visual.spec)
    features = FeatureCache(encoder_key(encoder.visual, pixels), cache)
    prompts = class_prompts(recipe.template, names, sentences)
    protocol = Protocol(recipe.frames, pixels, Views.of(recipe))
    return Ground(encoder, tuple(train_set.classes), tuple(names), prompts, recipe, protocol, features), changes


def encode_frozen(ground: Ground, dataset: Dataset, reading: Reading, title: str, bar: Bar = no_bar) -> FrozenItems:
    """Return the readable items with the features of their frames.

    Raises:
        DataError: no item can be read, or a label is not among those of the training items.
        MediaError: an item cannot be read and `reading` does not skip such items.
    """
    paths = [item.path for item in dataset.items]
    positions, frames, errors = _encode(ground, paths, dataset.source, reading, title, bar)
    readable_items = dataset.pick(positions)
    targets = torch.tensor(label_indices(readable_items, ground.labels))
    return FrozenItems(readable_items, frames, targets, tuple(errors))


def encode_parts(
    ground: Ground, parts: Division, reading: Reading, bar: Bar = no_bar
) -> tuple[FrozenItems, FrozenItems | None]:
    """Return the readable training items, and the scored ones if there are any.

    Raises:
        DataError: a class has no readable training item.
        MediaError: as `encode_frozen`.
    """
    items = encode_frozen(ground, parts.train, reading, "encode training items", bar)
    check_no_class_lost(parts.train, items.data)
    return items, encode_frozen(ground, parts.scored, reading, "encode held-out items", bar) if parts.scored else None


def with_unlabelled(
    ground: Ground, items: FrozenItems, folder: str, reading: Reading, bar: Bar = no_bar
) -> tuple[Ground, list[MediaError], str]:
    """Encode the unlabelled files of a folder.

    Returns the ground with their features, if these help to classify the labelled items; the errors of unreadable
    files; and a line on how much they help.

    Raises:
        DataError, MediaError: as `encode_frozen`.
    """
    paths = find_media([folder])
    _, frames, errors = _encode(ground, paths, folder, reading, "encode unlabelled files", bar)
    checked, line = methods.check_unlabelled(replace(ground, unlabelled=frames.mean(1)), items)
    return checked, errors, line


def _encode(
    ground: Ground, paths: Sequence[Path], source: object, reading: Reading, title: str, bar: Bar
) -> tuple[list[int], Float[Tensor, "files frames dim"], list[MediaError]]:
    """Return (positions of the readable files, features of their frames, errors of the others)."""
    with bar(title, "files") as progress:
        entries = item_features(
            Recognizer(ground.encoder.visual, FramesApart(), nn.Identity()),
            paths,
            ground.protocol,
            replace(reading, cache=ground.cache),
            progress,
        )
    positions, errors = readable(entries, skip=reading.skip_unreadable)
    if not positions:
        raise DataError(f"{source}: none of {len(paths)} items can be read: {errors[0]}")
    rows = torch.stack([entry[0] for entry in entries if isinstance(entry, Tensor)])
    return positions, rows.unflatten(1, (-1, ground.encoder.dim)).clone(), errors


def judged(
    every: Sequence[Method],
    items: FrozenItems,
    tests: FrozenItems | None,
    folds: methods.Folds,
    bar: Bar = no_bar,
) -> MethodScores:
    """Return the scores of each method: cross-validated on the training items, and on the held-out items."""
    right: Right = {}
    tested: dict[str, Score] = {}
    done, total = 0, len(every) * (len(folds.pairs) + (tests is not None))
    with bar("compare", "fits") as progress:

        def step() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        for method in every:
            if folds.pairs:
                right[method.name] = methods.cross_validated(method, items, folds.pairs, step)
            if tests is not None:
                tested[method.name] = Score.of(method.name, methods.evaluation_of(method.fit(items), tests))
                step()
    return MethodScores(right, tested, items.groups)


def write_method(
    out: Path,
    ground: Ground,
    method: Method,
    items: FrozenItems,
    scored: Dataset,
    scores: RunScores | None,
    *,
    engine: str,
    why: str = "",
) -> Recognizer:
    """Fit a method to all training items, write it as a run with its scores, if any, and return the model.

    Args:
        scored: the held-out items, for `split.json`.
        engine: the engine that computed the features, for `recipe.json`.
        why: the reason for choosing the method, for `recipe.json`.
    """
    head, encoder = as_head(method.head(items)), ground.encoder
    head.text_source, head.text_map = encoder.text_source, encoder.text_map
    model = Recognizer(encoder.visual, MeanPool(), head)
    with locked(out):
        check_out(out, resume=False)  # Another process may have written a run since the first check.
        if scores:
            write_scores(out, scores)
        split = split_json(items.data, scored)
        about = {"chosen": method.name, "why": why, "engine": engine}
        write_run(out, model, ground.recipe, ground.protocol.sizes, ground.names, split, **about)
    return model
