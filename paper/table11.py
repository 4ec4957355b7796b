"""Table 11: zero-shot image recognition within a data set.

Command: python -m paper run table11 --scale full --data DATA
Files:   DATA/imagenet; openclip:ViT-B-16/openai. The classes of IN600 and IN400 (paper/splits/in600-in400.json) are
         drawn with seed 0; the paper's split is not published
Cost:    5.4 minutes per epoch on 8 GPUs (Table 12: 90 minutes for 10 epochs of all classes)
Paper:   70.28 without training, 72.62 with
Choices: the paper states no number of epochs (it says "few" of Table 9 only): here 1 and 3
Mini:    clothing photos, 6 seen and 4 unseen classes, drawn anew by each seed; three times as many seeds, since draws
         of so few classes vary much. Lite0 fine-tuned at 96 pixels, 1 and 2 epochs of 24 steps with batch size 10. All
         items of unseen classes are scored, since none is trained on.
"""

from dataclasses import replace

from paper import quoted, worlds
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, gap, judge

TITLE = "Table 11: zero-shot image recognition"
WITHOUT = "without training"


def plan(setting: Setting) -> Plan:
    """Run with and without training on the seen classes and score the unseen ones."""
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
    times = 3 if setting.scale == "mini" else 1
    results = yield setting.jobs(rows, range(times * len(setting.seeds)))
    values = {title: results.values(title) for title in rows}
    section = Section("table11", TITLE)
    section.tables.append(
        Table(
            f"Top-1 on unseen classes; mean and 95 % interval over seeds, differences paired by seed. Paper "
            f"(IN600 -> IN400): {quoted.TABLE11[0]:.2f} without training, {quoted.TABLE11[1]:.2f} with.",
            ["row", "top-1", "minus without training"],
            [[t, cell(values[t]), gap(values[t], values[WITHOUT])] for t in rows],
        )
    )
    first = list(rows)[1]
    claim = f"images: a little training ({first}) improves unseen classes"
    verdict = judge(15, claim, [("trained minus untrained", values[first], values[WITHOUT])])
    section.verdicts.append(replace(verdict, times=times))
    return section
