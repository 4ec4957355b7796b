"""Exact counts, averages over views, and the same scores from every code path."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn

from made import PIXELS, SPEC, noise, tiny_visual, write_broken, write_image, write_video
from messages import refuses
from texthead import Dataset, Item, Protocol, ReadOptions, Views
from texthead.data import view_crops
from texthead.errors import DataError, MediaError, RunError
from texthead.evaluation import Evaluation
from texthead.evaluation.evaluate import average_views, evaluate, score
from texthead.media import MediaPath
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool, TemporalTransformer
from texthead.parallel.progress import Reporter
from training_runs import assert_same_weights, copied

# The package offers the function under this name.
module = import_module("texthead.evaluation.evaluate")

NAMES = ("red", "green", "blue")
PROTOCOL = Protocol(4, PIXELS)


def make_model(*, temporal: nn.Module | None = None, seed: int = 0) -> Recognizer:
    head = FrozenHead(noise(3, SPEC.dim), names=NAMES, scale=20.0, center=0.01 * noise(SPEC.dim, seed=1))
    return Recognizer(tiny_visual(seed), temporal or MeanPool(), head).eval()


def transformer(dropout: float = 0.0) -> TemporalTransformer:
    module = TemporalTransformer(SPEC.dim, 1, 32, heads=2, dropout=dropout)
    module.reset(torch.Generator().manual_seed(0))
    with torch.no_grad():  # the output projection starts at zero, but here the frame order must matter
        assert isinstance(module.project_out, nn.Linear)
        module.project_out.weight.copy_(0.3 * noise(SPEC.dim, 32, seed=4))
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Five videos, some shorter than a clip, and an image."""
    folder = tmp_path_factory.mktemp("data")
    made = [("red", 8), ("green", 3), ("blue", 7), ("red", 2), ("blue", 8)]
    items = [Item(write_video(folder / f"{i}.mp4", c, frames=n, seed=i), (c,)) for i, (c, n) in enumerate(made)]
    return Dataset((*items, Item(write_image(folder / "5.png", "green"), ("green",))), "here")


@pytest.fixture
def with_bad(data: Dataset, tmp_path: Path) -> Dataset:
    """The same items plus two that cannot be read."""
    bad = Item(write_broken(tmp_path / "broken.mp4"), ("green",)), Item(tmp_path / "missing.mp4", ("red",))
    return replace(data, items=(data.items[0], *bad, *data.items[1:]))


def test_the_three_averages_are_what_they_are_called() -> None:
    head, features = make_model().head, noise(4, 3, SPEC.dim, seed=5)
    assert isinstance(head, FrozenHead)
    rows = head.weight.detach().double().numpy()
    away = features.double().numpy() - head.center.double().numpy()

    def logits(away: np.ndarray) -> np.ndarray:
        return head.scale * (away / np.linalg.norm(away, axis=-1, keepdims=True)) @ rows.T

    by_features, by_logits = logits(away.mean(1)), logits(away).mean(1)
    by_probabilities = np.log(softmax(logits(away), axis=-1).mean(1))
    expected = {"features": by_features, "logits": by_logits, "probabilities": by_probabilities}
    for pooling, scores in expected.items():
        result = average_views(features, head, pooling=pooling).detach().numpy()
        np.testing.assert_allclose(result, scores, rtol=1e-4, atol=1e-4)
        if pooling == "probabilities":
            np.testing.assert_allclose(np.exp(result), np.exp(scores), rtol=1e-4, atol=1e-6)
    assert not np.allclose(by_features, by_logits, atol=1e-2), "the three differ, or nothing was tested"
    assert torch.equal(average_views(features, head), average_views(features, head, pooling="features"))


