"""The index of a folder: the features of the windows of its files, in one file that is read by memory map."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from texthead.data import read_files
from texthead.encoders import Encoder, as_visual, load_encoder, spec_of
from texthead.errors import MediaError
from texthead.features import Reading, check_any, encode_windows, weights_key
from texthead.files import cache_dir, replacing
from texthead.media import MediaPath, Span
from texthead.parallel import Reporter, pick_device
from texthead.runs import Run

_FORMAT = 1

# Largest number in half precision.
_LARGEST = 65504.0


@dataclass(frozen=True, eq=False, repr=False)
class Index:
    """The windows of the files of a folder or manifest; images and parts of videos are one window each.

    Attributes:
        data: the folder or manifest.
        model: what encoded it: an encoder or its source, or a run.
        paths: the files, in the order of `read_files`.
        problems: for each file why it cannot be read; "" if it can.
        stamps: for each file its size in bytes, and its modification and change time in nanoseconds.
        file_of: for each window the position of its file, ascending.
        spans: start and end of each window, in seconds; infinite at the end of the file.
        features: the feature of each window, not normalised; a memory map.
        about: digest of the encoder's weights, and checksums.
    """

    data: Path
    model: Encoder | Run | str
    paths: list[str]
    problems: list[str]
    stamps: list[str]
    file_of: Int[Tensor, " windows"]
    spans: Float[Tensor, "windows 2"]
    features: Float[Tensor, "windows dim"]
    about: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.file_of)

    def __repr__(self) -> str:
        return f"Index({str(self.data)!r}: {len(self)} windows of {len(self.paths)} files)"

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, loaded on first use."""
        model = _loaded(self.model)
        return model.encoder() if isinstance(model, Run) else model

    @property
    def run(self) -> Run | None:
        """The run, if one encoded the files."""
        return self.model if isinstance(self.model, Run) else None

    @property
    def skipped(self) -> list[MediaError]:
        """The errors of the files that cannot be read."""
        return [MediaError(path, problem) for path, problem in zip(self.paths, self.problems, strict=True) if problem]

    def media(self, window: int) -> MediaPath:
        """Return what a window shows: a file, or a part of a video."""
        return MediaPath(self.paths[int(self.file_of[window])]).part(Span(*self.spans[window].tolist()))


def open_index(
    data: str | Path,
    model: Encoder | Run | str = "mini",
    reading: Reading = Reading(cache=True, engine="auto"),
    *,
    reporter: Reporter = Reporter(),
) -> Index:
    """Return the index of a folder or manifest, brought up to date: only new and changed files are encoded.

    The index is in the user's cache folder. With a cache of features, a renamed or touched file is not encoded again,
    and a build that was killed continues where it was.

    Args:
        data: a folder of videos and images, or a manifest as `read_files` reads it.
        model: an encoder, its source, or a run. The encoder of a source is loaded only if it is needed.
        reading: how files are read. Unreadable ones are always left out, and tried again when they change.
        reporter: gets progress and messages.

    Raises:
        DataError: there is no such data, or no file in it can be read.
        RunError: the index cannot be written.
    """
    files = read_files(data)
    for note in files.notes:
        reporter.note(note)
    paths = [str(item.path) for item in files.items]
    stamps = [*map(_stamp, paths)]
    key = _FORMAT, str(MediaPath(data).resolved()), *_key(model), reading.engine == "bf16"
    file = cache_dir() / "indexes" / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.safetensors"
    old = _read(file, Path(data), model, reporter)
    installed = _installed(model) if isinstance(model, str) else ""
    if old and (old.paths, old.stamps, old.about["installed"]) == (paths, stamps, installed):
        return old
    model = _loaded(model)
    about = {"installed": installed, "weights": _weights(model)}
    rows: dict[tuple[str, str], int] = {}
    if old and old.about["weights"] == about["weights"]:
        rows = {stamped: row for row, stamped in enumerate(zip(old.paths, old.stamps, strict=True))}
    kept = [rows.get(stamped) for stamped in zip(paths, stamps, strict=True)]
    new = [Path(path) for path, row in zip(paths, kept, strict=True) if row is None]
    recognizer, protocol = (model.model, model.protocol) if isinstance(model, Run) else (model, None)
    encoded = encode_windows(recognizer, new, protocol, reading, reporter)
    _write(
        file, paths, stamps, (next(encoded) if old is None or row is None else _entry(old, row) for row in kept), about
    )
    index = _read(file, Path(data), model, reporter)
    assert index is not None, "it has just been written"
    return index


