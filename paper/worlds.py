"""What experiments run on at each scale: data, encoder and recipe together, as rows to start from.

`full` is the paper's own setting. `mini` is what stands in for it on two cores; each stand-in is named in RESULTS.md.
`smoke` is `mini` with two steps on two dozen drawn clips.
"""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

from paper.rows import Row

Scale = Literal["smoke", "mini", "full"]

# --- the paper's own (Sec. 4.1): ViT-B/16, 8 frames, 30 epochs, batch 128
_HALF = {"precision": "bf16", "grad_checkpointing": True}
KINETICS = Row("k400", encoder="openclip:ViT-B-16/openai", recipe="paper", changes={"temporal": "transformer", **_HALF})
KINETICS_MEAN = KINETICS.changed(temporal="mean")
IMAGENET = Row(
    "imagenet",
    encoder="openclip:ViT-B-16/openai",
    recipe="paper",
    changes={"frames": 1, "epochs": 10, "template": "a photo of a {}.", **_HALF},
)

# --- the stand-ins
# Photos of ten kinds of clothing; the encoder is fine-tuned.
CLOTHING = Row("clothing", changes={"size": 96, "frames": 1, "batch": 10}, steps=40)
# Photos of 20 kinds of objects, which text tells apart well, and of ten hand signs, which it does not.
OBJECTS = replace(CLOTHING, data="objects")
HANDDIGITS = replace(CLOTHING, data="handdigits")
# Human actions: start and end photo of gym exercises of 12 families; text tells them apart badly.
EXERCISE = Row("exercise", changes={"size": 96, "frames": 2, "batch": 8, "temporal": "mean"}, steps=40)
# Clips of four flying things; the encoder is fine-tuned.
AIRBORNE = Row("airborne", changes={"size": 96, "frames": 4, "batch": 4, "temporal": "mean"}, steps=40)
# Drawn pictures in motion; the encoder is frozen, a narrow temporal transformer is trained on its features. All clips
# are 90 steps.
MOTION = Row(
    "emoji",
    changes={"size": 112, "batch": 32, "scale": 30.0, "clip_norm": 0.0, "freeze_encoder": True},
    steps=80,
)
# Drawn shapes in motion; a small CLIP that was trained on still shapes is fine-tuned. All clips are 60 steps.
_TUNED = {
    "size": None,
    "resize": 72,
    "frames": 4,
    "batch": 16,
    "temporal": "mean",
    "center": False,
    "template": "a video of {}.",
    "area": (0.8, 1.0),
    "ratio": (1.0, 1.0),
    "flip": 0.0,
}
SHAPES_VIT = Row("shapes", encoder="tinyclip-vit", changes=_TUNED, steps=50)
SHAPES_RESNET = replace(SHAPES_VIT, encoder="tinyclip-resnet")


@cache
def mapped_names(data: str) -> tuple[str, ...]:
    """The 20 names of Fig. 1's correlation maps."""
    return tuple(json.loads((Path(__file__).parent / "fig1_names.json").read_text(encoding="utf-8"))[data])


def smoke(row: Row) -> Row:
    """The row as `smoke` runs it: small clips; batches are set so that there are two steps."""
    tiny = {"frames": 1 if row.changes.get("frames") == 1 else 2}
    size = {} if row.encoder.startswith("tinyclip") else {"size": 32}
    return replace(
        row, changes={**row.changes, **tiny, **size}, steps=None, watch=1 if row.watch else 0, full_length=False
    )


def at(scale: Scale, *, full: Row, mini: Row) -> Row:
    """The row that an experiment starts from at a scale."""
    return full if scale == "full" else mini
