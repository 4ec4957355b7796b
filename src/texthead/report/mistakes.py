"""The surest mistakes and hits of an evaluation, as frames to look at, and where in them the answers came from."""

import math
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from texthead.data.clips import ViewClips
from texthead.data.protocol import Protocol
from texthead.data.transforms import short_side
from texthead.errors import MediaError
from texthead.evaluation.evaluate import Evaluation
from texthead.evaluation.saliency import cover
from texthead.media.limits import MOST_MEGAPIXELS
from texthead.models.recognizer import Recognizer
from texthead.parallel.progress import Progress
from texthead.recipes import EngineName
from texthead.report.run_page import Strip
from texthead.report.strips import percent

SIDE = 128  # pixels of a shown frame's short side

FAINT = 0.2  # log-odds that a region must at least take from a name, for its heat to be shown


def clip_of(
    path: Path, protocol: Protocol, most_megapixels: int = MOST_MEGAPIXELS
) -> UInt8[Tensor, "frames 3 size size"]:
    """Return the clip of a file as the model takes it: its first view.

    Raises:
        MediaError: the file cannot be read.
    """
    clips = ViewClips(
        [path],
        [0],
        frames=protocol.frames,
        views=protocol.views,
        pixels=protocol.sizes,
        most_megapixels=most_megapixels,
    )
    views, _, _ = clips[0]
    if isinstance(views, MediaError):
        raise views
    return views[0]


def surest(result: Evaluation, *, mistakes: int, hits: int) -> list[int]:
    """Return the places of the most confident wrong answers, then of the most confident right ones."""
    best = result.scores.softmax(-1).max(-1)
    wrong = best.indices != result.targets
    order = torch.argsort(best.values, descending=True, stable=True).tolist()
    return [i for i in order if wrong[i]][:mistakes] + [i for i in order if not wrong[i]][:hits]


def strips(
    result: Evaluation,
    protocol: Protocol,
    *,
    mistakes: int = 4,
    hits: int = 2,
    lit: int = 0,
    model: Recognizer | None = None,
    engine: EngineName = "eager",
    most_megapixels: int = MOST_MEGAPIXELS,
    progress: Progress | None = None,
) -> list[Strip]:
    """Return the surest mistakes and hits as frames with their best names and the true one's probability.

    Args:
        engine: what runs the encoder, as `Reading` has it.
        most_megapixels: as of `Reading`.
        lit: so many of them get saliency from `model`, for the answer and, where it is wrong, for the true name.

    Raises:
        MediaError: a file that cannot be read any more.
    """
    made = []
    chosen = surest(result, mistakes=mistakes, hits=hits)
    for number, item in enumerate(chosen):
        clip = clip_of(result.paths[item], protocol, most_megapixels)
        strip = _strip(result, item, clip)
        made.append(_lit(strip, result.names, model, clip, engine) if model is not None and number < lit else strip)
        if progress:
            progress(len(made), len(chosen))
    return made


def _strip(result: Evaluation, item: int, clip: UInt8[Tensor, "frames 3 size size"]) -> Strip:
    """Return the clip of an item with its three best names, and the true one where it is further behind."""
    chances = result.scores[item].softmax(-1)
    order = result.scores[item].argsort(descending=True, stable=True).tolist()
    truth = int(result.targets[item])
    place = order.index(truth)
    top = [(result.names[c], float(chances[c])) for c in order[:3] + ([truth] if place >= 3 else [])]
    name = "/".join(result.paths[item].parts[-2:])
    return Strip(name, _shown(clip), top, result.names[truth], place + 1)


def _shown(clip: UInt8[Tensor, "frames 3 size size"]):
    return short_side(clip, SIDE).permute(0, 2, 3, 1).contiguous().numpy()


def _lit(
    strip: Strip,
    names: tuple[str, ...],
    model: Recognizer,
    clip: UInt8[Tensor, "frames 3 size size"],
    engine: EngineName,
) -> Strip:
    """Return the strip with the heat of the answer and of the true class."""
    said = strip.top[0][0]
    asked = {"said": said} if strip.truth in (None, said) else {"said": said, "true": strip.truth}
    seen, heats, lines = cover(model, clip, engine=engine), {}, []
    for what, name in asked.items():
        place = names.index(name)
        before, after = seen.probabilities(place)
        # Lit as brightly as any other, a heat that moves hardly anything would look like a finding.
        if seen.strength(place) < FAINT:
            lines.append(f"{name} ({percent(before)}): no region speaks for it")
        else:
            heats[f"{what}: {name}"] = seen.heat(place).numpy()
            times = math.exp(seen.strength(place))
            factor = f"{times:.1f}" if times < 10 else f"{times:,.0f}"
            fall = f"{percent(before)} to {percent(after)}, odds by a factor of {factor}"
            lines.append(f"{name}: its brightest region covered, it falls from {fall}")
    return strip._replace(heats=heats, note="; ".join(lines))
