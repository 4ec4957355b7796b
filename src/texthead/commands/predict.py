"""`texthead predict`: names what is in files, with a run or zero-shot."""

import csv
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from texthead.commands.console import (
    bar,
    check_template_fills,
    check_template_is_used,
    given_template,
    notes,
    protocol_with,
    results,
    say_other_classes,
    say_prompts,
)
from texthead.data.protocol import Protocol
from texthead.encoders.load import load_encoder
from texthead.errors import DataError
from texthead.evaluation.calibration import NONE, Calibration
from texthead.features.reading import Reading
from texthead.media.frame_folder import clips_below, is_template
from texthead.media.shard import has_shards
from texthead.models.recognizer import Recognizer
from texthead.parallel.device import pick_device
from texthead.prediction.bulk import Part, PartOptions, check_rank, open_parts, predict_parts
from texthead.prediction.bulk_on_ray import predict_on_ray
from texthead.prediction.formats import csv_columns, csv_rows, json_entry
from texthead.prediction.predict import Prediction, calibration_for, protocol_of, zero_shot, zero_shot_line
from texthead.prediction.predict import predict as predict_files
from texthead.runs import run as runs
from texthead.text import prompts
from texthead.text.class_names import clean_names

# Files with these ends are lists of files, and no media.
_LISTS = (".csv", ".tsv", ".txt")

# What is for `--manifest` alone.
_MANY = ("out", "part", "scores", "batch", "rank", "ranks", "ray")


def predict(options: Any) -> None:
    """`texthead predict`."""
    run_folder, inputs = _run_and_inputs(options)
    if options.top < 1:
        raise DataError(f"--top must be at least 1, got {options.top}")
    check_template_is_used(options, options.classes is not None, "--classes")
    if options.manifest is not None:
        _predict_many(options, run_folder)
        return
    model = predictor(run_folder, options)
    protocol = protocol_with(options, protocol_of(model)[1])
    note = zero_shot_line(model, options)
    calibration = told_calibration(model, protocol)
    workers = options.workers if _are_many(options.inputs) else 0
    reading = Reading(workers=workers, skip_unreadable=options.skip_unreadable)
    with bar("predict", "files") as progress:
        found = predict_files(model, inputs, protocol, reading, top=options.top, sets=options.sets, progress=progress)
    _print_predictions(found, calibration, options)
    if note:
        notes().print(note)


def _run_and_inputs(options: Any) -> tuple[str | None, list[str | Path]]:
    """(the run, if one is named; the files and folders, where no manifest lists them).

    Raises:
        DataError: what is named does not go together.
    """
    _check_goes_together(options)
    if not options.inputs and options.manifest is None:
        raise DataError("predict needs RUN_OR_FILE (see texthead predict --help)")
    with_run = bool(options.inputs) and runs.is_run(options.inputs[0])
    first, rest = (options.inputs[0], options.inputs[1:]) if with_run else (None, options.inputs)
    for path in rest:
        if runs.is_run(path):
            raise DataError(f"{path} is a run: name one run, before all files")
    for option in ("encoder", "text"):
        if with_run and options[option] is not None:
            raise DataError(f"--{option} {options[option]}: run {first} has its own encoder; leave it out")
    if options.manifest is not None and rest:
        raise DataError(f"{rest[0]} is no run (no recipe.json in it), and --manifest names the files: leave it out")
    if with_run and not rest and options.manifest is None:
        raise DataError(f"{first} is a run: name files or folders behind it")
    if not with_run and options.classes is None:
        what = f"{options.inputs[0]} is no run (no recipe.json in it)" if options.inputs else "no run is named"
        raise DataError(f"{what}, so --classes is required: name a run first, or the classes")
    _check_no_list(rest)
    return first, _inputs(rest, options.frame_template)


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


def _check_goes_together(options: Any) -> None:
    if options.json and options.csv:
        raise DataError("--json and --csv both say what is printed: give one")
    if options.manifest is None:
        given = [name for name in _MANY if options[name] is not None]
        if given:
            raise DataError(f"--{given[0]} is for many files: give --manifest too")
        return
    for name in ("json", "csv", "frame_template"):
        if options[name]:
            raise DataError(
                f"--{name.replace('_', '-')} is not for --manifest, whose parts are CSV files of single paths"
            )
    if options.out is None:
        raise DataError(f"--manifest {options.manifest} needs --out, the folder for its parts")
    if (options.rank is None) != (options.ranks is None):
        raise DataError("--rank and --ranks go together: the number of this process, from 0, and how many there are")