def _key(model: Encoder | Run | str) -> tuple[object, ...]:
    """Return what selects the index of a model: its weights, or the source of an encoder; and its protocol."""
    if isinstance(model, str):
        return model, spec_of(model).protocol()
    return _weights(model), model.protocol if isinstance(model, Run) else model.visual.spec.protocol()


def _loaded(model: Encoder | Run | str) -> Encoder | Run:
    """Return the model; load the encoder of a source, on the fastest device."""
    if isinstance(model, str):
        model = load_encoder(model)
        model.visual.to(pick_device("auto"))
    return model


def _weights(model: Encoder | Run) -> str:
    """Return a digest of the weights that features depend on. The network of a lazy encoder is not built for it."""
    visual = as_visual(model.model.visual if isinstance(model, Run) else model.visual)
    # A lazy encoder knows this digest of its weights, which does not depend on their source.
    digest = getattr(visual, "digest", None) or weights_key(visual, repr(replace(visual.spec, source="")))
    temporal = model.model.temporal if isinstance(model, Run) else torch.nn.Identity()
    return weights_key(temporal, f"{temporal} {digest}")


def _installed(source: str) -> str:
    """Return what changes when packages are installed, or when the files change that an encoder's source names."""
    rest = source.partition(":")[2]
    named = [Path(each) for each in (rest, rest.partition("/")[2], rest.partition(":")[2]) if each]
    files = [file for path in named for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return repr([_stamp(str(file)) for file in (Path(torch.__file__).parents[1], *files)])


def _stamp(path: str) -> str:
    """Return size, modification time and change time of a file, summed over the files of a frame folder; "" if none."""
    media = MediaPath(path)
    try:
        files = [media.file.parent] if media.is_member else media.files()
        stats = [(s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in map(os.stat, files)]
    except (OSError, MediaError):
        return ""  # The error is reported when the file is encoded; an address has no stamp.
    return " ".join(str(sum(each)) for each in zip(*stats, strict=True))


def _entry(index: Index, row: int) -> tuple[Any, Tensor] | MediaError:
    """Return the spans and features of a file of an index, or its error."""
    if index.problems[row]:
        return MediaError(index.paths[row], index.problems[row])
    own = slice(*torch.searchsorted(index.file_of, torch.tensor([row, row + 1], dtype=torch.int32)).tolist())
    return index.spans[own].tolist(), index.features[own]


def _write(
    file: Path, paths: list[str], stamps: list[str], entries: Iterable[tuple[Any, Tensor] | MediaError], about: dict
) -> None:
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
        about = {**about, "checksum": _checksum(tensors)}
        mapped = torch.from_numpy(np.memmap(features, np.float16, "r+").reshape(len(spans), -1))
        save_file({**tensors, "features": mapped}, temporary, about)


def _read(file: Path, data: Path, model: Encoder | Run | str, reporter: Reporter) -> Index | None:
    """Return the index in a file; None if there is none, or if it is damaged."""
    try:
        with safe_open(file, "pt") as saved:
            about = saved.metadata()
            tensors = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118, it is no dict
        features = tensors.pop("features")
        if _checksum(tensors) != about["checksum"]:
            raise ValueError("wrong checksum")
        paths, problems, stamps = json.loads(tensors["texts"].numpy().tobytes())
        return Index(data, model, paths, problems, stamps, tensors["file_of"], tensors["spans"], features, about)
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        reporter.note(f"{file}: the index is damaged ({error}); it is built again")
        return None


def _checksum(tensors: dict[str, Tensor]) -> str:
    """Return a checksum of all but the features, which would have to be read for it."""
    return str(zlib.crc32(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))))
