"""Supplement: UCF-101 and HMDB-51, fully supervised, with and without training on Kinetics-400 first.

Command: python -m paper run ucf_hmdb --scale full --data DATA
Files:   DATA/k400, DATA/ucf101, DATA/hmdb51 (split 1); openclip:ViT-L-14/openai
Cost:    54 hours on 8 GPUs for Kinetics-400, minutes for the others
Paper:   Sec. 4.3 refers to the supplement, which was not available; the published log of ViT-L/14, 16 frames, one view:
         UCF-101 98.06, HMDB-51 80.86 after the last epoch
Choices: temporal transformer, whose trained weights the second training starts from
Mini:    moving shapes; first all clips of a second draw (seed 1), then 3 clips per class of the first draw; small
         ViT-CLIP, 4 frames of 64 pixels, 60 and 54 steps with batch size 16
"""

from dataclasses import replace

from paper import worlds
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, gap

TITLE = "Supplement: supervised training on a second data set"


def plan(setting: Setting) -> Plan:
    """Run each second data set directly and after the first."""
    if setting.scale == "full":
        large = replace(worlds.KINETICS, encoder="openclip:ViT-L-14/openai").changed(frames=16)
        sets = {"UCF-101": replace(large, data="ucf101"), "HMDB-51": replace(large, data="hmdb51")}
        first = "k400"
    else:
        sets = {"shapes, 3 a class": replace(worlds.SHAPES_VIT.changed(temporal="transformer"), k=3)}
        first = "shapes#1"
    rows = {
        f"{name}, {how}": replace(row, after=first if how == "after the first" else None)
        for name, row in sets.items()
        for how in ("directly", "after the first")
    }
    results = yield setting.jobs(rows)
    section = Section("ucf_hmdb", TITLE)
    section.tables.append(
        Table(
            "Top-1; mean and 95 % interval over seeds, differences paired by seed.",
            ["data", "directly", "after the first", "gain"],
            [
                [
                    name,
                    cell(results.values(f"{name}, directly")),
                    cell(results.values(f"{name}, after the first")),
                    gap(results.values(f"{name}, after the first"), results.values(f"{name}, directly")),
                ]
                for name in sets
            ],
            page_only=setting.scale == "mini",  # It decides no claim.
        )
    )
    return section
