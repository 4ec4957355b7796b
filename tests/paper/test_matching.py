"""Eq. 2: both kinds of targets by hand, text online and offline, and two real processes with one's results."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import ranked
from made import frames, noise
from messages import refuses
from paper.matching import Matching, matching_loss, target_mass
from ranked import NAMES, RECIPE, objective_for, pair, weights
from texthead import Dataset, MeanPool, Protocol, Recognizer
from texthead.encoders.load import load_encoder
from texthead.errors import RunError
from texthead.evaluation.evaluate import evaluate
from texthead.models.heads import FrozenHead
from texthead.prediction.load import load_run
from texthead.prediction.run import Run
from texthead.training.train import fine_tune
from training_runs import assert_same_weights, losses

TARGETS = ("one_hot", "multi_positive")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return ranked.write_encoder(tmp_path_factory.mktemp("encoder"))


def test_one_hot_is_cross_entropy() -> None:
    video = torch.tensor([[7.0, 0.0], [0.0, 0.5]])
    text = torch.tensor([[3.0, 4.0], [0.0, 2.0]])  # cosines 0.6 and 0 with the first video, 0.8 and 1 with the second
    expected = (math.log(1 + math.exp(2 * (0.0 - 0.6))) + math.log(1 + math.exp(2 * (0.8 - 1.0)))) / 2
    result = matching_loss(video, text, torch.tensor([0, 1]), scale=2.0, targets="one_hot")
    assert result.item() == pytest.approx(expected, rel=1e-6)
    turned = matching_loss(text, video, torch.tensor([0, 1]), scale=2.0, targets="one_hot")
    assert turned.item() != pytest.approx(expected, rel=1e-2), "one direction: video to text"


def by_hand(video: np.ndarray, text: np.ndarray, labels: list[int], scale: float) -> float:
    """Compute the published code's loss entry by entry."""
    video, text = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (video, text))
    logits, count, total = scale * video @ text.T, len(labels), 0.0
    for side in (logits, logits.T):
        for i in range(count):
            expected = [math.exp(10.0 * (labels[i] == label)) for label in labels]
            result = [math.exp(value) for value in side[i]]
            for want, find in zip(expected, result, strict=True):
                p, q = want / sum(expected), find / sum(result)
                total += p * (math.log(p) - math.log(q))
    return total / count / 2


@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4], [0, 1, 1, 2, 0], [3, 3, 3, 3, 3], [5]])
def test_multi_positive_is_the_divergence_of_both_directions(labels: list[int]) -> None:
    video, text = noise(len(labels), 6, seed=1), noise(len(labels), 6, seed=2)
    result = matching_loss(video, text, torch.tensor(labels), scale=3.0, targets="multi_positive")
    assert result.item() == pytest.approx(by_hand(video.numpy(), text.numpy(), labels, 3.0), rel=1e-5, abs=1e-6)


def test_the_targets_leave_the_published_mass_on_the_positive() -> None:
    for count, mass in ((128, 0.994), (256, 0.989), (1024, 0.956)):
        assert target_mass(torch.arange(count)).diagonal().numpy() == pytest.approx(mass, abs=5e-4)
    result = target_mass(torch.tensor([0, 0, 1]))
    expected = [[0.49999, 0.49999, 0.00002], [0.49999, 0.49999, 0.00002], [0.00005, 0.00005, 0.99991]]
    assert result.numpy() == pytest.approx(np.array(expected), abs=5e-6)