def _predict_many(options: Any, run_folder: str | None) -> None:
    """Make this process's parts, with a line each, and say how far all processes are."""
    rank, ranks = _place(options)
    check_rank(rank, ranks)
    if options.ray is not None and ranks > 1:
        raise DataError(f"--ray shares the parts by itself, and this is process {rank} of {ranks}: start one alone")
    model = predictor(run_folder, options)
    wanted = PartOptions(
        part=options.part or 1000,
        top=options.top,
        scores=bool(options.scores),
        batch=options.batch or 1,
        sets=options.sets,
    )
    protocol = protocol_with(options, protocol_of(model)[1])
    parts = open_parts(model, options.manifest, options.out, protocol, wanted)
    told_calibration(model, parts.protocol)
    say, skip, began = notes(), options.skip_unreadable, time.perf_counter()
    made: list[int] = []

    def done(part: Part) -> None:
        made.append(part.files)
        speed = f"{sum(made) / (time.perf_counter() - began):.1f} files/s so far"
        say.print(f"part {part.number} of {parts.count}: {part.files} files{_lost(part.unreadable)}; {speed}")

    whole = f"{parts.asked['files']} files in {parts.count} parts"
    if options.ray is not None:
        say.print(f"Ray, {options.ray} encoding; {whole}")
        gpus = 0 if options.device == "cpu" else None
        state = predict_on_ray(parts, actors=options.ray, gpus=gpus, skip_unreadable=skip, done=done)
    else:
        say.print(f"process {rank} of {ranks}; {whole}")
        state = predict_parts(parts, rank=rank, ranks=ranks, skip_unreadable=skip, workers=options.workers, done=done)
    finished = f"{state.finished} of {state.parts} parts are finished"
    results().print(f"{options.out}: {finished}, {state.files} files{_lost(state.unreadable)}")
    note = zero_shot_line(model, options)
    if note:
        say.print(note)


def _lost(unreadable: int) -> str:
    return f", {unreadable} of them could not be read" if unreadable else ""


def _place(options: Any) -> tuple[int, int]:
    """(the number of this process, how many there are): as the options say, else torchrun's environment, else alone."""
    if options.ranks is not None:
        return options.rank, options.ranks
    if "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _are_many(inputs: Sequence[str]) -> bool:
    """Whether it is worth while to start processes that decode."""
    return len(inputs) > 2 or Path(inputs[-1]).is_dir() or has_shards(inputs[-1])


def _inputs(inputs: Sequence[str], template: str | None) -> list[str | Path]:
    """What is named; with a template, its folders as clips of frames."""
    if template is None:
        return [*inputs]
    if not is_template(template):
        raise DataError(f"--frame-template must hold a place for the frame's number, as img_{{:05d}}.jpg: {template!r}")
    found: list[str | Path] = []
    for each in inputs:
        found += clips_below(Path(each), template) if Path(each).is_dir() else [each]
    return found


def predictor(run_folder: str | None, options: Any) -> runs.Run | Recognizer:
    """The run with its own or new classes, or a zero-shot model, on the device that is asked for."""
    device = pick_device(options.device)
    if run_folder is not None:
        run = with_given_classes(runs.load_run(run_folder), options)
        run.model.to(device)
        return run
    labels, names, sentences = _given_classes(options)
    shown = prompts.class_prompts(given_template(options) or "{}", names, sentences)
    encoder = load_encoder(options.encoder or "mini", text=options.text, prompts=prompts.flat(shown))
    model = zero_shot(encoder, names, labels=labels, prompts=shown)
    say_prompts(labels, shown)
    return model.to(device)


def with_given_classes(run: runs.Run, options: Any) -> runs.Run:
    """The run with the classes of --classes, after a line on their prompts; itself where none are given."""
    if options.classes is None:
        return run
    labels, names, sentences = _given_classes(options)
    template = given_template(options)
    say_other_classes(run, prompts.class_prompts(template or run.recipe.template, names, sentences))
    run = run.with_classes(labels, names=names, template=template, prompts=sentences)
    say_prompts(labels, run.model.head.prompts)  # pyright: ignore
    return run


def _given_classes(options: Any) -> tuple[list[str], list[str], list[Any]]:
    """(labels of --classes, their names as a text encoder reads them, their sentences where they have them).

    A name that is alone is noted.
    """
    given = prompts.read_classes(options.classes)
    check_template_fills(options.template, given)
    labels = list(given)
    if len(labels) == 1:
        notes().print("note: one name alone is always 100 %: give others to compare it with")
    return labels, clean_names(labels) if options.names == "clean" else labels, list(given.values())


def told_calibration(model: runs.Run | Recognizer, protocol: Protocol) -> Calibration | None:
    """What of a run's calibration holds for what is looked at in this way, after a note on it."""
    found, why = calibration_for(model, protocol)
    if found is None:
        return None
    told = f"probabilities are after temperature {found.temperature:.3g} (calibration.json, {found.items} items)"
    notes().print(f"note: {told}{f'; {why}' if why else ''}")
    return found


def _print_predictions(found: Sequence[Prediction], calibration: Calibration | None, options: Any) -> None:
    if options.json:
        print(json.dumps([json_entry(each, calibration) for each in found], indent=1, ensure_ascii=False))
        return
    if options.csv:
        columns = csv_columns(calibration, sets=options.sets)
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows(csv_rows(found, columns))
        return
    show = results()
    for p in found:
        show.print(f"{p.path}")
        for rank, (n, v) in enumerate(p.top):
            named = f"{100 * v:5.1f} %  {n}"
            show.print(f"  {named}" if p.known or rank else f"  {NONE} (best: {named.lstrip()})")
        if p.set_size is not None:
            show.print(f"  set: {', '.join(name for name, _ in p.top[: p.set_size])}")
        if p.error:
            show.print(f"  not read: {p.error}")
