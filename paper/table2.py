"""Table 2: temporal modules on a ResNet and on a ViT.

Command: python -m paper run table2 --scale full --data DATA
Files:   DATA/k400; openclip:RN50/openai, openclip:ViT-B-16/openai
Cost:    7 to 10 hours on 8 GPUs per row (ViT-B/16: 10 in the paper, 6.9 in the published log)
Paper:   ResNet-50: TAP 71.20 / 90.37, T1D 67.18 / 88.45, T-Trans 74.26 / 91.67;
         ViT-B/16: TAP 80.13 / 94.98, TokenT1D 80.42 / 95.03, T-Trans 81.52 / 95.49
Mini:    moving shapes, 48 classes, 4 frames of 64 pixels; small CLIPs (a ResNet and a ViT) pre-trained on still shapes,
         fine-tuned for 60 steps with batch size 16. Mean pooling cannot tell moving left from moving right.
"""

from dataclasses import replace
from itertools import pairwise

from paper import worlds
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, gap, judge

TITLE = "Table 2: temporal modeling"
CNN, VIT = "ResNet", "ViT"
MODULES = {"TAP": "mean", "T1D": "conv", "TokenT1D": "token-conv", "T-Trans": "transformer"}
PAPER = {
    (CNN, "TAP"): "71.20 / 90.37",
    (CNN, "T1D"): "67.18 / 88.45",
    (CNN, "T-Trans"): "74.26 / 91.67",
    (VIT, "TAP"): "80.13 / 94.98",
    (VIT, "TokenT1D"): "80.42 / 95.03",
    (VIT, "T-Trans"): "81.52 / 95.49",
}


def plan(setting: Setting) -> Plan:
    """Run three modules on each encoder."""
    bases = {
        CNN: worlds.at(
            setting.scale,
            full=replace(worlds.KINETICS, encoder="openclip:RN50/openai"),
            mini=worlds.SHAPES_RESNET,
        ),
        VIT: worlds.at(setting.scale, full=worlds.KINETICS, mini=worlds.SHAPES_VIT),
    }
    rows = {f"{net}, {module}": bases[net].changed(temporal=MODULES[module]) for net, module in PAPER}
    results = yield setting.jobs(rows)
    top1 = {key: results.values(f"{key[0]}, {key[1]}") for key in PAPER}
    top5 = {key: results.values(f"{key[0]}, {key[1]}", "top5") for key in PAPER}
    section = Section("table2", TITLE)
    section.tables.append(
        Table(
            "Top-1 and top-5; mean and 95 % interval over seeds, differences paired by seed.",
            ["encoder", "module", "top-1", "minus TAP", "top-5", "paper, K400"],
            [
                [
                    net,
                    mod,
                    cell(top1[net, mod]),
                    gap(top1[net, mod], top1[net, "TAP"]),
                    cell(top5[net, mod]),
                    PAPER[net, mod],
                ]
                for net, mod in PAPER
            ],
        )
    )
    orders = {
        CNN: ("T-Trans", "TAP", "T1D"),
        VIT: ("T-Trans", "TokenT1D", "TAP"),
    }
    for net, order in orders.items():
        pairs = [(f"{a} minus {b}", top1[net, a], top1[net, b]) for a, b in pairwise(order)]
        section.verdicts.append(judge(8, f"{net}: {' > '.join(order)}", pairs))
    return section
