"""The most confident wrong and correct predictions of an evaluation, as frames, optionally with saliency."""

import math
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from texthead.data.clips import ViewClips
from texthead.data.protocol import Protocol
from texthead.data.transforms import short_side
from texthead.errors import MediaError
from texthead.evaluation.results import Evaluation, MultiLabelEvaluation
from texthead.evaluation.saliency import CLIP_GRID, cover, steps_of
from texthead.media.paths import MediaPath
from texthead.models.recognizer import Recognizer
from texthead.parallel.progress import Reporter
from texthead.recipes import EngineName
from texthead.report.strips import Strip, percent

SIDE = 128  # short side of a displayed frame, in pixels

# How many wrong and correct predictions a page shows, and how many of them have a saliency map.
_MISTAKES, _HITS, _MAPS = 4, 2, 4


def clip_of(path: Path, protocol: Protocol) -> UInt8[Tensor, "frames 3 size size"]:
    """Return the first view of a file, as the model gets it.

    Raises:
        MediaError: the file cannot be read.
    """
    views = ViewClips([path], protocol)[0]
    if isinstance(views, MediaError):
        raise views
    return views[0]


def most_confident(result: Evaluation, hits: int = _HITS) -> list[int]:
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
    return [i for i in order if wrong[i]][:_MISTAKES] + [i for i in order if not wrong[i]][:hits]


def mistake_strips(
    result: Evaluation,
    protocol: Protocol,
    model: Recognizer | None = None,
    *,
    hits: int = _HITS,
    temperature: float = 1.0,
    engine: EngineName = "eager",
    reporter: Reporter = Reporter(),
) -> list[Strip]:
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
    strips = []
    chosen = most_confident(result, hits)
    if model is not None and model.takes_clips:
        passes = steps_of(model, protocol.frames) * CLIP_GRID**2
        reporter.note(f"each saliency map encodes its clip {passes} times")
    with reporter.bar("draw examples", "clips") as progress:
        for number, item in enumerate(chosen):
            explained = model if number < _MAPS else None
            strips.append(item_strip(result, item, protocol, explained, engine, temperature=temperature))
            progress(number + 1, len(chosen))
    return strips


def item_strip(
    result: Evaluation,
    item: int,
    protocol: Protocol,
    model: Recognizer | None = None,
    engine: EngineName = "eager",
    *,
    temperature: float = 1.0,
) -> Strip:
    """Return an item's strip with the predicted classes, at least the top 3, and true classes that rank lower.

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
    strip = Strip(name, frames, top, [result.names[c] for c in true], rank, num_predicted)
    if model is None or rank is None:
        return strip
    saliency = cover(model, clip, engine=engine).at_temperature(temperature)
    heats, lines = {}, []
    for role, shown in {"predicted": top[0][0], **({"true": strip.truth[0]} if strip.is_mistake else {})}.items():
        label = result.names.index(shown)
        before, after = saliency.probabilities(label)
        if saliency.is_faint(label):
            lines.append(f"{shown} ({percent(before)}): covering any one region hardly changes it")
        else:
            heats[f"{role}: {shown}"] = saliency.heat(label).numpy()
            times = math.exp(saliency.strength(label))
            factor = f"{times:.1f}" if times < 10 else f"{times:,.0f}"
            fall = f"{percent(before)} to {percent(after)}, odds by a factor of {factor}"
            lines.append(f"{shown}: covering the brightest region lowers it from {fall}")
    return strip._replace(heats=heats, note="; ".join(lines))
