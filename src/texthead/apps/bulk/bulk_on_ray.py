"""The slices of `texthead.apps.bulk.bulk` on Ray Data: a cluster decodes and encodes, this process writes.

For clusters whose GPU machines have too few CPUs for decoding. Otherwise, `predict_slices` needs no Ray.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from texthead.apps.bulk.bulk import Slice, Slices, State
from texthead.data import Protocol, ViewClips
from texthead.errors import MediaError, PositiveInt, RunError
from texthead.extras import needs
from texthead.features import encode_views, readable
from texthead.models import Recognizer
from texthead.parallel import own_variables, silent
from texthead.prediction import entry_scores


def predict_on_ray(
    slices: Slices,
    *,
    actors: PositiveInt = 1,
    gpus: float | None = None,
    skip_unreadable: bool = False,
    done: Callable[[Slice], object] = silent,
) -> State:
    """Write all unfinished slices with a Ray cluster; return the progress of all processes.

    The slices equal those of `predict_slices`. Uses the cluster that this process is connected to, or the one in
    `RAY_ADDRESS`, or a temporary one on this machine. All machines need texthead and the files at the same paths; only
    this process writes, and it holds the names of all files.

    Args:
        actors: processes that encode. With GPUs, any CPU of the cluster decodes for them; without, each decodes its own
            files, on one CPU.
        gpus: GPUs per actor; None for 1 if the cluster has any.
        skip_unreadable: as for `predict_slices`.
        done: called with each slice written.

    Raises:
        RunError: Ray is not installed or cannot start, or the folder cannot be written.
        MediaError: a file cannot be read and `skip_unreadable` is off; finished slices stay.
        DataError: the folder now has another request.
    """
    with _cluster() as ray:
        chunks, sizes = _chunks(slices)
        if not chunks:
            return slices.state()
        if gpus is None:
            gpus = min(1, ray.cluster_resources().get("GPU", 0))
        rows = (
            # One block per slice, so that few slices are unfinished at a time.
            ray.data.from_items(chunks, override_num_blocks=len(sizes))
            .map(_decode, fn_kwargs={"protocol": slices.protocol, "variables": own_variables()})
            .map(
                _Encoder,
                fn_constructor_args=(slices.model.frozen_copy().cpu(), slices.protocol, gpus > 0),
                num_gpus=gpus,
                compute=ray.data.ActorPoolStrategy(size=actors),
            )
            .iter_rows()
        )
        for number, own in _complete_slices(rows, sizes):
            done(_write(slices, number, own, skip_unreadable))
    return slices.state()


@contextmanager
def _cluster() -> Iterator[Any]:
    """Connect to Ray; shut down the cluster on exit if it was started here."""
    # Ray would send usage statistics, and a cluster started here would serve other machines. It reads the second
    # variable at its import.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS", "local")
    if address == "local":
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    with needs("ray", "predict_on_ray"):
        import ray
        import ray.data
    own = not ray.is_initialized()
    if own:
        try:
            # Even without statistics, Ray asks three clouds by HTTP whether it runs there; this proxy does not exist.
            with _variables(http_proxy="http://127.0.0.1:9", no_proxy="") if address == "local" else nullcontext():
                ray.init(address, include_dashboard=False, logging_level=logging.WARNING, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            cause = str(error).strip().splitlines()[0]
            raise RunError(f"Ray cannot start ({cause}); check RAY_ADDRESS, the address of the cluster") from None
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    try:
        with ray.data.DataContext.current(context):
            yield ray
    finally:
        if own:
            ray.shutdown()


@contextmanager
def _variables(**values: str) -> Iterator[None]:
    """Set environment variables in the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            os.environ.update({} if value is None else {name: value})


def _chunks(slices: Slices) -> tuple[list[dict[str, Any]], dict[int, int]]:
    """Return (chunks of files to encode together, of all unfinished slices; number of chunks per slice)."""
    size, chunks, sizes = slices.options.batch, [], {}
    for number, paths in slices.unfinished():
        starts = range(0, len(paths), size)
        chunks += [{"slice": number, "start": i, "paths": [*map(str, paths[i : i + size])]} for i in starts]
        sizes[number] = len(starts)
    return chunks, sizes


# ---- on the cluster: table rows of types that Arrow supports


def _decode(row: dict[str, Any], protocol: Protocol, variables: dict[str, str]) -> dict[str, Any]:
    """Return the chunk with the views of its readable files as bytes, and each file's problem or ""."""
    os.environ.update(variables)
    paths = [Path(path) for path in row["paths"]]
    clips = ViewClips(paths, protocol)
    decoded = [clips[i] for i in range(len(paths))]
    read = [clip.numpy().tobytes() for clip in decoded if not isinstance(clip, MediaError)]
    problems = [clip.problem if isinstance(clip, MediaError) else "" for clip in decoded]
    return {**row, "clips": b"".join(read), "problems": problems}


class _Encoder:
    """Compute the scores of chunks of clips; the model is loaded once per actor."""

    def __init__(self, model: Recognizer, protocol: Protocol, cuda: bool):
        self.model = model.to("cuda" if cuda else "cpu")
        self.protocol = protocol

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        side = self.protocol.sizes.size
        shape = -1, self.protocol.views.count, self.protocol.frames, 3, side, side
        read = iter(torch.from_numpy(np.frombuffer(row.pop("clips"), np.uint8).copy()).view(shape))
        clips = [MediaError(path, problem) if problem else next(read) for path, problem in _paths_and_problems(row)]
        scores, _ = entry_scores(self.model, encode_views(self.model, clips), self.protocol.pooling)
        return {**row, "scores": scores.numpy().tobytes()}


def _paths_and_problems(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (path, problem or "") for each file of a chunk."""
    return list(zip(row["paths"], row["problems"], strict=True))


# ---- in this process


def _complete_slices(
    rows: Iterable[dict[str, Any]], sizes: Mapping[int, int]
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield (number, chunks in order) of each slice as soon as all its chunks have arrived."""
    waiting: dict[int, list[dict[str, Any]]] = {number: [] for number in sizes}
    for row in rows:
        number = row["slice"]
        waiting[number].append(row)
        if len(waiting[number]) == sizes[number]:
            yield number, sorted(waiting.pop(number), key=lambda row: row["start"])


def _write(slices: Slices, number: int, rows: list[dict[str, Any]], skip_unreadable: bool) -> Slice:
    """Write a slice and return it."""
    files = [pair for row in rows for pair in _paths_and_problems(row)]
    readable([MediaError(path, problem) if problem else None for path, problem in files], skip=skip_unreadable)
    scores = np.frombuffer(b"".join(row["scores"] for row in rows), np.float32).copy()
    table = torch.from_numpy(scores).view(len(files), len(slices.model.names))
    return slices.write(number, [Path(path) for path, _ in files], table, [problem or None for _, problem in files])
