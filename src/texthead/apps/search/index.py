"""The index of a folder: the features of the windows of its files, in one file that is read by memory map."""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from texthead.data import read_files
from texthead.encoders import Encoder, load_encoder
from texthead.errors import MediaError
from texthead.features import Reading, check_any, encode_windows
from texthead.files import cache_dir, replacing
from texthead.media import MediaPath, Span
from texthead.models import MeanPool, Recognizer
from texthead.parallel import Reporter
from texthead.runs import Run

_FORMAT = 1

# Largest number in half precision.
_LARGEST = 65504.0

# Windows that are compared at once: in single precision they fit in the caches of a processor.
_AT_ONCE = 512


@dataclass(frozen=True, eq=False, repr=False)
class Index:
    """The windows of the files of a folder or manifest; images and parts of videos are one window each.

    Attributes:
        data: the folder or manifest.
        model: what encoded it.
        paths: the files, in the order of `read_files`.
        problems: for each file why it cannot be read; "" if it can.
        stamps: the stamp of each file; "" if it has none, such as an address.
        file_of: for each window the position of its file, ascending.
        spans: start and end of each window, in seconds; infinite at the end of the file.
        features: the feature of each window, not normalised; a memory map.
    """

    data: Path
    model: Encoder | Run
    paths: list[str]
    problems: list[str]
    stamps: list[str]
    file_of: Int[Tensor, " windows"]
    spans: Float[Tensor, "windows 2"]
    features: Float[Tensor, "windows dim"]

    def __len__(self) -> int:
        return len(self.file_of)

    def __repr__(self) -> str:
        return f"Index({str(self.data)!r}: {len(self)} windows of {len(self.paths)} files)"

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder; for a run the one that it was trained from, which encodes its texts."""
        return self.model.encoder() if isinstance(self.model, Run) else self.model

    @property
    def skipped(self) -> list[MediaError]:
        """The errors of the files that cannot be read."""
        return [MediaError(path, problem) for path, problem in zip(self.paths, self.problems, strict=True) if problem]

    def media(self, window: int) -> MediaPath:
        """Return what a window shows: a file, or a part of a video."""
        return MediaPath(self.paths[int(self.file_of[window])]).part(Span(*self.spans[window].tolist()))

    @cached_property
    def center(self) -> Float[Tensor, " dim"]:
        """The mean feature of the windows."""
        return torch.stack([chunk.sum(0) for chunk in self._chunks()]).sum(0) / len(self)

    @cached_property
    def _norms(self) -> Float[Tensor, " windows"]:
        return torch.cat([(chunk - self.center).norm(dim=1) for chunk in self._chunks()]).clamp_min(1e-6)

    def cosines(self, rows: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows windows"]:
        """Return the cosine of each row and each window's feature minus `center`, computed in single precision."""
        rows = F.normalize(rows.float(), dim=-1)
        products = torch.cat([rows @ chunk.T for chunk in self._chunks()], dim=1)
        return products.sub_((rows @ self.center)[:, None]).div_(self._norms)

    def _chunks(self) -> Iterator[Float[Tensor, "windows dim"]]:
        """Yield the features in single precision, a few at a time, always in the same memory."""
        memory = torch.empty(_AT_ONCE, self.features.shape[1])
        for chunk in self.features.split(_AT_ONCE):
            yield memory[: len(chunk)].copy_(chunk)