@pytest.mark.parametrize("views", [Views(2, 3, "center"), Views(3, 1, "dense")], ids=str)
def test_views_are_cut_encoded_and_averaged(data: Dataset, views: Views) -> None:
    model = make_model(temporal=transformer())
    result = score(model, data, Protocol(4, PIXELS, views))
    assert (result.items, result.skipped) == (data, [])
    for i, path in enumerate(data.paths):
        features = []
        with MediaPath(path).open() as media, torch.no_grad():
            for indices in views.frame_indices(media.num_frames, 4):
                for crop in view_crops(media.frames_at(indices), PIXELS, views.crops):
                    features.append(model.features(crop[None])[0])
            assert len(features) == views.count
            expected = model.head(torch.stack(features).mean(0))
        torch.testing.assert_close(result.scores[i], expected, rtol=1e-4, atol=1e-4)


def test_of_equal_scores_the_first_class_is_the_answer_in_every_metric() -> None:
    scores = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [3.0, -torch.inf, -torch.inf]])
    result = Evaluation(("a", "b", "c"), [Path("x")] * 3, torch.tensor([0, 1, 2]), scores)
    assert result.top1 == pytest.approx(100 * result.right.mean())
    assert result.top1 == result.rate[0] == 100 * result.confusion().trace() / 3
    assert result.top5 == result.top1, "a class of probability 0 is no answer"


@pytest.mark.parametrize("classes", [2, 5, 11])
def test_counts_are_exact(classes: int) -> None:
    rng = np.random.default_rng(classes)
    scores, targets = rng.normal(size=(237, classes)).astype(np.float32), rng.integers(classes, size=237)
    names = tuple(map(str, range(classes)))
    result = Evaluation(names, [Path("x")] * 237, torch.from_numpy(targets), torch.from_numpy(scores))
    rank = [list(np.argsort(-row)).index(target) for row, target in zip(scores, targets, strict=True)]
    assert result.count == 237
    for k in range(1, classes + 3):
        assert result.top(k) == 100 * sum(p < k for p in rank) / 237
    assert (result.top1, result.top5) == (result.top(1), result.top(5))
    table = np.zeros((classes, classes), int)
    for row, target in zip(scores, targets, strict=True):
        table[target, row.argmax()] += 1
    assert np.array_equal(result.confusion(), table)
    assert result.confusion().trace() == round(result.top1 * 237 / 100)