@pytest.mark.parametrize("targets", TARGETS)
def test_loss_ignores_lengths_and_autocast(targets: str) -> None:
    video, text, labels = noise(4, 6, seed=1), noise(4, 6, seed=2), torch.tensor([0, 1, 2, 1])
    expected = matching_loss(video, text, labels, scale=100.0, targets=targets)
    other = matching_loss(3 * video, 0.1 * text, labels, scale=100.0, targets=targets)
    assert other.item() == pytest.approx(expected.item(), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(matching_loss(video, text, labels, scale=100.0, targets=targets), expected)
    half = matching_loss(video.bfloat16(), text, labels, scale=100.0, targets=targets)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(expected.item(), rel=0.1)


@pytest.mark.parametrize(("online", "targets"), [(False, "one_hot"), (True, "multi_positive")])
def test_objective_matches_head_scores(source: str, targets: str, online: bool) -> None:
    model, encoder = pair(source)
    clips, labels = frames(8, 32).unflatten(0, (4, 2)), torch.tensor([1, 0, 1, 2])
    objective = objective_for(encoder, online=online, targets=targets)
    loss = objective(model, clips, labels)
    prompts = [f"a video of {NAMES[label]}." for label in labels]
    rows = load_encoder(source, keep_text=True).text.double()(prompts) if online else model.head.weight[labels]
    video = F.normalize(model.features(clips) - model.head.center, dim=-1)
    expected = matching_loss(video, rows, labels, scale=model.head.scale, targets=targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    loss.backward()
    trained = {name for name, parameter in objective.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in objective.named_parameters()}
    assert bool(trained) == online
    assert all(parameter.grad.abs().max() > 0 for parameter in objective.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.head.weight.grad is None


def test_several_prompts_a_class_are_averaged(source: str) -> None:
    encoder = load_encoder(source)
    prompts = [(f"a {name} thing", f"a video of {name}") for name in NAMES]
    head = FrozenHead(encoder.text_rows(prompts), names=NAMES, prompts=prompts, kind="text")
    model = Recognizer(encoder.visual, MeanPool(), head)
    before = head.weight.clone()
    Matching().refresh(model)
    assert torch.equal(head.weight, before), "offline rows stay"
    objective = Matching(encoder.text)
    objective.refresh(model)
    torch.testing.assert_close(head.weight, before, rtol=0, atol=1e-6)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.05 * noise(*parameter.shape))
    objective.refresh(model)
    each = F.normalize(objective.text([text for pair in prompts for text in pair]).detach(), dim=-1)  # pyright: ignore
    torch.testing.assert_close(head.weight, F.normalize(each.view(3, 2, -1).mean(1), dim=-1), rtol=0, atol=1e-6)
    assert (head.weight - before).abs().max() > 1e-2


@pytest.mark.parametrize("online", [False, True], ids=["offline", "online"])
def test_a_matching_run_is_read_back_as_any_other(source, data, val, tmp_path, online) -> None:
    encoder = load_encoder(source)
    model, _ = pair(source)
    model = model.float()
    objective = Matching(encoder.text if online else None, targets="multi_positive")
    recipe = replace(RECIPE, weight_decay=0.0, clip_norm=0.0)
    records = fine_tune(model, data, val, recipe, out=tmp_path, objective=objective)
    about = json.loads((tmp_path / "recipe.json").read_text())
    kind = {"kind": "matching", "text": "online" if online else "offline", "targets": "multi_positive"}
    assert about["objective"] == {**kind, "gather": False, "trains_text": online}
    run = load_run(tmp_path)
    assert run.text_tuned == online
    protocol = Protocol(2, run.pixels, ranked.FIRST)
    scored = [evaluate(each, val, protocol) for each in (model, run.model)]
    assert torch.equal(scored[0].scores, scored[1].scores)
    assert records[-1]["top1"] == scored[0].top1, "the rows were put right before the last validation"
    paths = [item.path for item in val.items]
    assert [p.top[0] for p in run.predict(paths)] == [p.top[0] for p in Run.from_model(model).predict(paths, protocol)]
    if online:
        with refuses(RunError, tmp_path):
            run.with_classes(["a kite"])
    else:
        assert run.with_classes(["a kite", "red"]).labels == ("a kite", "red")


def test_a_frozen_encoder_is_matched_on_its_features(source: str, data: Dataset, tmp_path: Path) -> None:
    """Only the text encoder is trained."""
    model, objective = pair(source)[0].float(), Matching(load_encoder(source).text)
    before = weights(model.visual)
    recipe = replace(RECIPE, tune="none", scale=None)
    fine_tune(model, data, None, recipe, out=tmp_path, objective=objective)
    assert_same_weights(weights(model.visual), before)
    rows = F.normalize(objective.text(["a video of red."]).detach(), dim=-1)  # pyright: ignore[reportOptionalCall]
    torch.testing.assert_close(model.head.weight[2:], rows, rtol=0, atol=1e-6)


def test_no_gather_matches_per_process(source: str, data: Dataset, tmp_path: Path) -> None:
    """The first step's loss is the mean over its halves; splitting a batch does not change its clips."""
    result = {}
    for name, changes in {"whole": {}, "parts": {"accumulate": 2}}.items():
        model, encoder = pair(source)
        recipe = replace(RECIPE, batch=8, epochs=1, **changes)
        objective, seen = objective_for(encoder, online=False, targets="one_hot"), []
        objective.register_forward_hook(lambda _, __, loss, seen=seen: seen.append(loss.item()))
        records = fine_tune(model, data, None, recipe, out=tmp_path / name, objective=objective)
        result[name] = losses(records)[0], seen
    assert result["parts"][0] == pytest.approx(np.mean(result["parts"][1][:2]), rel=1e-9)
    assert result["parts"][0] < result["whole"][0] - 0.2, "fewer negatives"
