"""The classes of a finished run, edited as text; the rows of all others stay to the bit.

Each edit returns a new run and leaves the old one alone; `save_classes` writes it into a folder of its own.
"""

import difflib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead.errors import DataError, RunError
from texthead.files import new_folder, write_json
from texthead.media.paths import resolved
from texthead.runs.folder import ENCODER, save_model, saved_split
from texthead.runs.run import CALIBRATION, Edit, Run, load_run
from texthead.runs.scores import NAME as SCORES
from texthead.text.class_names import check_names
from texthead.text.prompts import class_prompts, flat

# Two rows of the same text differ by rounding alone; near synonyms are a thousand times further apart.
_SAME = 1 - 1e-6

# What an edited run takes over as it is; a calibration knows which rows it holds for.
_KEPT_FILES = ("recipe.json", "metrics.jsonl", SCORES, CALIBRATION)

ClassEntry = dict[str, Any]


def add_classes(
    run: Run,
    labels: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    template: str | Sequence[str] | None = None,
    prompts: Sequence[str | Sequence[str] | None] | None = None,
) -> Run:
    """Return the run with text rows for more classes, behind those that it has.

    Args:
        labels, names, template, prompts: as `Run.with_classes` takes them.

    Raises:
        RunError: the head's rows are not text, so that a text row cannot be compared with them.
        DataError: a label that the run has already, or a row that it has already.
    """
    entries, rows = _entries(run), _rows(run)
    check_names(labels)
    _check_new(run, labels)
    _check_text(run)
    names = names or labels
    made, shown = _made(run, labels, names, template, prompts or [None] * len(names))
    _check_apart(rows, run.labels, made, labels)
    more = [_entry(*each, row="text") for each in zip(labels, names, shown, strict=True)]
    return _edited(run, torch.cat([rows, made]), [*entries, *more], Edit(f"added {_quoted(labels)}", {}))


def rename_class(
    run: Run,
    old: str,
    new: str,
    *,
    name: str | None = None,
    encode: bool = False,
    template: str | Sequence[str] | None = None,
    prompt: str | Sequence[str] | None = None,
) -> Run:
    """Return the run with another label for a class. Its row stays, unless it is made anew.

    Args:
        name: the class name to write down beside the prompt; `new` if None.
        encode: make the row anew from the template, which is the run's own if None.
        prompt: make the row anew from one string, or from several whose rows are averaged.

    Raises:
        DataError: no such class, or `new` is another class.
        RunError: a prompt for a head whose rows are not text.
    """
    entries, rows = _entries(run), _rows(run)
    place = _place(run, old)
    check_names([new])
    if new != old:
        _check_new(run, [new])
    elif prompt is None and not encode:
        raise DataError(f"class {old!r} is called that already. Give another name, or set encode to make its row anew")
    was, text = entries[place], f"renamed {old!r} to {new!r}"
    if prompt is not None or encode:
        _check_text(run)
        made, (shown,) = _made(run, [new], [name or new], template, [prompt])
        others = [place != other for other in range(len(rows))]
        _check_apart(rows[others], [label for label in run.labels if label != old], made, [new])
        rows[place] = made[0]
        now = _entry(new, name or new, shown, row="text")
        source = f"from {' | '.join(flat([shown]))!r}"
        text = f"made the row of {old!r} anew {source}" if new == old else f"{text}, its row made anew {source}"
    else:
        # Behind a row that is no text, the class name is the label and nothing else.
        now = {**was, "label": new} if was["prompt"] is not None else {**was, "label": new, "name": name or new}
    return _edited(run, rows, [*entries[:place], now, *entries[place + 1 :]], Edit(text, {old: new}))


