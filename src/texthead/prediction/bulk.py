"""Millions of files in parts: each part a file of its own, made by whichever process it belongs to, at any time.

predict.json              what was asked: which files, which model, how it looks at them, what is kept
part-000012.csv           the names of the part's files, as `texthead predict --csv` prints them
part-000012.safetensors   where scores are kept: one row a file, NaN where it could not be read
part-000012.json          written last: how many files there are, and how many could not be read

Processes know nothing of each other. Each file is written whole or not at all, and what is in a part depends on the
request alone; so two that make the same part write the same, but for last digits where they run on other processors. A
process that is killed loses the part that it was at.
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

from texthead.data.protocol import Pooling, Protocol
from texthead.data.reading import manifest_rows, row_path
from texthead.encoders.encoder import as_visual
from texthead.errors import DataError, RunError
from texthead.evaluation.calibration import Calibration
from texthead.evaluation.evaluate import head_scores
from texthead.features.cache import weights_key
from texthead.features.frames import readable
from texthead.features.reading import Reading
from texthead.features.views import item_features
from texthead.files import lines, read_json, replacing, write_csv, write_json
from texthead.media.find import find_names
from texthead.media.limits import MOST_MEGAPIXELS
from texthead.media.open import as_clip
from texthead.media.paths import is_part, resolved
from texthead.media.shard import has_shards
from texthead.models.recognizer import Recognizer
from texthead.parallel import distributed
from texthead.prediction.formats import csv_columns, csv_rows
from texthead.prediction.predict import calibration_for, check_has_sets, entry_scores, predictions_of, protocol_of
from texthead.recipes import EngineName
from texthead.runs.run import Run

FORMAT = 1

MARK = "predict.json"


class Part(NamedTuple):
    """A part that was made: its number, how many files it has, and how many of them could not be read."""

    number: int
    files: int
    unreadable: int


class State(NamedTuple):
    """How far all processes are: parts that are finished, parts in all, files in the finished ones, unreadable ones."""

    finished: int
    parts: int
    files: int
    unreadable: int


@dataclass(frozen=True)
class PartOptions:
    """What is in the parts.

    Args:
        part: files per part.
        top: predictions per file.
        scores: also keep the scores of all classes, before any temperature.
        batch: files encoded together. With 1, a file's scores are those of `predict`; more is faster, and their last
            bits then depend on the other files of its batch.
        sets: also write the prediction sets of a calibrated run.

    Raises: DataError for a number below 1.
    """

    part: int = 1000
    top: int = 5
    scores: bool = False
    batch: int = 1
    sets: bool = False

    def __post_init__(self) -> None:
        for name in ("part", "top", "batch"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Parts:
    """What is asked, and the folder that holds what is finished of it. `open_parts` makes it."""

    model: Recognizer
    protocol: Protocol
    source: Path
    files: Callable[[], Iterator[str]]
    out: Path
    asked: dict[str, Any]
    options: PartOptions
    calibration: Calibration | None = None

    @property
    def count(self) -> int:
        """The number of parts."""
        return -(-self.asked["files"] // self.options.part)

    def unfinished(self, rank: int = 0, ranks: int = 1) -> Iterator[tuple[int, list[Path]]]:
        """Yield (number, files) of each part of a process that is not finished when its turn comes.

        Part i belongs to process i mod `ranks`. Only one part's files are held at a time.

        Raises:
            RunError: the manifest was changed after this process began.
        """
        size, files = self.options.part, self.files()
        for number in range(self.count):
            own = list(islice(files, size))
            if len(own) != min(size, self.asked["files"] - number * size):
                raise RunError(f"{self.source}: was changed while it was read; start again with a new folder")
            if number % ranks == rank and not self.is_finished(number):
                yield number, [as_clip(Path(path)) for path in own]

    def is_finished(self, number: int) -> bool:
        """Return whether a part needs no more work."""
        suffixes = (".json", ".csv", ".safetensors") if self.options.scores else (".json", ".csv")
        return all(self._file(number, suffix).is_file() for suffix in suffixes)

    def write(
        self,
        number: int,
        paths: Sequence[Path],
        scores: Float[Tensor, "files classes"],
        problems: Sequence[str | None],
    ) -> None:
        """Put a part into the folder; it is finished with its last file.

        Raises:
            DataError: the folder is of another request by now.
            RunError: it cannot be written.
        """
        _check_asked(self.out, self.asked)
        if self.options.scores:
            with replacing(self._file(number, ".safetensors")) as beside:
                save_file({"scores": scores.contiguous()}, beside)
        top, sets = self.options.top, self.options.sets
        found = predictions_of(
            self.model.names, paths, scores, problems, top=top, calibration=self.calibration, sets=sets
        )
        columns = csv_columns(self.calibration, sets=sets)
        write_csv(self._file(number, ".csv"), columns, csv_rows(found, columns))
        unreadable = sum(problem is not None for problem in problems)
        write_json(self._file(number, ".json"), {"files": len(paths), "unreadable": unreadable})

    def state(self) -> State:
        """Return how far all processes are, by what is in the folder."""
        done = [read_json(self._file(number, ".json")) for number in range(self.count) if self.is_finished(number)]
        return State(len(done), self.count, sum(d["files"] for d in done), sum(d["unreadable"] for d in done))

    def _file(self, number: int, suffix: str) -> Path:
        return self.out / f"part-{number:06d}{suffix}"


def open_parts(
    run: Run | Recognizer,
    source: str | Path,
    out: str | Path,
    protocol: Protocol | None = None,
    options: PartOptions = PartOptions(),
) -> Parts:
    """Begin or continue the folder `out` for a request of predictions for many files.

    Args:
        run: as of `predict`, and so what is None.
        source: a CSV or TSV with a column `path` (`start` and `end` make parts of videos), or a `.txt` with one path a
            line, each relative to where it lies; a folder of videos and images; or prepared shards, here or remote.
            Manifests are read line by line and never held.

    Raises:
        DataError: no such source, or one that lists no file or breaks a rule; a number out of range; `out` holds
            anything else than predictions of this very request.
        RunError: `out` cannot be written.
    """
    model, protocol = protocol_of(run, protocol)
    calibration, _ = calibration_for(run, protocol)
    if options.sets:
        check_has_sets(calibration)
    place, out = resolved(Path(source)), Path(out)
    files = _listed(place)
    count, digest = 0, hashlib.sha256()
    for path in files():
        count += 1
        digest.update(os.fsencode(path) + b"\0")
    if not count:
        raise DataError(f"{source}: lists no file; give one path a line")
    asked = {
        "format": FORMAT,
        "manifest": digest.hexdigest()[:32],
        "files": count,
        "part": options.part,
        "model": _model_key(model),
        "labels": list(model.names),
        "head": _probed(model, protocol.pooling),
        **protocol.to_json(),
        "batch": options.batch,
        "top": options.top,
        "scores": options.scores,
        "calibration": None if calibration is None else {**calibration.to_json(with_items=False), "sets": options.sets},
    }
    _begin(out, asked)
    return Parts(model, protocol, place, files, out, asked, options, calibration)


def predict_parts(
    parts: Parts,
    *,
    rank: int = 0,
    ranks: int = 1,
    skip_unreadable: bool = False,
    workers: int = 0,
    engine: EngineName = "eager",
    most_megapixels: int = MOST_MEGAPIXELS,
    done: Callable[[Part], None] | None = None,
) -> State:
    """Make every unfinished part of this process's share; return how far all processes are.

    A later call may be of another number of processes: what is finished stays. A finished part is not looked at again,
    even if its files have changed or could not be read: remove its files to have it made anew.

    Args:
        rank: the number of this process, from 0 to `ranks` - 1. They form no group and never wait for each other.
        skip_unreadable: a file that cannot be read gets a row that says why.
        workers: processes that decode.
        engine: what runs the encoder, as `Reading` has it; exact ones, whose features are the same.
        most_megapixels: as of `Reading`.
        done: called with each part that was made.

    Raises:
        DataError: a rank out of range, or the folder is of another request by now.
        MediaError: a file that cannot be read, unless `skip_unreadable`; the parts before it stay.
        RunError: the folder cannot be written, or this process is in a process group.
    """
    check_rank(rank, ranks)
    if engine == "bf16":
        raise DataError("engine bf16 gives other features than the other processes': take an exact one for parts")
    if distributed.ranks() > 1:
        raise RunError("predict_parts works without a process group: give it rank and ranks, and start none")
    for number, paths in parts.unfinished(rank, ranks):
        reading = Reading(workers, parts.options.batch, engine=engine, most_megapixels=most_megapixels)
        entries = item_features(parts.model, paths, parts.protocol, reading)
        _, errors = readable(entries, skip=skip_unreadable)
        parts.write(number, paths, *entry_scores(parts.model, entries, parts.protocol.pooling))
        if done:
            done(Part(number, len(paths), len(errors)))
    return parts.state()


def check_rank(rank: int, ranks: int) -> None:
    """Raise DataError if no process can have this number among so many."""
    if not 0 <= rank < ranks:
        raise DataError(f"rank must be from 0 to {ranks - 1} for {ranks} processes, got {rank}")


# ---- which files


def _listed(source: Path) -> Callable[[], Iterator[str]]:
    """Return a function that yields the files of a source in order; manifests are read anew at each call.

    Names are strings: a `Path` takes several times as long, and each process goes through all of them.
    """
    if has_shards(source) or source.is_dir():
        return partial(iter, find_names([source]))
    if not source.is_file():
        raise DataError(f"{source}: no such manifest, folder or shards; check the path")
    return partial(_lines if source.suffix.lower() == ".txt" else _rows, source)


def _rows(manifest: Path) -> Iterator[str]:
    folder = str(manifest.parent)
    for line, row in manifest_rows(manifest, ("path",)):
        if row.get("start") or row.get("end") or is_part(row["path"]):
            yield str(row_path({**row, "path": row["path"].strip()}, manifest, line))
        else:
            yield os.path.join(folder, row["path"].strip())  # noqa: PTH118


def _lines(manifest: Path) -> Iterator[str]:
    folder = str(manifest.parent)
    try:
        with manifest.open(encoding="utf-8-sig") as file:
            yield from (os.path.join(folder, line.strip()) for line in lines(file) if line.strip())  # noqa: PTH118
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{manifest}: not a readable manifest ({error}); save it as UTF-8") from None


# ---- what was asked


def _model_key(model: Recognizer) -> str:
    """Return a digest of all that comes before the head, wherever the encoder lies."""
    spec = replace(as_visual(model.visual).spec, source="")
    config = getattr(model.temporal, "config", dict)()
    return weights_key(Recognizer(model.visual, model.temporal, nn.Identity()), repr((spec, config)))


def _probed(model: Recognizer, pooling: Pooling) -> list[float]:
    """Return the head's scores of one fixed feature.

    No digest of its rows: they may be encoded anew by each process, and processors differ in their last bits.
    """
    feature = torch.arange(as_visual(model.visual).spec.dim).cos().view(1, 1, -1)
    return [round(score, 5) for score in head_scores(model, feature, pooling=pooling)[0].tolist()]


def _is_same(found: Any, asked: Any) -> bool:
    """Return whether two values of requests are the same; scores of a head may differ by a thousandth."""
    if not isinstance(asked, list) or not isinstance(asked[0], float):
        return found == asked
    near = partial(math.isclose, rel_tol=1e-3, abs_tol=1e-3)
    return isinstance(found, list) and len(found) == len(asked) and all(map(near, found, asked))


def _begin(out: Path, asked: dict[str, Any]) -> None:
    """Mark the folder as one for this request, or check that it is."""
    others = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.is_dir() else []
    if MARK not in others:
        if others:
            raise DataError(f"{out}: holds {others[0]} and no {MARK}; give a new or empty folder")
        write_json(out / MARK, asked)
    _check_asked(out, asked)


def _check_asked(out: Path, asked: dict[str, Any]) -> None:
    """Raise DataError if the folder is for another request."""
    found = read_json(out / MARK)
    differ = [key for key in asked if not _is_same(found.get(key), asked[key])]
    if differ:
        short = {key for key in differ if isinstance(asked[key], int) or key == "pooling"}
        told = [f"{key} {found.get(key)}, not {asked[key]}" if key in short else f"other {key}" for key in differ]
        raise DataError(f"{out}: is of another request ({'; '.join(told)}): ask the same again, or give a new folder")
