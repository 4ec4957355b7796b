"""Fig. 4: how fast vision-text and vision-only converge.

Command: python -m paper run fig4 --scale full --data DATA
Files:   as fig3
Cost:    none beyond fig3, whose rows at 100 % of the labels these are
Paper:   a plot of training losses over epochs, without numbers.
Choices: losses of a scaled cosine and of a plain linear layer are on different scales, so what is compared is the
         number of steps to 50 % and 65 % of the training items (mean of the last five batches) and of validation
         items, each seed by itself; both levels were fixed beforehand. What never gets there counts as one step more
         than were made.
Mini:    clothing photos, Lite0 fine-tuned at 96 pixels, 40 steps of 10; validation every 5 steps on the 120 photos of
         the validation split.
"""

from dataclasses import replace

import numpy as np

from paper import worlds
from paper.fig3 import TEXT, WATCH
from paper.figures import curves, lines
from paper.head_rate import TUNED, chosen_rate, vision_only
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, each, judged
from paper.stats import steps_to

TITLE = "Fig. 4: training curves of vision-text and vision-only"
LEVELS = (50.0, 65.0)
WINDOW = 5


def plan(setting: Setting) -> Plan:
    """The rows of Fig. 3 at 100 %, step by step."""
    base = worlds.at(setting.scale, full=worlds.KINETICS_MEAN, mini=worlds.CLOTHING)
    row = replace(base, watch=WATCH)
    rate = yield from chosen_rate(setting, row, f"100% of {row.data}")
    rows = {TEXT: row, **vision_only(row, rate)}
    found = yield setting.jobs(rows)
    section = Section("fig4", TITLE)
    section.notes.append(f"Vision-only's tuned head rate: {rate:g}x the encoder's.")
    training = {title: [training_curve(result) for result in found.of(title)] for title in rows}
    looked = {title: [result["watched"] for result in found.of(title)] for title in rows}
    table, pairs = [], []
    for title in rows:
        cells = [title]
        for kind, curve in (("training", training), ("validation", looked)):
            for level in LEVELS:
                steps = arrivals(curve[title], level)
                cells.append(f"{cell(steps)} ({each(steps, 0)})")
                if title == TUNED:
                    pairs.append((f"{kind} {level:.0f} %", steps, arrivals(curve[TEXT], level)))
        table.append(cells)
    headers = ["", *(f"{kind} {level:.0f} %" for kind in ("training", "validation") for level in LEVELS)]
    section.tables.append(Table("Steps to an accuracy: mean and 95 % interval, and each seed.", headers, table))
    losses = {title: [[(s, loss) for s, loss, _ in result["curve"]] for result in found.of(title)] for title in rows}
    section.figures += [
        (curves(losses, y="training loss"), "Training loss of every seed: the scales of the two kinds differ."),
        (curves(training, y="training top-1 (%)"), f"Training top-1, mean of {WINDOW} steps, every seed."),
        (lines(points(looked), x="step", y="validation top-1 (%)"), "Validation top-1; bars: 95 % intervals."),
    ]
    section.verdicts.append(judged(4, "vision-text needs fewer steps than vision-only (tuned)", pairs))
    return section


def training_curve(result: dict) -> list[tuple[int, float]]:
    """(step, training top-1 of the last five batches), from the fifth step on: one batch alone can be all luck."""
    steps, values = zip(*((step, top1) for step, _, top1 in result["curve"]), strict=True)
    window = min(WINDOW, len(steps))
    ends = range(window, len(steps) + 1)
    return [(steps[end - 1], float(np.mean(values[end - window : end]))) for end in ends]


def arrivals(curves_: list[list], level: float) -> list[float]:
    """The step at which each seed's curve is at the level; one more than its last where it never is."""
    return [float(steps_to(curve, level) or curve[-1][0] + 1) for curve in curves_]


def points(watched: dict[str, list]) -> dict[str, list[tuple[float, list[float]]]]:
    """The values of all seeds at each step."""
    return {
        title: [
            (at, [value for _, value in same])
            for at, same in ((group[0][0], group) for group in zip(*runs, strict=True))
        ]
        for title, runs in watched.items()
        if runs
    }
