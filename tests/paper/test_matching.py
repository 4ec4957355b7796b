"""Eq. 2: both kinds of targets by hand, text online and offline, and two real processes with one's results."""

import json
import math
from collections.abc import Callable
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
from texthead.errors import DataError, RunError
from texthead.evaluation.evaluate import evaluate
from texthead.models import text_rows
from texthead.models.heads import FrozenHead, LinearHead
from texthead.prediction.load import load_run
from texthead.prediction.run import Run
from texthead.training.optimizer import parameter_groups
from texthead.training.train import fine_tune
from training_runs import Stop, assert_close, assert_same_weights, counts_of, losses, stop_after

Two = Callable[..., list]
TARGETS = ("one_hot", "multi_positive")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return ranked.write_encoder(tmp_path_factory.mktemp("encoder"))


# --- the loss by hand


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


def test_one_hot_ignores_labels() -> None:
    video, text = noise(3, 4, seed=1), noise(3, 4, seed=2)
    equal, apart = (
        matching_loss(video, text, torch.tensor(labels), scale=3.0, targets="one_hot")
        for labels in ([4, 4, 1], [4, 5, 1])
    )
    assert equal == apart


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


@pytest.mark.parametrize("targets", TARGETS)
def test_an_empty_batch_has_no_loss(targets: str) -> None:
    rows = torch.zeros(0, 6, requires_grad=True)
    loss = matching_loss(rows, rows, torch.zeros(0, dtype=torch.long), scale=2.0, targets=targets)
    loss.backward()
    assert loss.item() == 0
    assert rows.grad is not None


def test_what_does_not_fit_is_an_error() -> None:
    with refuses(RunError, 3, 2):
        matching_loss(noise(3, 4), noise(2, 4), torch.arange(3), scale=1.0)
    with refuses(DataError, "targets", *TARGETS, "'nce'"):
        Matching(targets="nce")


# --- the objective


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("online", [False, True], ids=["offline", "online"])
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


def test_a_label_is_encoded_once_a_batch(source: str) -> None:
    model, encoder = pair(source)
    objective, seen = objective_for(encoder, online=True), []
    assert objective.text is not None
    encode = objective.text.tokenize
    objective.text.tokenize = lambda prompts: seen.append(list(prompts)) or encode(prompts)
    objective(model, frames(8, 32).unflatten(0, (4, 2)), torch.tensor([2, 0, 2, 2]))
    assert seen == [["a video of blue.", "a video of red."]]


def test_several_prompts_a_class_are_averaged(source: str) -> None:
    encoder = load_encoder(source)
    prompts = [(f"a {name} thing", f"a video of {name}") for name in NAMES]
    head = FrozenHead(text_rows(encoder, prompts), names=NAMES, prompts=prompts, kind="text")
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


def test_text_trained_at_pretrained_rate(source: str) -> None:
    model, encoder = pair(source)
    objective = objective_for(encoder, online=True)
    (group,) = parameter_groups(model, RECIPE, objective)
    assert group["name"] == "lr"
    assert {*map(id, objective.parameters())} < {*map(id, group["params"])}
    assert len(group["params"]) == len([*model.parameters(), *objective.parameters()])


def test_unsuitable_model_refused_before_run(source: str, data: Dataset, tmp_path: Path) -> None:
    model, encoder = pair(source)
    linear = model.with_head(LinearHead(24, names=NAMES))
    bare = model.with_head(FrozenHead(noise(3, 24), names=NAMES))
    cut = replace(RECIPE, accumulate=2)
    for odd, recipe, objective, parts in (
        (linear, RECIPE, Matching(), ("FrozenHead", "LinearHead")),
        (bare, RECIPE, Matching(encoder.text), ("own", "Matching(None)")),
        (model, cut, Matching(gather=True), ("accumulate=2", "gather")),
    ):
        with refuses(RunError, *parts):
            fine_tune(odd, data, None, recipe, out=tmp_path / "run", objective=objective)
    assert not (tmp_path / "run").exists()


# --- training