def test_labels_are_checked_before_anything_is_decoded(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    renamed = replace(data, items=tuple(replace(item, labels=(f"label {item.label}",)) for item in data.items))
    expected = evaluate(model, data, PROTOCOL)
    assert (expected.names, expected.paths) == (NAMES, [item.path for item in data.items])
    assert expected.targets.tolist() == [0, 1, 2, 0, 2, 1]
    monkeypatch.setattr(module, "score", lambda *_, **__: pytest.fail("a file was decoded"))
    with refuses(DataError, "6 of 6 items", "the 3 classes", "label blue, label green, label red"):
        evaluate(model, renamed, PROTOCOL)
    odd = replace(data, items=(*data.items, Item(data.items[0].path, ("violet",))))
    with refuses(DataError, "violet", 3):
        evaluate(model, odd, PROTOCOL)


@pytest.mark.parametrize("views", [Views(), Views(2, 3)])
@pytest.mark.parametrize("batch", [4, 7])
def test_files_that_are_encoded_together_score_as_each_by_itself(data, with_bad, batch, views) -> None:
    model, protocol = make_model(temporal=transformer()), Protocol(4, PIXELS, views)
    expected = evaluate(model, data, protocol)
    result = evaluate(model, with_bad, protocol, ReadOptions(batch=batch, skip_unreadable=True))
    assert result.paths == expected.paths
    assert len(result.skipped) == 2
    torch.testing.assert_close(result.scores, expected.scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cached", [False, True])
def test_a_training_model_is_scored_in_evaluation_mode(data: Dataset, tmp_path: Path, cached: bool) -> None:
    model = make_model(temporal=transformer(dropout=0.5))
    reading = ReadOptions(cache=tmp_path if cached else False)
    expected, before = evaluate(model, data, PROTOCOL, reading), copied(model)
    model.train()
    result = evaluate(model, data, PROTOCOL, reading)
    assert torch.equal(result.scores, expected.scores)
    assert_same_weights(model.state_dict(), before)
    assert not result.scores.requires_grad


@pytest.mark.parametrize("cached", [False, True])
def test_unreadable_items_are_errors_or_listed_and_not_counted(data, with_bad, tmp_path, cached) -> None:
    model, seen = make_model(), []
    reading = ReadOptions(cache=tmp_path if cached else False)
    broken, missing = with_bad.items[1].path, with_bad.items[2].path
    with pytest.raises(MediaError) as caught:  # The message quotes the decoder.
        evaluate(model, with_bad, PROTOCOL, reading)
    assert caught.value.path == broken
    assert "1 more" in str(caught.value)
    reading = replace(reading, skip_unreadable=True)
    result = evaluate(model, with_bad, PROTOCOL, reading, reporter=Reporter().counting(lambda *done: seen.append(done)))
    expected = evaluate(model, data, PROTOCOL)
    assert [error.path for error in result.skipped] == [broken, missing]
    assert result.count == 6
    assert result.paths == expected.paths
    assert torch.equal(result.targets, expected.targets)
    torch.testing.assert_close(result.scores, expected.scores, rtol=1e-5, atol=1e-5)
    assert result.top1 == expected.top1
    assert seen[-1] == (8, 8)
    assert seen == sorted(seen)


@pytest.mark.parametrize("skip", [False, True])
def test_nothing_to_score(tmp_path: Path, skip: bool) -> None:
    model, reading = make_model(), ReadOptions(skip_unreadable=skip)
    with refuses(DataError, "none of 0"):
        score(model, Dataset(()), PROTOCOL, reading)
    broken = write_broken(tmp_path / "broken.mp4")
    with pytest.raises(DataError if skip else MediaError, match="broken.mp4"):
        score(model, Dataset((Item(broken, ("a",)),)), PROTOCOL, reading)


def test_items_are_scored_in_parts(monkeypatch):
    """Scoring all items at once would need too much memory with several templates."""
    model = Recognizer(tiny_visual(), MeanPool(), FrozenHead(noise(3, SPEC.dim), names=["a", "b", "c"]))
    monkeypatch.setattr(module, "item_features", lambda *_: iter(noise(7, 2, SPEC.dim)))
    result, items = [], Dataset(tuple(Item(Path(f"{i}"), ("a",)) for i in range(7)))
    for size in (256, 3):
        monkeypatch.setattr(module, "_CHUNK", size)
        result.append(score(model, items, Protocol(1, PIXELS, pooling="logits")).scores)
    # On some processors other sizes use other kernels, and the last bits differ.
    torch.testing.assert_close(result[0], result[1], rtol=0, atol=1e-4)


def test_scores_that_are_no_numbers_are_an_error() -> None:
    features = noise(3, 1, SPEC.dim)
    features[1] = torch.nan
    with refuses(RunError, "1 of 3"):
        module.head_scores(make_model(), features, pooling="features")


def test_no_probability_is_too_small_for_the_mean():
    scores = torch.tensor([[0.0, -50.0, -300.0, -301.0], [0.0, -60.0, -299.0, -310.0]])
    mean = average_views(scores[None], torch.nn.Identity(), pooling="probabilities")[0]
    assert mean.argsort(descending=True).tolist() == [0, 1, 2, 3]
    expected = (scores.double().softmax(-1).mean(0)).log()
    assert torch.allclose(mean.double(), expected, atol=1e-4)


def test_the_calibration_error_is_of_the_best_probability():
    # Three items of 0.75 with two right.
    scores = torch.tensor([[3.0, 1.0]] * 3).log()
    result = module.Evaluation(("a", "b"), [Path("x"), Path("y"), Path("z")], torch.tensor([0, 1, 0]), scores)
    assert result.calibration_error == pytest.approx(100 / 12, abs=1e-4)
