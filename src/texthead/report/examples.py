"""Examples of an evaluation: the most confident wrong and correct predictions, as frames, optionally with saliency."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from texthead.data.clips import ViewClips
from texthead.data.protocol import Protocol, Views
from texthead.data.transforms import short_side
from texthead.errors import MediaError
from texthead.evaluation.results import Evaluation, MultiLabelEvaluation
from texthead.evaluation.saliency import cover
from texthead.media.paths import MediaPath
from texthead.models.recognizer import Recognizer
from texthead.parallel.progress import Reporter
from texthead.recipes import EngineName
from texthead.report.html import percent

# Short sides of a frame and of a small picture, in pixels.
SIDE, SMALL_SIDE = 192, 96

# How many wrong and correct predictions a page shows, how many of them have a saliency map, and frames of each.
_MISTAKES, _HITS, _MAPS, _FRAMES = 12, 3, 4, 8

# How many classes and wrong predictions have a thumbnail.
MAX_CLASSES, _MAX_WRONG = 60, 60

_DIM = 0.22  # relative brightness where the heat is 0

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
        saliency: the frames where bright regions support a class, by title.
        note: text below these.
    """

    name: str
    frames: Sequence[Frame]
    top: Sequence[tuple[str, float]]
    truth: Sequence[str]
    rank: int | None = None
    num_predicted: int = 1
    saliency: Mapping[str, Sequence[Frame]] = MappingProxyType({})
    note: str = ""

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
    model: Recognizer | None = None,
    *,
    hits: int = _HITS,
    temperature: float = 1.0,
    engine: EngineName = "eager",
    reporter: Reporter = Reporter(),
) -> list[Example]:
    """Return the most confident wrong and correct predictions, with frames, top classes and the true class.

    Args:
        result: scores that are divided by `temperature`.
        model: draws the saliency maps, of the predicted class and the true one; without it there are none, as with
            several labels.
        hits: how many correct ones.
        engine: runs the encoder; see `ReadOptions`.

    Raises:
        MediaError: a file can no longer be read.
    """
    made = []
    chosen = most_confident(result, hits)
    with reporter.bar("draw examples", "clips") as progress:
        for number, item in enumerate(chosen):
            explained = model if number < _MAPS else None
            made.append(_example(result, item, protocol, explained, engine, temperature=temperature))
            progress(number + 1, len(chosen))
    return made


def _example(
    result: Evaluation,
    item: int,
    protocol: Protocol,
    model: Recognizer | None = None,
    engine: EngineName = "eager",
    *,
    temperature: float = 1.0,
) -> Example:
    """Return an item with the predicted classes, at least the top 3, and true classes that rank lower.

    Args:
        result: scores that are divided by `temperature`.
        model: explains the prediction by saliency maps, unless items are multi-label; None for none.
        engine: runs the encoder for these.

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
    made = Example(name, [*frames[chosen]], top, [result.names[c] for c in true], rank, num_predicted)
    if model is None or rank is None:
        return made
    covered = cover(model, clip, engine=engine).at_temperature(temperature)
    saliency, lines = {}, []
    for role, shown in {"predicted": top[0][0], **({"true": made.truth[0]} if made.is_mistake else {})}.items():
        label = result.names.index(shown)
        before, after = covered.probabilities(label)
        if covered.is_faint(label):
            lines.append(f"{shown} ({percent(before)}): covering any one region hardly changes it")
        else:
            heat = covered.heat(label).numpy()
            saliency[f"{role}: {shown}"] = [overlay_heat(frames[index], heat[index]) for index in chosen]
            times = math.exp(covered.strength(label))
            factor = f"{times:.1f}" if times < 10 else f"{times:,.0f}"
            fall = f"{percent(before)} to {percent(after)}, odds by a factor of {factor}"
            lines.append(f"{shown}: covering the brightest region lowers it from {fall}")
    return made._replace(saliency=saliency, note="; ".join(lines))


def overlay_heat(
    frame: UInt8[np.ndarray, "height width 3"], heat: Float[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the frame with its original colours where the heat is 1, fading to dark grey where it is 0."""
    size = (frame.shape[1], frame.shape[0])
    smooth = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))[..., None]
    dark = _DIM * frame.mean(axis=-1, keepdims=True)
    return (dark + smooth.clip(0, 1) * (frame - dark)).round().clip(0, 255).astype(np.uint8)


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
