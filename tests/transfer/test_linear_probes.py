"""Heads fitted without training epochs: the probe, and text rows with labelled items."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from made import noise
from texthead.models.heads import ProbeHead
from texthead.transfer import linear_probes
from texthead.transfer.linear_probes import class_center, logistic_head, text_evidence, text_probe_head
from texthead.transfer.multilabel import multilabel_head

NAMES = ["a", "b", "c"]


def test_center_is_mean_of_class_means() -> None:
    features, targets = torch.tensor([[0.0, 0.0], [0.0, 2.0], [0.0, 4.0], [6.0, 0.0]]), torch.tensor([0, 0, 0, 1])
    assert torch.equal(class_center(features, targets), torch.tensor([3.0, 1.0]))


def guided(items: int, *, spread: float = 2.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return items around three text rows, their labels, and the rows."""
    rows, targets = noise(3, 16, seed=9), torch.arange(3 * items) % 3
    return 2 * rows[targets] + spread * noise(3 * items, 16, seed=1) + 5, targets, rows


def test_text_evidence_of_matching_and_random_rows() -> None:
    features, targets, rows = guided(20)
    known = text_evidence(rows, features, targets)
    assert known.scale > 4
    assert known.weight > 0.95
    assert text_evidence(rows.roll(1, 0), features, targets).weight < 0.01, "rows of other classes"
    assert text_evidence(7 * rows, features, targets) == pytest.approx(known, rel=1e-5), "lengths above 1 count as 1"
    assert text_evidence(0 * rows, features, targets).weight == 0, "names that are not known at all"


def test_unknown_names_need_more_evidence() -> None:
    features, targets, rows = guided(1)
    rows = F.normalize(rows, dim=-1)
    weights = [text_evidence(length * rows, features, targets).weight for length in (1.0, 0.5, 0.1)]
    assert weights == sorted(weights, reverse=True)
    assert weights[2] < 0.6 < 0.95 < weights[0]


def test_many_items_give_the_head_of_the_wider_features() -> None:
    """With more items than numbers, the other Gram matrix is used."""
    features, targets, rows = guided(20)
    wide, wide_rows = (F.pad(each, (0, 64)) for each in (features, rows))
    for narrow, wider in (
        (text_probe_head(rows, features, targets, names=NAMES), text_probe_head(wide_rows, wide, targets, names=NAMES)),
        (logistic_head(features, targets, names=NAMES), logistic_head(wide, targets, names=NAMES)),
    ):
        torch.testing.assert_close(narrow(features), wider(wide), rtol=1e-4, atol=1e-4)


def test_numbers_of_labels_say_nothing_about_class_shares() -> None:
    features, targets, rows = guided(40, spread=4.0)
    few = torch.cat([torch.arange(120)[targets == 0], torch.arange(120)[targets > 0][:4]])
    tests, truth, _ = guided(200, spread=4.0)
    items = features[few], targets[few]
    for head in (logistic_head(*items, names=NAMES), text_probe_head(0 * rows, *items, names=NAMES)):
        most = head(tests).argmax(1).bincount(minlength=3).max()
        assert most < 0.6 * len(truth), "the class with most labels takes all"


def test_text_helps_few_items() -> None:
    tests, truth, rows = guided(200, spread=4.0)

    def top1(head: ProbeHead) -> float:
        return float((head(tests).argmax(1) == truth).float().mean())

    features, targets, _ = guided(1, spread=6.0)
    with_text, without = (
        text_probe_head(rows, features, targets, names=NAMES),
        logistic_head(features, targets, names=NAMES),
    )
    assert top1(with_text) > top1(without) + 0.05
    features, targets, _ = guided(10)
    useless = text_probe_head(rows.roll(1, 0), features, targets, names=NAMES)
    assert top1(useless) > top1(logistic_head(features, targets, names=NAMES)) - 0.02


