"""Cut long unlabelled videos into windows of similar frames, to be labelled one by one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from texthead.apps.search import encode_windows
from texthead.data import Dataset, Item
from texthead.encoders import Encoder
from texthead.errors import MediaError
from texthead.features import Reading
from texthead.media import MediaPath, Span, Video, spans_by_file
from texthead.parallel import Reporter
from texthead.transfer import QUICK_FRAMES


def cut_files(
    files: Dataset,
    encoder: Encoder,
    reading: Reading,
    *,
    above: float,
    known: Sequence[Path] = (),
    reporter: Reporter = Reporter(),
) -> Dataset:
    """Return the files with each long video replaced by its windows.

    With encoders of whole clips, windows have equal lengths.

    Args:
        above: cut only videos longer than this, in seconds.
        known: labelled paths. Labelled files are not cut, labelled parts stay, and windows that overlap with them are
            left out.
    """
    protocol = encoder.visual.spec.protocol(frames=QUICK_FRAMES)
    labelled = spans_by_file(MediaPath(path).resolved() for path in known)
    items: list[Item] = []
    with reporter.bar("look for long videos", "files") as progress:
        for done, item in enumerate(files.items, 1):
            labelled_spans = labelled.get(item.media.resolved().path, [])
            windows: list[Span] = []
            if Span() not in labelled_spans and _is_long(item.media, above):
                windows = [
                    Span(*span) for span in encode_windows(encoder, [item.path], protocol, reading).spans.tolist()
                ]
            free = [window for window in windows if not any(window.overlaps(span) for span in labelled_spans)]
            spans = sorted({*free, *labelled_spans})
            items += [replace(item, path=item.media.part(span).path) for span in spans] or [item]
            progress(done, len(files))
    return replace(files, items=tuple(items))


def _is_long(media: MediaPath, above: float) -> bool:
    """Return whether a path is a whole, readable video that is longer than `above` seconds."""
    if media.is_part or media.reader.kind != Video.kind:
        return False
    try:
        with media.open() as video:
            return video.duration_seconds > above
    except MediaError:
        return False  # The error is reported when the file is encoded.
