"""Autocast as training uses it: on a CPU, without the bfloat16 convolutions that are slow there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class SlowInFloat32(TorchFunctionMode):
    """Within it, autocast leaves those grouped convolutions in float32 that torch computes slowly in bfloat16.

    On a CPU the backward pass of large kernels and of strides takes two to thirty times as long in bfloat16 (LOG.md).
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch."""
        if func is F.conv2d and _is_slow(*args, **(kwargs or {})):
            with torch.autocast("cpu", enabled=False):
                return func(args[0].to(args[1].dtype), *args[1:], **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _is_slow(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | tuple[int, ...] = 1, *_: Any, **__: Any
) -> bool:
    grouped = weight.shape[1] < x.shape[-3]
    return grouped and (weight.shape[-1] > 3 or stride not in (1, (1, 1)))


@contextmanager
def forward_in(precision: str, device: torch.device, *, plain: bool) -> Iterator[None]:
    """Enclose a forward pass in "fp32" or "bf16".

    Args:
        plain: autocast alone: the pass is compiled, or runs again in the backward pass.
    """
    half = precision == "bf16"
    slow = SlowInFloat32() if half and device.type == "cpu" and not plain else nullcontext()
    with slow, torch.autocast(device.type, torch.bfloat16, enabled=half):
        yield
