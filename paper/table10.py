"""Table 10: K-shot C-way image recognition, ours and vision-only.

Command: python -m paper run table10 --scale full --data DATA
Files:   DATA/imagenet/{train,val}/n*/*.JPEG; openclip:ViT-B-16/openai
Cost:    90 minutes on 8 GPUs for all items and 10 epochs (the paper's number); minutes for K shots
Paper:   ours 66.73 (zero-shot), 71.50, 73.64, 74.99, all 82.25; vision-only 0, 4.71, 30.44, 41.70, all 79.70
Choices: one frame, no temporal module; 10 epochs for all items (Table 12) and 50 for K shots (our choice). Vision-only
         at K = 0 is measured: an untrained head is at chance, not at 0.
Mini:    photos of clothing (10 classes), of objects (20 classes, whose names separate them well) and of hand signs (10
         classes, whose names do not); Lite0 fine-tuned at 96 pixels, 40 steps or a few more with batch size up to 10;
         with all items 72 steps on objects and 40 on hand signs.
"""

from collections.abc import Generator
from dataclasses import replace

from paper import quoted, worlds
from paper.figures import lines
from paper.head_rate import AT_ONE, AT_TEN, TUNED, ahead, chosen_rate, vision_only
from paper.results import Results
from paper.rows import Job, Row
from paper.running import Plan, Setting
from paper.section import Section, Table, with_lead

TITLE = "Table 10: K-shot C-way image recognition"
SHOTS = (1, 3, 5)
TEXT = "ours"
METHODS = (TEXT, AT_ONE, AT_TEN, TUNED)


def sets(setting: Setting) -> dict[str, Row]:
    """Return the base row of each data set."""
    if setting.scale == "full":
        return {"ImageNet": worlds.IMAGENET}
    return {"clothing": worlds.CLOTHING, "objects": worlds.OBJECTS, "handdigits": worlds.HANDDIGITS}


def plan(setting: Setting) -> Plan:
    """Run K = 0, 1, 3, 5 and all with text rows and the three vision-only heads, on each data set."""
    section, body = Section("table10", TITLE), list[list[str]]()
    for name, base in sets(setting).items():
        yield from add(section, body, name, base, setting)
    headers = ["", *(f"K = {k}" for k in (0, *SHOTS, "all"))]
    section.tables.append(Table("Top-1, and the lead of ours, paired by seed; mean and 95 % interval.", headers, body))
    section.tables.append(
        Table(
            "Top-1, quoted from the paper's Table 10.",
            headers,
            [[m, *(f"{v:.2f}" for v in row)] for m, row in quoted.TABLE10.items()],
            page_only=True,
        )
    )
    return section


def add(
    section: Section, body: list[list[str]], name: str, base: Row, setting: Setting
) -> Generator[list[Job], Results, None]:
    """Run a data set's rows and add their lines to the table's body, their figure and verdicts to the section."""
    full = setting.scale == "full"
    few = base.changed(epochs=50) if full else base
    # On clothing these are Fig. 4's rows, which measure validation accuracy during training.
    everything = replace(base, watch=5) if name == "clothing" else base
    columns: dict[str, Row] = {"0": replace(base, k=0)}
    columns |= {str(k): replace(few, k=k) for k in SHOTS} | {"all": everything}
    rates = {}
    for column in ("5", "all"):
        title = f"100% of {base.data}" if column == "all" else f"{name}, K = {column}"
        rates[column] = yield from chosen_rate(setting, columns[column], title, draws=3 if column == "5" else 1)
    # K = 1 and 3 hold out too few items to choose a rate; K = 0 trains nothing.
    rates |= {"0": 1.0, "1": rates["5"], "3": rates["5"]}
    rows: dict[str, Row] = {}
    for column, row in columns.items():
        suffix = f", {name}, K = {column}"
        rows |= {f"{TEXT}{suffix}": row, **vision_only(row, rates[column], suffix)}
    results = yield setting.jobs(rows)
    values = {(m, column): results.values(f"{m}, {name}, K = {column}") for m in METHODS for column in columns}
    section.notes.append(
        f"Vision-only's tuned head rates on {name}: " + ", ".join(f"{rates[n]:g}x at K = {n}" for n in columns) + "."
    )
    body += [[f"{name}: {m}", *(with_lead(values[TEXT, n], values[m, n]) for n in columns)] for m in METHODS]
    positions = {"0": 0.0, "1": 1.0, "3": 3.0, "5": 5.0, "all": 40.0}
    series = {m: [(positions[n], values[m, n]) for n in columns] for m in METHODS}
    section.figures.append(
        (
            lines(series, x="items per class (all: at 40)", y="top-1 (%)", log=True),
            f"Top-1 on {name}; error bars: 95 % intervals.",
        )
    )
    by_shots = {column: {m: values[m, column] for m in METHODS} for column in columns}
    whole = [("all", by_shots["all"])]
    shots = [(f"K = {k}", by_shots[str(k)]) for k in SHOTS]
    section.verdicts += [
        ahead(15, f"{name}: ours beats vision-only at K = 1, 3 and 5, at three head rates", shots, TEXT),
        ahead(15, f"{name}: ours beats vision-only with all items, at three head rates", whole, TEXT),
    ]
