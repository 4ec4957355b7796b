"""Table 9: zero-shot video recognition, within a data set and across data sets.

Command: python -m paper run table9 --scale full --data DATA
Files:   DATA/k400, DATA/ucf101/full.txt (all 13,320 videos); openclip:ViT-B-16/openai. The classes of K300 and K100
         (paper/splits/k300-k100.json) are drawn with seed 0; the paper's split is not published
Cost:    10/30 hours per epoch on 8 GPUs
Paper:   K300 -> K100: 63.35 without training, 66.38 with; K400 -> UCF: 63.01 and 74.67
Choices: mean pooling, since the paper states no temporal module. The paper says "few epochs": here 1, 2, 5, 10 and 30,
         each with a full schedule. Protocols: all unseen classes; ten random halves of them (the published code's
         protocol), mean and population standard deviation.
Mini:    each seed draws the unseen classes; all their items are scored, since none is trained on. "shapes": moving
         shapes, 36 seen and 12 unseen classes, small ViT-CLIP fine-tuned with mean pooling, 4 frames, 1/9 to 5 epochs
         of 45 steps with batch size 16. "motion": moving drawings, 36 and 12 classes, frozen Lite0 with a temporal
         transformer, epochs of 68 steps with batch size 32. "exercise": gym exercises, 9 and 3 classes, Lite0
         fine-tuned, epochs of about 20 steps with batch size 8.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from paper import quoted, worlds
from paper.figures import lines
from paper.rows import Row
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, gap, judge

TITLE = "Table 9: zero-shot video recognition"
# Below 1: one epoch on this fraction of the items.
MINI_EPOCHS = (1 / 9, 1 / 3, 1, 2, 5)
FULL_EPOCHS = (1, 2, 5, 10, 30)
WITHOUT = "without training"


def amounts(base: Row, setting: Setting) -> dict[str, Row]:
    """Return the rows without training and with increasing training."""
    rows = {WITHOUT: replace(base, k=0)}
    for epochs in FULL_EPOCHS if setting.scale == "full" else MINI_EPOCHS:
        row = replace(base.changed(epochs=max(1, epochs)), steps=None)
        rows[f"{epochs:.2g} {'epoch' if epochs <= 1 else 'epochs'}"] = (
            row if epochs >= 1 else replace(row, fraction=epochs)
        )
    return rows


def plan(setting: Setting) -> Plan:
    """Run increasing amounts of training and score unseen classes."""
    full = setting.scale == "full"
    mini = {
        "shapes, 36 -> 12": worlds.SHAPES_VIT,
        "motion, 36 -> 12": worlds.MOTION,
        "exercise, 9 -> 3": worlds.EXERCISE,
    }
    groups = (
        {"K300 -> K100": amounts(replace(worlds.KINETICS_MEAN, unseen=0.25, score="unseen"), setting),
         "K400 -> UCF": amounts(replace(worlds.KINETICS_MEAN, scored="ucf101-full"), setting)}
        if full
        else {name: amounts(replace(row, unseen=0.25, score="all unseen"), setting) for name, row in mini.items()}
    )  # fmt: skip
    rows = {f"{name}: {title}": row for name, group in groups.items() for title, row in group.items()}
    results = yield setting.jobs(rows)
    section = Section("table9", TITLE)
    body = []
    for name, group in groups.items():
        values = {title: results.values(f"{name}: {title}") for title in group}
        body.append([name, *(with_gain(own, values[WITHOUT]) for own in values.values())])
        halves = [[result["halves"] for result in results.with_title(f"{name}: {title}")] for title in group]
        body.append(["the same, ten halves", *map(of_halves, halves)])
    caption = (
        "Top-1 on unseen classes, and its gain over no training, paired by seed; mean and 95 % interval over seeds. "
        "Ten halves: mean (deviation)."
    )
    section.tables.append(Table(caption, ["", *next(iter(groups.values()))], body))
    section.tables.append(
        Table(
            "Top-1 on unseen classes, quoted from the paper's Table 9.",
            ["", "without training", "with training"],
            [[name, *(f"{v:.2f}" for v in values)] for name, values in quoted.TABLE9.items()],
            page_only=True,
        )
    )
    amount = [0, *(FULL_EPOCHS if full else MINI_EPOCHS)]
    series = {
        name: [(float(n), results.values(f"{name}: {title}")) for n, title in zip(amount, group, strict=True)]
        for name, group in groups.items()
    }
    section.figures.append(
        (
            lines(series, x="epochs", y="top-1 on unseen classes (%)", log=True),
            "Accuracy on unseen classes by amount of training; error bars: 95 % intervals.",
        )
    )
    for name, group in groups.items():
        section.verdicts += verdicts(name, [results.values(f"{name}: {title}") for title in group], list(group))
    return section


def with_gain(own: Sequence[float], untrained: Sequence[float]) -> str:
    """Format a row's values, and their gain over those without training if they are others."""
    return cell(own) if own is untrained else f"{cell(own)}, {gap(own, untrained)}"


def of_halves(halves: Sequence[Sequence[float]]) -> str:
    """Format the mean over seeds of the ten halves' mean and deviation."""
    return f"{np.mean(halves):.1f} ({np.mean([np.std(h) for h in halves]):.1f})" if halves else "-"


def verdicts(name: str, values: list[list[float]], titles: list[str]) -> list:
    """Return the verdicts on little training (the second amount, fixed beforehand) and on the longest training."""
    little = 2
    return [
        judge(
            14,
            f"{name}: a little training ({titles[little]}) improves unseen classes",
            [("trained minus untrained", values[little], values[0])],
        ),
        judge(
            14,
            f"{name}: long training ({titles[-1]}) is worse on unseen classes than {titles[little]}",
            [(f"{titles[little]} minus {titles[-1]}", values[little], values[-1])],
        ),
    ]
