"""Predict millions of files in slices, by any number of independent processes.

predict.json              the request: files, model, protocol and options
slice-000012.csv           predictions for the slice's files, as in the CSV of `texthead predict --out`
slice-000012.safetensors   with `scores`: one row per file, NaN if it could not be read
slice-000012.json          written last: number of files, and how many could not be read

Processes don't communicate. Files are written atomically, and a slice depends only on the request: two processes that
make the same slice write the same result, except for the last digits on different processors. A killed process loses
only its current slice.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from texthead.data import Pooling, Protocol, manifest_rows, row_path
from texthead.errors import CheckedFields, DataError, NonNegativeInt, PositiveInt, RunError
from texthead.evaluation import Calibration, head_scores
from texthead.features import Reading, item_features, readable, weights_key
from texthead.files import lines, read_json, replacing, write_csv, write_json
from texthead.media import MediaPath, find_names
from texthead.models import Recognizer
from texthead.parallel import Reporter, silent
from texthead.parallel import ranks as processes_in_group
from texthead.prediction import check_has_sets, csv_columns, csv_rows, entry_scores, predictions_of, protocol_of
from texthead.recipes import EngineName
from texthead.runs import Run

BULK_FORMAT = 1

MARK = "predict.json"


class Slice(NamedTuple):
    """A finished slice: its number, its files, and how many of them could not be read."""

    number: int
    files: int
    unreadable: int


class State(NamedTuple):
    """Progress of all processes: finished slices, all slices, files in finished slices, unreadable files."""

    finished: int
    slices: int
    files: int
    unreadable: int


@dataclass(frozen=True)
class SliceOptions(CheckedFields):
    """Size and content of the slices.

    Args:
        slice: files per slice.
        top: predictions per file.
        scores: also save the scores of all classes, without a temperature.
        batch: files encoded together. With 1, scores equal those of `predict`; larger is faster, but the last bits
            then depend on the other files of the batch.
        sets: also write the prediction sets of a calibrated run.

    Raises: DataError for a number below 1.
    """

    slice: PositiveInt = 1000
    top: PositiveInt = 5
    scores: bool = False
    batch: PositiveInt = 1
    sets: bool = False


@dataclass(frozen=True)
class Slices:
    """A request and the folder with its finished slices. Made by `open_slices`."""

    model: Recognizer
    protocol: Protocol
    source: Path
    files: Callable[[], Iterator[str]]
    out: Path
    request: dict[str, Any]
    options: SliceOptions
    calibration: Calibration | None = None

    def __repr__(self) -> str:
        return f"Slices({str(self.out)!r}: {self.count} slices of {self.request['files']} files)"

    @property
    def count(self) -> int:
        """The number of slices."""
        return -(-self.request["files"] // self.options.slice)

    def unfinished(self, rank: int = 0, ranks: int = 1) -> Iterator[tuple[int, list[Path]]]:
        """Yield (number, files) of each slice of this process that is not finished when its turn comes.

        Slice i belongs to process i mod `ranks`. Only one slice's files are in memory.

        Raises:
            RunError: the manifest has changed since this process started.
        """
        size, files = self.options.slice, self.files()
        for number in range(self.count):
            own = list(islice(files, size))
            if len(own) != min(size, self.request["files"] - number * size):
                raise RunError(f"{self.source}: changed while it was read; start again with a new folder")
            if number % ranks == rank and not self.is_finished(number):
                yield number, [MediaPath(path).clip().path for path in own]

    def is_finished(self, number: int) -> bool:
        """Return whether all files of a slice are written."""
        suffixes = (".json", ".csv", ".safetensors") if self.options.scores else (".json", ".csv")
        return all(self._file(number, suffix).is_file() for suffix in suffixes)

    def write(
        self,
        number: int,
        paths: Sequence[Path],
        scores: Float[Tensor, "files classes"],
        problems: Sequence[str | None],
    ) -> Slice:
        """Write the files of a slice, its .json last, and return it.

        Args:
            problems: why each file could not be read, or None.

        Raises:
            DataError: the folder now has another request.
            RunError: it cannot be written.
        """
        _check_request(self.out, self.request)
        if self.options.scores:
            with replacing(self._file(number, ".safetensors")) as temporary:
                save_file({"scores": scores.contiguous()}, temporary)
        top, sets = self.options.top, self.options.sets
        about = {"calibration": self.calibration, "sets": sets, "thresholds": self.model.thresholds}
        predictions = predictions_of(self.model.names, paths, scores, problems, top=top, **about)
        columns = csv_columns(self.calibration, sets=sets, several=self.model.several)
        write_csv(self._file(number, ".csv"), columns, csv_rows(predictions, columns))
        unreadable = sum(problem is not None for problem in problems)
        write_json(self._file(number, ".json"), {"files": len(paths), "unreadable": unreadable})
        return Slice(number, len(paths), unreadable)

    def state(self) -> State:
        """Return the progress of all processes, from the files in the folder."""
        done = [read_json(self._file(number, ".json")) for number in range(self.count) if self.is_finished(number)]
        return State(len(done), self.count, sum(d["files"] for d in done), sum(d["unreadable"] for d in done))

    def _file(self, number: int, suffix: str) -> Path:
        return self.out / f"slice-{number:06d}{suffix}"


def open_slices(
    run: Run | Recognizer,
    source: str | Path,
    out: str | Path,
    protocol: Protocol | None = None,
    options: SliceOptions = SliceOptions(),
    reporter: Reporter = Reporter(),
) -> Slices:
    """Start or continue predictions for many files in the folder `out`.

    Args:
        run: as for `predict`.
        source: a CSV or TSV with a column `path` (and `start` and `end` for parts of videos) or a `.txt` with one path
            per line, relative to the manifest; a folder of videos and images; or prepared shards, local or remote.
            Manifests are streamed, never held in memory.
        protocol: as for `predict`.
        reporter: gets a note on files of a folder that are not media.

    Raises:
        DataError: the source does not exist, lists no files or breaks a rule; a number is out of range; or `out`
            contains anything but slices of the same request.
        RunError: `out` cannot be written.
    """
    model, protocol = run.model, protocol_of(run, protocol)
    calibration, _ = run.calibration_for(protocol)
    if options.sets and model.several:
        raise DataError("`sets` is for runs with one label per file, and this one has several: leave it out")
    if options.sets:
        check_has_sets(calibration)
    manifest, out = MediaPath(source).resolved().path, Path(out)
    files = _files_of(manifest, reporter)
    count, digest = 0, hashlib.sha256()
    for path in files():
        count += 1
        digest.update(os.fsencode(path) + b"\0")
    if not count:
        raise DataError(f"{source}: lists no files; give one path per line")
    request = {
        "format": BULK_FORMAT,
        "manifest": digest.hexdigest()[:32],
        "files": count,
        "slice": options.slice,
        "model": _model_key(model),
        "labels": list(model.names),
        "head": _head_probe(model, protocol.pooling),
        **protocol.to_json(),
        "batch": options.batch,
        "top": options.top,
        "scores": options.scores,
        "calibration": None if calibration is None else {**calibration.to_json(with_items=False), "sets": options.sets},
    }
    _open_folder(out, request)
    return Slices(model, protocol, manifest, files, out, request, options, calibration)


def predict_slices(
    slices: Slices,
    *,
    rank: NonNegativeInt = 0,
    ranks: PositiveInt = 1,
    skip_unreadable: bool = False,
    workers: NonNegativeInt = 0,
    engine: EngineName = "eager",
    done: Callable[[Slice], object] = silent,
) -> State:
    """Write all unfinished slices of this process; return the progress of all processes.

    The number of processes may change between calls. Finished slices are skipped, even if their input files have
    changed or could not be read; to redo a slice, remove its files.

    Args:
        rank: number of this process, from 0 to `ranks` - 1. Processes never wait for each other.
        skip_unreadable: write a row with the reason for each unreadable file, instead of raising.
        workers: data-loader workers.
        engine: runs the encoder, see `Reading`.
        done: called with each slice written.

    Raises:
        DataError: `rank` is invalid, or the folder now has another request.
        MediaError: a file cannot be read and `skip_unreadable` is off; earlier slices stay.
        RunError: the folder cannot be written, or this process is in a process group.
    """
    check_rank(rank, ranks)
    if processes_in_group() > 1:
        raise RunError("predict_slices does not work in a process group; start none, and set `rank` and `ranks`")
    for number, paths in slices.unfinished(rank, ranks):
        reading = Reading(workers, slices.options.batch, engine=engine)
        entries = item_features(slices.model, paths, slices.protocol, reading, Reporter().counting(silent))
        readable(entries, skip=skip_unreadable)
        done(slices.write(number, paths, *entry_scores(slices.model, entries, slices.protocol.pooling)))
    return slices.state()


def own_share(rank: int | None, ranks: int | None) -> tuple[int, int]:
    """Return (the number of this process, the number of processes): as given, else torchrun's, else (0, 1).

    Under torchrun, also selects the GPU of this process.

    Raises:
        DataError: unless 0 <= rank < ranks.
    """
    if rank is not None and ranks is not None:
        check_rank(rank, ranks)
        return rank, ranks
    if "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def check_rank(rank: int, ranks: int) -> None:
    """Raise DataError unless 0 <= rank < ranks."""
    if not 0 <= rank < ranks:
        raise DataError(f"`rank` must be from 0 to {ranks - 1} for {ranks} processes, got {rank}")


# ---- files


def _files_of(source: Path, reporter: Reporter) -> Callable[[], Iterator[str]]:
    """Return a function that yields the files of a source in order; it rereads a manifest at each call.

    Names are strings because a `Path` is several times slower, and each process iterates over all of them.
    """
    if MediaPath(source).has_shards() or source.is_dir():
        return partial(iter, find_names([source], reporter))
    if not source.is_file():
        raise DataError(f"{source}: no such manifest, folder or shards; check the path")
    return partial(_lines if source.suffix.lower() == ".txt" else _rows, source)


def _rows(manifest: Path) -> Iterator[str]:
    folder = str(manifest.parent)
    for line, row in manifest_rows(manifest, ("path",)):
        name = row["path"]
        if row.get("start") or row.get("end") or name != name.strip() or ("#t=" in name and MediaPath(name).is_part):
            yield str(row_path(row, manifest, line))
        else:
            yield os.path.join(folder, name)  # noqa: PTH118


def _lines(manifest: Path) -> Iterator[str]:
    folder = str(manifest.parent)
    try:
        with manifest.open(encoding="utf-8-sig") as file:
            yield from (os.path.join(folder, line.strip()) for line in lines(file) if line.strip())  # noqa: PTH118
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{manifest}: not a readable manifest ({error}); save it as UTF-8") from None


# ---- request


def _model_key(model: Recognizer) -> str:
    """Return a digest of the encoder and temporal module, independent of where the encoder is stored."""
    spec = replace(model.spec, source="")
    config = getattr(model.temporal, "config", dict)()
    return weights_key(Recognizer(model.visual, model.temporal, nn.Identity()), repr((spec, config)))


def _head_probe(model: Recognizer, pooling: Pooling) -> list[float]:
    """Return the head's scores for one fixed feature and its thresholds if it has any, to identify the head.

    A digest of its rows would not do: each process may encode them itself, and processors differ in the last bits.
    """
    feature = torch.arange(model.spec.dim).cos().view(1, 1, -1)
    limits = () if model.thresholds is None else model.thresholds.tolist()
    return [round(score, 5) for score in (*head_scores(model, feature, pooling=pooling)[0].tolist(), *limits)]


def _is_same(old: Any, new: Any) -> bool:
    """Return whether two values of requests are equal; head scores may differ by 0.001."""
    if not isinstance(new, list) or not isinstance(new[0], float):
        return old == new
    near = partial(math.isclose, rel_tol=1e-3, abs_tol=1e-3)
    return isinstance(old, list) and len(old) == len(new) and all(map(near, old, new))


def _open_folder(out: Path, request: dict[str, Any]) -> None:
    """Write the request into a new or empty folder, or check that the folder has the same one."""
    others = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.is_dir() else []
    if MARK not in others:
        if others:
            raise DataError(f"{out}: contains {others[0]} but no {MARK}; give a new or empty folder")
        write_json(out / MARK, request)
    _check_request(out, request)


def _check_request(out: Path, request: dict[str, Any]) -> None:
    """Raise DataError if the folder has another request."""
    old = read_json(out / MARK)
    differ = [key for key in request if not _is_same(old.get(key), request[key])]
    if differ:
        short = {key for key in differ if isinstance(request[key], int) or key == "pooling"}
        texts = [f"{key} {old.get(key)}, now {request[key]}" if key in short else f"another {key}" for key in differ]
        raise DataError(
            f"{out}: was begun with other options or files ({'; '.join(texts)}); use those again, or give a new folder"
        )
