"""Heads that are fitted in one go: text rows with means, the probe, tuned projections."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from made import noise
from messages import refuses
from texthead.errors import DataError
from texthead.models.head_rows import orthogonal_weights
from texthead.models.heads import ProbeHead
from texthead.transfer.closed_form import (
    class_center,
    logistic_head,
    logistic_probe,
    text_and_means,
    tuned_projection,
)

NAMES = ["a", "b", "c"]


def clouds(items: int, *, dim: int = 16, spread: float = 0.5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Items around three means, and their labels."""
    targets = torch.arange(3 * items) % 3
    return 2 * noise(3, dim, seed=9)[targets] + spread * noise(3 * items, dim, seed=seed) + 5, targets


def test_the_center_is_the_mean_of_the_class_means_whatever_their_numbers() -> None:
    features, targets = torch.tensor([[0.0, 0.0], [0.0, 2.0], [0.0, 4.0], [6.0, 0.0]]), torch.tensor([0, 0, 0, 1])
    assert torch.equal(class_center(features, targets), torch.tensor([3.0, 1.0]))


def test_without_text_the_rows_are_the_mean_directions() -> None:
    features, targets = clouds(4)
    head = text_and_means(noise(3, 16), features, targets, names=NAMES, scale=30.0, text_weight=0.0)
    seen = F.normalize(features - class_center(features, targets), dim=-1)
    means = torch.stack([F.normalize(seen[targets == label].sum(0), dim=0) for label in range(3)])
    torch.testing.assert_close(head.weight.detach(), 30 * means)


def test_a_large_weight_of_text_leaves_the_answers_to_the_text() -> None:
    features, targets = clouds(4)
    rows = noise(3, 16, seed=4)
    tests = clouds(50, spread=3.0, seed=7)[0]
    seen = F.normalize(tests - class_center(features, targets), dim=-1)
    head = text_and_means(rows, features, targets, names=NAMES, scale=1.0, text_weight=1e4)
    assert torch.equal(head(tests).argmax(1), (seen @ F.normalize(rows, dim=-1).T).argmax(1))


def test_text_and_means_are_first_put_to_one_spread_so_that_the_length_of_neither_counts() -> None:
    features, targets = clouds(4)
    one = text_and_means(noise(3, 16), features, targets, names=NAMES, scale=1.0)
    other = text_and_means(70 * noise(3, 16), features, targets, names=NAMES, scale=1.0)
    torch.testing.assert_close(one.weight, other.weight)
    # Text rows that hardly tell the classes apart are heard as loudly as others.
    common = 20 * F.normalize(noise(1, 16, seed=5), dim=-1)
    alike = text_and_means(noise(3, 16) + common, features, targets, names=NAMES, scale=1.0, text_weight=1e3)
    seen = F.normalize(features - class_center(features, targets), dim=-1)
    spread = (seen @ alike.weight.detach().T).std(1).mean()
    apart = text_and_means(noise(3, 16), features, targets, names=NAMES, scale=1.0, text_weight=1e3)
    assert spread / (seen @ apart.weight.detach().T).std(1).mean() == pytest.approx(1.0, rel=0.5)


@pytest.mark.parametrize("items", [1, 4])
def test_two_classes_have_a_spread_too(items: int) -> None:
    features, targets = clouds(items)
    keep = targets < 2
    head = text_and_means(noise(2, 16), features[keep], targets[keep], names=NAMES[:2], scale=1.0)
    assert head(features[keep]).isfinite().all()
    assert head.weight.abs().max() > 0.01


def test_the_probe_is_scikit_learns() -> None:
    features, targets = clouds(10, spread=2.0)
    tests = clouds(20, spread=2.0, seed=3)[0]
    head = logistic_head(features, targets, names=NAMES, strength=50.0)
    x, y = (10 * F.normalize(each - features.mean(0), dim=-1).numpy() for each in (features, tests))
    expected = LogisticRegression(C=0.5, max_iter=2000).fit(x, targets.numpy()).decision_function(y)
    np.testing.assert_allclose(head(tests).detach().numpy(), expected, atol=1e-4)


