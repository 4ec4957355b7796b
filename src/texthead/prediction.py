"""Files in, names out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.datasets import Pixels, media_below
from texthead.errors import DataError, MediaError
from texthead.evaluation import Pooling, check_any, head_scores, item_features, own_pixels
from texthead.features import Progress, readable
from texthead.heads import text_head
from texthead.recognizer import Recognizer
from texthead.runs import Run
from texthead.sampling import Views
from texthead.shard_files import has_shards, is_there, read_rows
from texthead.temporal import MeanPool
from texthead.towers import Encoder, as_visual


@dataclass(frozen=True)
class Prediction:
    """The best names of one file, best first, with their probabilities (0-1); or why it could not be read."""

    path: Path
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None


class Look(NamedTuple):
    """How files are looked at: frames of a clip, sizes, views, and what is averaged over them."""

    frames: int
    pixels: Pixels
    views: Views
    pooling: Pooling


def look_of(
    run: Run | Recognizer,
    *,
    frames: int | None = None,
    pixels: Pixels | None = None,
    views: Views | None = None,
    pooling: Pooling | None = None,
) -> tuple[Recognizer, Look]:
    """The model, and how it looks at files: what is not given is the run's, or a bare model's as `predict` says."""
    if isinstance(run, Run):
        recipe = run.recipe
        own = Look(recipe.frames, run.pixels, Views(origin=recipe.origin, along=recipe.crops_along), recipe.pooling)
        model = run.model
    else:
        own = Look(8, own_pixels(as_visual(run.visual).spec), Views(origin="centre"), "features")
        model = run
    return model, Look(frames or own.frames, pixels or own.pixels, views or own.views, pooling or own.pooling)


def zero_shot(
    encoder: Encoder, names: Sequence[str], *, labels: Sequence[str], prompts: Sequence[str | Sequence[str]]
) -> Recognizer:
    """A model without any training: the mean of the frames before text rows; predictions say `labels`."""
    head = text_head(encoder, names, prompts=prompts).renamed(labels)
    return Recognizer(encoder.visual, MeanPool(), head)


def find_media(inputs: Sequence[str | Path]) -> list[Path]:
    """The files that are named, and the videos and images in the folders that are named (below them too), sorted.

    A name with a place for a number, `v1/img_{:05d}.jpg`, is one clip of frames. Of prepared shards all clips are
    named. Hidden files and folders are passed over, unless they are named.

    Raises:
        DataError: a path that does not exist, or a folder without video or image.
    """
    found: list[Path] = []
    for path in map(Path, inputs):
        if has_shards(path):
            found += [row[0] for row in read_rows(path)[0]]
        elif path.is_dir():
            inside = media_below(path)
            if not inside:
                raise DataError(f"{path}: folder holds no video or image; name files or another folder")
            found += inside
        elif is_there(path):
            found.append(path)
        else:
            raise DataError(f"{path}: no such file or folder; check the path")
    return found


def predict(
    run: Run | Recognizer,
    inputs: Sequence[str | Path],
    *,
    top: int = 5,
    views: Views | None = None,
    pooling: Pooling | None = None,
    frames: int | None = None,
    pixels: Pixels | None = None,
    skip_unreadable: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> list[Prediction]:
    """The best `top` names of each file, in the order of `find_media`.

    Args:
        run: a run from `load_run`, which knows its frames, sizes, sampling and what is averaged over views; or a bare
            model, with `frames` (8 if None) and `pixels` (the visual encoder's own if None).

    Raises:
        DataError: a path that does not exist, a folder without media, or no file at all that can be read.
        MediaError: a file that cannot be read, unless `skip_unreadable`: then its prediction holds the error.
    """
    model, look = look_of(run, frames=frames, pixels=pixels, views=views, pooling=pooling)
    paths = find_media(inputs)
    entries = item_features(
        model,
        paths,
        frames=look.frames,
        pixels=look.pixels,
        views=look.views,
        cache=None,
        workers=workers,
        progress=progress,
    )
    positions, errors = readable(entries, skip=skip_unreadable)
    check_any(paths, positions, errors)
    return named(model.names, paths, *entry_scores(model, entries, look.pooling), top=top)


def entry_scores(
    model: Recognizer, entries: Sequence[Float[Tensor, "views dim"] | MediaError], pooling: Pooling
) -> tuple[Float[Tensor, "files classes"], list[str | None]]:
    """(scores of each file, NaN where it could not be read; why it could not)."""
    scores = torch.full((len(entries), len(model.names)), torch.nan)
    for row, entry in zip(scores, entries, strict=True):
        if not isinstance(entry, MediaError):
            # Each by itself: the last bits of a product depend on how many rows it has.
            row.copy_(head_scores(model, entry[None], pooling=pooling)[0])
    return scores, [entry.problem if isinstance(entry, MediaError) else None for entry in entries]


def named(
    names: tuple[str, ...],
    paths: Sequence[Path],
    scores: Float[Tensor, "files classes"],
    problems: Sequence[str | None],
    *,
    top: int,
) -> list[Prediction]:
    """The prediction of each file from its scores, or from why it has none."""
    best = scores.softmax(dim=-1).topk(min(top, len(names)), dim=-1)
    found: list[Prediction] = []
    for path, problem, places, values in zip(paths, problems, best.indices, best.values, strict=True):
        pairs = zip(places.tolist(), values.tolist(), strict=True)
        known = tuple((names[place], value) for place, value in pairs) if problem is None else ()
        found.append(Prediction(path, known, problem))
    return found


def json_entry(found: Prediction) -> dict[str, object]:
    """The prediction as JSON holds it: probabilities to a millionth, and an error only where there is one."""
    top = [{"name": name, "probability": round(value, 6)} for name, value in found.top]
    error = {"error": found.error} if found.error else {}
    return {"path": str(found.path), "top": top, **error}


CSV_COLUMNS = ("path", "rank", "name", "probability", "error")


def csv_rows(predictions: Sequence[Prediction]) -> Iterator[tuple[object, ...]]:
    """The rows of a table with `CSV_COLUMNS`: one a name, or one with why the file could not be read."""
    for found in predictions:
        for rank, (name, probability) in enumerate(found.top, 1):
            yield found.path, rank, name, f"{probability:.6f}", ""
        if found.error:
            yield found.path, "", "", "", found.error
