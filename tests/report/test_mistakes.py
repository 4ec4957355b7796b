"""The strips: the most confident answers, the probability of the true class, frames cropped as the model sees them."""

from pathlib import Path

import pytest
import torch

from made import COLOURS, PIXELS, tiny_visual, write_image, write_video
from messages import prints
from texthead.data.clips import ViewClips
from texthead.data.dataset import Dataset, Item
from texthead.data.protocol import Protocol, Views
from texthead.evaluation.evaluate import evaluate
from texthead.evaluation.results import Evaluation, MultiLabelEvaluation
from texthead.models.heads import LinearHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.parallel.progress import Reporter
from texthead.report.mistakes import mistake_strips, most_confident

NAMES = ("a", "b", "c", "d", "e")
PROTOCOL = Protocol(2, PIXELS, Views(origin="center"))
TINY = Recognizer(tiny_visual(), MeanPool(), LinearHead(256, names=list(NAMES)))


def result(paths: list[Path], scores: list[list[float]], targets: list[int]) -> Evaluation:
    return Evaluation(NAMES, paths, torch.tensor(targets), torch.tensor(scores))


def test_confident_mistakes_first():
    scores = [[2.0, 0, 0, 0, 0], [9.0, 0, 0, 0, 0], [5.0, 0, 0, 0, 0], [0, 7.0, 0, 0, 0], [0, 3.0, 0, 0, 0]]
    actual = result([Path(f"{i}.png") for i in range(5)], scores, [1, 2, 0, 1, 1])
    assert most_confident(actual) == [1, 0, 3, 2]
    assert most_confident(actual, hits=0) == [1, 0]
    wrong = result(actual.paths, scores, [1, 2, 3, 4, 4])
    assert most_confident(wrong) == [1, 3, 2, 4], "four of five"


def test_mistake_includes_true_class(tmp_path):
    paths = [write_image(tmp_path / "x" / f"{i}.png", "red", seed=i) for i in range(3)]
    scores = [[5.0, 4, 3, 2, 1]] * 3
    last, second, right = mistake_strips(result(paths, scores, [4, 1, 0]), Protocol(1, PIXELS))
    chances = torch.tensor(scores[0]).softmax(-1).tolist()
    assert last.top == [(name, pytest.approx(chances["abcde".index(name)])) for name in "abce"]
    assert (last.truth, last.rank, last.name) == (["e"], 5, "x/0.png")
    assert [name for name, _ in second.top] == ["a", "b", "c"]
    assert (second.truth, second.rank) == (["b"], 2)
    assert (right.truth, right.rank, right.heats, right.note) == (["a"], 1, {}, "")


def test_several_labels_show_the_surest_wrong_answer_first(tmp_path):
    paths = [write_image(tmp_path / "x" / f"{i}.png", "red", seed=i) for i in range(4)]
    scores = torch.tensor([[2.0, -2, -1, -3, -4], [1, 5, -3, -4, -5], [4, 3, 2.5, 2.2, 1], [-1, -2, -3, -4, -5]])
    targets = torch.tensor([[1, 0, 0, 0, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]).bool()
    actual = MultiLabelEvaluation(NAMES, paths, targets, scores)
    assert most_confident(actual, hits=5) == [1, 0, 2, 3]
    extra, missed, *right = mistake_strips(actual, Protocol(1, PIXELS), model=TINY)
    assert [name for name, _ in extra.top] == ["b", "a", "c"]
    assert ([name for name, _ in missed.top], missed.truth, missed.num_predicted) == (
        ["a", "c", "b", "e"],
        ["a", "e"],
        1,
    )
    assert missed.top[-1][1] == pytest.approx(float(torch.tensor(-4.0).sigmoid()))
    assert [strip.is_mistake for strip in (extra, missed, *right)] == [True, True, False, False]
    assert [(strip.num_predicted, strip.heats) for strip in (extra, *right)] == [(2, {}), (5, {}), (0, {})]


def test_frames_are_those_that_the_model_sees(tmp_path):
    path = write_video(tmp_path / "v.mp4", "green")
    (strip,) = mistake_strips(result([path], [[1.0, 0, 0, 0, 0]], [0]), PROTOCOL)
    clip = ViewClips([path], PROTOCOL)[0][0]
    assert strip.frames.tolist() == clip.permute(0, 2, 3, 1).tolist()


def test_saliency_is_that_of_the_answer_and_of_the_truth(tmp_path, monkeypatch):
    monkeypatch.setattr("texthead.report.mistakes._MAPS", 1)
    data = Dataset(tuple(Item(write_video(tmp_path / f"{name}.mp4", name), (name,)) for name in COLOURS), "drawn")
    torch.manual_seed(0)
    model = Recognizer(tiny_visual(), MeanPool(), LinearHead(256, names=list(COLOURS)))
    model.head.weight.data.mul_(400)  # pyright: ignore
    actual = evaluate(model, data, PROTOCOL)
    calls: list[tuple[int, int]] = []
    reporter = Reporter().counting(lambda *c: calls.append(c))
    first, *others = mistake_strips(actual, PROTOCOL, model, hits=3, reporter=reporter)
    assert [strip.note for strip in others] == ["", ""]
    assert calls == [(1, 3), (2, 3), (3, 3)]
    names = {title.rpartition(": ")[2] for title in first.heats}
    assert set() < names <= {first.top[0][0], *first.truth}
    assert all((heat.shape, heat.max()) == ((2, 7, 7), 1) for heat in first.heats.values())
    assert all(name in first.note for name in names)
    assert "%" in first.note


def test_faint_saliency_not_shown(tmp_path):
    path = write_image(tmp_path / "x.png", "red")
    TINY.head.weight.data.zero_()  # pyright: ignore
    (strip,) = mistake_strips(result([path], [[0.0] * 5], [0]), Protocol(1, PIXELS), model=TINY)
    assert strip.heats == {}
    prints(strip.note, "a (20.0 %)")
