"""Examples: the most confident answers, the probability of the true class, frames cropped as the model sees them."""

from pathlib import Path

import pytest
import torch

from made import PIXELS, write_image, write_video
from texthead.data.clips import ViewClips
from texthead.data.protocol import Protocol, Views
from texthead.evaluation.results import Evaluation, MultiLabelEvaluation
from texthead.report.examples import Example, examples_of, most_confident, thumbnails
from texthead.report.html import percent

NAMES = ("a", "b", "c", "d", "e")
PROTOCOL = Protocol(2, PIXELS, Views(origin="center"))


def result(paths: list[Path], scores: list[list[float]], targets: list[int]) -> Evaluation:
    return Evaluation(NAMES, paths, torch.tensor(targets), torch.tensor(scores))


def test_confident_mistakes_first():
    scores = [[2.0, 0, 0, 0, 0], [9.0, 0, 0, 0, 0], [5.0, 0, 0, 0, 0], [0, 7.0, 0, 0, 0], [0, 3.0, 0, 0, 0]]
    actual = result([Path(f"{i}.png") for i in range(5)], scores, [1, 2, 0, 1, 1])
    assert most_confident(actual) == [1, 0, 3, 2, 4]
    assert most_confident(actual, hits=0) == [1, 0]
    wrong = result(actual.paths, scores, [1, 2, 3, 4, 4])
    assert most_confident(wrong, mistakes=4) == [1, 3, 2, 4], "four of five"


def test_mistake_includes_true_class(tmp_path):
    paths = [write_image(tmp_path / "x" / f"{i}.png", "red", seed=i) for i in range(3)]
    scores = [[5.0, 4, 3, 2, 1]] * 3
    last, second, right = examples_of(result(paths, scores, [4, 1, 0]), Protocol(1, PIXELS))
    chances = torch.tensor(scores[0]).softmax(-1).tolist()
    assert last.top == [(name, pytest.approx(chances["abcde".index(name)])) for name in "abce"]
    assert (last.truth, last.rank, last.name) == (["e"], 5, "x/0.png")
    assert [name for name, _ in second.top] == ["a", "b", "c"]
    assert (second.truth, second.rank) == (["b"], 2)
    assert (right.truth, right.rank) == (["a"], 1)


def test_several_labels_show_the_surest_wrong_answer_first(tmp_path):
    paths = [write_image(tmp_path / "x" / f"{i}.png", "red", seed=i) for i in range(4)]
    scores = torch.tensor([[2.0, -2, -1, -3, -4], [1, 5, -3, -4, -5], [4, 3, 2.5, 2.2, 1], [-1, -2, -3, -4, -5]])
    targets = torch.tensor([[1, 0, 0, 0, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]).bool()
    actual = MultiLabelEvaluation(NAMES, paths, targets, scores)
    assert most_confident(actual, hits=5) == [1, 0, 2, 3]
    extra, missed, *right = examples_of(actual, Protocol(1, PIXELS))
    assert [name for name, _ in extra.top] == ["b", "a", "c"]
    assert ([name for name, _ in missed.top], missed.truth, missed.num_predicted) == (
        ["a", "c", "b", "e"],
        ["a", "e"],
        1,
    )
    assert missed.top[-1][1] == pytest.approx(float(torch.tensor(-4.0).sigmoid()))
    assert [strip.is_mistake for strip in (extra, missed, *right)] == [True, True, False, False]
    assert [strip.num_predicted for strip in (extra, *right)] == [2, 5, 0]


def test_frames_are_those_that_the_model_sees(tmp_path):
    path = write_video(tmp_path / "v.mp4", "green")
    (strip,) = examples_of(result([path], [[1.0, 0, 0, 0, 0]], [0]), PROTOCOL)
    clip = ViewClips([path], PROTOCOL)[0][0]
    assert [frame.tolist() for frame in strip.frames] == clip.permute(0, 2, 3, 1).tolist()


@pytest.mark.parametrize(
    ("truth", "rank", "num_predicted", "verdict", "classes"),
    [
        (["a"], 1, 1, "✓ correct: a", ["a"]),
        (["b"], 2, 1, "✗ wrong, true class ranked 2: b", ["b", "a"]),
        (["a", "b"], None, 2, "✓ correct: a, b", ["a", "b"]),
        (["a", "c"], None, 2, "✗ wrong, true: a, c", ["a", "c", "b"]),
        ([], None, 1, "✗ wrong, true: no class", ["a"]),
        ([], None, 0, "✓ correct: no class", []),
    ],
)
def test_the_verdict_is_in_words(truth, rank, num_predicted, verdict, classes):
    made = Example("x.png", [], [("a", 0.7), ("b", 0.2), ("c", 0.1)], truth, rank, num_predicted)
    assert (made.verdict, made.classes, made.is_mistake) == (verdict, classes, verdict.startswith("✗"))


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.0, "0.0 %"), (0.0001, "<0.1 %"), (0.0006, "0.1 %"), (0.123, "12.3 %"), (0.9996, ">99.9 %"), (1.0, "100.0 %")],
)
def test_no_percent_is_rounded_to_certainty(probability, text):
    assert percent(probability) == text


def test_of_many_frames_eight_are_shown(tmp_path):
    path = write_video(tmp_path / "v.mp4", "green", frames=20)
    (shown,) = examples_of(result([path], [[1.0, 0, 0, 0, 0]], [0]), Protocol(15, PIXELS, Views(origin="center")))
    clip = ViewClips([path], Protocol(15, PIXELS, Views(origin="center")))[0][0]
    assert [frame.tolist() for frame in shown.frames] == clip[::2].permute(0, 2, 3, 1).tolist()


def test_thumbnails_are_of_each_class_and_of_wrong_predictions(tmp_path):
    """A class is shown by a correct item if it has one; of the others only wrong predictions have a picture."""
    paths = [write_image(tmp_path / f"{i}.png", "red", seed=i) for i in range(6)]
    scores = [[9.0, 0, 0, 0, 0]] * 3 + [[0, 0, 0, 7.0, 0]] * 3
    pictures = thumbnails(result(paths, scores, [1, 0, 0, 3, 3, 2]), Protocol(1, PIXELS))
    assert sorted(pictures.items) == [0, 1, 3, 5]
    assert {
        label: pictures.classes[label] is pictures.items[item] for label, item in {0: 1, 1: 0, 2: 5, 3: 3}.items()
    } == (dict.fromkeys(range(4), True))
    assert all(min(picture.shape[:2]) <= 96 and picture.shape[2] == 3 for picture in pictures.items.values())


def test_of_many_classes_the_least_recognised_have_thumbnails(tmp_path, monkeypatch):
    monkeypatch.setattr("texthead.report.examples.MAX_CLASSES", 2)
    path = write_image(tmp_path / "a.png", "red")
    scores = [[9.0, 0, 0, 0, 0]] * 2 + [[0, 0, 7.0, 0, 0], [0, 0, 0, 0, 5.0]]
    assert sorted(thumbnails(result([path] * 4, scores, [0, 3, 1, 4]), Protocol(1, PIXELS)).classes) == [1, 3]
