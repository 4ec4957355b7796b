"""Fig. 4: how fast vision-text and vision-only converge.

Command: python -m paper run fig4 --scale full --data DATA
Files:   as fig3
Cost:    none beyond fig3: these are its rows with all labels
Paper:   a plot of training loss over epochs, without numbers
Choices: the losses of a scaled cosine head and a linear head are not comparable, so the comparison is the number of
         steps to 50 % and 65 % accuracy on training items (mean of the last five batches) and on validation items, per
         seed. Both levels were fixed beforehand. A run that never reaches a level counts as its last step plus one.
Mini:    clothing photos, Lite0 fine-tuned at 96 pixels, 40 steps with batch size 10; validation on 120 photos every 5
         steps.
"""

from dataclasses import replace

import numpy as np

from paper import worlds
from paper.fig3 import TEXT, WATCH
from paper.figures import curves, lines
from paper.head_rate import TUNED, chosen_rate, vision_only
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, judge
from paper.stats import steps_to

TITLE = "Fig. 4: training curves of vision-text and vision-only"
LEVELS = (50.0, 65.0)
WINDOW = 5


def plan(setting: Setting) -> Plan:
    """Run Fig. 3's rows with all labels and record accuracy during training."""
    base = worlds.at(setting.scale, full=worlds.KINETICS_MEAN, mini=worlds.CLOTHING)
    row = replace(base, watch=WATCH)
    rate = yield from chosen_rate(setting, row, f"100% of {row.data}")
    rows = {TEXT: row, **vision_only(row, rate)}
    results = yield setting.jobs(rows)
    section = Section("fig4", TITLE)
    section.notes.append(f"Vision-only's tuned head rate: {rate:g}x the encoder's.")
    training = {title: [training_curve(result) for result in results.with_title(title)] for title in rows}
    validation = {title: [result["watched"] for result in results.with_title(title)] for title in rows}
    table, pairs = [], []
    for title in rows:
        cells = [title]
        for kind, curve in (("training", training), ("validation", validation)):
            for level in LEVELS:
                steps = arrivals(curve[title], level)
                cells.append(cell(steps))
                if title == TUNED:
                    pairs.append((f"steps saved to {level:.0f} % {kind} accuracy", steps, arrivals(curve[TEXT], level)))
        table.append(cells)
    headers = ["", *(f"{kind} {level:.0f} %" for kind in ("training", "validation") for level in LEVELS)]
    section.tables.append(Table("Steps to reach an accuracy: mean and 95 % interval.", headers, table))
    losses = {
        title: [[(s, loss) for s, loss, _ in result["curve"]] for result in results.with_title(title)] for title in rows
    }
    section.figures += [
        (
            curves(losses, y="training loss"),
            "Training loss of every seed; the losses of the two kinds of head are not comparable.",
        ),
        (curves(training, y="training top-1 (%)"), f"Training top-1 of every seed, mean of {WINDOW} steps."),
        (
            lines(points(validation), x="step", y="validation top-1 (%)"),
            "Validation top-1; error bars: 95 % intervals.",
        ),
    ]
    section.verdicts.append(judge(4, "vision-text needs fewer training steps than vision-only (head tuned)", pairs))
    return section


def training_curve(result: dict) -> list[tuple[int, float]]:
    """Return (step, mean training top-1 of the last five batches), from the fifth step on."""
    steps, values = zip(*((step, top1) for step, _, top1 in result["curve"]), strict=True)
    window = min(WINDOW, len(steps))
    ends = range(window, len(steps) + 1)
    return [(steps[end - 1], float(np.mean(values[end - window : end]))) for end in ends]


def arrivals(curves_: list[list], level: float) -> list[float]:
    """Return the step at which each seed's curve reaches the level; its last step plus one if it never does."""
    return [float(steps_to(curve, level) or curve[-1][0] + 1) for curve in curves_]


def points(watched: dict[str, list]) -> dict[str, list[tuple[float, list[float]]]]:
    """Group validation accuracy by step: for each row, (step, values of all seeds)."""
    return {
        title: [
            (at, [value for _, value in same])
            for at, same in ((group[0][0], group) for group in zip(*runs, strict=True))
        ]
        for title, runs in watched.items()
        if runs
    }
