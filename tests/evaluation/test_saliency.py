"""Saliency: a covered region by hand, and what is hot."""

import pytest
import torch
from torch import Tensor, nn

from made import tiny_visual
from paper.temporal_conv import TemporalConv
from texthead import Recognizer
from texthead.evaluation.saliency import Covered, cover
from texthead.models.heads import LinearHead
from texthead.models.temporal import MeanPool, TemporalTransformer

# Three frames of coarse noise, to which a convolutional network responds.
COARSE = torch.randint(0, 256, (3, 3, 7, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
CLIP = COARSE.repeat_interleave(6, 2).repeat_interleave(6, 3)


def score(model: Recognizer, clip: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(clip[None])[0]


@pytest.mark.parametrize(("kind", "rtol"), [("mean", 1.3e-6), ("transformer", 1.3e-6), ("conv", 1e-4)])
def test_cover_equals_covered_clip(kind, rtol):
    """By hand: fill the square around region (2, 5) with its mean, in frame 1 or (for conv) in all frames."""
    torch.manual_seed(1)
    visual, temporal, covered = tiny_visual(), MeanPool(), slice(1, 2)
    if kind == "transformer":
        temporal = TemporalTransformer(256, layers=1, width=64)
        nn.init.normal_(temporal.project_out.weight)
    elif kind == "conv":
        temporal, covered = TemporalConv(visual), slice(None)
    model = Recognizer(visual, temporal, LinearHead(256, names=["a", "b", "c"])).eval()
    result = cover(model, CLIP)
    assert result.covered.shape == (3, 7, 7, 3)
    torch.testing.assert_close(result.plain, score(model, CLIP), rtol=rtol, atol=1e-5)
    other = CLIP.clone()
    other[covered, :, 9:21, 27:39] = CLIP[covered].float().mean((2, 3), keepdim=True).round().to(torch.uint8)
    torch.testing.assert_close(result.covered[1, 2, 5], score(model, other), rtol=rtol, atol=1e-5)
    assert torch.equal(result.covered[0], result.covered[2]) == (kind == "conv")


def test_heat_by_hand():
    seen = Covered(torch.tensor([2.0, 0.0]), torch.tensor([[[[0.0, 0.0], [2.0, 0.0]]]]))
    assert seen.heat(0).tolist() == [[[1.0, 0.0]]]
    assert seen.strength(0) == pytest.approx(2.0)
    assert seen.probabilities(0) == (pytest.approx(0.8808, abs=1e-4), pytest.approx(0.5))
    # Covering the region raises class 1, so nothing is hot.
    assert seen.heat(1).tolist() == [[[0.0, 0.0]]]
    assert seen.strength(1) == 0
    # The probability is 1 to the last bit before and after; the log-odds fall by 30.
    certain = Covered(torch.tensor([80.0, 0.0]), torch.tensor([[[[50.0, 0.0], [80.0, 0.0]]]]))
    assert certain.heat(0).tolist() == [[[1.0, 0.0]]]
    assert certain.strength(0) == pytest.approx(30)
    # With a single class, the raw scores are used.
    assert Covered(torch.tensor([3.0]), torch.tensor([[[[1.0], [2.0]]]])).heat(0).tolist() == [[[1.0, 0.5]]]
