"""Parameters and multiply-adds of the paper's models, counted without weights."""

from functools import cache

import torch
from torch import nn

import texthead as th
from texthead.encoders import build_visual, spec_of
from texthead.models import Costs, make_temporal


@cache
def costs(encoder: str, *, frames: int = 1, size: int | None = None, classes: int = 0, temporal: str = "mean") -> Costs:
    """Count parameters and the multiply-adds of one clip."""
    spec = spec_of(encoder)
    with torch.device("meta"):
        visual = build_visual(spec)
        options = {"mean": {}, "transformer": {"dim": spec.dim}}.get(temporal, {"start": "shift"})
        head = th.LinearHead(spec.dim, names=[str(i) for i in range(classes)]) if classes else nn.Identity()
        model = th.Recognizer(visual, make_temporal({"kind": temporal, **options}, visual), head)
    return Costs.of(model, frames=frames, size=size or spec.size)


def both(counts: Costs) -> tuple[str, str]:
    """Return (full count, count by the paper's convention), each as "multiply-adds in G / parameters in M"."""
    return (
        f"{counts.multiply_adds / 1e9:.2f} / {counts.parameters / 1e6:.2f}",
        f"{counts.paper_multiply_adds / 1e9:.1f} / {counts.paper_parameters / 1e6:.1f}",
    )
