"""The supplement's UCF-101 and HMDB-51: supervised, after training on Kinetics-400 and without.

Command: python -m paper run ucf_hmdb --scale full --data DATA
Files:   DATA/k400, DATA/ucf101, DATA/hmdb51 (split 1); openclip:ViT-L-14/openai
Cost:    54 hours on 8 GPUs for Kinetics-400, minutes for the others
Paper:   Sec. 4.3 sends the results to a supplement that was not available; its code's log of ViT-L/14, 16 frames, one
         view: UCF-101 98.06, HMDB-51 80.86 after the last epoch
Choices: temporal transformer, which the second training starts from as the first one left it
Mini:    drawn shapes in motion, another draw (#1) and all its clips before; then 3 clips a class of the first draw;
         small ViT-CLIP, 4 frames of 64 pixels, 60 and 54 steps of 16.
"""

from dataclasses import replace

from paper import worlds
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, each, gap

TITLE = "Supplement: supervised on a second data set, after the first"


def plan(setting: Setting) -> Plan:
    """Each second data set, directly and after the first."""
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
    found = yield setting.jobs(rows)
    section = Section("ucf_hmdb", TITLE)
    section.tables.append(
        Table(
            "Top-1; mean and 95 % interval over seeds, difference paired by seed.",
            ["data", "directly", "after the first", "gain", "each seed, after"],
            [
                [
                    name,
                    cell(found.values(f"{name}, directly")),
                    cell(found.values(f"{name}, after the first")),
                    gap(found.values(f"{name}, after the first"), found.values(f"{name}, directly")),
                    each(found.values(f"{name}, after the first")),
                ]
                for name in sets
            ],
        )
    )
    return section
