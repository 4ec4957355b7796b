"""The features of the views of each item: behind the temporal module, before the head."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from texthead.commands.console import bar
from texthead.data.clips import ViewClips
from texthead.data.dataset import Dataset
from texthead.data.protocol import Pixels, Views
from texthead.encoders.encoder import Encoder, VisualSpec, as_visual
from texthead.errors import DataError, MediaError
from texthead.features.cache import FeatureCache
from texthead.features.frames import Progress, frame_features, frames_together, readable
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.parallel.distributed import check_same, gather_list, rank, ranks, share, together
from texthead.parallel.loaders import data_loader, watched


@dataclass(frozen=True)
class Pretrained:
    """What the pretrained encoder makes of the training items: the ground for centers, LDA and the probe."""

    encoder: Encoder
    pixels: Pixels
    frames: int
    origin: Any
    cache: FeatureCache
    workers: int

    def features(self, dataset: Dataset, *, skip: bool, title: str) -> tuple[torch.Tensor, list[int], list[MediaError]]:
        """(one mean feature a readable item, their positions, the errors of the others)."""
        with bar(title, "files") as progress:
            return readable_items(
                self.encoder.visual,
                dataset,
                frames=self.frames,
                pixels=self.pixels,
                views=Views(origin=self.origin),
                skip=skip,
                cache=self.cache,
                workers=self.workers,
                progress=progress,
            )


def item_features(
    model: Recognizer,
    paths: Sequence[Path],
    *,
    frames: int,
    pixels: Pixels,
    views: Views,
    cache: FeatureCache | None,
    workers: int = 0,
    batch: int = 1,
    progress: Progress | None = None,
) -> list[Float[Tensor, "views dim"] | MediaError]:
    """The feature of each view of each file (behind the temporal module, before the head), or its MediaError.

    Of several processes each takes a share of the batches, and all get the whole list; the first one's `progress` is
    that of its share.

    Raises:
        DataError: a batch below 1.
        RunError: another process has stopped.
    """
    if batch < 1:
        raise DataError(f"batch must be at least 1, got {batch}")
    kept = cache if views.crops == 1 and model.sees_frames_apart else None
    take = partial(_view_features, batch=batch) if kept is None else partial(_cached_features, cache=kept)
    check_same("files", paths)
    # Whole batches, so that a file stands beside the same others on any number of processes.
    batches = share(math.ceil(len(paths) / batch), rank(), ranks())
    own, seen = paths[batch * batches.start : batch * batches.stop], progress if rank() == 0 else None
    with together():
        found = take(model, own, frames=frames, pixels=pixels, views=views, workers=workers, progress=seen)
    return gather_list(found)


def readable_items(
    visual: nn.Module,
    dataset: Dataset,
    *,
    frames: int,
    pixels: Pixels,
    views: Views,
    skip: bool,
    cache: FeatureCache | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> tuple[Float[Tensor, "items dim"], list[int], list[MediaError]]:
    """(the mean feature of each readable item, their positions, the errors of the others).

    Raises:
        MediaError: an item that cannot be read, unless `skip`.
    """
    entries = item_features(
        Recognizer(visual, MeanPool(), nn.Identity()),
        [item.path for item in dataset.items],
        frames=frames,
        pixels=pixels,
        views=views,
        cache=cache,
        workers=workers,
        progress=progress,
    )
    positions, errors = readable(entries, skip=skip)
    found = [entry.mean(0) for entry in entries if not isinstance(entry, MediaError)]
    return torch.stack(found) if found else torch.empty(0, as_visual(visual).spec.dim), positions, errors


def encode_items(
    visual: nn.Module,
    dataset: Dataset,
    *,
    frames: int = 8,
    pixels: Pixels | None = None,
    views: Views | None = None,
    cache: FeatureCache | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> Float[Tensor, "items dim"]:
    """The mean feature of each item, not normalised: the ground for rows and probes of your own.

    Args:
        pixels: the encoder's own sizes if None.
        views: one clip of segment centres and one centre crop if None; of several views the mean comes back.

    Raises:
        MediaError: an item that cannot be read.
    """
    found, _, _ = readable_items(
        visual,
        dataset,
        frames=frames,
        pixels=pixels or own_pixels(as_visual(visual).spec),
        views=views or Views(origin="centre"),
        skip=False,
        cache=cache,
        workers=workers,
        progress=progress,
    )
    return found


def own_pixels(spec: VisualSpec) -> Pixels:
    """The sizes that an encoder was trained to be tested with."""
    return Pixels(spec.size, round(spec.size / spec.crop), spec.interpolation, spec.squash)


@watched()
def _view_features(
    model: Recognizer,
    paths: Sequence[Path],
    *,
    frames: int,
    pixels: Pixels,
    views: Views,
    workers: int,
    progress: Progress | None,
    batch: int,
) -> list[Float[Tensor, "views dim"] | MediaError]:
    """The feature of each view of each file, decoded now."""
    clips = ViewClips(paths, [0] * len(paths), frames=frames, views=views, pixels=pixels)
    found: list[Tensor | MediaError] = []
    for entries in data_loader(clips, workers, batch_size=batch, collate_fn=list):
        found += encode_views(model, [clip for clip, _, _ in entries])
        if progress:
            progress(len(found), len(paths))
    return found


def _encoded(
    model: Recognizer, clips: UInt8[Tensor, "clips frames 3 size size"], device: torch.device
) -> Float[Tensor, "clips dim"]:
    """The feature of each clip; a CPU takes a few at a time."""
    most = max(1, frames_together(device) // clips.shape[1]) if device.type == "cpu" else len(clips)
    return torch.cat([model.features(part.to(device)).cpu() for part in clips.split(most)])


@torch.inference_mode()
def encode_views(
    model: Recognizer, clips: Sequence[UInt8[Tensor, "views frames 3 size size"] | MediaError]
) -> list[Float[Tensor, "views dim"] | MediaError]:
    """The feature of each view of some files, encoded at once; the errors of others stay in their places."""
    model.eval()
    device = next(model.parameters()).device
    read = [clip for clip in clips if not isinstance(clip, MediaError)]
    encoded = _encoded(model, torch.cat(read), device) if read else torch.empty(0)
    rows = iter(encoded.split([len(clip) for clip in read]))
    return [clip if isinstance(clip, MediaError) else next(rows) for clip in clips]


@torch.inference_mode()
def _cached_features(
    model: Recognizer,
    paths: Sequence[Path],
    *,
    cache: FeatureCache,
    frames: int,
    pixels: Pixels,
    views: Views,
    workers: int,
    progress: Progress | None,
) -> list[Float[Tensor, "views dim"] | MediaError]:
    """The same through the feature cache."""
    model.eval()
    choose = partial(_view_indices, frames=frames, views=views)
    entries = frame_features(
        as_visual(model.visual),
        paths,
        choose,
        pixels,
        cache=cache,
        workers=workers,
        progress=progress,  # pyright: ignore[reportArgumentType]
    )
    device = next(model.parameters()).device
    found: list[Tensor | MediaError] = []
    for entry in entries:
        if isinstance(entry, MediaError):
            found.append(entry)
            continue
        place = {index: i for i, index in enumerate(entry.indices)}
        clips = [[place[index] for index in clip] for clip in views.frame_indices(entry.length, frames)]
        found.append(model.temporal(entry.features[torch.tensor(clips)].to(device)).cpu())
    return found


def _view_indices(length: int, *, frames: int, views: Views) -> list[int]:
    return [index for clip in views.frame_indices(length, frames) for index in clip]
