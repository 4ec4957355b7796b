"""The features of a frozen encoder that training reads."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from texthead.data.clips import FrameBank, TrainFeatures
from texthead.data.dataset import Dataset
from texthead.data.protocol import Pixels, Views
from texthead.data.sampling import evenly
from texthead.errors import MediaError
from texthead.features.frames import frame_features, readable
from texthead.features.reading import Reading
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import gather_list, rank, ranks, share, together
from texthead.parallel.progress import Reporter
from texthead.recipes import Recipe


def feature_clips(
    model: Recognizer,
    dataset: Dataset,
    recipe: Recipe,
    pixels: Pixels,
    reading: Reading,
    reporter: Reporter = Reporter(),
) -> TrainFeatures:
    """Return clips of frame features; each process encodes a share of the items.

    With a cache, an encoder of whole clips keeps no features in memory: each clip is read when it is trained on.

    Clips are drawn from twice as many encoded frames per item. Encoders of whole clips give two clips per item with
    interleaved frames, or with a stride, the first and the last window.

    Raises: MediaError if an item cannot be read.
    """
    items, errors = dataset.items[share(len(dataset), rank(), ranks())], list[MediaError]()
    paths, visual = [item.path for item in items], model.visual_encoder

    def without_errors(entries: Iterable[Any | MediaError]) -> Iterator[Any]:
        for entry in entries:
            if isinstance(entry, MediaError):
                errors.append(entry)
            else:
                yield entry

    with together():
        if model.sees_clips:
            for item in items if recipe.stride else ():
                item.media.check_windows()
            choose = partial(Views(clips=2, stride=recipe.stride).frame_indices, num_frames=recipe.frames)
        else:
            choose = partial(evenly, most=2 * recipe.frames)
        entries = without_errors(frame_features(visual, paths, choose, pixels, reading, reporter))
        bank: Sequence[Any] = [*entries] if model.sees_clips else FrameBank(entries)
    readable(gather_list(errors), skip=False)
    if ranks() > 1:
        rows: list[Any] = [row for own in gather_list([bank]) for row in own]
        bank = rows if model.sees_clips else FrameBank(rows)
    return TrainFeatures(bank, dataset.labelling.numbers(model.names), frames=recipe.frames, seed=recipe.seed)
