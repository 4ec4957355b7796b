"""Reordered frames: no loss where order cannot matter, full loss where only order matters."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from made import COLOURS, PIXELS, SPEC, tiny_visual
from paper.frame_order import blind_to_order, order_test, shuffled
from paper.temporal_conv import TemporalConv
from texthead import Dataset, Item, Protocol, Views
from texthead.data import ViewClips
from texthead.encoders.encoder import VisualEncoder
from texthead.evaluation.evaluate import evaluate
from texthead.evaluation.intervals import paired_interval
from texthead.features.reading import ReadOptions
from texthead.models.heads import FrozenHead, LinearHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool, TemporalTransformer

FRAMES = 4
PROTOCOL = Protocol(FRAMES, PIXELS)


class Mean(nn.Module):
    """An encoder whose feature is the frame's mean red, green and blue, each -1..1."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))

    def forward(self, frames: Tensor) -> Tensor:
        return frames.mean((-2, -1)) * self.one


class FirstFrame(nn.Module):
    """A temporal module that uses only the first frame, so that only order matters."""

    def forward(self, features: Tensor) -> Tensor:
        return features[:, 0]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Videos that begin in one colour and end in another; the class is the first colour."""
    result = []
    for first, last in [("red", "blue"), ("blue", "red")] * 4:
        folder = tmp_path_factory.mktemp(first)
        for index, colour in enumerate((first, first, last, last), 1):
            Image.new("RGB", (32, 32), COLOURS[colour]).save(folder / f"img_{index:05d}.png")
        result.append(Item(folder / "img_{:05d}.png", (first,)))
    return Dataset(tuple(result), "drawn")


HEAD = FrozenHead(torch.tensor([[0.0, 0, 1], [1.0, 0, 0]]), names=["blue", "red"])
BY_FIRST_FRAME = Recognizer(VisualEncoder(Mean(), replace(SPEC, dim=3)), FirstFrame(), HEAD)


def test_a_model_of_the_first_frame_loses_all_by_reversing(clips):
    result = order_test(BY_FIRST_FRAME, clips, PROTOCOL, seeds=(0, 1, 2))
    assert (result.count, result.top1, result.seeds) == (8, 100.0, (0, 1, 2))
    back, mixed = result.rows
    assert (back.order, back.top1, back.lost, back.changed) == ("reversed", 0.0, 100.0, 100.0)
    assert (back.low, back.high) == paired_interval(8, 0, 8)
    # Orders that begin with one of the first two frames lose nothing, all others lose everything.
    wrong = sum(shuffled(FRAMES, seed)[0] >= 2 for seed in (0, 1, 2)) / 3
    assert (mixed.top1, mixed.lost) == (pytest.approx(100 * (1 - wrong)), pytest.approx(100 * wrong))
    assert mixed.order == "shuffled"


def test_mean_pooling_loses_exactly_nothing_by_construction(clips):
    plain = Recognizer(BY_FIRST_FRAME.visual, MeanPool(), HEAD)
    result = order_test(plain, clips, PROTOCOL)
    assert [(row.lost, row.changed) for row in result.rows] == [(0.0, 0.0), (0.0, 0.0)]
    assert blind_to_order(plain, FRAMES)
    assert blind_to_order(BY_FIRST_FRAME, 1)
    assert not blind_to_order(BY_FIRST_FRAME, FRAMES)


@pytest.mark.parametrize("kind", ["transformer", "conv"])
def test_the_order_as_it_is_scores_as_evaluate_does(clips, kind, tmp_path):
    """Frames are encoded once, or once per order if the encoder sees neighbouring frames."""
    visual = tiny_visual()
    torch.manual_seed(0)
    temporal = TemporalTransformer(256, layers=1, width=64) if kind == "transformer" else TemporalConv(visual)
    if kind == "transformer":
        nn.init.normal_(temporal.project_out.weight)
    model = Recognizer(visual, temporal, LinearHead(256, names=["blue", "red"])).eval()
    cache = tmp_path if kind == "transformer" else False
    protocol = Protocol(FRAMES, PIXELS, Views(origin="center"))
    result = order_test(model, clips, protocol, ReadOptions(cache=cache))
    assert result.top1 == evaluate(model, clips, protocol).top1
    # Reverse by hand: pass the reversed clip through the model.
    paths = [item.path for item in clips.items]
    views = ViewClips(paths, protocol)
    with torch.inference_mode():
        answers = [("blue", "red")[int(model(views[i].flip(1)).argmax())] for i in range(len(clips))]
    right = [answer == item.label for answer, item in zip(answers, clips.items, strict=True)]
    assert result.rows[0].top1 == pytest.approx(100 * sum(right) / len(right))


def test_an_order_is_another_and_the_same_for_the_same_seed():
    for seed in range(20):
        assert sorted(shuffled(3, seed)) == [0, 1, 2] != shuffled(3, seed)
    assert len({tuple(shuffled(8, seed % 10)) for seed in range(20)}) == 10
