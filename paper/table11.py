"""Table 11: zero-shot image recognition within a data set.

Command: python -m paper run table11 --scale full --data DATA
Files:   DATA/imagenet; openclip:ViT-B-16/openai; the classes of IN600 and IN400 are in paper/splits/in600-in400.json,
         drawn with seed 0: not the paper's split, which is not published
Cost:    6/10 of 9 minutes on 8 GPUs an epoch (Table 12's 90 minutes are 10 epochs)
Paper:   70.28 without training, 72.62 with
Choices: "few" epochs are ours to choose: 1 and 3.
Mini:    clothing photos, 6 classes seen, 4 left out, drawn anew for each seed, and three times as many seeds, since
         draws of so few classes differ much; Lite0 fine-tuned at 96 pixels, 1 and 2 epochs of 24 steps of 10. All
         items of unseen classes are scored: none is trained on.
"""

from dataclasses import replace

from paper import quoted, worlds
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, each, gap, judged

TITLE = "Table 11: zero-shot image recognition"
WITHOUT = "without training"


def plan(setting: Setting) -> Plan:
    """Unseen classes without and with training on the others."""
    full = setting.scale == "full"
    base = replace(
        worlds.at(setting.scale, full=worlds.IMAGENET, mini=worlds.CLOTHING),
        unseen=0.4,
        score="unseen" if full else "all unseen",
    )
    rows = {WITHOUT: replace(base, k=0)}
    rows |= {
        f"{n} {'epoch' if n == 1 else 'epochs'}": replace(base.changed(epochs=n), steps=None)
        for n in ((1, 3) if full else (1, 2))
    }
    seeds = range(3 * len(setting.seeds)) if setting.scale == "mini" else setting.seeds
    found = yield setting.jobs(rows, seeds)
    values = {title: found.values(title) for title in rows}
    section = Section("table11", TITLE)
    section.tables.append(
        Table(
            f"Top-1 among the unseen classes; mean and 95 % interval over seeds. The paper (IN600 -> IN400): "
            f"{quoted.TABLE11[0]:.2f} without training, {quoted.TABLE11[1]:.2f} with.",
            ["row", "top-1", "minus without", "each seed"],
            [[t, cell(values[t]), gap(values[t], values[WITHOUT]), each(values[t])] for t in rows],
        )
    )
    first = list(rows)[1]
    section.verdicts.append(
        judged(
            15,
            f"images: a little training ({first}) lifts unseen classes",
            [("over none", values[first], values[WITHOUT])],
        )
    )
    return section
