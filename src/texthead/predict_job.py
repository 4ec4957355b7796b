"""`texthead predict`: names what is in files, with a run or zero-shot."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from texthead import prompts, runs
from texthead.encoders import load_encoder, zero_shot_note
from texthead.errors import DataError
from texthead.evaluation import own_pixels
from texthead.frame_files import clips_below, is_template
from texthead.heads import text_head
from texthead.prediction import CSV_COLUMNS, Prediction, csv_rows
from texthead.prediction import predict as predict_files
from texthead.recipes import Recipe
from texthead.recognizer import Recognizer
from texthead.shard_files import has_shards
from texthead.temporal import MeanPool
from texthead.terminal import (
    as_asked,
    bar,
    check_template_fills,
    check_template_is_used,
    given_template,
    notes,
    pick_device,
    results,
    say_prompts,
    say_residual,
)
from texthead.towers import Visual, as_visual


def predict(options: Any) -> None:
    """`texthead predict`."""
    first, *rest = options.inputs
    if options.json and options.csv:
        raise DataError("--json and --csv both say what is printed: give one")
    if options.top < 1:
        raise DataError(f"--top must be at least 1, got {options.top}")
    with_run = runs.is_run(first)
    for path in rest:
        if runs.is_run(path):
            raise DataError(f"{path} is a run: name one run, before all files")
    for option in ("encoder", "text"):
        if with_run and options[option] is not None:
            raise DataError(f"--{option} {options[option]}: run {first} has its own encoder; leave it out")
    if with_run and not rest:
        raise DataError(f"{first} is a run: name files or folders behind it")
    if not with_run and options.classes is None:
        raise DataError(
            f"{first} is no run (no recipe.json in it), so --classes is required: name a run first, or the classes"
        )
    check_template_is_used(options, options.classes is not None, "--classes")
    inputs = _inputs(rest if with_run else options.inputs, options.frame_template)
    model = _predictor(first if with_run else None, options)
    if isinstance(model, runs.Run):
        views, pooling, pixels = as_asked(options, model.recipe, model.pixels)
    else:
        own = own_pixels(as_visual(model.visual).spec)
        views, pooling, pixels = as_asked(options, Recipe(name="zero-shot", origin="centre"), own)
    note = _zero_shot_line(model, options)
    with bar("predict", "files") as progress:
        found = predict_files(
            model,
            inputs,
            top=options.top,
            frames=options.frames,
            views=views,
            pooling=pooling,
            pixels=pixels,
            skip_unreadable=options.skip_unreadable,
            workers=options.workers if _are_many(options.inputs) else 0,
            progress=progress,
        )
    _print_predictions(found, options)
    if note:
        notes().print(note)


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


def _predictor(run_folder: str | None, options: Any) -> runs.Run | Recognizer:
    """The run with its own or new classes, or a zero-shot model."""
    device = pick_device(options.device)
    given = prompts.read_classes(options.classes) if options.classes is not None else {}
    check_template_fills(options.template, given)
    labels, sentences = list(given), list(given.values())
    names = prompts.clean_names(labels) if given and options.names == "clean" else labels
    template = given_template(options)
    if run_folder is None:
        shown = prompts.class_prompts(template or "{}", names, sentences)
        encoder = load_encoder(options.encoder or "mini", text=options.text, prompts=prompts.flat(shown))
        head = text_head(encoder, names, prompts=shown).renamed(labels)
        say_prompts(labels, shown)
        return Recognizer(encoder.visual, MeanPool(), head).to(device)
    run = runs.load_run(run_folder)
    if given:
        say_residual(run, prompts.class_prompts(template or run.recipe.template, names, sentences))
        run = run.with_classes(labels, names=names, template=template, prompts=sentences)
        say_prompts(labels, run.model.head.prompts)  # pyright: ignore
    run.model.to(device)
    return run


def _zero_shot_line(model: runs.Run | Recognizer, options: Any) -> str | None:
    if options.classes is None:
        return None
    visual = model.model.visual if isinstance(model, runs.Run) else model.visual
    assert isinstance(visual, Visual)
    return zero_shot_note(visual.spec.source)


def _print_predictions(found: Sequence[Prediction], options: Any) -> None:
    if options.json:
        entries = [
            {"path": str(p.path), "top": [{"name": n, "probability": round(v, 6)} for n, v in p.top]}
            | ({"error": p.error} if p.error else {})
            for p in found
        ]
        print(json.dumps(entries, indent=1, ensure_ascii=False))
        return
    if options.csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(CSV_COLUMNS)
        writer.writerows(csv_rows(found))
        return
    show = results()
    for p in found:
        show.print(f"{p.path}")
        for n, v in p.top:
            show.print(f"  {100 * v:5.1f} %  {n}")
        if p.error:
            show.print(f"  not read: {p.error}")
