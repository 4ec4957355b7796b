"""`texthead classes`: show the classes of a run, or make a run with classes added, renamed, removed or merged."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from texthead.commands.console import (
    check_template_fills,
    given_template,
    notes,
    results,
    say_names,
    say_prompts,
    say_residual,
)
from texthead.errors import DataError, RunError
from texthead.runs import class_edits
from texthead.runs import run as runs
from texthead.runs.folder import rows_digest
from texthead.text import prompts
from texthead.text.class_names import check_names, clean_names


def classes(options: Any) -> None:
    """`texthead classes`."""
    chosen = options[options.action]
    if options.action == "list":
        return _list(runs.load_run(options.run), as_json=chosen.json)
    out = Path(chosen.out)
    if out.exists():
        raise RunError(f"--out {out}: exists already. Choose another folder, or remove it")
    run = runs.load_run(options.run)
    match options.action:
        case "add":
            edited = _add(run, chosen)
        case "rename":
            edited = _rename(run, chosen)
        case "remove":
            edited = class_edits.remove_classes(run, chosen.classes)
        case _:
            edited = class_edits.merge_classes(run, chosen.classes, chosen.into)
    class_edits.save_classes(edited, out)
    rows = rows_digest(edited.head.weight)
    if edited.calibration is not None and edited.calibration.classes != rows:
        notes().print(
            f"note: {runs.CALIBRATION} was made with the classes as they were: its temperature stays, threshold and "
            "sets do not hold; calibrate again"
        )
    (edit,), count = edited.edits, len(edited.labels)
    results().print(f"{edit.text}; {count} {'class' if count == 1 else 'classes'} now")
    results().print(f"run: {out}")
    return None


def _add(run: runs.Run, options: Any) -> runs.Run:
    given = _given(options)
    labels = list(given)
    names = clean_names(labels) if options.names == "clean" else labels
    sentences = list(given.values())
    edited = class_edits.add_classes(run, labels, names=names, template=given_template(options), prompts=sentences)
    if options.names == "clean":
        clean_names(edited.labels)  # Nor may a new one read like one that is there.
    say_names(labels, names, None)
    _say_rows(edited, labels)
    return edited


def _given(options: Any) -> dict[str, tuple[str, ...] | None]:
    """The classes to add, with their sentences."""
    if bool(options.classes) == (options["from"] is not None):
        raise DataError("name the classes to add, or name a file of them by --from: one of the two")
    if options["from"] is not None:
        if options.sentence:
            raise DataError("--sentence makes the row of one NAME: with --from, put sentences into the .json")
        if not Path(options["from"]).is_file():
            raise DataError(f"--from {options['from']}: no such file; give a names.txt, a CSV with id,name or a .json")
        given = prompts.read_classes(options["from"])
    else:
        check_names(options.classes)
        for name in options.classes:
            if "," in name:
                raise DataError(f"name {name!r} holds a comma: give every class as an argument of its own")
        given = dict.fromkeys(options.classes)
    if options.sentence:
        if len(given) > 1:
            raise DataError(f"--sentence makes the row of one NAME, got {len(given)}: add each by itself")
        given = {options.classes[0]: tuple(options.sentence)}
    check_template_fills(options.template, given)
    return given


def _rename(run: runs.Run, options: Any) -> runs.Run:
    anew = options.encode or bool(options.sentence)
    if not anew and options.template is not None:
        raise DataError(f"--template {options.template!r} makes a row anew: give --encode too")
    (name,) = clean_names([options.new]) if options.names == "clean" else [options.new]
    if not anew:
        return class_edits.rename_class(run, options.old, options.new, name=name)
    given = {options.new: tuple(options.sentence) if options.sentence else None}
    check_template_fills(options.template, given)
    edited = class_edits.rename_class(
        run,
        options.old,
        options.new,
        name=name,
        encode=True,
        template=given_template(options),
        prompt=given[options.new],
    )
    say_names([options.new], [name], None)
    _say_rows(edited, [options.new])
    return edited


def _say_rows(run: runs.Run, labels: Sequence[str]) -> None:
    """The prompts, and what there is to know of the rows that they made."""
    assert run.classes is not None
    found = {entry["label"]: entry["prompt"] for entry in run.classes["classes"]}
    shown = [found[label] for label in labels]
    say_prompts(labels, shown)
    say_residual(run, shown)
    if not run.head.frozen:
        notes().print("note: the other rows were trained after they were text; a new one is text as it is encoded")


def _strings(prompt: str | Sequence[str] | None) -> str:
    return "-" if prompt is None else " | ".join(prompts.flat([prompt]))


def _list(run: runs.Run, *, as_json: bool) -> None:
    assert run.classes is not None
    edited = run.classes.get("edited")
    rows = [{**entry, "row": class_edits.row_source(run, entry)} for entry in run.classes["classes"]]
    if as_json:
        print(json.dumps({"classes": rows, "edited": edited}, indent=1, ensure_ascii=False))
        return
    table = Table("", "label", "class name", "prompt", "row", title=f"{len(rows)} classes of {run.folder}")
    for place, row in enumerate(rows, 1):
        table.add_row(str(place), row["label"], row["name"], _strings(row["prompt"]), row["row"])
    show = results()
    show.print(table)
    if edited:
        show.print(f"made from {edited['run']}: {'; '.join(edited['edits'])}")
