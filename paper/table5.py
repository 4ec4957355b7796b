"""Table 5: encoders, frames, pixels and views.

Command: python -m paper run table5 --scale full --data DATA
Files:   DATA/k400; openclip: RN50, ViT-B-32, ViT-B-16, ViT-L-14, ViT-L-14-336, each with /openai
Cost:    hours on 8 GPUs, from the published logs: B/32 7, B/16 7 (8 frames) and 14 (16), L/14 27, L/14 at 336 pixels
         83 (8 frames) and 280 (32)
Paper:   quoted on the page that `python -m paper report` writes
Choices: temporal transformer; 4x3 views are averaged as features
Mini:    moving shapes, 48 classes, clips of 16 frames of 72 pixels; small CLIPs at 64 pixels, and the ViT also at 48
         (position embeddings interpolated, frames resized to 54 before the crop), 4 and 8 frames, 60 steps with batch
         size 16. The only encoders are one ResNet and one ViT.
"""

from dataclasses import replace

from paper import quoted, worlds
from paper.rows import Row
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, gap, judge
from paper.stats import Outcomes

TITLE = "Table 5: encoders, frames, pixels and views"
ONE, MANY = "1x1", "4x3"


def instantiations(setting: Setting) -> dict[str, Row]:
    """Return a row for each encoder, input size and number of frames."""
    if setting.scale == "full":
        base = replace(worlds.KINETICS, views=(ONE, MANY))
        names = {"ResNet-50": "RN50", "ViT-B/32": "ViT-B-32", "ViT-B/16": "ViT-B-16", "ViT-L/14": "ViT-L-14"}
        rows = {}
        for encoder, size, frames in quoted.TABLE5:
            name = names[encoder] + ("-336" if size == 336 else "")
            rows[title(encoder, size, frames)] = replace(base, encoder=f"openclip:{name}/openai").changed(frames=frames)
        return rows
    resnet, vit = (
        replace(row, views=(ONE, MANY)).changed(temporal="transformer")
        for row in (worlds.SHAPES_RESNET, worlds.SHAPES_VIT)
    )
    small = replace(vit, encoder=f"{vit.encoder}@48").changed(resize=54)
    return {
        title(name, size, frames): row.changed(frames=frames)
        for name, size, row in (("ResNet", 64, resnet), ("ViT", 48, small), ("ViT", 64, vit))
        for frames in (4, 8)
    }


def title(encoder: str, size: int, frames: int) -> str:
    """Return the title of a row."""
    return f"{encoder}, {size} pixels, {frames} frames"


def plan(setting: Setting) -> Plan:
    """Run every instantiation with one view and with 4x3 views."""
    rows = instantiations(setting)
    results = yield setting.jobs(rows)
    section = Section("table5", TITLE)
    value = {(t, v): results.values(t, views=v) for t in rows for v in (ONE, MANY)}
    section.tables.append(
        Table(
            "Top-1 and top-5; mean and 95 % interval over seeds.",
            ["instantiation", "1 view", "top-5", "4x3 views", "top-5", "4x3 minus 1"],
            [
                [
                    t,
                    cell(value[t, ONE]),
                    cell(results.values(t, "top5", views=ONE)),
                    cell(value[t, MANY]),
                    cell(results.values(t, "top5", views=MANY)),
                    gap(value[t, MANY], value[t, ONE]),
                ]
                for t in rows
            ],
        )
    )
    section.tables.append(
        Table(
            "Top-1 and top-5 on Kinetics-400, quoted from the paper's Table 5.",
            ["instantiation", "1 view", "4x3 views"],
            [
                [title(*key), f"{one[0]:.2f} / {one[1]:.2f}", f"{many[0]:.2f} / {many[1]:.2f}"]
                for key, (one, many) in quoted.TABLE5.items()
            ],
            page_only=True,
        )
    )
    if setting.scale != "full":
        section.verdicts += verdicts(value)
    return section


def verdicts(value: dict[tuple[str, str], Outcomes]) -> list:
    """Return the verdicts on the parts of claim 11."""

    def at(encoder: str, size: int, frames: int, views: str = ONE) -> Outcomes:
        return value[title(encoder, size, frames), views]

    nets = (("ResNet", 64), ("ViT", 48), ("ViT", 64))
    return [
        judge(11, "more frames help (8 vs. 4)", [(f"{n} {s}", at(n, s, 8), at(n, s, 4)) for n, s in nets]),
        judge(
            11,
            "more pixels help (64 vs. 48)",
            [(f"ViT, {f} frames", at("ViT", 64, f), at("ViT", 48, f)) for f in (4, 8)],
        ),
        judge(
            11,
            "a stronger encoder helps (ViT vs. ResNet)",
            [(f"{f} frames", at("ViT", 64, f), at("ResNet", 64, f)) for f in (4, 8)],
        ),
        judge(
            11,
            "more views help (4x3 vs. 1)",
            [(f"{n} {s}, {f} frames", at(n, s, f, MANY), at(n, s, f)) for n, s in nets for f in (4, 8)],
        ),
    ]
