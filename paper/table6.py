"""Table 6: our paradigm against the matching paradigm, with and without batch gather, text encoder online and offline.

Command: python -m paper run table6 --scale full --data DATA
Files:   DATA/k400; openclip:ViT-B-16/openai
Cost:    3.3 V100-days of ours, 6.6 to 6.7 with batch gather, 3.3 to 3.5 without (the paper's)
Paper:   gather, online 81.15; gather, offline 80.73; no gather, online 77.77; no gather, offline 76.13; ours 81.52
Choices: temporal transformer. The matching rows have the published code's targets: both directions, all clips of a
         class in the batch; "one-hot" is Eq. 2 to the letter. Offline takes the text rows as they are; online tunes the
         text encoder at the visual one's rate. A row runs on all GPUs. Without gather each pass sees the share of one
         of 8 GPUs, 16 clips, however many there are (1, 2, 4 or 8): fewer GPUs make more passes a step.
Mini:    drawn shapes in motion, 48 classes, four fifths of the clips, 4 frames of 64 pixels, small ViT-CLIP fine-tuned
         for 48 steps of 16, in two real processes of one thread with 8 clips each. Without gather a process sees 8
         texts, with it 16. Time and memory with nothing beside; the rows in one process, whose accuracy is that of two,
         are there for their time and memory and have three seeds.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from paper import quoted, worlds
from paper.results import Results
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, each, gap, judged

TITLE = "Table 6: against the matching paradigm"
OURS = "ours"
PAPER = {
    "matching, gather, online": quoted.TABLE6["gather", "online"],
    "matching, gather, offline": quoted.TABLE6["gather", "offline"],
    "matching, no gather, online": quoted.TABLE6["no gather", "online"],
    "matching, no gather, offline": quoted.TABLE6["no gather", "offline"],
    OURS: quoted.TABLE6["ours", "offline"],
}
ONE_HOT = "matching, gather, online, one-hot"
# GPUs of the paper, and processes of the stand-in.
PROCESSES = {"full": 8}


def plan(setting: Setting) -> Plan:
    """The five rows in two processes, and ours and the matching paradigm in one."""
    mini = replace(worlds.SHAPES_VIT, steps=48, fraction=0.8)
    base = worlds.at(setting.scale, full=worlds.KINETICS, mini=mini)
    base = replace(base.changed(temporal="transformer"), processes=PROCESSES.get(setting.scale, 2), alone=True)
    matching: dict[str, dict[str, Any]] = {
        f"matching, {gathered}, {text}": {"gather": gathered == "gather", "online": text == "online"}
        for gathered in ("gather", "no gather")
        for text in ("online", "offline")
    }
    rows = {title: replace(base, matching="multi_positive", **options) for title, options in matching.items()}
    rows[ONE_HOT] = replace(base, matching="one_hot", gather=True, online=True)
    rows[OURS] = base
    # With one process there is nothing to gather.
    single = {
        f"{title}, one process": replace(row, processes=1, gather=False)
        for title, row in rows.items()
        if "no gather" not in title and title != ONE_HOT
    }
    if setting.scale == "full":  # One process would take 8 times as long, for time and memory alone.
        single = {}
    found = yield setting.jobs(rows) + setting.jobs(single, setting.seeds[:3])
    section = Section("table6", TITLE)
    ours = {n: median(found.values(OURS + n, "step_seconds")) for n in ("", ", one process")}
    body = []
    for title in (*rows, *single):
        values, seconds = found.values(title), found.values(title, "step_seconds")
        beside = ours[", one process" if title.endswith("one process") else ""]
        told = PAPER.get(title)
        body.append(
            [
                title,
                cell(values),
                gap(values, found.values(OURS if title in rows else f"{OURS}, one process")),
                cell(found.values(title, "top5")),
                f"{1000 * median(seconds):.0f}" if seconds else "-",
                f"{median(seconds) / beside:.2f}" if seconds and beside else "-",
                f"{found.values(title, 'peak_mb')[0]:.0f}" if seconds else "-",
                f"{told[0]:.2f}, {told[2]} V100-days" if told else "-",
            ]
        )
    headers = ["method", "top-1", "minus ours", "top-5", "ms a step", "times ours", "peak MB", "paper, K400"]
    section.tables.append(
        Table(
            "Top-1, top-5: mean and 95 % interval over seeds. Time: median over seeds. Memory: peak of the first seed, "
            "whose processes are new. Rows in one process stand beside ours in one process.",
            headers,
            body,
        )
    )
    rows_each = [[title, each(found.values(title))] for title in (*rows, *single)]
    section.tables.append(Table("Top-1 of each seed.", ["method", "each seed"], rows_each))
    kinds = ("online", "offline")
    accuracy = [
        (f"gather over none, {t}", found.values(f"matching, gather, {t}"), found.values(f"matching, no gather, {t}"))
        for t in kinds
    ]
    time = [(f"percent of a step, {t}", _percent_more(found, t), [0.0] * len(_percent_more(found, t))) for t in kinds]
    section.verdicts += [
        judged(12, "matching needs batch gather for accuracy", accuracy),
        judged(12, "batch gather costs time", time),
        judged(
            12,
            "ours is as good as the best matching row, or better",
            [("ours over gather, online", found.values(OURS), found.values("matching, gather, online"))],
        ),
    ]
    return section


def _percent_more(found: Results, text: str) -> list[float]:
    """Return how much longer a step takes with batch gather, in percent, of each seed."""
    with_it = found.values(f"matching, gather, {text}", "step_seconds")
    without = found.values(f"matching, no gather, {text}", "step_seconds")
    return [100 * (a / b - 1) for a, b in zip(with_it, without, strict=False)]


def median(values: list[float]) -> float:
    """The median; 0 of nothing."""
    return float(np.median(values)) if values else 0.0
