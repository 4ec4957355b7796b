"""Beyond the paper: does text keep its lead over vision-only when both are tuned with one budget of search?

Command: python -m paper run tuned --scale full --data DATA
Files:   as fig3
Cost:    24 more trainings a label fraction, on four fifths of its items
Paper:   not in it: Fig. 3 has one recipe for both; it says that text helps most where labels are few
Choices: both methods get the same twelve settings: the encoder's rate at a third, once and three times; once and two
         and a half times the steps; the recipe's augmentation, or none but small shifts. Vision-only's head has ten
         times the encoder's rate. The best of the twelve on a held-out fifth of the training items is trained again on
         all of them, with every seed, and scored on the test items.
Mini:    as fig3: clothing photos, fractions 10, 30 and 100 %; 40 or 100 steps of 10. At 10 % three draws of the fifth
         choose, else one.
"""

from collections.abc import Generator
from dataclasses import replace
from itertools import product

import numpy as np

from paper import worlds
from paper.fig3 import FRACTIONS
from paper.figures import lines
from paper.results import Results
from paper.rows import Job, Row
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, each, gap, judged

TITLE = "Beyond the paper: both methods tuned with one budget"
TEXT, VISION = "vision-text", "vision-only"
RATES, LENGTHS = (1 / 3, 1.0, 3.0), (1.0, 2.5)
# How large a part of the picture a training crop has, and how often it is mirrored.
AUGMENTATIONS = {"augmented": {}, "plain": {"area": (0.8, 1.0), "flip": 0.0}}
PEAK = {"small": 3e-4, "paper": 5e-6}
HEAD_RATE = 10.0


def settings_of(row: Row) -> dict[str, Row]:
    """The twelve settings of a row, by what they are called."""
    found = {}
    for rate, length, (name, changes) in product(RATES, LENGTHS, AUGMENTATIONS.items()):
        tuned = row.changed(lr=PEAK[row.recipe] * rate, **changes)
        if row.steps is not None:
            tuned = replace(tuned, steps=round(row.steps * length))
        else:
            tuned = tuned.changed(epochs=round(30 * length))
        found[f"{rate:.2g}x rate, {length:g}x steps, {name}"] = tuned
    return found


def best(setting: Setting, row: Row, title: str, draws: int) -> Generator[list[Job], Results, tuple[str, Row]]:
    """The setting that is best on a held-out fifth of the training items, of so many draws; of equals the first."""
    rows = dict(list(settings_of(row).items())[: 2 if setting.scale == "smoke" else None])
    names = {key: f"choose: {title}, {key}" for key in rows}
    trials = {names[key]: replace(each, score="held-out") for key, each in rows.items()}
    found = yield setting.jobs(trials, seeds=setting.seeds[:draws])
    means = {key: float(np.mean(found.values(names[key]) or [0.0])) for key in rows}
    chosen = max(means, key=lambda key: means[key])
    return chosen, rows[chosen]


def plan(setting: Setting) -> Plan:
    """Both methods at every label fraction, each with its best setting."""
    base = worlds.at(setting.scale, full=worlds.KINETICS_MEAN, mini=worlds.CLOTHING)
    rows, chosen = {}, {}
    for part in FRACTIONS:
        row = replace(base, fraction=part) if part < 1 else base
        for method, own in ((TEXT, row), (VISION, replace(row, head="linear", head_rate=HEAD_RATE))):
            title = f"{method}, {part:.0%}"
            chosen[title], rows[title] = yield from best(setting, own, title, draws=3 if part < 0.2 else 1)
    found = yield setting.jobs(rows)
    values = {title: found.values(title) for title in rows}
    section = Section("tuned", TITLE)
    section.tables.append(
        Table(
            "Top-1 on the test items; mean and 95 % interval over seeds, difference paired by seed.",
            ["labels", TEXT, VISION, "text minus vision-only", "text's setting", "vision-only's setting"],
            [
                [
                    f"{part:.0%}",
                    cell(values[f"{TEXT}, {part:.0%}"]),
                    cell(values[f"{VISION}, {part:.0%}"]),
                    gap(values[f"{TEXT}, {part:.0%}"], values[f"{VISION}, {part:.0%}"]),
                    chosen[f"{TEXT}, {part:.0%}"],
                    chosen[f"{VISION}, {part:.0%}"],
                ]
                for part in FRACTIONS
            ],
        )
    )
    section.tables.append(Table("Top-1 of each seed.", ["row", "each seed"], [[t, each(v)] for t, v in values.items()]))
    curves = {m: [(100 * part, values[f"{m}, {part:.0%}"]) for part in FRACTIONS] for m in (TEXT, VISION)}
    section.figures.append(
        (lines(curves, x="labelled training items (%)", y="top-1 (%)"), "Both tuned with one budget; bars: 95 %.")
    )
    for part in FRACTIONS:
        pair = ("text over vision-only", values[f"{TEXT}, {part:.0%}"], values[f"{VISION}, {part:.0%}"])
        section.verdicts.append(
            judged(17, f"text is ahead of vision-only, both tuned, at {part:.0%} of labels", [pair])
        )
    return section
