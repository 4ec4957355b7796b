"""Table 12: encoders and input sizes on images, with their cost.

Command: python -m paper run table12 --scale full --data DATA
Files:   DATA/imagenet; openclip: ViT-B-16, ViT-L-14, ViT-L-14-336, each with /openai
Cost:    90 minutes, 6 hours and 17 hours on 8 GPUs (the paper: 0.5, 2.0 and 5.7 A100-days)
Paper:   82.25 / 96.82, 86.47 / 98.11, 87.12 / 98.33
Choices: 10 epochs, one frame, no temporal module
Mini:    clothing photos, EfficientNet-Lite0, -Lite1 and -Lite2, each with its own bridge, fine-tuned at 96 and 128
         pixels, 40 steps with batch size 10
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from paper import quoted, worlds
from paper.costs import both, costs
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, judge

TITLE = "Table 12: encoders and input sizes on images"
NETS = {"Lite0": "mini", "Lite1": "mini:lite1", "Lite2": "mini:lite2"}
SIZES = (96, 128)


def plan(setting: Setting) -> Plan:
    """Run every encoder at every input size."""
    if setting.scale == "full":
        names = {"ViT-B/16, 224": "ViT-B-16", "ViT-L/14, 224": "ViT-L-14", "ViT-L/14, 336": "ViT-L-14-336"}
        rows = {title: replace(worlds.IMAGENET, encoder=f"openclip:{name}/openai") for title, name in names.items()}
    else:
        rows = {
            f"{net}, {size}": replace(
                worlds.CLOTHING, encoder=source, watch=5 if (net, size) == ("Lite0", 96) else 0
            ).changed(size=size)
            for net, source in NETS.items()
            for size in SIZES
        }
    results = yield setting.jobs(rows)
    values = {title: results.values(title) for title in rows}
    section = Section("table12", TITLE)
    body = []
    for title, row in rows.items():
        true, paper = both(costs(row.encoder.removesuffix("/openai"), size=row.changes.get("size")))  # pyright: ignore[reportArgumentType]
        seconds = [r["train_seconds"] / max(1, r["steps"]) for r in results.with_title(title)]
        milliseconds = f"{1000 * float(np.median(seconds)):.0f}" if seconds else "-"
        body.append(
            [
                title,
                cell(values[title]),
                cell(results.values(title, "top5")),
                true,
                paper,
                milliseconds,
            ]
        )
    headers = [
        "encoder, pixels",
        "top-1",
        "top-5",
        "full count, G / M",
        "paper's convention, G / M",
        "ms per step",
    ]
    section.tables.append(
        Table(
            "Top-1 and top-5: mean and 95 % interval over seeds. Multiply-adds per frame in G / parameters in M. Time: "
            "median over seeds, one thread, with another job running in parallel.",
            headers,
            body,
        )
    )
    section.tables.append(
        Table(
            "Quoted from the paper's Table 12.",
            ["encoder, pixels", "top-1 / top-5", "G / M", "A100-days"],
            [
                [f"{n}, {s}", f"{a:.2f} / {b:.2f}", f"{g} / {m}", str(d)]
                for (n, s), (a, b, g, m, d) in quoted.TABLE12.items()
            ],
            page_only=True,
        )
    )
    if setting.scale != "full":
        nets = list(NETS)
        section.verdicts += [
            judge(
                11,
                "images: more pixels help (128 vs. 96)",
                [(n, values[f"{n}, 128"], values[f"{n}, 96"]) for n in nets],
            ),
            judge(
                11,
                "images: larger encoders help",
                [
                    (f"{b} minus {a}, {s}", values[f"{b}, {s}"], values[f"{a}, {s}"])
                    for a, b in pairwise(nets)
                    for s in SIZES
                ],
            ),
        ]
    return section