def remove_classes(run: Run, labels: Sequence[str]) -> Run:
    """Return the run without some classes.

    Raises:
        DataError: no such class, or none would stay.
    """
    entries, rows = _entries(run), _rows(run)
    check_names(labels)
    gone = {_place(run, label) for label in labels}
    kept = [place for place in range(len(entries)) if place not in gone]
    if not kept:
        raise DataError(f"all {len(entries)} classes would be removed: at least one must stay")
    edit = Edit(f"removed {_quoted(labels)}", dict.fromkeys(labels))
    return _edited(run, rows[kept], [entries[place] for place in kept], edit)


def merge_classes(run: Run, labels: Sequence[str], into: str) -> Run:
    """Return the run with several classes as one: its row is the mean of their rows, each of length 1.

    It stands where `into` stood if that is one of them, else behind all others.

    Raises:
        DataError: fewer than two classes, no such class, or `into` is another class.
        RunError: a linear head, whose rows have lengths that count.
    """
    entries, rows = _entries(run), _rows(run)
    check_names(labels)
    check_names([into])
    if run.head.lengths_count:
        raise RunError(
            f"{run.folder}: the rows of its linear head have lengths that count, so their mean is no class: "
            "merge classes of a cosine head, or train again"
        )
    gone = [_place(run, label) for label in labels]
    if len(gone) < 2:
        raise DataError(f"merge needs at least two classes, got {labels[0]!r}: name another")
    if into not in labels:
        _check_new(run, [into])
    mean = F.normalize(rows[gone], dim=-1).mean(0)
    if float(mean.norm(dim=-1).min()) < 1e-6:
        raise DataError(f"the rows of {', '.join(map(repr, labels))} point in opposite directions: their mean has none")
    merged, was = F.normalize(mean, dim=-1), [entries[place] for place in gone]
    prompts = [entry["prompt"] for entry in was]
    joined = None if None in prompts else flat(prompts)
    name = next((entry["name"] for entry in was if entry["label"] == into), into)
    now = _entry(into, name, joined, row=f"mean of {', '.join(labels)}")
    kept = [place for place in range(len(entries)) if place not in gone]
    at = sum(place < _place(run, into) for place in kept) if into in labels else len(kept)
    order = [*kept[:at], -1, *kept[at:]]
    rows = torch.stack([merged if place < 0 else rows[place] for place in order])
    left = [now if place < 0 else entries[place] for place in order]
    edit = Edit(f"merged {_quoted(labels)} into {into!r}", dict.fromkeys(labels, into))
    return _edited(run, rows, left, edit)


# --- what there is to edit


def _entries(run: Run) -> list[ClassEntry]:
    if run.classes is None:
        raise RunError(f"{run.folder}: with_classes put other classes there; edit the run that load_run gives")
    return run.classes["classes"]


def _rows(run: Run) -> Float[Tensor, "classes rows numbers"]:
    """Return what the head holds of each class.

    Raises:
        RunError: the head cannot be edited.
    """
    rows = run.head.rows()
    if rows is None:
        raise RunError(f"{run.folder}: the classes of a {type(run.head).__name__} cannot be edited: train with others")
    return rows


def _made(
    run: Run,
    labels: Sequence[str],
    names: Sequence[str],
    template: str | Sequence[str] | None,
    prompts: Sequence[str | Sequence[str] | None],
) -> tuple[Float[Tensor, "classes rows numbers"], list[str | tuple[str, ...]]]:
    """Return the text rows of classes as the run's head takes them, and the prompts behind them."""
    head, encoder = run.head, run.encoder()
    if not head.learned_template:
        shown = class_prompts(template or run.recipe.template, names, prompts)
        try:
            return head.encode_rows(encoder, shown).to(head.weight), shown
        except DataError as error:
            raise DataError(f"{run.folder}: {error}") from None
    if template is not None or any(prompt is not None for prompt in prompts):
        raise DataError(f"{run.folder}: has a learned template: give names without sentences or a template")
    learned = head.with_names(encoder, names, labels=labels)
    return learned.weight[:, None], list(learned.prompts or ())


