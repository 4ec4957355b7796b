"""Other orders of frames: exact where order cannot matter, costly where it is all there is."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from made import COLOURS, PIXELS, SPEC, tiny_visual, write_broken
from texthead.datasets import Dataset, Item, ViewClips
from texthead.errors import MediaError
from texthead.evaluation import evaluate
from texthead.features import FeatureCache, encoder_key
from texthead.frame_order import blind_to_order, order_test, shuffled
from texthead.heads import FrozenHead, LinearHead
from texthead.intervals import paired_interval
from texthead.recognizer import Recognizer
from texthead.sampling import Views
from texthead.temporal import MeanPool, TemporalConv, TemporalTransformer
from texthead.towers import Visual

FRAMES = 4


class Mean(nn.Module):
    """The mean of a frame's red, green and blue, each -1..1."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))

    def forward(self, frames: Tensor) -> Tensor:
        return frames.mean((-2, -1)) * self.one


class FirstFrame(nn.Module):
    """The feature of the first frame alone: order is all that matters to it."""

    def forward(self, features: Tensor) -> Tensor:
        return features[:, 0]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Videos that begin in one colour and end in another; the class is the first colour."""
    root, found = tmp_path_factory.mktemp("clips"), []
    for number in range(4):
        for first, last in (("red", "blue"), ("blue", "red")):
            folder = root / f"{first}{number}"
            folder.mkdir()
            for place, colour in enumerate((first, first, last, last), 1):
                Image.new("RGB", (32, 32), COLOURS[colour]).save(folder / f"img_{place:05d}.png")
            found.append(Item(folder / "img_{:05d}.png", first))
    return Dataset(tuple(found), "drawn")


def by_first_frame() -> Recognizer:
    visual = Visual(Mean(), replace(SPEC, dim=3))
    head = FrozenHead(torch.tensor([[0.0, 0, 1], [1.0, 0, 0]]), names=["blue", "red"])
    return Recognizer(visual, FirstFrame(), head)


def test_a_model_of_the_first_frame_loses_all_by_reversing(clips):
    model = by_first_frame()
    found = order_test(model, clips, frames=FRAMES, pixels=PIXELS, seeds=(0, 1, 2))
    assert (found.count, found.top1, found.seeds) == (8, 100.0, (0, 1, 2))
    back, mixed = found.rows
    assert (back.order, back.top1, back.lost, back.changed) == ("reversed", 0.0, 100.0, 100.0)
    assert (back.low, back.high) == paired_interval(8, 0, 8)
    # An order that begins with one of the first two frames loses nothing, another all.
    wrong = sum(shuffled(FRAMES, seed)[0] >= 2 for seed in (0, 1, 2)) / 3
    assert mixed.top1 == pytest.approx(100 * (1 - wrong))
    assert mixed.lost == pytest.approx(100 * wrong)
    assert mixed.order == "shuffled"


def test_what_is_lost_by_items_of_one_scene_is_as_sure_as_one_scene(clips):
    one_scene = replace(clips, items=tuple(replace(item, group="all") for item in clips.items))
    back, _ = order_test(by_first_frame(), one_scene, frames=FRAMES, pixels=PIXELS).rows
    assert (back.lost, back.low, back.high) == (100.0, -100.0, 100.0)


def test_mean_pooling_loses_exactly_nothing_and_is_said_to(clips):
    model = by_first_frame()
    plain = Recognizer(model.visual, MeanPool(), model.head)
    found = order_test(plain, clips, frames=FRAMES, pixels=PIXELS)
    assert [(row.lost, row.changed) for row in found.rows] == [(0.0, 0.0), (0.0, 0.0)]
    assert "by construction" in str(blind_to_order(plain, FRAMES))
    assert "one frame" in str(blind_to_order(model, 1))
    assert blind_to_order(model, FRAMES) is None


@pytest.mark.parametrize("kind", ["transformer", "conv"])
def test_the_order_as_it_is_scores_as_evaluate_does(clips, kind, tmp_path):
    """Encoded once where frames are encoded apart, encoded anew where the encoder sees neighbours."""
    visual = tiny_visual()
    torch.manual_seed(0)
    temporal = TemporalTransformer(256, layers=1, width=64) if kind == "transformer" else TemporalConv(visual)
    if isinstance(temporal, TemporalTransformer):
        assert isinstance(temporal.project_out, nn.Linear)
        nn.init.normal_(temporal.project_out.weight)
    model = Recognizer(visual, temporal, LinearHead(256, names=["blue", "red"])).eval()
    cache = FeatureCache(encoder_key(visual, PIXELS), tmp_path) if kind == "transformer" else None
    found = order_test(model, clips, frames=FRAMES, pixels=PIXELS, views=Views(origin="centre"), cache=cache)
    scored = evaluate(model, clips, frames=FRAMES, pixels=PIXELS, views=Views(origin="centre"))
    assert found.top1 == scored.top1
    # Reversing by hand: the features of the reversed clip, through the model.
    paths = [item.path for item in clips.items]
    views = ViewClips(paths, [0] * len(paths), frames=FRAMES, views=Views(origin="centre"), pixels=PIXELS)
    with torch.inference_mode():
        answers = torch.stack([model(views[i][0].flip(1)).argmax(-1)[0] for i in range(len(clips))])
    right = [("blue", "red")[int(answer)] == item.label for answer, item in zip(answers, clips.items, strict=True)]
    assert found.rows[0].top1 == pytest.approx(100 * sum(right) / len(right))


def test_an_order_is_another_and_the_same_for_the_same_seed():
    assert shuffled(2, 5) == [1, 0]
    for seed in range(20):
        assert sorted(shuffled(3, seed)) == [0, 1, 2] != shuffled(3, seed)
        assert shuffled(8, seed) == shuffled(8, seed)
    assert len({tuple(shuffled(8, seed)) for seed in range(10)}) == 10


def test_an_unreadable_clip_is_an_error_unless_it_is_left_out(clips, tmp_path):
    broken = Dataset((*clips.items, Item(write_broken(tmp_path / "x.mp4"), "red")), "drawn")
    with pytest.raises(MediaError, match="x.mp4"):
        order_test(by_first_frame(), broken, frames=FRAMES, pixels=PIXELS)
    assert order_test(by_first_frame(), broken, frames=FRAMES, pixels=PIXELS, skip_unreadable=True).count == 8
