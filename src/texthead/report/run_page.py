"""The report of a run: plain numbers, pictures and strings -> one page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer, UInt8

from texthead.evaluation import confusions
from texthead.evaluation.frame_order import OrderTest
from texthead.evaluation.intervals import wilson_interval
from texthead.files import read_json
from texthead.models.build import as_head
from texthead.models.head_rows import class_correlation
from texthead.models.recognizer import Recognizer
from texthead.report import figures
from texthead.report.class_maps import plot_confusion, plot_correlation
from texthead.report.html import Cell, Report
from texthead.report.probabilities import HowSure, add_how_sure
from texthead.report.strips import plot_saliency, plot_strip
from texthead.transfer.baselines import Comparison


class Strip(NamedTuple):
    """One clip of the report.

    Attributes:
        name: of its file.
        frames: as the model sees them.
        top: the most probable classes, the best first; the true one stands last where it is further behind.
        truth: the true class, if known.
        place: the true class's among all classes by probability, 1 for the best.
        heats: where in the frames an answer comes from, by what is to be said of it.
        note: what else is to be said below it.
    """

    name: str
    frames: UInt8[np.ndarray, "frames height width 3"]
    top: Sequence[tuple[str, float]]
    truth: str | None = None
    place: int | None = None
    heats: Mapping[str, Float[np.ndarray, "frames rows columns"]] = MappingProxyType({})
    note: str = ""


def run_report(
    run_folder_name: str,
    recipe: Mapping[str, object],
    records: Sequence[Mapping[str, object]],
    confusion: Integer[np.ndarray, "classes classes"] | None,
    correlation: Float[np.ndarray, "classes classes"] | None,
    names: Sequence[str],
    comparisons: Sequence[tuple[str, str]],
    strips: Sequence[Strip],
    strings: Mapping[str, str],
    *,
    interval: tuple[float, float] | None = None,
    classes: Sequence[confusions.ClassRow] = (),
    rows_are_text: bool = True,
    order: OrderTest | str = "",
    sure: HowSure | None = None,
    edited: str = "",
) -> Report:
    """The standard report of a run; a part for which nothing is given is left out.

    `records` are the lines of `metrics.jsonl`. `confusion` counts items, rows are the true classes. `correlation`
    holds how alike the rows of the head are. `comparisons` pairs a way of working with its result, both as they
    shall be read. `strings` maps each class name to the prompt that was encoded for it. `interval` is that of the
    rate in percent; None takes every item for one alone. `classes` says how each class fared. `rows_are_text` says
    whether its rows are what a text encoder gave. `order` is a test of the frames' order, or why there is none; `sure`
    is how far its probabilities can be taken at their word. `edited` says which run's classes were edited, and how.

    Raises: TextheadError when a matrix doesn't fit the names.
    """
    report = Report(title=run_folder_name, subtitle=f"{len(names)} classes: {_listed(names, 6)}")
    frozen = recipe.get("freeze_encoder") is True
    report.numbers(_headline(records, confusion, names, interval, frozen=frozen))
    if comparisons:
        report.section("Comparison")
        report.table(["method", "result"], comparisons, align=["left", "left"])
    told = ["loss"] * bool(_with_number(records, "train", "loss"))
    told += ["validation accuracy"] * bool(_with_number(records, "val", "top1"))
    if told:
        report.section("Training")
        report.figure(figures.plot_curves(records), f"Over the training steps: {' and '.join(told)}.")
    if confusion is not None or correlation is not None:
        report.section("Classes")
        _add_maps(report, confusion, correlation, names)
    if confusion is not None and correlation is not None:
        report.text(relation_text(confusions.relation(confusion, correlation), rows_are_text=rows_are_text))
        _add_pairs(report, confusions.confused_pairs(confusion, correlation, names), len(names))
    if classes:
        _add_class_table(report, classes)
    if sure is not None:
        add_how_sure(report, sure)
    if order:
        report.section("Order of frames")
        _add_order(report, order)
    _add_strips(report, "Surest mistakes", [strip for strip in strips if strip.truth not in (None, strip.top[0][0])])
    _add_strips(report, "Surest hits", [strip for strip in strips if strip.truth in (None, strip.top[0][0])])
    if recipe:
        report.section("Recipe")
        report.table(["setting", "value"], [(key, str(value)) for key, value in _flat(recipe)])
    if edited:
        report.section("Edits")
        report.text(edited)
    if strings:
        report.section("Prompts")
        report.text("The text head was made of exactly these strings.")
        report.table(["class", "prompt"], list(strings.items()))
    return report


def _headline(
    records: Sequence[Mapping[str, object]],
    confusion: np.ndarray | None,
    names: Sequence[str],
    interval: tuple[float, float] | None,
    *,
    frozen: bool,
) -> list[tuple[str, str, str]]:
    entries = []
    if confusion is not None and confusion.sum():
        right, items = int(np.trace(confusion)), int(confusion.sum())
        low, high = interval or wilson_interval(right, items)
        note = f"{right} of {items} items; 95% interval {low:.1f} to {high:.1f}"
        entries.append(("top-1, evaluated", f"{100 * right / items:.1f}%", note))
    entries.append(("chance", f"{100 / len(names):.3g}%", f"1 of {len(names)} classes"))
    steps, validations = _with_number(records, "train", "loss"), _with_number(records, "val", "top1")
    if validations:
        last = validations[-1]
        epoch = last["epoch"] + 1 if "epoch" in last else "–"
        at = f"epoch {epoch}, step {last.get('step', '–')}, {last.get('count', '–')} items"
        entries.append(("top-1, last validation", f"{last['top1']:.1f}%", at))
    if steps:
        note = f"step {steps[-1].get('step', '–')}; at the start {steps[0]['loss']:.3g}"
        entries.append(("training loss, last step", f"{steps[-1]['loss']:.3g}", note))
    speeds = [record["clips_per_second"] for record in _with_number(records, "train", "clips_per_second")]
    if speeds:
        speed = float(np.median(speeds))
        shown = f"{speed:,.0f}" if speed >= 1000 else f"{speed:.3g}"
        what = "median of the training records" + (", on kept features" if frozen else "")
        entries.append(("training speed", f"{shown} clips/s", what))
    return entries


def _with_number(records: Sequence[Mapping[str, object]], kind: str, key: str) -> list[Mapping[str, Any]]:
    """The records of one kind that hold a number under `key`; a diverged loss may be stored as null."""
    found = [record for record in records if record.get("kind") == kind]
    return [record for record in found if isinstance(record.get(key), int | float)]


def _add_maps(
    report: Report, confusion: np.ndarray | None, correlation: np.ndarray | None, names: Sequence[str]
) -> None:
    pairs = []
    if confusion is not None:
        figure = plot_confusion(confusion, names, title="What was taken for what")
        pairs.append((figure, "Confusion: each row is a true class, each column what the model said."))
    if correlation is not None:
        figure = plot_correlation(correlation, names, title="How alike the head's rows are")
        pairs.append((figure, "Correlation of the head's rows: red pairs lie closer together than blue ones."))
    report.figures(pairs, wide=True)
    missing = figures.without_glyph(names)
    if missing:
        report.text(f"The font of the pictures has no letters for {_listed(missing, 6)}: boxes stand there.")


def relation_text(found: confusions.Relation | None, *, rows_are_text: bool) -> str:
    """Whether the rows foretold what was confused, and how sure that is."""
    if found is None:
        return (
            f"Too little was confused, or of too few classes ({confusions.FEWEST_CLASSES} with items are needed), to "
            "say whether alike rows are confused more often."
        )
    whose = "Language" if rows_are_text else "The head's rows, which are not text alone,"
    if found.low > 0:
        finding = "foretold what was confused"
    elif found.high < 0:
        finding = "foretold what was not confused"
    else:
        finding = "may or may not have foretold what was confused, since the interval holds 0"
    return (
        f"{whose} {finding}: over the pairs of {found.classes} classes, how alike two rows are and how often the "
        f"classes are taken for each other have a rank correlation of {found.rho:.2f} (95% interval over classes "
        f"{found.low:.2f} to {found.high:.2f}; as high by chance: p = {found.p:.3f})."
    )


def _add_pairs(report: Report, pairs: Sequence[confusions.Pair], classes: int) -> None:
    """Adds the most confused pairs beside how alike their rows are."""
    if not pairs:
        return
    every = classes * (classes - 1) // 2
    rows = [
        (pair.truth, pair.said, f"{pair.wrong} of {pair.items}", f"{pair.correlation:.2f}", f"{pair.rank} of {every}")
        for pair in pairs
    ]
    headers = ["truth", "taken for", "items", "alike", "rank"]
    caption = "The most confused pairs, how alike their rows are, and which they are of all pairs, 1: the most alike."
    report.table(headers, rows, align=["left", "left", *["right"] * 3], caption=caption)


def _add_class_table(report: Report, classes: Sequence[confusions.ClassRow]) -> None:
    """Adds one row a class, the least recognised first; classes without items come last."""
    rows = sorted(classes, key=lambda row: row.recall[0] if row.recall else 101.0)
    cells = [
        (
            row.name,
            row.items,
            _rate_text(row.recall),
            row.said,
            _rate_text(row.precision),
            f"{row.taken_for[0]} ({row.taken_for[1]})" if row.taken_for else None,
        )
        for row in rows
    ]
    headers = ["class", "items", "recall (%)", "said", "precision (%)", "most often taken for"]
    report.table(
        headers,
        cells,
        align=["left", *["right"] * 4, "left"],
        caption="Each class, the least recognised first, with 95% intervals. Recall: of its items, how many were "
        "called so. Precision: of the items called so, how many are of it.",
    )


def _rate_text(rate: confusions.Rate | None) -> str | None:
    return f"{rate[0]:.1f} ({rate[1]:.0f} to {rate[2]:.0f})" if rate else None


def _add_order(report: Report, order: OrderTest | str) -> None:
    """Adds what other orders of the frames do to the score, in a sentence and a table."""
    if isinstance(order, str):
        report.text(order)
        return
    costly = [row for row in order.rows if row.low > 0]
    if costly:
        told = " and ".join(f"{row.order} frames cost {row.lost:.1f} points" for row in costly)
        report.text(f"Time matters here: {told}. Part of that can be that the model never met such orders in training.")
    else:
        report.text(
            "No need for time is shown: with its frames in another order this model is not worse by more than chance. "
            "Either order says nothing in this data, or the model has not learned to use it."
        )
    rows: list[tuple[Cell, ...]] = [("as they are", f"{order.top1:.1f}", None, None, None)]
    rows += [
        (row.order, f"{row.top1:.1f}", f"{row.lost:.1f}", f"{row.low:.1f} to {row.high:.1f}", f"{row.changed:.1f}")
        for row in order.rows
    ]
    headers = ["frames", "top-1 (%)", "points lost", "95% interval", "other answer (%)"]
    seeds = ", ".join(map(str, order.seeds))
    caption = f"The same {order.count} items, one view. Shuffled: the mean of one order for each of the seeds {seeds}."
    report.table(headers, rows, align=["left", *["right"] * 4], caption=caption)


def _add_strips(report: Report, title: str, strips: Sequence[Strip]) -> None:
    """Adds clips, each with its heat below it."""
    if not strips:
        return
    report.section(title)
    if any(strip.heats for strip in strips):
        report.text(
            "Lit: what an answer needs to see. Each region of each frame was covered with the frame's mean colour, and "
            "is lit as far as that spoke against the name. It is no reasoning of the model, and where either of two "
            "things would do, neither is lit."
        )
    for strip in strips:
        report.figure(plot_strip(strip.frames, strip.top, truth=strip.truth, place=strip.place), strip.name)
        if strip.heats:
            report.figure(plot_saliency(strip.frames, strip.heats), strip.note)
        elif strip.note:
            report.text(strip.note)


def _flat(recipe: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """The settings one by one, those of an inner mapping as `outer.inner`."""
    entries: list[tuple[str, object]] = []
    for key, value in recipe.items():
        if isinstance(value, Mapping):
            entries += _flat({str(inner): value[inner] for inner in value}, f"{prefix}{key}.")
        else:
            entries.append((prefix + key, value))
    return entries


def _listed(names: Sequence[str], most: int) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def write_report(
    path: Path,
    folder: Path,
    model: Recognizer,
    records: Sequence[dict],
    table: Comparison,
    strips: Sequence[Strip],
    order: OrderTest | str,
    sure: HowSure | None,
) -> None:
    """The report of the run in `folder`, whole or not at all; the last row of the table is the run's own score."""
    about, classes = read_json(folder / "recipe.json"), read_json(folder / "classes.json")
    shown = {entry["label"]: entry["prompt"] for entry in classes["classes"] if entry["prompt"]}
    strings = {label: prompt if isinstance(prompt, str) else " | ".join(prompt) for label, prompt in shown.items()}
    head = as_head(model.head)
    own = table.rows[-1][1] if table.rows else None
    report = run_report(
        folder.resolve().name,
        _settings(about),
        records,
        own.confusion() if own else None,
        class_correlation(head.weight.detach().cpu()).numpy(),
        model.names,
        table.pairs(),
        strips,
        strings,
        interval=own.interval if own else None,
        classes=own.classes if own else (),
        rows_are_text=head.kind == "text" and head.frozen,
        order=order,
        sure=sure,
        edited=_edited(**classes["edited"]) if "edited" in classes else "",
    )
    report.write(path)


def _settings(about: Mapping[str, Any]) -> dict[str, object]:
    """What a run was made with: its encoder and head, and what of its items and names was typed, before its recipe."""
    typed = about.get("command") or {}
    made: dict[str, object] = {"encoder": about["encoder"]["source"], "head": about["head"]["kind"]}
    made |= {key: typed[key] for key in ("text", "train_head", "names", "k", "held_out") if key in typed}
    return made | about["recipe"]


def _edited(run: str, edits: Sequence[str]) -> str:
    return f"The classes are those of the run {Path(run).name} after an edit: {'; '.join(edits)}."
