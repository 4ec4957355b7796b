"""Linear layers and attention through oneDNN, whose AVX-512 kernels run on every processor that has it.

torch multiplies float32 matrices with MKL, which uses AVX2 on processors of other makers than Intel: half the speed.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

# Fewer rows than this cost more to hand over than they gain.
FEWEST_ROWS = 32


class _OneDNN(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        return (
            linear(grad, weight.t()) if ctx.needs_input_grad[0] else None,
            linear(rows.t(), x.flatten(0, -2).t()) if ctx.needs_input_grad[1] else None,
            rows.sum(0) if ctx.needs_input_grad[2] else None,
        )


def linear(
    x: Float[Tensor, "*rows dim"], weight: Float[Tensor, "out dim"], bias: Float[Tensor, " out"] | None = None
) -> Float[Tensor, "*rows out"]:
    """Return `F.linear`; in float32 on a CPU with AVX-512 by oneDNN, unless `torch.backends.mkldnn` is switched off."""
    floats, rows = x.dtype == weight.dtype == torch.float32, x.numel() // x.shape[-1]
    here = x.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX512"
    plain = not (torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())
    if floats and here and plain and rows >= FEWEST_ROWS and torch.backends.mkldnn.enabled:
        return _OneDNN.apply(x, weight, bias)  # pyright: ignore[reportReturnType]
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """`nn.Linear` by `linear`."""

    def forward(self, input: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows out"]:
        """Return one row of outputs for each row of inputs."""
        return linear(input, self.weight, self.bias)


def attend(layer: nn.MultiheadAttention, x: Float[Tensor, "batch frames width"]) -> Float[Tensor, "batch frames width"]:
    """Return the self-attention of a layer without dropout, by `linear`."""
    packed = linear(x, layer.in_proj_weight, layer.in_proj_bias).unflatten(-1, (3, layer.num_heads, -1))
    query, key, value = packed.permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(query, key, value)
    return linear(mixed.transpose(1, 2).flatten(2), layer.out_proj.weight, layer.out_proj.bias)
