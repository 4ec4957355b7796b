"""Supplement: classifiers initialized alike, frozen or trained.

Command: python -m paper run unfrozen --scale full --data DATA
Files:   DATA/k400; openclip:ViT-B-16/openai
Cost:    10 hours on 8 GPUs per row (the paper's number)
Paper:   Sec. 2.2: "The unfrozen results are given in the supplementary materials", which were not available
Choices: temporal transformer at full scale. Trained rows are in a cosine head with the same scale, at the encoder's
         learning rate (1x) or ten times that (10x).
Mini:    clothing photos, Lite0 fine-tuned at 96 pixels, all 400 photos or 5 per class, 40 steps with batch size 10
"""

from dataclasses import replace

from paper import worlds
from paper.rows import Row
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, gap, judge

TITLE = "Supplement: frozen against trained classifier rows"
FROZEN, ONE, TEN = "frozen", "unfrozen, 1x", "unfrozen, 10x"


def kinds(base: Row, head: str) -> dict[str, Row]:
    """Return the rows of one initialization: frozen, and trained at two learning rates."""
    row = replace(base, head=head)
    return {
        FROZEN: row,
        ONE: replace(row, train_head=True, head_rate=1.0),
        TEN: replace(row, train_head=True, head_rate=10.0),
    }


def plan(setting: Setting) -> Plan:
    """Run text and orthogonal rows on all items and on few."""
    full = setting.scale == "full"
    base = worlds.at(setting.scale, full=worlds.KINETICS, mini=worlds.CLOTHING)
    amounts = {"all items": base} if full else {"all items": replace(base, watch=5), "K = 5": replace(base, k=5)}
    rows: dict[str, Row] = {}
    for amount, row in amounts.items():
        for head in ("text", "orthogonal"):
            for kind, variant in kinds(row, head).items():
                watched = row.watch if (head, kind) == ("text", FROZEN) else 0
                rows[f"{amount}: {head}, {kind}"] = replace(variant, watch=watched)
    results = yield setting.jobs(rows)
    values = {title: results.values(title) for title in rows}
    section = Section("unfrozen", TITLE)
    section.tables.append(
        Table(
            "Top-1, and the gain over frozen rows, paired by seed; mean and 95 % interval over seeds.",
            ["rows", FROZEN, ONE, TEN],
            [
                [
                    start,
                    cell(values[f"{start}, {FROZEN}"]),
                    *(
                        f"{cell(values[f'{start}, {kind}'])}, "
                        + gap(values[f"{start}, {kind}"], values[f"{start}, {FROZEN}"])
                        for kind in (ONE, TEN)
                    ),
                ]
                for start in (f"{amount}: {head}" for amount in amounts for head in ("text", "orthogonal"))
            ],
        )
    )
    for kind in (ONE, TEN):
        pairs = [(a, values[f"{a}: text, {FROZEN}"], values[f"{a}: text, {kind}"]) for a in amounts]
        section.verdicts.append(
            judge(16, f"frozen text rows beat unfrozen ones (learning rate {kind.removeprefix('unfrozen, ')})", pairs)
        )
    return section
