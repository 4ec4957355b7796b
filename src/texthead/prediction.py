"""Files in, names out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from texthead.datasets import Pixels, media_below
from texthead.errors import DataError
from texthead.evaluation import Pooling, own_pixels, score
from texthead.features import Progress
from texthead.recognizer import Recognizer
from texthead.runs import Run
from texthead.sampling import Views
from texthead.shard_files import has_shards, is_there, read_rows
from texthead.towers import as_visual


@dataclass(frozen=True)
class Prediction:
    """The best names of one file, best first, with their probabilities (0-1); or why it could not be read."""

    path: Path
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None


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
    if isinstance(run, Run):
        model, frames, pixels = run.model, frames or run.recipe.frames, pixels or run.pixels
        views = views or Views(origin=run.recipe.origin, along=run.recipe.crops_along)
        pooling = pooling or run.recipe.pooling
    else:
        model, views = run, views or Views(origin="centre")
    if pixels is None:
        pixels = own_pixels(as_visual(model.visual).spec)
    paths = find_media(inputs)
    found = score(
        model,
        paths,
        frames=frames or 8,
        pixels=pixels,
        views=views,
        pooling=pooling or "features",
        skip_unreadable=skip_unreadable,
        workers=workers,
        progress=progress,
    )
    values, places = found.scores.softmax(dim=-1).topk(min(top, len(model.names)), dim=-1)
    rows = {position: row for row, position in enumerate(found.positions)}
    errors = iter(found.skipped)
    predictions: list[Prediction] = []
    for position, path in enumerate(paths):
        if position in rows:
            best = zip(places[rows[position]].tolist(), values[rows[position]].tolist(), strict=True)
            predictions.append(Prediction(path, tuple((model.names[i], value) for i, value in best)))
        else:
            predictions.append(Prediction(path, error=next(errors).problem))
    return predictions
