"""Saliency on drawn pictures whose one coloured disc is in a known quarter of the frame."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from made import tiny_visual
from paper.temporal_conv import TemporalConv
from texthead import Recognizer
from texthead.encoders.load import load_encoder
from texthead.evaluation.saliency import Covered, cover
from texthead.models.heads import LinearHead
from texthead.models.temporal import MeanPool, TemporalTransformer
from texthead.transfer.closed_form import logistic_head

COLOURS = {"red": (215, 30, 35), "green": (30, 150, 50), "blue": (30, 60, 215)}
QUARTERS = ((0, 0), (0, 1), (1, 0), (1, 1))
NAMES = (*COLOURS, "nothing")


def picture(name: str, quarter: tuple[int, int], size: int, seed: int) -> np.ndarray:
    """Draw a coloured disc in one quarter (row, column) of a cloudy background and a gray square in the opposite one.

    The class "nothing" has only the square; without that class, the absence of other colours would reveal a colour.
    """
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(60, 196, (4, 4), dtype=np.uint8))
    clouds = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))[..., None]
    canvas = Image.fromarray((clouds + rng.integers(-6, 7, (size, size, 3))).clip(0, 255).astype(np.uint8))
    draw, half, reach = ImageDraw.Draw(canvas), size // 2, size // 8
    for row, column in (quarter, (1 - quarter[0], 1 - quarter[1])):
        y, x = (half * index + half // 2 + int(rng.integers(-2, 3)) for index in (row, column))
        box = (x - reach, y - reach, x + reach, y + reach)
        if (row, column) != quarter:
            draw.rectangle(box, fill=(128, 128, 128))
        elif name in COLOURS:
            draw.ellipse(box, fill=COLOURS[name])
    return np.asarray(canvas)


def clip_of(*pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def compare_heat(heat: Tensor, quarter: tuple[int, int]) -> float:
    """Return the mean heat of a quarter of a frame divided by that of the rest."""
    inside = torch.zeros_like(heat, dtype=torch.bool)
    half = len(heat) // 2
    rows, columns = (slice(0, half) if index == 0 else slice(-half, None) for index in quarter)
    inside[rows, columns] = True
    return float(heat[inside].mean() / heat[~inside].mean())


def heat_of(model: Recognizer, name: str, clip: Tensor) -> Tensor:
    return cover(model, clip).heat(model.names.index(name))


@pytest.mark.slow
def test_the_heat_of_mini_lies_on_the_disc():
    """The unchanged encoder, with a logistic head fitted to features of drawn pictures."""
    visual = load_encoder("mini").visual.eval()
    drawn = [(index, number) for number in range(16) for index in range(len(NAMES))]
    pictures = [picture(NAMES[index], QUARTERS[number % 4], 96, 10 * number + index) for index, number in drawn]
    with torch.inference_mode():
        seen = torch.cat([visual(clip_of(shown)) for shown in pictures]).clone()
    head = logistic_head(seen, torch.tensor([index for index, _ in drawn]), names=list(NAMES))
    model = Recognizer(visual, MeanPool(), head)
    # A picture with the disc in each quarter.
    for number, (colour, quarter) in enumerate(zip(("red", "green", "blue", "red"), QUARTERS, strict=True)):
        heat = heat_of(model, colour, clip_of(picture(colour, quarter, 96, 1000 + number)))
        assert heat.shape == (1, 7, 7)
        assert (float(heat.min()) >= 0, float(heat.max())) == (True, 1)
        row, column = divmod(int(heat[0].argmax()), 7)
        assert (row // 4, column // 4) == quarter
        assert compare_heat(heat[0], quarter) > 2.5
    # A clip of two frames whose discs are in different quarters.
    heat = heat_of(model, "blue", clip_of(picture("blue", (0, 0), 96, 2000), picture("blue", (1, 1), 96, 2001)))
    assert compare_heat(heat[0], (0, 0)) > 2.5
    assert compare_heat(heat[1], (1, 1)) > 2.5


CLIP = clip_of(*(picture("red", (0, 1), 42, seed) for seed in range(3)))


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
