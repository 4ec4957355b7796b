"""The windows of many files and their features, kept in one file that is read by memory map."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from texthead import Encoder, MeanPool, Protocol, Reading, Recognizer, Reporter
from texthead.apps.search.cutting import Encoded, windows_of
from texthead.errors import MediaError, RunError, reason
from texthead.files import replacing
from texthead.media import MediaPath, Span
from texthead.platform import MAPPED_FILES_ARE_REPLACEABLE

# Largest number in half precision.
_LARGEST = 65504.0


@dataclass(frozen=True, eq=False, repr=False)
class Windows:
    """The windows of files; an image, a frame folder or a part of a video is one window.

    Attributes:
        paths: the files.
        problems: why a file cannot be read, by its path; such files have no window.
        file_of: for each window the position of its file, ascending.
        spans: start and end of each window, in seconds from the first frame of its file; infinite at the end.
        features: the feature of each window in half precision, not normalised; a memory map.
    """

    paths: list[str]
    problems: dict[str, str]
    file_of: Int[Tensor, " windows"]
    spans: Float[Tensor, "windows 2"]
    features: Float[Tensor, "windows dim"]


def as_model(model: Encoder | Recognizer) -> Recognizer:
    """Return a model whose features are those of an encoder, their mean over frames; a model as it is."""
    return Recognizer(model.visual, MeanPool(), nn.Identity()) if isinstance(model, Encoder) else model


def encode_windows(
    model: Recognizer | Encoder,
    paths: Sequence[Path | str],
    protocol: Protocol | None = None,
    reading: Reading = Reading(),
    reporter: Reporter = Reporter(),
    *,
    file: Path | None = None,
) -> Windows:
    """Return the windows of files with their features.

    A video is sampled once a second, at least four times, and cut where its frames change (`cut`); the feature of a
    window is the mean of its frames. If the encoder takes whole clips, or the temporal module is not a mean, videos are
    cut into windows of five seconds, each encoded as a part of its file.

    Args:
        protocol: sizes, and the frames of all that is not cut; the model's own if None.
        reading: how files are read. With a cache, a renamed or touched file is not encoded again, and an interrupted
            call continues where it was. Unreadable files are always left out.
        file: keeps the windows; the next call encodes only files that are new or have changed, and tries unreadable
            ones again only then. It is for one model and protocol: `Recognizer.features_digest` tells models apart.

    Raises:
        RunError: `file` cannot be written.
    """
    model = as_model(model)
    protocol = protocol or model.protocol
    names, stamps = [str(path) for path in paths], [MediaPath(path).stamp() for path in paths]
    old, old_stamps = (None, []) if file is None else _read(file, reporter)
    if old and (old.paths, old_stamps) == (names, stamps) and all(stamps):
        return old
    known = zip(old.paths if old else (), old_stamps, strict=True)
    row_of = {stamped: row for row, stamped in enumerate(known) if stamped[1]}
    rows = [row_of.get(stamped) for stamped in zip(names, stamps, strict=True)]
    new = [Path(name) for name, row in zip(names, rows, strict=True) if row is None]
    encoded = windows_of(model, new, protocol, reading, reporter)
    entries = (next(encoded) if old is None or row is None else _entry(old, row) for row in rows)
    if file is None:
        return _collected(names, entries)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        windows = _collected(names, entries, file.parent)
    except OSError as error:
        raise RunError(
            f"{file}: cannot be written ({error.strerror}); free disk space, or set TEXTHEAD_CACHE"
        ) from None
    texts = torch.frombuffer(bytearray(json.dumps([names, windows.problems, stamps]).encode()), dtype=torch.uint8)
    arrays = {"file_of": windows.file_of, "spans": windows.spans, "features": windows.features}
    with replacing(file, sync=False) as temporary:
        save_file({**arrays, "texts": texts}, temporary)
    return _read(file, reporter)[0] or windows


def _entry(windows: Windows, row: int) -> Encoded | MediaError:
    """Return the spans and features of a file, or its error."""
    if (path := windows.paths[row]) in windows.problems:
        return MediaError(path, windows.problems[path])
    begin, end = torch.searchsorted(windows.file_of, torch.tensor([row, row + 1], dtype=torch.int32)).tolist()
    return [Span(*span) for span in windows.spans[begin:end].tolist()], windows.features[begin:end]


def _collected(paths: list[str], entries: Iterator[Encoded | MediaError], folder: Path | None = None) -> Windows:
    """Return the windows of all files; their features, which may not fit in memory, are in a file without a name."""
    problems: dict[str, str] = {}
    file_of: list[int] = []
    spans: list[Span] = []
    with TemporaryFile(dir=folder) as features:
        for position, (path, entry) in enumerate(zip(paths, entries, strict=True)):
            if not isinstance(entry, MediaError) and entry[1].isnan().any():
                entry = MediaError(path, "its features are not numbers (NaN): the encoder overflows; use another one")
            if isinstance(entry, MediaError):
                problems[path] = entry.problem
                continue
            file_of += [position] * len(entry[0])
            spans += [media.span] if (media := MediaPath(path)).is_part else entry[0]
            features.write(entry[1].clamp(-_LARGEST, _LARGEST).half().numpy().tobytes())
        features.flush()
        half = np.memmap(features, np.float16, "r+") if spans else np.empty(0, np.float16)
    tensors = (
        torch.tensor(file_of, dtype=torch.int32),
        torch.tensor(spans, dtype=torch.float64).view(-1, 2),
        torch.from_numpy(half).view(len(spans), len(half) // max(1, len(spans))),
    )
    return Windows(paths, problems, *tensors)


def _read(file: Path, reporter: Reporter) -> tuple[Windows | None, list[str]]:
    """Return the windows in a file, and the stamps of their files; None if there is no file, or it is damaged."""
    if not file.is_file():  # Opening a pipe could block.
        return None, []
    try:
        with safe_open(file, "pt") as saved:
            texts, *tensors = (saved.get_tensor(name) for name in ("texts", "file_of", "spans", "features"))
        if not MAPPED_FILES_ARE_REPLACEABLE:
            tensors = [tensor.clone() for tensor in tensors]
        paths, problems, stamps = json.loads(texts.numpy().tobytes())
        return Windows(paths, problems, *tensors), stamps
    except (SafetensorError, OSError, ValueError) as error:
        reporter.note(f"{file}: damaged ({reason(error)}); it is made again")
        return None, []
