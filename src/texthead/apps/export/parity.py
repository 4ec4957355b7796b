"""Compare an exported model with its run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from texthead import Reporter, Run
from texthead.apps.export import standalone
from texthead.apps.export.scorer import Scorer
from texthead.data import ViewClips, evenly
from texthead.errors import MediaError, RunError
from texthead.media import Image, Video

# Largest allowed difference in probability.
TOLERANCE = 1e-4

# Maximum number of held-out files that both models score.
CHECKED = 32


@dataclass(frozen=True)
class Parity:
    """Differences between the exported model and the run.

    Attributes:
        frames: frame counts of the noise clips that were compared.
        scores, probabilities: largest differences, over these clips and the held-out files.
        files: number of held-out files that were compared.
        agree: number of files with the same predicted class or classes.
    """

    frames: tuple[int, ...]
    scores: float
    probabilities: float
    files: int
    agree: int


def parity(folder: Path, scorer: Scorer, run: Run, reporter: Reporter = Reporter()) -> Parity:
    """Compare the folder's model with the run on coarse noise and on held-out files that still exist."""
    predictor, protocol = standalone.Predictor(folder), scorer.protocol
    limit = predictor.settings["input"]["most_frames"]
    tried = (protocol.frames,) if scorer.model.takes_clips else (1, 2, protocol.frames, 2 * protocol.frames)
    counts = sorted({min(count, limit or count) for count in tried})
    pairs = []
    for count in counts:
        clips = noise_clips(2 if count == protocol.frames else 1, count, predictor.settings)
        pairs.append((_scores(scorer, clips), predictor.model(clips)))
    files = held_out_files(run)
    views, compared, agree = ViewClips(files, protocol), 0, 0
    with reporter.bar("write and compare", "files") as progress:
        for i, file in enumerate(files):
            view = views[i]
            if not isinstance(view, MediaError):
                clips = standalone.read_clips(file, predictor.settings)[None]
                if not torch.equal(view[None], scorer.crops(torch.from_numpy(clips))):
                    raise RunError(
                        f"predict.py decodes {file} to other pixels than texthead; please report your torch version "
                        "and CPU"
                    )
                pairs.append((_scores(scorer.score_views, view[None].numpy()), predictor.model(clips)))
                ours, theirs = ({*order[:count]} for order, count in (predictor.ranked(each[0]) for each in pairs[-1]))
                compared, agree = compared + 1, agree + (ours == theirs)
            progress(i + 1, len(files))
    of = predictor.probabilities
    measured = Parity(
        tuple(counts),
        _largest_difference(pairs),
        _largest_difference([(of(ours.astype(float)), of(theirs.astype(float))) for ours, theirs in pairs]),
        compared,
        agree,
    )
    if not measured.probabilities <= TOLERANCE:  # Nor NaN.
        raise RunError(
            f"the exported model's probabilities differ from the run's by {measured.probabilities:.1e}, more than "
            f"{TOLERANCE:.0e}; nothing was written. Please report the encoder and the head of the run"
        )
    return measured


def held_out_files(run: Run) -> list[Path]:
    """Return some held-out files that still exist, evenly spaced."""
    # `predict.py` reads only images and videos.
    items = run.split.items("held_out").items
    existing = [item.path for item in items if item.media.reader in (Image, Video) and item.path.is_file()]
    return [existing[index] for index in evenly(len(existing), CHECKED)]


def noise_clips(items: int, frames: int, settings: dict) -> UInt8[np.ndarray, "items clips frames height width 3"]:
    """Return coarse noise, which excites an encoder more than fine noise; deterministic per shape."""
    rng, height = np.random.default_rng([items, frames]), settings["resize"]
    coarse = rng.integers(0, 256, (items, settings["views"]["clips"], frames, 8, 8, 3), dtype=np.uint8)
    down, across = (np.arange(side) * 8 // side for side in (height, height if settings["squash"] else 4 * height // 3))
    return np.ascontiguousarray(coarse[..., down, :, :][..., across, :])


@torch.inference_mode()
def _scores(score: Callable[[Tensor], Tensor], clips: np.ndarray) -> np.ndarray:
    return score(torch.from_numpy(clips)).float().numpy()


def _largest_difference(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the largest absolute difference within a pair; NaN if there is a NaN, 0 for equal infinities."""
    with np.errstate(invalid="ignore"):
        return float(np.max([np.where(a == b, 0.0, np.abs(a - b)).max() for a, b in pairs]))
