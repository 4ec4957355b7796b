"""Recognisers on a frozen encoder, side by side on features that are encoded once; and the choice of one of them."""

import tempfile
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from texthead.data.dataset import Dataset
from texthead.encoders.encoder import Encoder
from texthead.evaluation.evaluate import Evaluation
from texthead.evaluation.intervals import standard_error
from texthead.features.cache import FeatureCache
from texthead.models.build import make_head, make_temporal_for
from texthead.models.head_rows import ROW_KINDS, RowInputs, RowKind, text_rows
from texthead.models.heads import text_head
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.recipes import HeadKind, Recipe
from texthead.text.prompts import fill_templates
from texthead.training.execution import Execution
from texthead.training.train import train
from texthead.transfer.closed_form import class_center, logistic_head, text_and_means, tuned_projection

# With fewer items of a class than this there is nothing to cross-validate with.
FEWEST = 3


@dataclass(frozen=True)
class FrozenItems:
    """Labelled files with the pretrained features of their frames, as testing takes them."""

    data: Dataset
    frames: Float[Tensor, "items frames dim"]
    targets: Int[Tensor, " items"]

    @property
    def features(self) -> Float[Tensor, "items dim"]:
        """The mean feature of each item."""
        return self.frames.mean(1)

    @property
    def groups(self) -> list[str]:
        """What must stay on one side of a split, of each item."""
        return self.data.groups

    def pick(self, positions: Sequence[int]) -> "FrozenItems":
        """The items at the given positions."""
        return FrozenItems(self.data.pick(positions), self.frames[positions], self.targets[positions])


@dataclass(frozen=True)
class Ground:
    """What all recognisers of a comparison share.

    Args:
        sentences: the same visual encoder with a text-only encoder in place of its text half.
        suit: the recipe as so many items need it.
    """

    encoder: Encoder
    sentences: Encoder
    labels: tuple[str, ...]
    names: tuple[str, ...]
    recipe: Recipe
    cache: FeatureCache
    suit: Callable[[Recipe, Dataset], Recipe]


class Fitted(NamedTuple):
    """A recogniser whose clips are frame features, the recipe it has, and its metrics if it was trained in steps."""

    model: Recognizer
    recipe: Recipe
    records: list[dict]


@dataclass(frozen=True)
class Method:
    """A way from labelled features to a recogniser; `least` is how many items of each class it needs."""

    title: str
    fit: Callable[[FrozenItems], Fitted]
    least: int = 1


TEXT_AND_MEANS, TEXT_TUNED = "text + class means", "text, projection tuned"

PROBE, ZERO_SHOT = "logistic probe", "zero-shot"

# A method has to lead the settled one by so many standard errors: with ten rivals one of them is often lucky.
ERRORS = 2.0


def methods(ground: Ground) -> list[Method]:
    """The recognisers that are compared; encoders without text have no zero-shot and no text rows."""
    mean = partial(_closed, ground)
    probe = Method(PROBE, mean(lambda items: logistic_head(items.features, items.targets, names=ground.labels)))
    tuned = {
        kind: Method(f"{rows.title}, projection tuned", mean(partial(_projected, ground, rows)), max(1, rows.items))
        for kind, rows in ROW_KINDS.items()
        if not rows.trained
    }
    from_text = tuned.pop("text")
    found = [probe, *tuned.values(), Method("linear probe", partial(_in_steps, ground, "linear", "mean"))]
    if not ground.encoder.has_text:
        return found
    text = [
        Method(TEXT_AND_MEANS, mean(partial(_with_means, ground))),
        Method(ZERO_SHOT, mean(lambda _: _zero_shot(ground))),
        Method(f"{ZERO_SHOT}, centred", mean(partial(_centred, ground))),
        from_text,
        Method(
            "text-only encoder, projection tuned",
            mean(partial(_projected, replace(ground, encoder=ground.sentences), ROW_KINDS["text"])),
        ),
    ]
    if ground.recipe.frames > 1:
        found.append(Method("text, temporal transformer", partial(_in_steps, ground, "text", "transformer")))
    return [*text, *found]


def _closed(ground: Ground, head: Callable[[FrozenItems], nn.Module]) -> Callable[[FrozenItems], Fitted]:
    """A head that is fitted in one go on mean features."""
    recipe = replace(ground.recipe, temporal="mean", freeze_encoder=True)
    return lambda items: Fitted(Recognizer(nn.Identity(), MeanPool(), head(items)), recipe, [])


def _inputs(ground: Ground, recipe: Recipe, items: FrozenItems) -> RowInputs:
    return RowInputs(
        ground.encoder, ground.labels, recipe, names=ground.names, features=items.features, targets=items.targets
    )


