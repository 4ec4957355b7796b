"""How far an exported model is from its run."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from texthead.data.clips import ViewClips
from texthead.data.protocol import Protocol
from texthead.data.sampling import evenly
from texthead.errors import MediaError, RunError
from texthead.exporting import standalone
from texthead.files import MOST_BYTES_OF_LISTS, read_json
from texthead.media.shard import is_member
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


def parity(folder: Path, scorer: nn.Module, run: Run, protocol: Protocol, progress: Progress | None = None) -> Parity:
    """How far the model in the folder is from the run: on coarse noise, and on held-out files that are there."""
    predictor = standalone.Predictor(folder)
    limit = predictor.settings["input"]["most_frames"]
    counts = sorted({min(count, limit or count) for count in (1, 2, protocol.frames, 2 * protocol.frames)})
    ours, theirs = [], []
    for count in counts:
        clips = noise_clips(2 if count == protocol.frames else 1, count, protocol)
        ours.append(_scores(scorer, clips))
        theirs.append(predictor.model(clips))
    files, labels = _held_out(run)
    found, same, known = _on_files(predictor, scorer, files, protocol, progress)
    ours += [own for own, _ in found]
    theirs += [their for _, their in found]
    targets = [labels[i] for i in known]
    best = [(predictor.names[int(a.argmax())], predictor.names[int(b.argmax())]) for a, b in found]
    return Parity(
        tuple(counts),
        _furthest(ours, theirs),
        _furthest([_softmax(a) for a in ours], [_softmax(b) for b in theirs]),
        len(found),
        same,
        agree=sum(a == b for a, b in best),
        right=sum(b == label for (_, b), label in zip(best, targets, strict=True)),
        right_before=sum(a == label for (a, _), label in zip(best, targets, strict=True)),
    )


def _on_files(
    predictor: standalone.Predictor,
    scorer: nn.Module,
    files: Sequence[Path],
    protocol: Protocol,
    progress: Progress | None,
) -> tuple[list[tuple[np.ndarray, np.ndarray]], bool, list[int]]:
    """(scores of the run and of the folder, whether all inputs were the same, which files could be read)."""
    pairs, same, known = [], True, []
    for i, clips in enumerate(item_clips(files, protocol)):
        if not isinstance(clips, MediaError):
            alone = standalone.views_of(files[i], predictor.settings)[None]
            same = same and np.array_equal(clips, alone)
            pairs.append((_scores(scorer, clips), predictor.model(alone)))
            known.append(i)
        if progress:
            progress(i + 1, len(files))
    return pairs, same, known


def item_clips(
    files: Sequence[Path], protocol: Protocol
) -> Iterator[UInt8[np.ndarray, "1 views frames 3 size size"] | MediaError]:
    """The model's input for each file, as the library reads it."""
    clips = ViewClips(files, [0] * len(files), frames=protocol.frames, views=protocol.views, pixels=protocol.sizes)
    for place in range(len(files)):
        views = clips[place][0]
        yield views if isinstance(views, MediaError) else views[None].numpy()


def _held_out(run: Run) -> tuple[list[Path], list[str]]:
    """Some of the files that the run held out and that are still there, and their labels, evenly placed."""
    split = read_json(run.folder / "split.json", most=MOST_BYTES_OF_LISTS)
    rows = zip(map(Path, split["held_out"]), split.get("held_out_labels", split["held_out"]), strict=True)
    there = [(path, label) for path, label in rows if path.is_file() and not is_member(path)]
    chosen = [there[place] for place in evenly(len(there), CHECKED)]
    return [path for path, _ in chosen], [label for _, label in chosen]


def noise_clips(items: int, frames: int, protocol: Protocol) -> UInt8[np.ndarray, "items views frames 3 size size"]:
    """Coarse noise, in which an encoder sees something; the same for the same shape."""
    rng, size = np.random.default_rng([items, frames]), protocol.sizes.size
    coarse = rng.integers(0, 256, (items, protocol.views.count, frames, 3, 8, 8), dtype=np.uint8)
    places = np.arange(size) * 8 // size
    return np.ascontiguousarray(coarse[..., places, :][..., places])


@torch.inference_mode()
def _scores(scorer: nn.Module, clips: UInt8[np.ndarray, "items views frames 3 size size"]) -> np.ndarray:
    return scorer(torch.from_numpy(clips)).float().numpy()


def _furthest(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """The largest difference between two arrays of a pair; NaN where one holds a NaN. Equal infinities differ by 0."""
    with np.errstate(invalid="ignore"):
        return float(np.max([np.where(a == b, 0.0, np.abs(a - b)).max() for a, b in zip(ours, theirs, strict=True)]))


def _softmax(scores: np.ndarray) -> np.ndarray:
    odds = np.exp(scores.astype(np.float64) - scores.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def check_parity(found: Parity) -> None:
    """Nothing, if the written model is the run's.

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
