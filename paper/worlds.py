"""Base rows (data, encoder and recipe) of each scale.

`full` is the paper's setting. `mini` runs on two CPU cores with the stand-ins that RESULTS.md lists. `smoke` is `mini`
with two steps on a few drawn clips.
"""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

from paper.rows import Row

Scale = Literal["smoke", "mini", "full"]

# --- the paper's setting (Sec. 4.1): ViT-B/16, 8 frames, 30 epochs, batch 128
KINETICS = Row(
    "k400",
    encoder="openclip:ViT-B-16/openai",
    recipe="paper",
    changes={"temporal": "transformer", "grad_checkpointing": True},
)
KINETICS_MEAN = KINETICS.changed(temporal="mean")
IMAGENET = Row(
    "imagenet",
    encoder="openclip:ViT-B-16/openai",
    recipe="paper",
    changes={"frames": 1, "epochs": 10, "template": "a photo of a {}.", "grad_checkpointing": True},
)

# --- the stand-ins
# Photos of 10 kinds of clothing; the encoder is fine-tuned.
CLOTHING = Row("clothing", changes={"size": 96, "frames": 1, "batch": 10}, steps=40)
# Photos of 20 kinds of objects, whose names separate them well, and of 10 hand signs, whose names do not.
OBJECTS = replace(CLOTHING, data="objects")
HANDDIGITS = replace(CLOTHING, data="handdigits")
# Human actions: start and end photos of 12 kinds of gym exercises, whose names separate them poorly.
EXERCISE = Row("exercise", changes={"size": 96, "frames": 2, "batch": 8, "temporal": "mean"}, steps=40)
# Clips of 4 kinds of flying objects; the encoder is fine-tuned.
AIRBORNE = Row("airborne", changes={"size": 96, "frames": 4, "batch": 4, "temporal": "mean"}, steps=40)
# Moving drawings; a narrow temporal transformer is trained on features of the frozen encoder. One epoch of all clips
# is 90 steps.
MOTION = Row(
    "emoji",
    changes={"size": 112, "batch": 32, "scale": 30.0, "clip_norm": 0.0, "freeze_encoder": True},
    steps=80,
)
# Moving shapes; a small CLIP pre-trained on still shapes is fine-tuned. One epoch of all clips is 60 steps.
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
    """Return the 20 class names of Fig. 1's correlation maps."""
    return tuple(json.loads((Path(__file__).parent / "fig1_names.json").read_text(encoding="utf-8"))[data])


def smoke(row: Row) -> Row:
    """Return the row for scale `smoke`: tiny clips; the caller sets the batch size for two steps."""
    tiny = {"frames": 1 if row.changes.get("frames") == 1 else 2}
    size = {} if row.encoder.startswith("tinyclip") else {"size": 32}
    return replace(
        row, changes={**row.changes, **tiny, **size}, steps=None, watch=1 if row.watch else 0, full_length=False
    )


def at(scale: Scale, *, full: Row, mini: Row) -> Row:
    """Return the base row of a scale."""
    return full if scale == "full" else mini