def _projected(ground: Ground, kind: RowKind, items: FrozenItems) -> nn.Module:
    """Rows of a kind behind a tuned projection; LDA takes all items here, which are few."""
    rows = kind.make(replace(_inputs(ground, ground.recipe, items), lda_items=len(items.targets)))
    scale = ground.recipe.scale or ground.encoder.scale
    return tuned_projection(rows, items.features, items.targets, names=ground.labels, scale=scale)


def _with_means(ground: Ground, items: FrozenItems) -> nn.Module:
    rows = text_rows(ground.encoder, fill_templates(ground.recipe.template, ground.names))
    scale = ground.recipe.scale or ground.encoder.scale
    return text_and_means(rows, items.features, items.targets, names=ground.labels, scale=scale)


def _zero_shot(ground: Ground, center: Tensor | None = None) -> nn.Module:
    template = ground.recipe.template
    return text_head(ground.encoder, ground.names, labels=ground.labels, template=template, center=center)


def _centred(ground: Ground, items: FrozenItems) -> nn.Module:
    return _zero_shot(ground, class_center(items.features, items.targets))


def _in_steps(ground: Ground, kind: HeadKind, temporal: str, items: FrozenItems) -> Fitted:
    """A head, or a temporal module in front of one, that is trained as `texthead train --freeze-encoder` does."""
    recipe = ground.suit(replace(ground.recipe, temporal=temporal, freeze_encoder=True), items.data)  # pyright: ignore
    visual = ground.encoder.visual
    head = make_head(kind, _inputs(ground, recipe, items))
    model = Recognizer(visual, make_temporal_for(recipe, visual), head).to(next(visual.parameters()).device)
    with tempfile.TemporaryDirectory() as folder:
        records = train(
            model,
            items.data,
            None,
            recipe,
            out=Path(folder) / "run",
            execution=Execution(cache=ground.cache, checkpoint_every=recipe.epochs * len(items.data)),
        )
    return Fitted(model.on_features().eval(), recipe, records)


# --- cross-validation


class Folds(NamedTuple):
    """(training positions, scored positions) of each fold, and whether groups are kept whole in all of them."""

    pairs: list[tuple[list[int], list[int]]]
    whole: bool


def folds(items: FrozenItems, *, seed: int) -> Folds:
    """Up to five stratified folds, each item scored once; none where a class has fewer than three items.

    Groups stay whole unless a fold would then train on fewer than two items of a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels, groups = items.targets.numpy(), items.groups
    counts = np.bincount(labels)
    if counts.min() < FEWEST:
        return Folds([], True)
    number = int(min(5, counts.min()))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    keys = [numbers[group] for group in groups]
    apart = min(number, len(set(keys)))
    if apart >= 2:
        grouped = StratifiedGroupKFold(apart, shuffle=True, random_state=seed).split(keys, labels, keys)
        whole = [(train.tolist(), test.tolist()) for train, test in grouped if len(test)]
        if all(np.bincount(labels[train], minlength=len(counts)).min() >= 2 for train, _ in whole):
            return Folds(whole, True)
    plain = StratifiedKFold(number, shuffle=True, random_state=seed).split(keys, labels)
    return Folds([(train.tolist(), test.tolist()) for train, test in plain], False)


def evaluation_of(model: Recognizer, items: FrozenItems) -> Evaluation:
    """The scores of the items, whose intervals take their groups into account."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        scores = model.eval()(items.frames.to(device)).cpu()
    paths = [item.path for item in items.data.items]
    return Evaluation(model.names, paths, items.targets, scores, groups=items.groups)


def cross_validated(
    method: Method, items: FrozenItems, parts: Sequence[tuple[list[int], list[int]]], step: Callable[[], None]
) -> Bool[np.ndarray, " items"] | None:
    """Whether each item is named rightly by the method fitted without its fold; None where it needs more items."""
    right = np.zeros(len(items.data), dtype=bool)
    for train_positions, scored in parts:
        part = items.pick(train_positions)
        if int(part.targets.bincount(minlength=int(items.targets.max()) + 1).min()) < method.least:
            return None
        right[scored] = evaluation_of(method.fit(part).model, items.pick(scored)).right
        step()
    return right


def settled(every: Sequence[Method], items: FrozenItems) -> str:
    """What is taken where nothing speaks for another: on drawn videos it was the best with so many items a class."""
    titles = [method.title for method in every]
    if TEXT_TUNED not in titles:
        return PROBE
    return TEXT_AND_MEANS if int(items.targets.bincount().min()) < FEWEST else TEXT_TUNED


def choice(first: str, found: Mapping[str, Bool[np.ndarray, " items"]], groups: Sequence[Hashable]) -> str:
    """The method that is right most often, if it leads the first one by more than `ERRORS` standard errors of the lead.

    Of equals the one that was tried before. So a few lucky items don't decide against what was settled beforehand.
    """
    best = max(found, key=lambda title: int(found[title].sum()))
    lead = found[best].astype(float) - found[first].astype(float)
    return best if lead.mean() > ERRORS * standard_error(lead, groups) else first