def test_text_probe_matches_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets, rows = guided(5)
    x = F.normalize((features - class_center(features, targets)).double(), dim=-1)
    w = rows.double() / rows.double().norm(dim=-1, keepdim=True).clamp(min=1)
    evidence, hot = text_evidence(rows, features, targets), torch.eye(3, dtype=torch.float64)[targets]
    start = 0.5 * evidence.weight * evidence.scale * w

    weight, bias = start.clone().requires_grad_(), torch.zeros(3, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(x @ weight.T + bias, targets, reduction="sum")
        value = loss + (weight - start).square().sum() / 20
        value.backward()
        return value

    solver.step(step)  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(linear_probes, "RIDGE_SHARE", 0.0)
    logistic = text_probe_head(rows, features, targets, names=NAMES)
    torch.testing.assert_close(logistic.weight.detach(), weight.detach().float(), rtol=1e-3, atol=3e-3)

    text = w - w.mean(0)
    prior = x @ text.T
    slope = 0.5 * evidence.weight * (hot * prior).sum() / prior.square().sum()
    left = hot - hot.mean(0) - slope * prior
    ridge = slope * text + torch.linalg.solve(x.T @ x + 0.4 * torch.eye(16), x.T @ left).T
    monkeypatch.setattr(linear_probes, "RIDGE_SHARE", 0.5)
    both = text_probe_head(rows, features, targets, names=NAMES)
    added = (both.weight - logistic.weight).detach().double()
    torch.testing.assert_close(added / added.norm(), ridge / ridge.norm(), rtol=1e-4, atol=1e-5)


def test_the_probe_is_scikit_learns() -> None:
    (features, targets, _), (tests, *_) = guided(10), guided(20)
    head = logistic_head(features, targets, names=NAMES)
    x, y = (F.normalize((each - features.mean(0)).double(), dim=-1).numpy() for each in (features, tests))
    expected = LogisticRegression(C=10, max_iter=2000, tol=1e-8).fit(x, targets.numpy()).decision_function(y)
    # Both solvers are iterative; ours stops when no gradient exceeds 1e-4.
    np.testing.assert_allclose(head(tests).detach().numpy(), expected, atol=1e-3)


def clusters(classes: list[int], each: int, seed: int, spread: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    centers = noise(max(classes) + 1, 16, seed=99)
    targets = torch.tensor(classes).repeat_interleave(each)
    return centers[targets] + spread * noise(len(targets), 16, seed=seed), targets


def logistic_scores(train: torch.Tensor, targets: torch.Tensor, test: torch.Tensor, classes: int) -> torch.Tensor:
    return logistic_head(train, targets, names=[str(index) for index in range(classes)])(test).detach()


@pytest.mark.parametrize(
    ("present", "classes"), [([0, 1, 2, 3], 4), ([0, 1], 2), ([0, 2, 3], 5), ([1, 3], 4), ([2], 4)], ids=str
)
def test_probe_separates_and_handles_missing_classes(present: list[int], classes: int) -> None:
    train, targets = clusters(present, 6, seed=1)
    test, expected = clusters(present, 20, seed=2)
    scores = logistic_scores(train, targets, test, classes=classes)
    assert scores.shape == (len(test), classes)
    assert torch.equal(scores.argmax(1), expected)
    missing = [c for c in range(classes) if c not in present]
    assert bool((scores[:, missing] == -torch.inf).all())
    assert bool(scores[:, present].isfinite().all())
    assert bool(scores.softmax(-1).isfinite().all())


def test_probe_ignores_scale_and_order() -> None:
    train, targets = clusters([0, 1, 2], 6, seed=1, spread=1.0)
    test, _ = clusters([0, 1, 2], 5, seed=2, spread=1.0)
    scores = logistic_scores(train, targets, test, classes=3)
    larger = logistic_scores(250 * train + 3, targets, 250 * test + 3, classes=3)
    torch.testing.assert_close(larger, scores, rtol=1e-2, atol=1e-2)
    order = torch.randperm(18, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        logistic_scores(train[order], targets[order], test, classes=3), scores, rtol=1e-2, atol=1e-2
    )
    weaker = logistic_head(train, targets, names=[*"abc"], penalty=100.0)(test).detach()
    assert float(weaker.abs().max()) < 0.5 * float(scores.abs().max())


@pytest.mark.filterwarnings("error")
def test_probe_of_single_items_without_warning() -> None:
    features = noise(30, 8)
    logistic_scores(features, torch.arange(30), features, classes=30)


@pytest.mark.parametrize("fit", ["text-probe", "probe", "several labels"])
def test_a_fit_takes_one_thread_and_gives_the_others_back(fit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets, names = noise(40, 12), torch.arange(40) % 4, list("abcd")
    counts, solve = list[int](), np.linalg.eigh

    def counted(*matrices: np.ndarray) -> object:
        counts.extend(pool["num_threads"] for pool in threadpool_info())
        return solve(*matrices)

    monkeypatch.setattr(np.linalg, "eigh", counted)
    with threadpool_limits(2):
        before = threadpool_info()
        if fit == "text-probe":
            text_probe_head(noise(4, 12), features, targets, names=names)
        elif fit == "probe":
            logistic_head(features, targets, names=names)
        else:
            multilabel_head(None, features, F.one_hot(targets).bool(), names=names)
        assert {*counts} == {1}
        assert threadpool_info() == before
