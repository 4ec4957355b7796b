"""Table 10: K-shot C-way image recognition, ours and vision-only.

Command: python -m paper run table10 --scale full --data DATA
Files:   DATA/imagenet/{train,val}/n*/*.JPEG; openclip:ViT-B-16/openai
Cost:    90 minutes on 8 GPUs for all items and 10 epochs (the paper's); minutes for K shots
Paper:   ours 66.73 (zero-shot), 71.50, 73.64, 74.99, all 82.25; vision-only 0, 4.71, 30.44, 41.70, all 79.70
Choices: one frame, no temporal module; 10 epochs for all items (Table 12); 50 for K shots, which is ours to choose.
         Vision-only at K = 0 is measured: a head that nobody has trained is at chance, not at 0.
Mini:    clothing photos, 10 classes, Lite0 fine-tuned at 96 pixels, 40 to 42 steps of up to 10.
"""

from dataclasses import replace

from paper import quoted, worlds
from paper.figures import lines
from paper.head_rate import AT_ONE, AT_TEN, TUNED, ahead, chosen_rate, vision_only
from paper.rows import Row
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, each, gap

TITLE = "Table 10: K-shot C-way image recognition"
SHOTS = (1, 3, 5)
TEXT = "ours"
METHODS = (TEXT, AT_ONE, AT_TEN, TUNED)


def plan(setting: Setting) -> Plan:
    """K = 0, 1, 3, 5 and all, with text rows and with the three vision-only heads."""
    full = setting.scale == "full"
    base = worlds.at(setting.scale, full=worlds.IMAGENET, mini=worlds.CLOTHING)
    few = base.changed(epochs=50) if full else base
    everything = base if full else replace(base, watch=5)
    columns: dict[str, Row] = {"0": replace(base, k=0)}
    columns |= {str(k): replace(few, k=k) for k in SHOTS} | {"all": everything}
    rates = {}
    for name in ("5", "all"):
        title = f"100% of {base.data}" if name == "all" else f"K = {name}"
        rates[name] = yield from chosen_rate(setting, columns[name], title, draws=3 if name == "5" else 1)
    # Of fewer items too few could be held out to choose by; and nothing is trained at K = 0.
    rates |= {"0": 1.0, "1": rates["5"], "3": rates["5"]}
    rows: dict[str, Row] = {}
    for name, row in columns.items():
        rows |= {f"{TEXT}, K = {name}": row, **vision_only(row, rates[name], f", K = {name}")}
    found = yield setting.jobs(rows)
    values = {(m, name): found.values(f"{m}, K = {name}") for m in METHODS for name in columns}
    section = Section("table10", TITLE)
    section.notes.append(
        "Vision-only's tuned head rates: " + ", ".join(f"{rates[n]:g}x at K = {n}" for n in columns) + "."
    )
    headers = ["", *(f"K = {name}" for name in columns)]
    section.tables += [
        Table(
            "Top-1; mean and 95 % interval over seeds.",
            headers,
            [[m, *(cell(values[m, n]) for n in columns)] for m in METHODS],
        ),
        Table(
            "Ours minus vision-only, paired by seed, in points.",
            headers,
            [[m, *(gap(values[TEXT, n], values[m, n]) for n in columns)] for m in METHODS[1:]],
        ),
        Table("Top-1 of each seed.", headers, [[m, *(each(values[m, n]) for n in columns)] for m in METHODS]),
        Table(
            "The paper's Table 10, quoted.",
            headers,
            [[m, *(f"{v:.2f}" for v in row)] for m, row in quoted.TABLE10.items()],
        ),
    ]
    places = {"0": 0.0, "1": 1.0, "3": 3.0, "5": 5.0, "all": 40.0}
    series = {m: [(places[n], values[m, n]) for n in columns] for m in METHODS}
    section.figures.append(
        (
            lines(series, x="items a class (all: 40)", y="top-1 (%)", log=True),
            "Table 10 as a plot; bars: 95 % intervals.",
        )
    )
    by_shots = {name: {m: values[m, name] for m in METHODS} for name in columns}
    section.verdicts += [
        ahead(
            15,
            "images: ours is ahead of the strongest vision-only at K = 1, 3 and 5",
            [(f"K = {k}", by_shots[str(k)]) for k in SHOTS],
            TEXT,
        ),
        ahead(
            15, "images: ours is ahead of the strongest vision-only with all items", [("all", by_shots["all"])], TEXT
        ),
    ]
    return section
