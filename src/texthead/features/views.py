"""The features of each item's views: after the temporal module, before the head."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.data.protocol import Protocol
from texthead.encoders.encoder import VisualEncoder
from texthead.errors import MediaError
from texthead.features.clips import FILES_OF_CHUNK, encode
from texthead.features.reading import ReadOptions
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import all_gather_list, check_same, raise_on_all_ranks, rank, shard_slice, world_size
from texthead.parallel.progress import Reporter, silent


def item_features(
    model: Recognizer,
    paths: Sequence[str | Path],
    protocol: Protocol,
    reading: ReadOptions = ReadOptions(),
    reporter: Reporter = Reporter(),
    title: str = "encode",
) -> Iterator[Float[Tensor, "views dim"] | MediaError]:
    """Yield, for each file, the feature of each view (after the temporal module, before the head), or its MediaError.

    About a thousand files are encoded at a time, to limit memory. Of several processes, each encodes a share of these
    and all yield all; the progress bar counts the share of the first process. The model is left in evaluation mode.

    Args:
        title: title of the progress bar.

    Raises:
        RunError: another process has stopped.
    """
    model.eval()
    cached = bool(reading.cache) and (model.encodes_frames_independently or model.takes_clips)
    apart = model.encodes_frames_independently and isinstance(model.visual, VisualEncoder)
    network = model.visual_encoder if apart or cached else model
    check_same("files", paths)
    # Whole batches, so that a file is encoded with the same other files on any number of processes.
    size = reading.batch * math.ceil(FILES_OF_CHUNK / reading.batch)
    chunks = [paths[start : start + size] for start in range(0, len(paths), size)]
    shares: list[Sequence[str | Path]] = []  # This process's part of the batches of each chunk.
    for chunk in chunks:
        batches = shard_slice(math.ceil(len(chunk) / reading.batch), rank(), world_size())
        shares.append(chunk[reading.batch * batches.start : reading.batch * batches.stop])
    own, batch = [*map(Path, chain(*shares))], None if cached else reading.batch
    files = replace(reading, cache=cached and reading.cache)
    with reporter.bar(title, "files") as progress:
        counting = reporter.counting(progress if rank() == 0 else silent)
        entries = encode(network, own, protocol, files, counting, batch=batch)
        for each in shares:
            with raise_on_all_ranks():
                chunk = islice(entries, len(each))
                features = _pooled(model, chunk, reading.batch, whole=network is model)
            yield from all_gather_list(features)


@torch.inference_mode()
def _pooled(
    model: Recognizer, entries: Iterator[Tensor | MediaError], batch: int, *, whole: bool
) -> list[Float[Tensor, "views dim"] | MediaError]:
    """Return the feature of each view of each file: its tokens after the temporal module, or its token if `whole`."""
    features: list[Tensor | MediaError] = []
    while group := [*islice(entries, batch)]:
        views, rows = [entry for entry in group if isinstance(entry, Tensor)], iter(())
        if views:
            tokens = torch.cat(views)
            pooled = tokens[:, 0] if whole else model.temporal(tokens.to(model.visual_encoder.mean))
            rows = iter(pooled.cpu().split([*map(len, views)]))
        features += [entry if isinstance(entry, MediaError) else next(rows) for entry in group]
    return features
