"""Linear layers and attention by oneDNN: torch's own results, to rounding."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from texthead.models.linear import FEWEST_ROWS, Linear, attend, linear


@pytest.mark.parametrize("rows", [1, FEWEST_ROWS, 300])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_has_the_values_and_gradients_of_torch(rows, bias):
    generator = torch.Generator().manual_seed(rows)
    x, weight, added, grad = (torch.randn(shape, generator=generator) for shape in ((2, rows, 48), (20, 48), (20,), ()))
    inputs = [x, weight, added][: 2 + bias]
    results = []
    for product, kind in ((linear, torch.float32), (F.linear, torch.float64)):
        own = [each.to(kind).requires_grad_() for each in inputs]
        output = product(*own)
        results.append([output, *torch.autograd.grad((output.sin() * grad.to(kind)).sum(), own)])
    for ours, exact in zip(*results, strict=True):
        assert (ours - exact).norm() <= 1e-6 * exact.norm()


def test_attention_is_that_of_the_layer():
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(32, 4, batch_first=True), torch.randn(8, 6, 32)
    assert torch.allclose(attend(layer, x), layer(x, x, x, need_weights=False)[0], atol=1e-6)


def test_without_onednn_it_is_torchs_own_which_is_counted():
    layer, x = Linear(16, 8), torch.randn(64, 16)
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as flops:
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    assert flops.get_total_flops() == 2 * 2 * 64 * 16 * 8