def _place(run: Run, label: str) -> int:
    if label in run.labels:
        return run.labels.index(label)
    near = difflib.get_close_matches(label, run.labels, 1)
    few = f"it has {', '.join(run.labels[:8])}{', ...' if len(run.labels) > 8 else ''}"
    raise DataError(f"{run.folder}: has no class {label!r}: {f'did you mean {near[0]!r}?' if near else few}")


def _check_new(run: Run, labels: Sequence[str]) -> None:
    for label in labels:
        if label in run.labels:
            raise DataError(f"{run.folder}: has a class {label!r} already: choose another name, or rename or merge it")


def _check_text(run: Run) -> None:
    run.check_text_is_kept()
    if not run.head.takes_text:
        raise RunError(
            f"{run.folder}: its head is {run.head.kind!r}, and a text row cannot be compared with such rows. Train "
            "with head=text for that"
        )


def _check_apart(
    rows: Float[Tensor, "classes rows numbers"],
    labels: Sequence[str],
    made: Float[Tensor, "new rows numbers"],
    names: Sequence[str],
) -> None:
    """Raise DataError if a new row is one that is there: the two would always score the same."""
    every, called = F.normalize(torch.cat([rows, made]).mean(1), dim=-1), [*labels, *names]
    for place in range(len(rows), len(every)):
        alike = (every[:place] @ every[place] > _SAME).nonzero()
        if len(alike):
            raise DataError(
                f"the text encoder reads {called[place]!r} as it reads {called[int(alike[0])]!r}, so the two would "
                "always score the same: say it in other words"
            )


def _entry(label: str, name: str, prompt: str | Sequence[str] | None, *, row: str) -> ClassEntry:
    plain = prompt if prompt is None or isinstance(prompt, str) else list(prompt)
    return {"label": label, "name": name, "prompt": plain, "row": row}


def _quoted(labels: Sequence[str]) -> str:
    return ", ".join(map(repr, labels))


def _edited(run: Run, rows: Float[Tensor, "classes rows numbers"], entries: Sequence[ClassEntry], edit: Edit) -> Run:
    """Return the run with these rows and entries, after an edit more."""
    assert run.classes is not None
    prompts = [entry["prompt"] for entry in entries]
    labels = [entry["label"] for entry in entries]
    head = run.head.with_rows(rows, labels, None if None in prompts else prompts)
    edits = (*run.edits, edit)
    record = {"run": str(resolved(run.folder)), "edits": [each.text for each in edits]}
    classes = {"template": run.classes["template"], "classes": list(entries), "edited": record}
    return replace(run, model=run.model.with_head(head), classes=classes, edits=edits)


# --- writing


def save_classes(run: Run, out: str | Path) -> Run:
    """Write an edited run into a folder of its own, and return it as read from there.

    The run that was edited stays as it is. Its checkpoints, its report and its TensorBoard files are about the old
    classes and are not copied. In the new `split.json`, items have the labels of the new classes; those of removed
    classes have none, but are still known as trained on or held out.

    Raises:
        RunError: no edit to save, there is something at `out`, or it cannot be written.
    """
    _entries(run)
    if not run.edits:
        raise RunError(f"{run.folder}: no edit to save")
    split = saved_split(run.folder)
    split.pop("edits", None)
    for part in ("train_labels", "held_out_labels"):
        split[part] = [_label_after(label, run.edits) for label in split.get(part, [])]
    with new_folder(Path(out)) as folder:
        write_json(folder / "split.json", split)
        write_json(folder / "classes.json", run.classes)
        save_model(folder / "model.safetensors", run.model)
        for name in _KEPT_FILES:
            if (run.folder / name).is_file():
                shutil.copyfile(run.folder / name, folder / name)
        if run.carries_encoder:
            shutil.copytree(run.folder / ENCODER, folder / ENCODER)
    return load_run(out)


def _label_after(label: str | None, edits: Sequence[Edit]) -> str | None:
    for edit in edits:
        label = None if label is None else edit.labels.get(label, label)
    return label