def clusters(classes: list[int], each: int, seed: int, spread: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    centres = noise(max(classes) + 1, 16, seed=99)
    targets = torch.tensor(classes).repeat_interleave(each)
    return centres[targets] + spread * noise(len(targets), 16, seed=seed), targets


@pytest.mark.parametrize(
    ("present", "classes"), [([0, 1, 2, 3], 4), ([0, 1], 2), ([0, 2, 3], 5), ([1, 3], 4), ([2], 4)], ids=str
)
def test_the_probe_learns_what_is_separable_and_knows_what_is_missing(present: list[int], classes: int) -> None:
    train, targets = clusters(present, 6, seed=1)
    test, expected = clusters(present, 20, seed=2)
    scores = logistic_probe(train, targets, test, classes=classes)
    assert scores.shape == (len(test), classes)
    assert torch.equal(scores.argmax(1), expected)
    missing = [c for c in range(classes) if c not in present]
    assert bool((scores[:, missing] == -torch.inf).all())
    assert bool(scores[:, present].isfinite().all())
    assert bool(scores.softmax(-1).isfinite().all())


def test_a_probe_does_not_depend_on_the_scale_of_features_nor_on_the_order_of_items() -> None:
    train, targets = clusters([0, 1, 2], 6, seed=1, spread=1.0)
    test, _ = clusters([0, 1, 2], 5, seed=2, spread=1.0)
    scores = logistic_probe(train, targets, test, classes=3)
    larger = logistic_probe(250 * train + 3, targets, 250 * test + 3, classes=3)
    torch.testing.assert_close(larger, scores, rtol=1e-2, atol=1e-2)
    order = torch.randperm(18, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        logistic_probe(train[order], targets[order], test, classes=3), scores, rtol=1e-2, atol=1e-2
    )
    weaker = logistic_head(train, targets, names=[*"abc"], strength=0.1)(test).detach()
    assert float(weaker.abs().max()) < 0.5 * float(scores.abs().max())


def test_a_probe_of_one_item_a_class_warns_of_nothing(recwarn):
    features = noise(30, 8)
    logistic_probe(features, torch.arange(30), features, classes=30)
    assert not list(recwarn)


@pytest.mark.parametrize("strength", [3.0, 300.0])
def test_a_tuned_projection_is_the_least_of_what_it_says(strength: float) -> None:
    features, targets = clouds(4, spread=2.0)
    rows = F.normalize(noise(3, 16, seed=2) + 1.0, dim=-1).double()
    x = F.normalize(features - class_center(features, targets), dim=-1).double()
    p = torch.eye(16, dtype=torch.float64).requires_grad_()
    solver = torch.optim.LBFGS([p], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(10 * x @ p.T @ rows.T, targets, reduction="sum")
        value = loss + 10**2 * (p - torch.eye(16)).square().sum() / (2 * strength)
        value.backward()
        return value

    solver.step(step)  # pyright: ignore[reportArgumentType]
    head = tuned_projection(rows.float(), features, targets, names=NAMES, scale=10.0, strength=strength)
    torch.testing.assert_close(head.weight.detach(), (10 * rows @ p.detach()).float(), rtol=1e-3, atol=2e-3)


def test_little_strength_keeps_the_projection_at_the_identity() -> None:
    features, targets = clouds(4)
    rows = noise(3, 16, seed=2)
    head = tuned_projection(rows, features, targets, names=NAMES, scale=10.0, strength=1e-6)
    torch.testing.assert_close(head.weight.detach(), 10 * F.normalize(rows, dim=-1), atol=1e-3, rtol=0)


def test_rows_that_are_alike_are_told_apart_by_the_items() -> None:
    features, targets = clouds(8)
    rows = torch.stack([noise(16, seed=3), noise(16, seed=3), noise(16, seed=3) + 1e-3 * noise(16, seed=8)])
    head = tuned_projection(rows, features, targets, names=NAMES, scale=30.0)
    # Of two equal rows no projection makes different ones.
    assert torch.equal(head.weight[0], head.weight[1])
    assert (head(features).argmax(1)[targets == 2] == 2).float().mean() > 0.9


def test_a_projection_of_orthogonal_rows_with_no_scale_is_a_probe_without_bias() -> None:
    features, targets = clouds(6, spread=2.0)
    rows = orthogonal_weights(3, 16, generator=torch.Generator().manual_seed(0))
    head = tuned_projection(rows, features, targets, names=NAMES, scale=1e-6, strength=20.0)
    x = F.normalize(features - class_center(features, targets), dim=-1).numpy()
    probe = LogisticRegression(C=20.0, fit_intercept=False, tol=1e-8, max_iter=5000).fit(x, targets.numpy())
    np.testing.assert_allclose(head.weight.detach().numpy(), probe.coef_, atol=2e-3)


def test_a_probe_needs_a_name_a_row() -> None:
    with refuses(DataError, 2, 3):
        ProbeHead(torch.zeros(3, 4), bias=torch.zeros(3), center=torch.zeros(4), names=["a", "b"])
