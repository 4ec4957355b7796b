"""The parts of `texthead.prediction.bulk` on Ray Data: a cluster decodes and encodes, this process writes.

For clusters in which the machines with GPUs have too few CPUs to decode for them. Where every process can do both,
the parts need no Ray.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from texthead.data.clips import ViewClips
from texthead.data.protocol import Protocol
from texthead.errors import MediaError, RunError
from texthead.extras import needs
from texthead.features.frames import readable
from texthead.features.views import encode_views
from texthead.media.limits import MOST_MEGAPIXELS
from texthead.models.recognizer import Recognizer
from texthead.prediction.bulk import Part, Parts, State
from texthead.prediction.predict import entry_scores


def predict_on_ray(
    parts: Parts,
    *,
    actors: int = 1,
    gpus: float | None = None,
    skip_unreadable: bool = False,
    most_megapixels: int = MOST_MEGAPIXELS,
    done: Callable[[Part], None] | None = None,
) -> State:
    """Make every unfinished part on a Ray cluster; return how far all processes are.

    What is in the parts is what `predict_parts` puts there. The cluster is the one that this process is connected to,
    or that `RAY_ADDRESS` names, or else one that is started on this machine for as long as it takes. All its machines
    need texthead, and the files by the same paths; this process alone writes, and holds the names of all files.

    Args:
        actors: processes that hold the model and encode. With GPUs any CPU of the cluster decodes for them; without,
            each decodes what it encodes, on one CPU.
        gpus: GPUs of each of them; if None one where the cluster has any.
        skip_unreadable, most_megapixels: as of `predict_parts`.
        done: called with each part that was made.

    Raises:
        RunError: Ray is not installed or cannot start; or the parts' folder cannot be written.
        MediaError: a file that cannot be read, unless `skip_unreadable`; finished parts stay.
        DataError: the folder is of another request by now.
    """
    with _cluster() as ray:
        chunks, sizes = _chunks(parts)
        if not chunks:
            return parts.state()
        if gpus is None:
            gpus = min(1, ray.cluster_resources().get("GPU", 0))
        rows = (
            # One part a block, so that few parts are half done at a time.
            ray.data.from_items(chunks, override_num_blocks=len(sizes))
            .map(_decoded, fn_kwargs={"protocol": parts.protocol, "most_megapixels": most_megapixels})
            .map(
                _Encoder,
                fn_constructor_args=(parts.model.frozen_copy().cpu(), parts.protocol, gpus > 0),
                num_gpus=gpus,
                compute=ray.data.ActorPoolStrategy(size=actors),
            )
            .iter_rows()
        )
        for number, own in _whole(rows, sizes):
            part = _write(parts, number, own, skip_unreadable)
            if done:
                done(part)
    return parts.state()


@contextmanager
def _cluster() -> Iterator[Any]:
    """Connect to Ray; a cluster that was started for it ends with the block."""
    with needs("ray", "predict_on_ray"):
        import ray
        import ray.data
    own = not ray.is_initialized()
    if own:
        # It would report to its makers.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(include_dashboard=False, logging_level=logging.WARNING, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            cause = str(error).strip().splitlines()[0]
            raise RunError(f"Ray cannot start ({cause}); see RAY_ADDRESS, which names a cluster") from None
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    try:
        with ray.data.DataContext.current(context):
            yield ray
    finally:
        if own:
            ray.shutdown()


def _chunks(parts: Parts) -> tuple[list[dict[str, Any]], dict[int, int]]:
    """Return (the files of all unfinished parts in chunks that are encoded at once; how many chunks a part has)."""
    size, chunks, sizes = parts.options.batch, [], {}
    for number, paths in parts.unfinished():
        starts = range(0, len(paths), size)
        chunks += [{"part": number, "start": i, "paths": [*map(str, paths[i : i + size])]} for i in starts]
        sizes[number] = len(starts)
    return chunks, sizes


# ---- on the cluster: rows of a table, whose columns Arrow knows


def _decoded(row: dict[str, Any], protocol: Protocol, most_megapixels: int) -> dict[str, Any]:
    """Return the chunk with the bytes of the views of all readable files; "" is no problem."""
    paths = [Path(path) for path in row["paths"]]
    clips = ViewClips(
        paths,
        [0] * len(paths),
        frames=protocol.frames,
        views=protocol.views,
        pixels=protocol.sizes,
        most_megapixels=most_megapixels,
    )
    found = [clips[i][0] for i in range(len(paths))]
    read = [clip.numpy().tobytes() for clip in found if not isinstance(clip, MediaError)]
    problems = [clip.problem if isinstance(clip, MediaError) else "" for clip in found]
    return {**row, "clips": b"".join(read), "problems": problems}


class _Encoder:
    """Chunks of clips -> chunks of scores, with a model that is loaded once."""

    def __init__(self, model: Recognizer, protocol: Protocol, cuda: bool):
        self.model = model.to("cuda" if cuda else "cpu")
        self.protocol = protocol

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        side = self.protocol.sizes.size
        shape = -1, self.protocol.views.count, self.protocol.frames, 3, side, side
        read = iter(torch.from_numpy(np.frombuffer(row.pop("clips"), np.uint8).copy()).view(shape))
        clips = [MediaError(path, why) if why else next(read) for path, why in _told(row)]
        scores, _ = entry_scores(self.model, encode_views(self.model, clips), self.protocol.pooling)
        return {**row, "scores": scores.numpy().tobytes()}


def _told(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (path, why it could not be read or "") of each file of a chunk."""
    return list(zip(row["paths"], row["problems"], strict=True))


# ---- back here


def _whole(rows: Iterable[dict[str, Any]], sizes: Mapping[int, int]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield (number, chunks in order) of each part as soon as all its chunks are there."""
    waiting: dict[int, list[dict[str, Any]]] = {number: [] for number in sizes}
    for row in rows:
        number = row["part"]
        waiting[number].append(row)
        if len(waiting[number]) == sizes[number]:
            yield number, sorted(waiting.pop(number), key=lambda row: row["start"])


def _write(parts: Parts, number: int, rows: list[dict[str, Any]], skip_unreadable: bool) -> Part:
    """Write a part and return it."""
    told = [pair for row in rows for pair in _told(row)]
    _, errors = readable([MediaError(path, why) if why else None for path, why in told], skip=skip_unreadable)
    scores = np.frombuffer(b"".join(row["scores"] for row in rows), np.float32).copy()
    table = torch.from_numpy(scores).view(len(told), len(parts.model.names))
    parts.write(number, [Path(path) for path, _ in told], table, [why or None for _, why in told])
    return Part(number, len(told), len(errors))
