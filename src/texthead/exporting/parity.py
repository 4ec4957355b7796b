"""Compare an exported model with its run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from texthead.data.clips import ViewClips
from texthead.data.sampling import evenly
from texthead.errors import MediaError, RunError
from texthead.exporting import standalone
from texthead.exporting.scorer import Scorer
from texthead.files import MOST_BYTES_OF_LISTS, read_json
from texthead.media.image import Image
from texthead.media.open import reader_of
from texthead.media.shard import is_member
from texthead.media.video import Video
from texthead.parallel.progress import Progress
from texthead.runs.run import Run

# What the exported model's probabilities may differ by.
TOLERANCE = 1e-4

# Held-out files that are scored by both models, if they are there.
CHECKED = 32


@dataclass(frozen=True)
class Parity:
    """How far the written model is from the run.

    `frames` are the frame counts of clips that were tried, `scores` and `probabilities` the largest differences over
    them and over `files` held-out files; `same_pixels` says whether predict.py gave the same input for each file,
    `agree` of how many files the best name is the same, `right` and `right_before` of how many it is the label's, by
    the written model and by the run.
    """

    frames: tuple[int, ...]
    scores: float
    probabilities: float
    files: int
    same_pixels: bool
    agree: int
    right: int
    right_before: int


def parity(folder: Path, scorer: Scorer, run: Run, progress: Progress | None = None) -> Parity:
    """Compare the folder's model with the run: on coarse noise, and on held-out files that still exist."""
    predictor, protocol = standalone.Predictor(folder), scorer.protocol
    limit = predictor.settings["input"]["most_frames"]
    tried = (protocol.frames,) if scorer.model.sees_clips else (1, 2, protocol.frames, 2 * protocol.frames)
    counts = sorted({min(count, limit or count) for count in tried})
    pairs = []
    for count in counts:
        clips = noise_clips(2 if count == protocol.frames else 1, count, predictor.settings)
        pairs.append((_scores(scorer, clips), predictor.model(clips)))
    files, labels = _held_out(run)
    views = ViewClips(files, [0] * len(files), frames=protocol.frames, views=protocol.views, pixels=protocol.sizes)
    same, best = True, []
    for i, label in enumerate(labels):
        own = views[i][0]
        if not isinstance(own, MediaError):
            clips = standalone.read_clips(files[i], predictor.settings)[None]
            same = same and torch.equal(own[None], scorer.crops(torch.from_numpy(clips)))
            pairs.append((_scores(scorer.of_views, own[None].numpy()), predictor.model(clips)))
            best.append((*(predictor.names[int(scores.argmax())] for scores in pairs[-1]), label))
        if progress:
            progress(i + 1, len(files))
    return Parity(
        tuple(counts),
        _furthest(pairs),
        _furthest([(_softmax(ours), _softmax(theirs)) for ours, theirs in pairs]),
        len(best),
        same,
        agree=sum(own == exported for own, exported, _ in best),
        right=sum(exported == label for _, exported, label in best),
        right_before=sum(own == label for own, _, label in best),
    )


def _held_out(run: Run) -> tuple[list[Path], list[str]]:
    """Return some of the run's held-out files that still exist, evenly placed, and their labels."""
    split = read_json(run.folder / "split.json", most=MOST_BYTES_OF_LISTS)
    rows = zip(map(Path, split["held_out"]), split.get("held_out_labels", split["held_out"]), strict=True)
    # `predict.py` opens files of no other readers.
    read = [(path, label) for path, label in rows if reader_of(path) in (Image, Video)]
    there = [(path, label) for path, label in read if path.is_file() and not is_member(path)]
    chosen = [there[place] for place in evenly(len(there), CHECKED)]
    return [path for path, _ in chosen], [label for _, label in chosen]


def noise_clips(items: int, frames: int, settings: dict) -> UInt8[np.ndarray, "items clips frames height width 3"]:
    """Return coarse noise, in which an encoder sees something; the same for the same shape."""
    rng, height = np.random.default_rng([items, frames]), settings["resize"]
    coarse = rng.integers(0, 256, (items, settings["views"]["clips"], frames, 8, 8, 3), dtype=np.uint8)
    down, across = (np.arange(side) * 8 // side for side in (height, height if settings["squash"] else 4 * height // 3))
    return np.ascontiguousarray(coarse[..., down, :, :][..., across, :])


@torch.inference_mode()
def _scores(score: Callable[[Tensor], Tensor], clips: np.ndarray) -> np.ndarray:
    return score(torch.from_numpy(clips)).float().numpy()


def _furthest(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the largest difference within a pair; NaN if one holds a NaN. Equal infinities differ by 0."""
    with np.errstate(invalid="ignore"):
        return float(np.max([np.where(a == b, 0.0, np.abs(a - b)).max() for a, b in pairs]))


def _softmax(scores: np.ndarray) -> np.ndarray:
    odds = np.exp(scores.astype(np.float64) - scores.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def check_parity(found: Parity) -> None:
    """Raise RunError unless the written model is the run's.

    Raises:
        RunError: it differs by more than `TOLERANCE`, one of the two gives NaN, or predict.py reads files otherwise.
    """
    if math.isnan(found.probabilities):
        raise RunError(
            "probabilities of the run or of the exported model are NaN, so nothing was written: look at what `texthead "
            "predict` says; if that is sound, try to=torch"
        )
    if not found.same_pixels:
        raise RunError("predict.py reads held-out files to other pixels than texthead here: report your torch and CPU")
    if found.probabilities > TOLERANCE:
        raise RunError(
            f"the exported model's probabilities differ from the run's by {found.probabilities:.1e}, more than "
            f"{TOLERANCE:.0e}: nothing was written; try to=torch"
        )
