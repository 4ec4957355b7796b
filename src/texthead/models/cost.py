"""Parameters and multiply-adds of a recogniser, exact and by the paper's convention, from the architecture alone."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from texthead.models.recognizer import Recognizer
from texthead.models.temporal import FrameConv


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
    def of(cls, model: Recognizer, *, frames: int, size: int) -> "Costs":
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

        kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.BatchNorm2d, FrameConv)
        handles = [module.register_forward_hook(add) for module in model.modules() if isinstance(module, kinds)]
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
    """Disable the fused path of attention, which the FLOP counter does not see into."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


TIMED_STEPS = 5


def measure_speed(model: Recognizer, frames: int, size: int, device: torch.device) -> tuple[float, float]:
    """Return (clips per second, median of several rounds; peak memory in GB, of the GPU or of this process)."""
    model.to(device).eval()
    clip = torch.zeros(1, frames, 3, size, size, dtype=torch.uint8, device=device)
    seconds: list[float] = []
    with torch.inference_mode():
        for _ in range(TIMED_STEPS + 1):
            start = time.perf_counter()
            model(clip).cpu()
            seconds.append(time.perf_counter() - start)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 1e9
    else:
        import resource  # noqa: TID251

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return 1 / statistics.median(seconds[1:]), peak
