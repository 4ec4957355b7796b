"""`texthead predict`: names what is in files, with a run or zero-shot."""

import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TextIO

from texthead.commands.model import ModelOptions
from texthead.commands.options import PrintOptions, ProtocolOptions, ReadingOptions, ToolOptions, local_run
from texthead.commands.outputs import check_folder, check_outputs
from texthead.commands.parser import NonNegativeInt, PositiveInt, argument, option, values_of
from texthead.errors import DataError
from texthead.extras import check_extra
from texthead.media.paths import address, check_not_missing, is_part
from texthead.runs.saved import is_exported, is_run
from texthead.text.class_names import NONE

if TYPE_CHECKING:
    from texthead.prediction.formats import Calibrated, Prediction


@dataclass(frozen=True, kw_only=True)
class ManyFiles:
    """In parts that any number of processes make, each by itself; the same command goes on after a stop.

    Args:
        manifest: CSV or TSV with a column path (and start and end of parts, in seconds), .txt with one path a line, a
            folder, or prepared SHARDS
        out: where the parts are, one CSV each
        part: files of a part (default: 1000)
        scores: keep the scores of all classes too
        batch: files that are encoded at once (default: 1); more is faster and may change last digits
        rank: the number of this process, from 0; torchrun's RANK if not given
        ranks: how many processes share the parts; torchrun's WORLD_SIZE if not given
        ray: on a Ray cluster instead, with so many processes that encode
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
    """Predict classes for files.

    Of a run they are its own classes or other ones; without a run those of --classes, by their text. match.mp4#t=3,7.5
    is a part of a video, in seconds.

    Args:
        inputs: a run folder, hub:ORG/NAME or an exported folder first; or only files and folders
        top: names a file
        sets: the set of names that holds the right one at the rate that a calibrated run promises
        frame_template: folders are clips of frames, as img_{:05d}.jpg or * (any name, natural order), or hold such
        unlabelled: files like those to predict; all are scored as one batch, where similar files help each other
    """

    USAGE: ClassVar = (
        "texthead predict [RUN] FILE_OR_FOLDER... [--classes NAMES] [options]\n"
        "       texthead predict [RUN] --manifest FILE --out FOLDER [--classes NAMES] [options]"
    )

    inputs: list[str] = argument("RUN_OR_FILE", nargs="*", read=local_run)
    model: ModelOptions = ModelOptions()
    top: int = 5
    sets: bool = False
    unlabelled: str | None = option(None, "FOLDER")
    frame_template: str | None = option(None, "NAME")
    protocol: ProtocolOptions = ProtocolOptions()
    printed: PrintOptions = PrintOptions()
    tool: ToolOptions = ToolOptions()
    files: ReadingOptions = ReadingOptions()
    many: ManyFiles = ManyFiles()

    def check(self) -> None:
        """Raise DataError or RunError if what is named does not go together, or is not there."""
        if self.top < 1:
            raise DataError(f"--top must be at least 1, got {self.top}")
        if self.inputs and is_exported(self.inputs[0]):
            _check_exported(self)
        else:
            _run_and_inputs(self)
        check_outputs(self, export=".json .xml")
        if self.many.ray is not None:
            check_extra("ray", "--ray")
        if self.many.out is not None:
            check_folder(f"--out {self.many.out}", Path(self.many.out))

    @property
    def decodes_many(self) -> bool:
        """Whether so many files are named that processes which decode are worth their start."""
        return self.many.manifest is not None or self.unlabelled is not None or _are_many(self.inputs)

    def __call__(self) -> None:
        if self.inputs and is_exported(self.inputs[0]):
            _predict_exported(self)
            return
        from texthead.commands.console import bar, notes
        from texthead.commands.model import noted_calibration
        from texthead.prediction.predict import predictions, protocol_of, zero_shot_line
        from texthead.runs.run import Run, keep_graph

        run_folder, inputs = _run_and_inputs(self)
        if self.many.manifest is not None:
            _predict_many(self, run_folder)
            return
        model = self.model.load(run_folder, self.files.pick_device())
        protocol = self.protocol.on(protocol_of(model)[1])
        note = zero_shot_line(model, self.model.classes)
        # The threshold is of files that are scored alone.
        calibration = None if self.unlabelled else noted_calibration(model, protocol)
        others = _inputs([self.unlabelled], self.frame_template) if self.unlabelled else []
        reading = replace(self.files.reading(), workers=self.files.workers if self.decodes_many else 0)
        with bar("predict", "files") as progress:
            found = predictions(
                model,
                inputs,
                protocol,
                reading,
                top=self.top,
                sets=self.sets,
                unlabelled=others,
                progress=progress,
            )
            _print_predictions(found, calibration, self, model.labels if isinstance(model, Run) else model.names)
        if note:
            notes().print(note)
        if isinstance(model, Run):
            sys.stdout.flush()  # The answer does not wait for what makes the next one quicker.
            keep_graph(model)


# The options that an exported folder leaves open.
_OF_EXPORTED = frozenset({"inputs", "top", "sets", "json", "csv", "export", "skip_unreadable", "workers"})


def _check_exported(command: Predict) -> None:
    """Raise DataError for options that an exported folder decides, or files that are not there."""
    command.printed.check()
    command.tool.check()
    folder, *files = command.inputs
    defaults = values_of(Predict(inputs=[]))
    for name, value in values_of(command).items():
        if name not in _OF_EXPORTED and value != defaults[name]:
            raise DataError(f"--{name.replace('_', '-')}: {folder} is an export, which has its own; leave it out")
    if not files:
        raise DataError(f"{folder} is an export: name files behind it")
    _check_no_list(files)
    for path in files:
        check_not_missing(path)
        if is_part(path):
            raise DataError(f"{path} is a part of a video, and exports read whole files; cut it out, or name the run")


def _predict_exported(command: Predict) -> None:
    """Predict with an exported folder, without torch where files are named."""
    from texthead.commands.console import bar
    from texthead.exporting.exported import Exported

    folder, *files = map(Path, command.inputs)
    exported = Exported(folder)
    if not all(path.is_file() for path in files):
        from texthead.media.find import find_media

        files = find_media(files)
    skip = command.files.skip_unreadable
    with bar("predict", "files") as progress:
        found = exported.predict(files, top=command.top, sets=command.sets, skip_unreadable=skip, progress=progress)
    _print_predictions(found, exported.calibration, command, exported.names)


# To start processes takes as long as to decode so many videos.
_FEW = 16

# Files with these ends are lists of files, and no media.
_LISTS = (".csv", ".tsv", ".txt")


def _run_and_inputs(command: Predict) -> tuple[str | None, list[str | Path]]:
    """(the run, if one is named; the files and folders, where no manifest lists them).

    Raises:
        DataError, RunError: what is named does not go together, or is not there.
    """
    from texthead.runs.saved import check_run_exists

    _check_goes_together(command)
    if not command.inputs and command.many.manifest is None:
        raise DataError("predict needs RUN_OR_FILE (see texthead predict --help)")
    first, rest = command.model.split(command.inputs, "all files")
    if command.many.manifest is not None and rest:
        check_run_exists(rest[0])
        raise DataError(f"{rest[0]} is no run (no recipe.json in it), and --manifest names the files: leave it out")
    if first is not None and not rest and command.many.manifest is None:
        raise DataError(f"{first} is a run: name files or folders behind it")
    _check_no_list(rest)
    for path in rest:
        check_not_missing(path)
    return first, _inputs(rest, command.frame_template)


def _check_no_list(inputs: Sequence[str]) -> None:
    """Nothing, unless a list of files is named where a file is.

    Raises:
        DataError: one is.
    """
    for path in map(Path, inputs):
        if path.suffix.lower() in _LISTS and path.is_file():
            raise DataError(
                f"{path} is a list, not a video or image: pass it by --manifest {path} --out FOLDER "
                "(a CSV or TSV with a column `path`, or a .txt with one path a line)"
            )


def _check_goes_together(command: Predict) -> None:
    command.printed.check()
    command.tool.check()
    if command.many.manifest is None:
        given = [name for name, value in asdict(command.many).items() if value is not None and value is not False]
        if given:
            raise DataError(f"--{given[0]} is for many files: give --manifest too")
        return
    alone = {"frame-template": command.frame_template, "unlabelled": command.unlabelled, "export": command.tool.export}
    single = {"json": command.printed.json, "csv": command.printed.csv, **alone}
    for name, value in single.items():
        if value:
            raise DataError(f"--{name} is not for --manifest, whose parts are CSV files of single paths")
    if command.many.out is None:
        raise DataError(f"--manifest {command.many.manifest} needs --out, the folder for its parts")
    if (command.many.rank is None) != (command.many.ranks is None):
        raise DataError("--rank and --ranks go together: the number of this process, from 0, and how many there are")


def _predict_many(command: Predict, run_folder: str | None) -> None:
    """Make this process's parts, with a line each, and say how far all processes are."""
    from texthead.commands.console import notes, results
    from texthead.commands.model import noted_calibration
    from texthead.prediction.bulk import Part, PartOptions, check_rank, open_parts, predict_parts
    from texthead.prediction.bulk_on_ray import predict_on_ray
    from texthead.prediction.predict import protocol_of, zero_shot_line

    rank, ranks = _place(command)
    check_rank(rank, ranks)
    if command.many.ray is not None and ranks > 1:
        raise DataError(f"--ray shares the parts by itself, and this is process {rank} of {ranks}: start one alone")
    model = command.model.load(run_folder, command.files.pick_device())
    wanted = PartOptions(
        part=command.many.part or 1000,
        top=command.top,
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

    whole = f"{parts.asked['files']} files in {parts.count} parts"
    if command.many.ray is not None:
        say.print(f"Ray, {command.many.ray} encoding; {whole}")
        gpus = 0 if command.files.device == "cpu" else None
        state = predict_on_ray(
            parts,
            actors=command.many.ray,
            gpus=gpus,
            skip_unreadable=skip,
            most_megapixels=command.files.most_megapixels,
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
            most_megapixels=command.files.most_megapixels,
            done=done,
        )
    finished = f"{state.finished} of {state.parts} parts are finished"
    results().print(f"{command.many.out}: {finished}, {state.files} files{_lost(state.unreadable)}")
    note = zero_shot_line(model, command.model.classes)
    if note:
        say.print(note)


def _lost(unreadable: int) -> str:
    return f", {unreadable} of them could not be read" if unreadable else ""


def _place(command: Predict) -> tuple[int, int]:
    """(the number of this process, how many there are): as the options say, else torchrun's environment, else alone."""
    import torch

    if command.many.rank is not None and command.many.ranks is not None:
        return command.many.rank, command.many.ranks
    if "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _are_many(inputs: Sequence[str]) -> bool:
    """Return whether the inputs are, or hold, more files than one process decodes while others would start."""
    paths = [Path(path) for path in inputs]
    inside = (file for path in paths for file in (path.rglob("*") if path.is_dir() and not is_run(path) else [path]))
    return sum(1 for _ in islice(inside, _FEW + 1)) > _FEW or any(map(_holds_many, paths))


def _holds_many(path: Path) -> bool:
    """Return whether a path may hold any number of clips: shards, or an address."""
    return address(path) is not None or bool(list(path.glob("*.tar")))


def _inputs(inputs: Sequence[str], template: str | None) -> list[str | Path]:
    """What is named; with a template, its folders as clips of frames."""
    from texthead.media.frame_folder import clips_below, is_template

    if template is None:
        return [*inputs]
    if not is_template(template):
        raise DataError(
            f"--frame-template must be * or hold a place for the frame's number, as img_{{:05d}}.jpg: {template!r}"
        )
    found: list[str | Path] = []
    for each in inputs:
        found += clips_below(Path(each), template) if Path(each).is_dir() else [each]
    return found


def _print_predictions(
    found: "Iterable[Prediction]", calibration: "Calibrated | None", command: Predict, names: Sequence[str]
) -> None:
    """Print the predictions when all are there: a file that cannot be read is an error before any is printed.

    They wait in a file, not in memory. Then export them, if a tool is named.
    """
    from texthead.commands.console import results

    best: dict[Path, tuple[str, float] | None] = {}
    if command.tool.export is not None:
        found = _noting(found, best)

    show = print if command.printed.json or command.printed.csv else results().print
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape", newline="\n") as kept:
        _write_predictions(found, kept, calibration, command)
        kept.seek(0)
        for line in kept:
            show(line.removesuffix("\n"))
    if command.tool.export is not None:
        _export(best, command, names)


def _noting(found: "Iterable[Prediction]", best: dict[Path, tuple[str, float] | None]) -> "Iterator[Prediction]":
    """Yield the predictions, and note the best name of each file that can be read; None for none of them."""
    for prediction in found:
        if prediction.top:
            best[prediction.path] = prediction.top[0] if prediction.known else None
        yield prediction


def _export(best: dict[Path, tuple[str, float] | None], command: Predict, names: Sequence[str]) -> None:
    """Write the files and their guesses for a labelling tool."""
    from texthead.data.dataset import Item

    first, *_ = inputs = [path for path in command.inputs if not is_run(path) and not is_exported(path)]
    data = Path(first)
    if len(inputs) > 1 or not data.is_dir():
        data = Path(os.path.commonpath([os.path.abspath(path.parent) for path in best]))  # noqa: PTH100
    guesses = {path: guess for path, guess in best.items() if guess is not None}
    model = "zero-shot" if first == command.inputs[0] else Path(command.inputs[0]).name
    command.tool.write([Item(path, "") for path in best], guesses, names, data=data, model=model)


def _write_predictions(
    found: "Iterable[Prediction]", file: TextIO, calibration: "Calibrated | None", command: Predict
) -> None:
    """Write each prediction as it comes, in the form that is asked for."""
    from texthead.prediction.formats import csv_columns, csv_rows, json_entry

    if command.printed.json:
        entries = (json.dumps([json_entry(each, calibration)], indent=1, ensure_ascii=False) for each in found)
        # Without the brackets of its own list.
        file.writelines(f"{',' if number else '['}{entry[1:-2]}" for number, entry in enumerate(entries))
        file.write("\n]\n")
        return
    if command.printed.csv:
        columns = csv_columns(calibration, sets=command.sets)
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(csv_rows(found, columns))
        return
    for p in found:
        lines = [f"{p.path}"]
        for rank, (n, v) in enumerate(p.top):
            named = f"{100 * v:5.1f} %  {n}"
            lines.append(f"  {named}" if p.known or rank else f"  {NONE} (best: {named.lstrip()})")
        if p.set_size is not None:
            lines.append(f"  set: {', '.join(name for name, _ in p.top[: p.set_size])}")
        if p.error:
            lines.append(f"  not read: {p.error}")
        file.writelines(f"{line}\n" for line in lines)
