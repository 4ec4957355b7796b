"""Shapes, shared parts, and both kinds of input: pixels and precomputed features."""

import pytest
import torch
from torch import nn

from messages import refuses
from texthead.errors import RunError
from texthead.models.heads import FrozenHead, LinearHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool, TemporalTransformer

DIM = 64


class FrameStatistics(nn.Module):
    """Encodes frames of any size; records the number of frames in each call."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(6, DIM)
        self.calls: list[int] = []

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(frames))
        frames = frames.float()
        return self.net(torch.cat([frames.mean((2, 3)), frames.std((2, 3))], dim=1))


def head(classes: int = 3, dim: int = DIM, seed: int = 0) -> FrozenHead:
    weight = torch.randn(classes, dim, generator=torch.Generator().manual_seed(seed))
    return FrozenHead(weight, names=[f"class {seed} {i}" for i in range(classes)])


def clips(batch: int = 2, frames: int = 5) -> torch.Tensor:
    return torch.randn(batch, frames, 3, 8, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["mean", "transformer"])
def model(request) -> Recognizer:
    torch.manual_seed(0)
    temporal = MeanPool() if request.param == "mean" else TemporalTransformer(DIM, 1)
    return Recognizer(FrameStatistics(), temporal, head()).eval()


def test_with_head_shares_everything_but_the_head(model):
    other = head(7, seed=1)
    swapped = model.with_head(other)
    assert swapped.visual is model.visual
    assert swapped.temporal is model.temporal
    assert swapped.head is other
    assert model.head is not other
    assert swapped.names == other.names
    assert model.names == tuple(f"class 0 {i}" for i in range(3))
    assert swapped(clips()).shape == (2, 7)
    assert torch.allclose(swapped(clips()), other(model.features(clips())))
    linear = LinearHead(DIM, names=["a", "b"])
    assert torch.allclose(model.with_head(linear)(clips()), model.features(clips()) @ linear.weight.T, atol=1e-5)
    with refuses(RunError, 32, 64):
        model.with_head(head(3, 32))
    with torch.no_grad():
        model.visual.net.bias.add_(1)
    assert torch.equal(swapped.features(clips()), model.features(clips()))


def test_on_features_matches_model(model):
    inputs = clips()
    features = model.visual(inputs.flatten(0, 1)).unflatten(0, (2, 5))
    short = model.on_features()
    assert torch.allclose(short(features), model(inputs), atol=1e-5)
    assert short.temporal is model.temporal
    assert short.head is model.head
    behind = {f"temporal.{key}" for key in model.temporal.state_dict()} | {"head.weight", "head.log_scale"}
    assert set(short.state_dict()) == behind
    assert set(model.state_dict()) == behind | {"visual.net.weight", "visual.net.bias"}


def test_frozen_copy_stays_when_the_model_moves(model):
    copy, before = model.train().frozen_copy(), model(clips()).detach()
    assert model.training
    assert not any(module.training for module in copy.modules())
    assert not any(parameter.requires_grad for parameter in copy.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert torch.allclose(copy(clips()), before)
    assert not torch.allclose(model(clips()), before)
