"""`texthead bulk`: predict the classes of millions of files, in slices that any number of processes share."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from texthead.cli import (
    ModelOptions,
    NonNegativeInt,
    PositiveInt,
    ProtocolOptions,
    ReadingOptions,
    argument,
    check_outputs,
    console,
    noted_calibration,
    option,
    run_argument,
)
from texthead.errors import DataError
from texthead.extras import check_extra
from texthead.media import MediaPath
from texthead.runs import check_run_exists

if TYPE_CHECKING:
    from texthead.apps.bulk.bulk import Slice, Slices, State


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """Predict the classes of millions of files, with any number of processes.

    After an interruption, the same command continues the work. Classes and encoder are as in texthead predict.

    Args:
        inputs: a run folder or hub:ORG/NAME (or --classes instead), then the files to predict: CSV or TSV with a column
            path (and start and end of parts, in seconds), .txt with one path per line, a folder, or shards that
            texthead prepare wrote
        out: folder to write the predictions to, as CSV files of --slice files each
        top: number of classes per file
        sets: also write each file's prediction set, which contains the correct class at the rate given to texthead
            calibrate --coverage
        scores: also write the scores of all classes
        slice: number of files per CSV file written
        batch: number of files encoded at once; more is faster and may change the last digits
        rank: number of this process, from 0 (default: torchrun's RANK, else 0)
        ranks: number of processes that share the files (default: torchrun's WORLD_SIZE, else 1)
        ray: number of encoding processes on a Ray cluster, which then divides the files (in place of --rank and
            --ranks)
    """

    JSON: ClassVar = "out, finished, slices, files, unreadable"

    USAGE: ClassVar = "texthead bulk [RUN] FILES --out FOLDER [--classes NAMES] [options]"

    # Processes that torchrun starts share no work but the files.
    PROCESSES: ClassVar = "apart"

    inputs: list[str] = argument("RUN_OR_FILES", nargs="+", read=run_argument)
    out: str = option(metavar="FOLDER")
    model: ModelOptions = ModelOptions()
    top: PositiveInt = 5
    sets: bool = False
    scores: bool = False
    slice: PositiveInt = 1000
    batch: PositiveInt = 1
    rank: NonNegativeInt | None = None
    ranks: PositiveInt | None = None
    ray: PositiveInt | None = option(None, "ACTORS")
    protocol: ProtocolOptions = ProtocolOptions()
    files: ReadingOptions = ReadingOptions()

    def check(self) -> None:
        """Raise DataError or RunError if a path does not exist or options exclude each other."""
        self._run_and_source()
        if (self.rank is None) != (self.ranks is None):
            raise DataError("give both --rank (number of this process, from 0) and --ranks (number of processes)")
        if self.ray is not None:
            check_extra("ray", "--ray")
        check_outputs(self, out="/")

    def _run_and_source(self) -> tuple[str | None, str]:
        """Return (the run or None, the source of the files)."""
        run, sources = self.model.split(self.inputs, "the files")
        if not sources:
            raise DataError(f"{run} is a run: name the list, folder or shards of files after it")
        if len(sources) > 1:
            check_run_exists(sources[0])
            raise DataError(
                f"bulk takes one list, folder or shards, got {len(sources)}; {sources[0]} is not a run (no recipe.json "
                "in it)"
            )
        MediaPath(sources[0]).check()
        return run, sources[0]

    def __call__(self) -> None:
        from texthead.apps.bulk.bulk import SliceOptions, open_slices, own_share

        rank, ranks = own_share(self.rank, self.ranks)
        if self.ray is not None and ranks > 1:
            raise DataError(
                f"--ray distributes the slices itself, but this is process {rank} of {ranks}; start one process"
            )
        run, source = self._run_and_source()
        model = self.model.load(run, self.files.pick_device())
        options = SliceOptions(slice=self.slice, top=self.top, scores=self.scores, batch=self.batch, sets=self.sets)
        slices = open_slices(model, source, self.out, self.protocol.on(model.protocol), options, console.reporter.note)
        noted_calibration(model, slices.protocol)
        who = f"process {rank} of {ranks}" if self.ray is None else f"Ray, {self.ray} encoding"
        console.notes().print(f"{who}; {slices.request['files']} files in {slices.count} slices")
        state = self._predict(slices, rank, ranks)
        console.doing("counting the finished slices")
        finished = f"{state.finished} of {state.slices} slices are finished"
        console.results().print(f"{self.out}: {finished}, {state.files} files{_lost(state.unreadable)}")
        console.show_json({"out": self.out, **state._asdict()})
        if run is not None:
            console.next_command("texthead", "ui", run)

    def _predict(self, slices: "Slices", rank: int, ranks: int) -> "State":
        """Write the slices of this process, with a line each."""
        from texthead.apps.bulk.bulk import predict_slices
        from texthead.apps.bulk.bulk_on_ray import predict_on_ray

        began, files = time.perf_counter(), 0

        def done(finished: "Slice") -> None:
            nonlocal files
            files += finished.files
            speed = f"{files / (time.perf_counter() - began):.1f} files/s so far"
            lost = _lost(finished.unreadable)
            console.notes().print(f"slice {finished.number} of {slices.count}: {finished.files} files{lost}; {speed}")

        skip = self.files.skip_unreadable
        if self.ray is not None:
            gpus = 0 if self.files.device == "cpu" else None
            return predict_on_ray(slices, actors=self.ray, gpus=gpus, skip_unreadable=skip, done=done)
        return predict_slices(
            slices,
            rank=rank,
            ranks=ranks,
            skip_unreadable=skip,
            workers=self.files.processes(),
            engine=self.files.engine,
            done=done,
        )


def _lost(unreadable: int) -> str:
    return f", {unreadable} of them could not be read" if unreadable else ""
