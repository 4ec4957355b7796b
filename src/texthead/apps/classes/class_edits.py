"""Add, rename and remove classes of a finished run; the rows of all other classes stay bit-identical.

Each edit returns a new run and does not change the old one; `Run.save` writes it to a new folder.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead import Run
from texthead.errors import DataError, RunError, did_you_mean, listed, naming
from texthead.media import MediaPath
from texthead.prediction import Edit
from texthead.text import ClassTree, check_names, class_prompts, flat

# Two rows of the same text differ only by rounding errors; near synonyms are a thousand times further apart.
_SAME = 1 - 1e-6

ClassEntry = dict[str, Any]


def add_classes(
    run: Run,
    labels: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    prompts: Sequence[str | Sequence[str] | None] | None = None,
) -> Run:
    """Return the run with text rows for more classes, appended to those it has.

    Args:
        labels, names, prompts: as in `Run.with_classes`.

    Raises:
        RunError: the head's rows are not text, so text rows cannot be added to them.
        DataError: the run already has a label, or a row equal to a new one.
    """
    entries, rows = _entries_and_rows(run)
    _check_new(run, labels)
    names = names or labels
    more, added = _of_text(run, rows, labels, names, prompts or [None] * len(names))
    return _edited(run, torch.cat([rows, added]), [*entries, *more], Edit(f"added {_quoted(labels)}", {}))


def rename_class(
    run: Run,
    old: str,
    new: str,
    *,
    name: str | None = None,
    prompt: str | Sequence[str] | None = None,
) -> Run:
    """Return the run with another label for a class. Its row stays unless `prompt` is given.

    Args:
        name: the class name to record with the prompt; `new` if None.
        prompt: encode the row again from one string, or from several whose rows are averaged.

    Raises:
        DataError: no such class, or `new` is another class.
        RunError: the row is to be encoded, but the head's rows are not text.
    """
    entries, rows = _entries_and_rows(run)
    index = _index(run, old)
    if new != old:
        _check_new(run, [new])
    elif prompt is None:
        raise DataError(f"class {old!r} already has this label; choose another, or pass a sentence for its row")
    before, text = entries[index], f"renamed {old!r} to {new!r}"
    if prompt is not None:
        (entry,), (rows[index],) = _of_text(run, rows, [new], [name or new], [prompt], instead_of=old)
        source = f"from {' | '.join(flat([entry['prompt']]))!r}"
        text = f"encoded the row of {old!r} again {source}" if new == old else f"{text}, row encoded again {source}"
    else:
        # A row that is not text has no class name but its label.
        entry = {**before, "label": new} | ({} if before["prompt"] is not None else {"name": name or new})
    return _edited(run, rows, [*entries[:index], entry, *entries[index + 1 :]], Edit(text, {old: new}))


def remove_classes(run: Run, labels: Sequence[str]) -> Run:
    """Return the run without some classes.

    Raises:
        DataError: no such class, or no class would remain.
    """
    entries, rows = _entries_and_rows(run)
    check_names(labels)
    removed = {_index(run, label) for label in labels}
    remaining = [index for index in range(len(entries)) if index not in removed]
    if not remaining:
        raise DataError(f"all {len(entries)} classes would be removed: at least one must remain")
    edit = Edit(f"removed {_quoted(labels)}", dict.fromkeys(labels))
    return _edited(run, rows[remaining], [entries[index] for index in remaining], edit)


# --- entries and rows


def _entries_and_rows(run: Run) -> tuple[list[ClassEntry], Float[Tensor, "classes rows numbers"]]:
    """Return the entries of the run's classes, and the rows that its head has for each.

    Raises:
        RunError: the classes cannot be edited.
    """
    if run.classes is None:
        raise RunError(f"{run.folder}: with_classes replaced the run's classes; edit the run that load_run returns")
    rows = run.head.rows()
    if rows is None:
        problem = f"the classes of a {type(run.head).__name__} cannot be edited"
        raise RunError(f"{run.folder}: {problem}; train again with the new classes")
    return run.classes["classes"], rows


def _of_text(
    run: Run,
    old_rows: Float[Tensor, "old_classes rows numbers"],
    labels: Sequence[str],
    names: Sequence[str],
    prompts: Sequence[str | Sequence[str] | None],
    instead_of: str | None = None,
) -> tuple[list[ClassEntry], Float[Tensor, "classes rows numbers"]]:
    """Return the entries and text rows of classes for the run's head.

    Args:
        instead_of: the class that they replace.

    Raises:
        RunError: the head's rows are not text.
        DataError: a row equals that of another class, so that the two would always score the same.
    """
    run.check_text_saved()
    head = run.head
    if not head.takes_text:
        raise RunError(
            f"{run.folder}: its head is {head.kind!r}, and text rows cannot be compared with its rows: train with "
            "`head=text` to add or encode classes"
        )
    used = class_prompts(run.recipe.template, names, prompts)
    encoder = run.encoder()
    with naming(run.folder):
        rows = head.encode_rows(encoder, used).to(head.weight)
    kept = [label != instead_of for label in run.labels]
    every_label = [*(label for label in run.labels if label != instead_of), *labels]
    # Without biases and thresholds.
    every_row = torch.cat([old_rows[kept], rows])[..., : head.weight.shape[1]]
    directions = F.normalize(every_row.mean(1), dim=-1)
    for index in range(sum(kept), len(directions)):
        same = (directions[:index] @ directions[index] > _SAME).nonzero()
        if len(same):
            raise DataError(
                f"the text encoder gives {every_label[index]!r} and {every_label[int(same[0])]!r} the same embedding, "
                "so the two would always score the same: choose other words"
            )
    entries = [
        {"label": label, "name": name, "prompt": prompt if isinstance(prompt, str) else [*prompt], "row": "text"}
        for label, name, prompt in zip(labels, names, used, strict=True)
    ]
    return entries, rows


def _index(run: Run, label: str) -> int:
    if label in run.labels:
        return run.labels.index(label)
    near = did_you_mean(repr(label), [*map(repr, run.labels)]) or f": it has {listed(run.labels)}"
    raise DataError(f"{run.folder}: has no class {label!r}{near}")


def _check_new(run: Run, labels: Sequence[str]) -> None:
    check_names(labels)
    for label in labels:
        if label in run.labels:
            raise DataError(f"{run.folder}: already has a class {label!r}: choose another name, or rename it")


def _quoted(labels: Sequence[str]) -> str:
    return ", ".join(map(repr, labels))


def _edited(run: Run, rows: Float[Tensor, "classes rows numbers"], entries: Sequence[ClassEntry], edit: Edit) -> Run:
    """Return the run with these rows and entries, and the edit recorded."""
    assert run.classes is not None
    prompts = [entry["prompt"] for entry in entries]
    labels = [entry["label"] for entry in entries]
    head = run.head.with_rows(rows, labels, None if None in prompts else prompts)
    edits = (*run.edits, edit)
    record = {"run": str(MediaPath(run.folder).resolved()), "edits": [each.text for each in edits]}
    classes = {"template": run.classes["template"], "classes": list(entries), "edited": record}
    if run.tree is not None:
        above = {label: run.tree.ancestors(label) for label in labels} | dict(run.tree.above)
        renamed = {new: run.tree.ancestors(old) for old, new in edit.labels.items() if new is not None}
        classes["tree"] = ClassTree(above | renamed).above
    return replace(run, model=run.model.with_head(head), classes=classes, edits=edits)
