"""The features of a frozen encoder that training reads."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from texthead.data.clips import FrameBank, TrainFeatures
from texthead.data.dataset import Dataset
from texthead.data.protocol import Protocol, Views
from texthead.data.sampling import evenly
from texthead.errors import MediaError
from texthead.features.clips import encode
from texthead.features.reading import ReadOptions, readable
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import gather_list, rank, ranks, share, together
from texthead.parallel.progress import Reporter
from texthead.recipes import Recipe


def feature_clips(
    model: Recognizer, dataset: Dataset, recipe: Recipe, reading: ReadOptions, reporter: Reporter = Reporter()
) -> TrainFeatures:
    """Return clips of frame features; each process encodes a share of the items.

    With a cache, an encoder of whole clips keeps no features in memory: each clip is read when it is trained on.

    Clips are drawn from twice as many encoded frames per item. Encoders of whole clips give two clips per item with
    interleaved frames, or with a stride, the first and the last window.

    Raises: MediaError if an item cannot be read.
    """
    items, errors = dataset.items[share(len(dataset), rank(), ranks())], list[MediaError]()
    views = Views(clips=2, stride=recipe.stride if model.takes_clips else 0)
    clips = Protocol(recipe.frames, model.spec.pixels(recipe), views)
    choose = None if model.takes_clips else partial(evenly, most=2 * recipe.frames)

    def readable_entries() -> Iterator[Any]:
        paths = [item.path for item in items]
        for entry in encode(model.visual_encoder, paths, clips, reading, reporter, choose=choose, leave=True):
            if isinstance(entry, MediaError):
                errors.append(entry)
            elif model.takes_clips:
                yield [*entry] if isinstance(entry, Tensor) else entry
            else:
                yield entry[0]

    with together():
        for item in items if views.uses_windows else ():
            item.media.check_windows()
        bank: Sequence[Any] = [*readable_entries()] if model.takes_clips else FrameBank(readable_entries())
    readable(gather_list(errors), skip=False)
    if ranks() > 1:
        rows: list[Any] = [row for own in gather_list([bank]) for row in own]
        bank = rows if model.takes_clips else FrameBank(rows)
    return TrainFeatures(bank, frames=recipe.frames, seed=recipe.seed)