@pytest.mark.slow
@pytest.mark.parametrize("online", [False, True], ids=["offline", "online"])
def test_a_matching_run_is_read_back_as_any_other(
    source: str, data: Dataset, val: Dataset, tmp_path: Path, online: bool
) -> None:
    encoder = load_encoder(source)
    model, _ = pair(source)
    model = model.float()
    objective = Matching(encoder.text if online else None, targets="multi_positive")
    before, text = weights(model), weights(objective)
    recipe = replace(RECIPE, weight_decay=0.0, clip_norm=0.0)
    records = fine_tune(model, data, val, recipe, out=tmp_path, objective=objective)
    after = weights(model)
    moved = [key for key in before if not torch.equal(before[key], after[key])]
    assert len(moved) > 10
    assert ("0.head.weight" in moved) == online
    assert any(not torch.equal(value, text[key]) for key, value in weights(objective).items()) == online
    assert all("train_top1" not in record for record in records)
    about = json.loads((tmp_path / "recipe.json").read_text())
    kind = {"kind": "matching", "text": "online" if online else "offline", "targets": "multi_positive"}
    assert about["objective"] == {**kind, "gather": False, "trains_text": online}

    if online:
        assert objective.text is not None
        rows = F.normalize(objective.text([f"a video of {name}." for name in NAMES]).detach(), dim=-1)
        torch.testing.assert_close(model.head.weight, rows, rtol=0, atol=1e-6)
    run = load_run(tmp_path)
    assert run.text_tuned == online
    protocol = Protocol(2, run.pixels, ranked.FIRST)
    scored = [evaluate(each, val, protocol) for each in (model, run.model)]
    assert torch.equal(scored[0].scores, scored[1].scores)
    assert records[-1]["top1"] == scored[0].top1, "the rows were put right before the last validation"
    paths = [item.path for item in val.items]
    assert [p.top[0] for p in run.predict(paths)] == [p.top[0] for p in Run.of(model).predict(paths, protocol)]
    if online:
        with refuses(RunError, tmp_path):
            run.with_classes(["a kite"])
    else:
        assert run.with_classes(["a kite", "red"]).labels == ("a kite", "red")


def train_online(source: str, data: Dataset, val: Dataset, out: Path, **options):
    encoder = load_encoder(source)
    model, objective = pair(source)[0].float(), Matching(encoder.text)
    return fine_tune(model, data, val, RECIPE, out=out, objective=objective, **options), weights(model, objective)


@pytest.mark.slow
def test_resuming_with_another_objective_is_refused(source: str, data: Dataset, val: Dataset, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train_online(source, data, val, tmp_path, reporter=stop_after(9 + 4))
    model, encoder = pair(source)
    for other, part in (
        (None, "not None"),
        (Matching(), "'text': 'offline'"),
        (Matching(encoder.text, targets="one_hot"), "'targets': 'one_hot'"),
        (Matching(encoder.text, gather=True), "'gather': True"),
    ):
        with refuses(RunError, tmp_path, "objective", part):
            fine_tune(model.float(), data, val, RECIPE, out=tmp_path, objective=other, resume=True)


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


# --- two processes


@pytest.mark.slow
@pytest.mark.parametrize(("targets", "online"), [("one_hot", False), ("multi_positive", True)])
def test_two_processes_train_with_gather_as_one(
    two: Two, source: str, data: Dataset, val: Dataset, tmp_path: Path, targets: str, online: bool
) -> None:
    settings, recipe = {"targets": targets, "gather": True}, replace(RECIPE, epochs=1)
    job, after = ranked.trained_matching, (online, settings)
    expected, tuned = job(source, data, val, recipe, tmp_path / "one", *after)
    result = two(job, source, data, val, recipe, tmp_path / "two", *after)
    for records, own in result:
        assert losses(records) == pytest.approx(losses(expected), abs=1e-5)
        assert records[-1]["top1"] == expected[-1]["top1"]
        assert_close(own, tuned, 1e-5)
    assert_same_weights(result[0][1], result[1][1])
    # Compare gradients too, because AdamW hides their scale. Five items make unequal shares.
    args = (job, source, data, None, replace(recipe, batch=5, clip_norm=0.0))
    grads = ranked.first_gradients(*args, tmp_path / "grads", *after)
    assert any(key.startswith("objective.text.") for key in grads) == online
    for own in two(ranked.first_gradients, *args, tmp_path / "grads of two", *after):
        assert_close(own, grads, 1e-9)


@pytest.mark.slow
def test_online_text_resumes_with_other_process_count(two: Two, source: str, data: Dataset, tmp_path: Path) -> None:
    recipe, settings = replace(RECIPE, epochs=2, warmup=0.5), {"gather": True}
    expected, tuned = ranked.trained_matching(source, data, None, recipe, tmp_path / "one", True, settings)
    args = (source, data, None, recipe, tmp_path / "run", True, settings)
    two(ranked.stopped, 5, ranked.trained_matching, *args, {"checkpoint_every": 2})
    assert counts_of(tmp_path / "run")["step"] == 4
    result, own = ranked.trained_matching(*args, {"resume": True})
    assert losses(result) == pytest.approx(losses(expected), abs=1e-9)
    assert_close(own, tuned, 1e-7)
