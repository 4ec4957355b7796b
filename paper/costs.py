"""Parameters and multiply-adds of the paper's models, exact and by the paper's convention, counted without weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import texthead as th
from paper.temporal_conv import EncoderConv
from texthead.encoders import build_visual, spec_of
from texthead.models import Temporal


@dataclass(frozen=True)
class Costs:
    """Parameters of a model, and multiply-adds for one clip.

    `paper_parameters` and `paper_multiply_adds` leave out what the paper's tables leave out: attention, layer norms,
    embeddings, and projections that are not layers of their own.
    """

    parameters: int
    multiply_adds: int
    paper_parameters: int
    paper_multiply_adds: int

    @classmethod
    def from_model(cls, model: th.Recognizer, *, frames: int, size: int) -> "Costs":
        """Count for one clip of `frames` frames of size x size pixels. A model on the device "meta" needs no memory.

        Source: Tables 7 and 12.
        Differs: Table 7 prints 3829 G for 32 frames at 336 pixels; its own convention gives 3729.3.
        """
        clip = torch.empty(1, frames, 3, size, size, device=next(model.parameters()).device)
        layers: dict[nn.Module, int] = {}

        def add(module: nn.Module, _: object, out: Float[Tensor, "..."]) -> None:
            # A batch norm subtracts, divides, scales and shifts.
            each = 4 if isinstance(module, nn.BatchNorm2d) else module.get_parameter("weight")[0].numel()
            layers[module] = layers.get(module, 0) + out.numel() * each

        kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.BatchNorm2d)
        counted: list[nn.Module] = [module for module in model.modules() if isinstance(module, kinds)]
        if isinstance(model.temporal, EncoderConv):
            counted += [*model.temporal.convs]
        handles = [module.register_forward_hook(add) for module in counted]
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), _countable_attention(), FlopCounterMode(display=False) as flops:
                model(clip)
        finally:
            model.train(was_training)
            for handle in handles:
                handle.remove()
        weight = getattr(model.head, "weight", None)
        rows = weight.numel() if isinstance(weight, Tensor) else 0
        frozen = 0 if isinstance(weight, nn.Parameter) else rows
        return cls(
            parameters=sum(parameter.numel() for parameter in model.parameters()) + frozen,
            multiply_adds=flops.get_total_flops() // 2,
            paper_parameters=sum(p.numel() for module in layers for p in module.parameters()) + rows,
            paper_multiply_adds=sum(layers.values()) + rows,
        )


@contextmanager
def _countable_attention() -> Iterator[None]:
    """Disable what the FLOP counter does not see into: the fused path of attention, and products of oneDNN."""
    before = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mkldnn.enabled = False  # Its context manager `flags` also sets TF32, which warns without a GPU.
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before[0])
        torch.backends.mkldnn.enabled = before[1]


@cache
def costs(encoder: str, *, frames: int = 1, size: int | None = None, classes: int = 0, temporal: str = "mean") -> Costs:
    """Count parameters and the multiply-adds of one clip."""
    spec = spec_of(encoder)
    with torch.device("meta"):
        visual = build_visual(spec)
        options = {"mean": {}, "transformer": {"dim": spec.dim}}.get(temporal, {"start": "shift"})
        head = th.LinearHead(spec.dim, names=[str(i) for i in range(classes)]) if classes else nn.Identity()
        model = th.Recognizer(visual, Temporal.from_config({"kind": temporal, **options}, visual), head)
    return Costs.from_model(model, frames=frames, size=size or spec.size)


def both(counts: Costs) -> tuple[str, str]:
    """Return (full count, count by the paper's convention), each as "multiply-adds in G / parameters in M"."""
    return (
        f"{counts.multiply_adds / 1e9:.2f} / {counts.parameters / 1e6:.2f}",
        f"{counts.paper_multiply_adds / 1e9:.1f} / {counts.paper_parameters / 1e6:.1f}",
    )
