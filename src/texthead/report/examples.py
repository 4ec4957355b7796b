"""Examples of an evaluation: the most confident wrong and correct predictions, as frames."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from texthead.data.clips import ViewClips
from texthead.data.protocol import Protocol, Views
from texthead.data.transforms import short_side
from texthead.errors import MediaError
from texthead.evaluation.results import Evaluation, MultiLabelEvaluation
from texthead.media.paths import MediaPath
from texthead.parallel.progress import Reporter

# Short sides of a frame and of a small picture, in pixels.
SIDE, SMALL_SIDE = 192, 96

# How many wrong and correct predictions a page shows, and frames of each.
_MISTAKES, _HITS, _FRAMES = 12, 3, 8

# How many classes and wrong predictions have a thumbnail.
MAX_CLASSES, _MAX_WRONG = 60, 60

Frame = UInt8[np.ndarray, "height width 3"]


class Example(NamedTuple):
    """A prediction.

    Attributes:
        name: file name.
        frames: as the model gets them, at most 8, evenly spaced.
        top: the predicted classes and the next ones with their probabilities 0..1, best first; then true classes that
            rank lower.
        truth: the true classes.
        rank: rank of the only true class by probability, from 1; None for multi-label data.
        num_predicted: how many classes are predicted, the first of `top`.
    """

    name: str
    frames: Sequence[Frame]
    top: Sequence[tuple[str, float]]
    truth: Sequence[str]
    rank: int | None = None
    num_predicted: int = 1

    @property
    def predicted(self) -> list[str]:
        """The predicted classes."""
        return [name for name, _ in self.top[: self.num_predicted]]

    @property
    def is_mistake(self) -> bool:
        """Whether the predicted classes are not the true ones."""
        return set(self.predicted) != set(self.truth)

    @property
    def classes(self) -> list[str]:
        """The true and the predicted classes."""
        return list(dict.fromkeys([*self.truth, *self.predicted]))

    @property
    def verdict(self) -> str:
        """Whether the prediction is correct, and what would be."""
        truth = ", ".join(self.truth) or "no class"
        rank = "" if self.rank is None else f" class ranked {self.rank}"
        return f"✗ wrong, true{rank}: {truth}" if self.is_mistake else f"✓ correct: {truth}"


def clip_of(path: Path, protocol: Protocol) -> UInt8[Tensor, "frames 3 size size"]:
    """Return the first view of a file, as the model gets it.

    Raises:
        MediaError: the file cannot be read.
    """
    views = ViewClips([path], protocol)[0]
    if isinstance(views, MediaError):
        raise views
    return views[0]


def most_confident(result: Evaluation, hits: int = _HITS, mistakes: int = _MISTAKES) -> list[int]:
    """Return the indices of the most confident wrong predictions, then of the correct ones.

    For multi-label data, a prediction is as sure as its surest wrong answer, or as its least sure one if all are right.
    """
    wrong = torch.from_numpy(~result.right)
    if isinstance(result, MultiLabelEvaluation):
        errors, margins = torch.from_numpy(result.predicted) != result.targets, result.margins
        sure = torch.where(wrong, (margins * errors).amax(1), margins.amin(1))
    else:
        sure = result.scores.softmax(-1).amax(-1)
    order = torch.argsort(sure, descending=True, stable=True).tolist()
    return [i for i in order if wrong[i]][:mistakes] + [i for i in order if not wrong[i]][:hits]


def examples_of(
    result: Evaluation,
    protocol: Protocol,
    *,
    hits: int = _HITS,
    reporter: Reporter = Reporter(),
) -> list[Example]:
    """Return the most confident wrong and correct predictions, with frames, top classes and the true class.

    Args:
        hits: how many correct ones.

    Raises:
        MediaError: a file can no longer be read.
    """
    made = []
    chosen = most_confident(result, hits)
    with reporter.bar("draw examples", "clips") as progress:
        for number, item in enumerate(chosen):
            made.append(_example(result, item, protocol))
            progress(number + 1, len(chosen))
    return made


def _example(result: Evaluation, item: int, protocol: Protocol) -> Example:
    """Return an item with the predicted classes, at least the top 3, and true classes that rank lower.

    Raises:
        MediaError: the file can no longer be read.
    """
    clip = clip_of(result.paths[item], protocol)
    order = result.scores[item].argsort(descending=True, stable=True).tolist()
    if isinstance(result, MultiLabelEvaluation):
        probabilities, has = result.scores[item].sigmoid(), result.targets[item]
        predicted = result.predicted[item]
        order.sort(key=lambda c: not predicted[c])
        num_predicted, rank = int(predicted.sum()), None
        true = [c for c in order if has[c]]
    else:
        probabilities, num_predicted, true = result.scores[item].softmax(-1), 1, [int(result.targets[item])]
        rank = order.index(true[0]) + 1
    first = order[: max(3, num_predicted)]
    top = [(result.names[c], float(probabilities[c])) for c in first + [c for c in true if c not in first]]
    name = "/".join(Path(MediaPath(result.paths[item]).original).parts[-2:])
    frames = short_side(clip, SIDE).permute(0, 2, 3, 1).contiguous().numpy()
    chosen = np.linspace(0, len(frames) - 1, min(len(frames), _FRAMES)).round().astype(int)
    return Example(name, [*frames[chosen]], top, [result.names[c] for c in true], rank, num_predicted)


class Thumbnails(NamedTuple):
    """Small pictures, by the index of the class that they show, and by item."""

    classes: Mapping[int, Frame] = MappingProxyType({})
    items: Mapping[int, Frame] = MappingProxyType({})


def thumbnails(result: Evaluation, protocol: Protocol) -> Thumbnails:
    """Return pictures of the least recognised classes, by a correct item if there is one, and of wrong predictions.

    Raises:
        MediaError: a file can no longer be read.
    """
    multilabel, right = isinstance(result, MultiLabelEvaluation), result.right
    has = result.targets.numpy() if multilabel else np.eye(len(result.names), dtype=bool)[result.targets]
    order = np.argsort(~right, kind="stable")  # Correct items first.
    first = order[has[order].argmax(0)].tolist()
    labels = sorted(np.flatnonzero(has.any(0)).tolist(), key=lambda label: right[has[:, label]].mean())
    shown = {label: first[label] for label in labels[:MAX_CLASSES]}
    wrong = [] if multilabel else most_confident(result, hits=0, mistakes=_MAX_WRONG)
    one, pictures = replace(protocol, frames=1, views=Views(origin="center")), dict[int, Frame]()
    for item in dict.fromkeys([*shown.values(), *wrong]):
        clip = short_side(clip_of(result.paths[item], one), SMALL_SIDE)
        pictures[item] = clip[0].permute(1, 2, 0).contiguous().numpy()
    return Thumbnails({label: pictures[item] for label, item in shown.items()}, pictures)