def open_index(
    data: str | Path,
    model: Encoder | Run | None = None,
    reading: Reading = Reading(cache=True, engine="auto"),
    *,
    reporter: Reporter = Reporter(),
) -> Index:
    """Return the index of a folder or manifest, brought up to date: only new and changed files are encoded.

    The index is in the user's cache folder. With a cache of features, a renamed or touched file is not encoded again,
    and a build that was killed continues where it was.

    Args:
        data: a folder of videos and images, or a manifest as `read_files` reads it.
        model: an encoder, lazily loaded if you like, or a run; `mini` if None.
        reading: how files are read. Unreadable ones are always left out, and tried again when they change.
        reporter: gets progress and messages.

    Raises:
        DataError: there is no such data, or no file in it can be read.
        RunError: the index cannot be written.
    """
    model = load_encoder("mini", lazy=True) if model is None else model
    recognizer = model.model if isinstance(model, Run) else Recognizer(model.visual, MeanPool(), torch.nn.Identity())
    files = read_files(data)
    for note in files.notes:
        reporter.note(note)
    paths = [str(item.path) for item in files.items]
    stamps = [*map(_stamp, paths)]
    protocol = (model if isinstance(model, Run) else recognizer).protocol
    key = _FORMAT, MediaPath(data).resolved(), recognizer.features_digest(), protocol, reading.engine == "bf16"
    file = cache_dir() / "indexes" / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.safetensors"
    old = _read(file, Path(data), model, reporter)
    if old and (old.paths, old.stamps) == (paths, stamps):
        return old
    rows = {stamped: row for row, stamped in enumerate(zip(old.paths, old.stamps, strict=True))} if old else {}
    kept = [rows.get(stamped) for stamped in zip(paths, stamps, strict=True)]
    new = [Path(path) for path, row in zip(paths, kept, strict=True) if row is None]
    encoded = encode_windows(recognizer, new, protocol, reading, reporter)
    _write(file, paths, stamps, (next(encoded) if old is None or row is None else _entry(old, row) for row in kept))
    index = _read(file, Path(data), model, reporter)
    assert index is not None, "it has just been written"
    return index


def _stamp(path: str) -> str:
    """Return the stamp of a file; "" if it has none: it is missing, which is reported when it is encoded, or remote."""
    try:
        return MediaPath(path).stamp()
    except (OSError, MediaError):
        return ""


def _entry(index: Index, row: int) -> tuple[Any, Tensor] | MediaError:
    """Return the spans and features of a file of an index, or its error."""
    if index.problems[row]:
        return MediaError(index.paths[row], index.problems[row])
    own = slice(*torch.searchsorted(index.file_of, torch.tensor([row, row + 1], dtype=torch.int32)).tolist())
    return index.spans[own].tolist(), index.features[own]


def _write(file: Path, paths: list[str], stamps: list[str], entries: Iterable[tuple[Any, Tensor] | MediaError]) -> None:
    """Write an index, file by file, so that the features of a large folder need not fit in memory."""
    problems: list[str] = []
    errors: list[MediaError] = []
    counts: list[int] = []
    spans: list[Any] = []
    with replacing(file, sync=False) as temporary, TemporaryFile(dir=file.parent) as features:
        for path, entry in zip(paths, entries, strict=True):
            problems.append(entry.problem if isinstance(entry, MediaError) else "")
            if isinstance(entry, MediaError):
                errors.append(entry)
                counts.append(0)
                continue
            media = MediaPath(path)
            spans += [media.span] if media.is_part else entry[0]
            counts.append(len(entry[0]))
            features.write(entry[1].clamp(-_LARGEST, _LARGEST).half().numpy().tobytes())
        check_any(paths, np.flatnonzero(counts).tolist(), errors)
        features.flush()
        tensors = {
            "file_of": torch.arange(len(paths), dtype=torch.int32).repeat_interleave(torch.tensor(counts)),
            "spans": torch.tensor(spans, dtype=torch.float64),
            "texts": torch.frombuffer(bytearray(json.dumps([paths, problems, stamps]).encode()), dtype=torch.uint8),
        }
        mapped = torch.from_numpy(np.memmap(features, np.float16, "r+").reshape(len(spans), -1))
        save_file({**tensors, "features": mapped}, temporary, {"checksum": _checksum(tensors)})


def _read(file: Path, data: Path, model: Encoder | Run, reporter: Reporter) -> Index | None:
    """Return the index in a file; None if there is none, or if it is damaged."""
    try:
        with safe_open(file, "pt") as saved:
            checksum = saved.metadata()["checksum"]
            tensors = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118, it is no dict
        features = tensors.pop("features")
        if _checksum(tensors) != checksum:
            raise ValueError("wrong checksum")
        paths, problems, stamps = json.loads(tensors["texts"].numpy().tobytes())
        return Index(data, model, paths, problems, stamps, tensors["file_of"], tensors["spans"], features)
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        reporter.note(f"{file}: the index is damaged ({error}); it is built again")
        return None


def _checksum(tensors: dict[str, Tensor]) -> str:
    """Return a checksum of all but the features, which would have to be read for it."""
    return str(zlib.crc32(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))))
