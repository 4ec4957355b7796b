"""`texthead predict`: predict the classes of files, with a run or zero-shot."""

import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TextIO

from texthead.commands.model import ModelOptions
from texthead.commands.options import PrintOptions, ProtocolOptions, ReadingOptions, ToolOptions, local_run
from texthead.commands.outputs import check_folder, check_outputs
from texthead.commands.parser import NonNegativeInt, PositiveInt, argument, option
from texthead.errors import DataError
from texthead.extras import check_extra
from texthead.media.paths import address, check_not_missing
from texthead.runs.saved import is_run
from texthead.text.class_names import NONE

if TYPE_CHECKING:
    from texthead.evaluation.calibration import Calibration
    from texthead.prediction.formats import Prediction


@dataclass(frozen=True, kw_only=True)
class ManyFiles:
    """Any number of processes can share the files; after an interruption, the same command continues the work.

    Args:
        manifest: files to predict: CSV or TSV with a column path (and start and end of parts, in seconds), .txt with
            one path per line, a folder, or shards that texthead prepare wrote
        out: folder to write the predictions to, as CSV files of --part files each
        part: number of files per CSV file written (default: 1000)
        scores: also write the scores of all classes
        batch: number of files encoded at once (default: 1); more is faster and may change the last digits
        rank: number of this process, from 0 (torchrun's RANK)
        ranks: number of processes that share the files (torchrun's WORLD_SIZE)
        ray: number of encoding processes on a Ray cluster, which then divides the files (in place of --rank and
            --ranks)
    """

    TITLE: ClassVar = "many files"

    manifest: str | None = option(None, "FILE")
    out: str | None = option(None, "FOLDER")
    part: PositiveInt | None = None
    scores: bool = False
    batch: PositiveInt | None = None
    rank: NonNegativeInt | None = None
    ranks: PositiveInt | None = None
    ray: PositiveInt | None = option(None, "ACTORS")


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Predict the classes of videos and images.

    With a run, choose among its classes, or those of --classes; without a run, --classes is required and the encoder
    compares the files with the class names (zero-shot). match.mp4#t=3,7.5 is a part of a video, in seconds.

    Args:
        inputs: a run folder or hub:ORG/NAME, then files and folders; or only files and folders
        top: number of classes to print per file (default: 5; with more than five files 2, on one line)
        sets: also print each file's prediction set, which contains the correct class at the rate given to texthead
            calibrate --coverage
        frame_template: read a folder as one clip whose frames have such names: img_{:05d}.jpg, or * (any name, natural
            order)
        unlabelled: folder of files like those to predict; all are scored as one batch, in which similar files help
            each other
    """

    JSON: ClassVar = "a list of path, top [name, probability], temperature, answer, set, error"

    USAGE: ClassVar = (
        "texthead predict [RUN] FILE_OR_FOLDER... [--classes NAMES] [options]\n"
        "       texthead predict [RUN] --manifest FILE --out FOLDER [options]"
    )

    inputs: list[str] = argument("RUN_OR_FILE", nargs="*", read=local_run)
    model: ModelOptions = ModelOptions()
    top: int | None = option(None, "N")
    sets: bool = False
    unlabelled: str | None = option(None, "FOLDER")
    frame_template: str | None = option(None, "NAME")
    protocol: ProtocolOptions = ProtocolOptions()
    printed: PrintOptions = PrintOptions()
    tool: ToolOptions = ToolOptions()
    files: ReadingOptions = ReadingOptions()
    many: ManyFiles = ManyFiles()

    def check(self) -> None:
        """Raise DataError or RunError if a path does not exist or options exclude each other."""
        if self.top is not None and self.top < 1:
            raise DataError(f"--top must be at least 1, got {self.top}")
        _run_and_inputs(self)
        check_outputs(self, export=".json .xml")
        if self.many.ray is not None:
            check_extra("ray", "--ray")
        if self.many.out is not None:
            check_folder(f"--out {self.many.out}", Path(self.many.out))

    @property
    def decodes_many(self) -> bool:
        """Whether there are enough files to start worker processes for."""
        return self.many.manifest is not None or self.unlabelled is not None or _are_many(self.inputs)

    def __call__(self) -> None:
        from texthead.commands.console import bar, doing, say_notes
        from texthead.commands.model import noted_calibration

        doing("loading torch")
        from texthead.prediction.predict import predictions, protocol_of, zero_shot_line
        from texthead.runs.run import Run, keep_graph

        run_folder, inputs = _run_and_inputs(self)
        if self.many.manifest is not None:
            _predict_many(self, run_folder)
            return
        model = self.model.load(run_folder, self.files.pick_device())
        protocol = self.protocol.on(protocol_of(model)[1])
        note = zero_shot_line(model, self.model.classes)
        # The threshold holds for files that are scored alone.
        calibration = None if self.unlabelled else noted_calibration(model, protocol)
        others = _inputs([self.unlabelled], self.frame_template) if self.unlabelled else []
        reading = replace(self.files.reading(), workers=self.files.workers if self.decodes_many else 0)
        with bar("predict", "files") as progress:
            results = predictions(
                model,
                inputs,
                protocol,
                reading,
                top=self.top or _TOP,
                sets=self.sets,
                unlabelled=others,
                progress=progress,
            )
            _print_predictions(results, calibration, self, model.labels if isinstance(model, Run) else model.names)
        if note:
            say_notes([note])
        _suggest(self, run_folder)
        if isinstance(model, Run):
            sys.stdout.flush()
            doing("saving the encoder's graph for the next prediction")
            keep_graph(model)


def _suggest(command: Predict, run: str | None) -> None:
    """Suggest to try the run in the browser, or to label the files that were predicted zero-shot."""
    from texthead.commands.console import next_command

    if run is not None:
        next_command("texthead", "ui", run)
        return
    folder = Path(command.inputs[0])
    folder = folder if folder.is_dir() else folder.parent
    next_command("texthead", "label", folder, "--classes", command.model.classes, "--out", "labels.csv")


# Classes printed per file.
_TOP = 5

# More files than this get one line each.
_FEW_FILES = 5

# Starting processes takes as long as decoding this many videos.
_FEW = 16

# Endings of lists of files.
_LISTS = (".csv", ".tsv", ".txt")


def _run_and_inputs(command: Predict) -> tuple[str | None, list[str | Path]]:
    """Return (the run or None, the files and folders if no manifest lists them).

    Raises:
        DataError, RunError: options exclude each other, or a path does not exist.
    """
    from texthead.runs.saved import check_run_exists

    _check_goes_together(command)
    if not command.inputs and command.many.manifest is None:
        raise DataError("predict needs RUN_OR_FILE (see texthead predict --help)")
    first, rest = command.model.split(command.inputs, "all files")
    if command.many.manifest is not None and rest:
        check_run_exists(rest[0])
        raise DataError(f"{rest[0]} is not a run (no recipe.json in it), and --manifest names the files; leave it out")
    if first is not None and not rest and command.many.manifest is None:
        raise DataError(f"{first} is a run: name files or folders after it")
    _check_no_list(rest)
    for path in rest:
        check_not_missing(path)
    return first, _inputs(rest, command.frame_template)


def _check_no_list(inputs: Sequence[str]) -> None:
    """Raise DataError if a list of files is given in place of a file."""
    for path in map(Path, inputs):
        if path.suffix.lower() in _LISTS and path.is_file():
            raise DataError(
                f"{path} is a list, not a video or image: pass it with --manifest {path} --out FOLDER "
                "(a CSV or TSV with a column `path`, or a .txt with one path per line)"
            )


def _check_goes_together(command: Predict) -> None:
    command.printed.check()
    command.tool.check()
    if command.many.manifest is None:
        given = [name for name, value in asdict(command.many).items() if value is not None and value is not False]
        if given:
            raise DataError(f"--{given[0]} works only with --manifest; add it")
        return
    alone = {"frame-template": command.frame_template, "unlabelled": command.unlabelled, "export": command.tool.export}
    single = {"csv": command.printed.csv, **alone}
    for name, value in single.items():
        if value:
            raise DataError(f"--{name} does not work with --manifest; leave one of them out")
    if command.many.out is None:
        raise DataError(f"--manifest {command.many.manifest} needs --out, the folder for its parts")
    if (command.many.rank is None) != (command.many.ranks is None):
        raise DataError("give both --rank (number of this process, from 0) and --ranks (number of processes)")


def _predict_many(command: Predict, run_folder: str | None) -> None:
    """Predict the parts of this process, with a line each, and print how far all processes are."""
    from texthead.commands.console import doing, next_command, notes, results, say_notes, show_json
    from texthead.commands.model import noted_calibration
    from texthead.prediction.bulk import Part, PartOptions, check_rank, open_parts, predict_parts
    from texthead.prediction.bulk_on_ray import predict_on_ray
    from texthead.prediction.predict import protocol_of, zero_shot_line

    rank, ranks = _place(command)
    check_rank(rank, ranks)
    if command.many.ray is not None and ranks > 1:
        raise DataError(f"--ray distributes the parts itself, but this is process {rank} of {ranks}; start one process")
    model = command.model.load(run_folder, command.files.pick_device())
    wanted = PartOptions(
        part=command.many.part or 1000,
        top=command.top or _TOP,
        scores=command.many.scores,
        batch=command.many.batch or 1,
        sets=command.sets,
    )
    protocol = command.protocol.on(protocol_of(model)[1])
    assert command.many.manifest is not None and command.many.out is not None  # noqa: PT018
    parts = open_parts(model, command.many.manifest, command.many.out, protocol, wanted)
    noted_calibration(model, parts.protocol)
    say, skip, began = notes(), command.files.skip_unreadable, time.perf_counter()
    made: list[int] = []

    def done(part: Part) -> None:
        made.append(part.files)
        speed = f"{sum(made) / (time.perf_counter() - began):.1f} files/s so far"
        say.print(f"part {part.number} of {parts.count}: {part.files} files{_lost(part.unreadable)}; {speed}")

    whole = f"{parts.request['files']} files in {parts.count} parts"
    if command.many.ray is not None:
        say.print(f"Ray, {command.many.ray} encoding; {whole}")
        gpus = 0 if command.files.device == "cpu" else None
        state = predict_on_ray(
            parts,
            actors=command.many.ray,
            gpus=gpus,
            skip_unreadable=skip,
            done=done,
        )
    else:
        say.print(f"process {rank} of {ranks}; {whole}")
        state = predict_parts(
            parts,
            rank=rank,
            ranks=ranks,
            skip_unreadable=skip,
            workers=command.files.workers,
            engine=command.files.engine,
            done=done,
        )
    doing("counting the finished parts")
    finished = f"{state.finished} of {state.parts} parts are finished"
    results().print(f"{command.many.out}: {finished}, {state.files} files{_lost(state.unreadable)}")
    show_json({"out": command.many.out, **state._asdict()})
    note = zero_shot_line(model, command.model.classes)
    if note:
        say_notes([note])
    if run_folder is not None:
        next_command("texthead", "ui", run_folder)


def _lost(unreadable: int) -> str:
    return f", {unreadable} of them could not be read" if unreadable else ""


def _place(command: Predict) -> tuple[int, int]:
    """Return (the number of this process, the number of processes): from the options, else torchrun, else (0, 1)."""
    import torch

    if command.many.rank is not None and command.many.ranks is not None:
        return command.many.rank, command.many.ranks
    if "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _are_many(inputs: Sequence[str]) -> bool:
    """Return whether the inputs hold more files than one process decodes while others start."""
    paths = [Path(path) for path in inputs]
    inside = (file for path in paths for file in (path.rglob("*") if path.is_dir() and not is_run(path) else [path]))
    return sum(1 for _ in islice(inside, _FEW + 1)) > _FEW or any(map(_holds_many, paths))


def _holds_many(path: Path) -> bool:
    """Return whether a path is shards or an address, which may hold any number of clips."""
    return address(path) is not None or bool(list(path.glob("*.tar")))


def _inputs(inputs: Sequence[str], template: str | None) -> list[str | Path]:
    """Return the inputs; with a template, folders become the clips of frames in them."""
    from texthead.media.frame_folder import clips_below, is_template

    if template is None:
        return [*inputs]
    if not is_template(template):
        raise DataError(
            "--frame-template must be * or have a place for the frame's number, such as img_{:05d}.jpg, "
            f"got {template!r}"
        )
    paths: list[str | Path] = []
    for each in inputs:
        paths += clips_below(Path(each), template) if Path(each).is_dir() else [each]
    return paths


def _print_predictions(
    predictions: "Iterable[Prediction]", calibration: "Calibration | None", command: Predict, names: Sequence[str]
) -> None:
    """Print the predictions once all are made, so that an unreadable file is an error before any is printed.

    They are held in a file, not in memory. With --export, also write them for the labelling tool.
    """
    from texthead.commands.console import prints_json, results, write

    best: dict[Path, tuple[str, float] | None] = {}
    if command.tool.export is not None:
        predictions = _record_best(predictions, best)

    show = write if prints_json() or command.printed.csv else results().print
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        _write_predictions(predictions, file, calibration, command)
        file.seek(0)
        for line in file:
            show(line.removesuffix("\n"))
    if command.tool.export is not None:
        _export(best, command, names)


def _record_best(
    predictions: "Iterable[Prediction]", best: dict[Path, tuple[str, float] | None]
) -> "Iterator[Prediction]":
    """Yield the predictions, and put the best name of each readable file, or None, into `best`."""
    for prediction in predictions:
        if prediction.top:
            best[prediction.path] = prediction.top[0] if prediction.known else None
        yield prediction


def _export(best: dict[Path, tuple[str, float] | None], command: Predict, names: Sequence[str]) -> None:
    """Write the files and their predictions for a labelling tool."""
    from texthead.data.dataset import Item

    first, *_ = inputs = [path for path in command.inputs if not is_run(path)]
    data = Path(first)
    if len(inputs) > 1 or not data.is_dir():
        data = Path(os.path.commonpath([os.path.abspath(path.parent) for path in best]))  # noqa: PTH100
    guesses = {path: guess for path, guess in best.items() if guess is not None}
    model = "zero-shot" if first == command.inputs[0] else Path(command.inputs[0]).name
    command.tool.write([Item(path, "") for path in best], guesses, names, data=data, model=model)


def _write_predictions(
    predictions: "Iterable[Prediction]", file: TextIO, calibration: "Calibration | None", command: Predict
) -> None:
    """Write each prediction as it comes: as JSON, CSV or text; many files as one line each."""
    from texthead.commands.console import prints_json
    from texthead.prediction.formats import csv_columns, csv_rows, json_entry

    if prints_json():
        entries = (json.dumps([json_entry(each, calibration)], indent=1, ensure_ascii=False) for each in predictions)
        # Without the brackets of its own list.
        file.writelines(f"{',' if number else '['}{entry[1:-2]}" for number, entry in enumerate(entries))
        file.write("\n]\n")
        return
    if command.printed.csv:
        columns = csv_columns(calibration, sets=command.sets)
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(csv_rows(predictions, columns))
        return
    predictions = iter(predictions)
    first = list(islice(predictions, _FEW_FILES + 1))
    short = len(first) > _FEW_FILES and command.top is None and not command.sets
    file.writelines(map(_line if short else _lines, chain(first, predictions)))


def _line(p: "Prediction") -> str:
    """Return a file, and its two best classes, as one line."""
    if p.error:
        return f"{p.path}  not read: {p.error}\n"
    best = ", ".join(f"{100 * v:.1f} % {n}" for n, v in p.top[:2])
    return f"{p.path}  {best if p.known else f'{NONE} (best: {best})'}\n"


def _lines(p: "Prediction") -> str:
    """Return a file, and a line for each of its best classes."""
    lines = [f"{p.path}"]
    for rank, (n, v) in enumerate(p.top):
        named = f"{100 * v:5.1f} %  {n}"
        lines.append(f"  {named}" if p.known or rank else f"  {NONE} (best: {named.lstrip()})")
    if p.set_size is not None:
        lines.append(f"  set: {', '.join(name for name, _ in p.top[: p.set_size])}")
    if p.error:
        lines.append(f"  not read: {p.error}")
    return "".join(f"{line}\n" for line in lines)
