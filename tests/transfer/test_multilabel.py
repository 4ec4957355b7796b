"""Multi-label heads: the fit, its folds, its probabilities and thresholds."""

from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge
from sklearn.metrics import f1_score, roc_auc_score

from made import noise
from texthead.encoders.encoder import Encoder
from texthead.models.heads import FrozenHead, ProbeHead
from texthead.recipes import MethodName
from texthead.transfer.linear_probes import RIDGE, TEXT_SHARE
from texthead.transfer.multilabel import (
    COMMON,
    FACTOR,
    START,
    _fit,
    as_multilabel,
    fit_multilabel,
    multilabel_folds,
    multilabel_head,
)

NAMES, HALF = ["a", "b", "c", "d"], (0.5, 0.5, 0.5)


def mixed(items: int, *, spread: float = 1.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return sums of the rows of each item's classes (about a third of four), the classes, and the rows."""
    rows = F.normalize(noise(4, 16, seed=9), dim=-1)
    hot = noise(items, 4, seed=seed + 100) > 0.4
    return 2 * hot.float() @ rows + spread * noise(items, 16, seed=seed) / 4 + 1, hot, rows


def estimates(head: ProbeHead, features: torch.Tensor, hot: torch.Tensor) -> np.ndarray:
    """Return the scores as estimates of the labels, 0 or 1: undo what `multilabel_head` says of its scores."""
    shares = (hot.double().sum(0) + 0.5) / (len(hot) + 1)
    odds = shares.logit()
    scores = head(features).detach().double() - START * odds - (1 - START) * odds.mean()
    return (scores / FACTOR * (shares * (1 - shares)).sqrt() + shares).numpy()


@pytest.mark.parametrize(("named", "within"), [(False, 1e-4), (True, 0.01)])
def test_fit_is_ridge_regression_of_what_text_leaves(named: bool, within: float) -> None:
    features, hot, rows = mixed(60)
    tests, *_ = mixed(20, seed=1)
    x, q = (F.normalize(each - features.mean(0), dim=-1).double().numpy() for each in (features, tests))
    text = (rows - COMMON * rows.mean(0)).double().numpy()
    prior, y = x @ text.T, hot.double().numpy()
    # The names are right, so their weight is about 1.
    slope = np.cov(prior.ravel() - np.tile(prior.mean(0), 60), y.ravel())[0, 1] / prior.var(0).mean()
    part = TEXT_SHARE * slope if named else 0.0
    expected = part * q @ text.T + Ridge(alpha=RIDGE).fit(x, y - part * prior).predict(q)
    head = multilabel_head(rows if named else None, features, hot, names=NAMES)
    np.testing.assert_allclose(estimates(head, tests, hot), expected, atol=within)
    assert head.takes_text == named


def ranked(text: torch.Tensor | None, items: int) -> float:
    """Return the mean area under the ROC curve on unseen items."""
    (features, hot, _), (tests, truth, _) = mixed(items, spread=3.0), mixed(400, spread=3.0, seed=1)
    scores = multilabel_head(text, features, hot, names=NAMES)(tests).detach()
    return float(np.mean([roc_auc_score(truth[:, c], scores[:, c]) for c in range(4)]))


def test_names_help_few_items_and_wrong_ones_hardly_hurt() -> None:
    rows = mixed(1)[2]
    assert ranked(rows, 6) > ranked(None, 6) + 0.05
    assert ranked(rows.roll(1, 0), 60) > ranked(None, 60) - 0.02
    assert ranked(0 * rows, 60) == pytest.approx(ranked(None, 60))


def test_class_without_items_has_its_name() -> None:
    features, hot, rows = mixed(40)
    hot[:, 3] = False
    tests, truth, _ = mixed(200, seed=1)
    named, unnamed = (multilabel_head(text, features, hot, names=NAMES)(tests).detach() for text in (rows, None))
    assert roc_auc_score(truth[:, 3], named[:, 3]) > 0.8
    assert unnamed[:, 3].unique().numel() == 1
    assert unnamed[:, 3].max() < unnamed[:, :3].mean()
    multilabel = fit_multilabel("probe", encoder(rows), NAMES, (), features, hot, range(40))
    assert not multilabel.chosen(multilabel(tests))[:, 3].any()


def encoder(rows: torch.Tensor, *, scale: float = 20.0, bias: float = 0.0) -> Encoder:
    """Return an encoder that knows the rows of NAMES."""
    known = dict(zip(NAMES, rows, strict=True))
    text = lambda prompts: torch.stack([known[prompt] for prompt in prompts])  # noqa: E731
    made = Encoder.from_functions(
        lambda images: images.flatten(1)[:, :16], text, size=32, mean=HALF, std=HALF, scale=scale
    )
    made.bias = bias
    return made


def test_a_scale_that_was_given_is_kept() -> None:
    """Only the bias is fitted: as many labels are expected as the items have."""
    features, hot, rows = mixed(80)
    made = as_multilabel(FrozenHead(rows, names=NAMES, scale=7.0), features, hot, keep_scale=True)
    assert made.scale == pytest.approx(7.0)
    with torch.inference_mode():
        assert made(features).sigmoid().mean() == pytest.approx(float(hot.float().mean()), abs=0.01)
    assert as_multilabel(FrozenHead(rows, names=NAMES, scale=7.0), features, hot).scale != pytest.approx(7.0)


@pytest.mark.parametrize("method", get_args(MethodName))
def test_probabilities_and_thresholds_of_unseen_items(method: MethodName) -> None:
    features, hot, rows = mixed(80)
    tests, truth, _ = mixed(600, seed=1)
    head = fit_multilabel(method, encoder(rows), NAMES, NAMES, features, hot, range(80))
    with torch.inference_mode():
        odds = head(tests)
    mean = odds.sigmoid().mean()
    assert mean == pytest.approx(float(truth.float().mean()), abs=0.05)
    base = truth.float().mean().expand_as(odds).logit()
    loss, known = (F.binary_cross_entropy_with_logits(each, truth.float()) for each in (odds, base))
    assert loss < known
    best = max(f1_score(truth, odds >= cut, average="micro") for cut in np.linspace(-4, 2, 61))
    assert f1_score(truth, head.chosen(odds), average="micro") > best - 0.03


def test_left_out_groups_are_scored_by_the_fit_without_them() -> None:
    features, hot, _ = mixed(30)
    groups = [i // 3 for i in range(30)]
    x, y = F.normalize(features - features.mean(0), dim=-1).double().numpy(), hot.double().numpy()
    head, scores = _fit(None, features, hot, groups, names=NAMES)
    shift = scores - head(features).detach().double().numpy()
    shares = (y.sum(0) + 0.5) / 31
    shift = shift / FACTOR * np.sqrt(shares * (1 - shares))
    every = Ridge(alpha=RIDGE).fit(x, y).predict(x)
    for first in range(0, 30, 3):
        own = np.arange(first, first + 3)
        rest = np.setdiff1d(np.arange(30), own)
        without = Ridge(alpha=RIDGE).fit(x[rest], y[rest]).predict(x[own])
        np.testing.assert_allclose(every[own] + shift[own], without, atol=1e-4)


def test_encoder_with_a_bias_keeps_its_own_probabilities() -> None:
    features, hot, rows = mixed(40)
    siglip = encoder(rows, scale=15.0, bias=-4.0)
    head = fit_multilabel("zero-shot", siglip, NAMES, NAMES, features, hot, range(40))
    torch.testing.assert_close(head(features), siglip.logits(features, rows))


def test_one_item_a_class_has_a_threshold() -> None:
    head = fit_multilabel("text-probe", encoder(mixed(1)[2]), NAMES, NAMES, noise(4, 16), torch.eye(4) > 0, range(4))
    assert head.thresholds.isfinite().all()
    assert head.bias.isfinite().all()


def multilabel(items: int, classes: int, *, seed: int, share: float = 0.2) -> np.ndarray:
    """Return random classes of items, some without any."""
    return np.random.default_rng(seed).random((items, classes)) < share


def test_folds_score_items_once_and_keep_groups() -> None:
    for seed in range(20):
        hot, groups = multilabel(60, 8, seed=seed), [f"scene {i // 3}" for i in range(60)]
        pairs = multilabel_folds(hot, groups, seed=seed)
        scored = [i for _, own in pairs for i in own]
        assert len(scored) == len(set(scored))
        assert all(sorted(train + own) == list(range(60)) for train, own in pairs)
        assert all(not {groups[i] for i in train} & {groups[i] for i in own} for train, own in pairs)


def test_each_class_stays_in_each_training_fold() -> None:
    for seed in range(50):
        hot = multilabel(14, 12, seed=seed, share=0.15)
        pairs = multilabel_folds(hot, range(14), seed=seed)
        assert pairs
        assert all(hot[train][:, hot.sum(0) > 1].any(0).all() for train, _ in pairs)


def test_folds_share_out_classes() -> None:
    hot = multilabel(200, 10, seed=0)
    pairs = multilabel_folds(hot, range(200), seed=0)
    assert len(pairs) == 5
    counts = np.array([hot[own].sum(0) for _, own in pairs])
    assert (counts.max(0) - counts.min(0)).max() <= 4
    assert {len(own) for _, own in pairs} <= {38, 39, 40, 41, 42}


def test_folds_do_not_depend_on_the_order_of_items() -> None:
    hot, groups = multilabel(30, 5, seed=0), [f"scene {i // 2}" for i in range(30)]
    order = np.random.default_rng(1).permutation(30)
    first = {frozenset(own) for _, own in multilabel_folds(hot, groups, seed=0)}
    moved = multilabel_folds(hot[order], [groups[i] for i in order], seed=0)
    assert {frozenset(order[own].tolist()) for _, own in moved} == first


def test_no_folds_without_a_class_in_two_groups() -> None:
    assert multilabel_folds(np.eye(3, dtype=bool), range(3), seed=0) == []
    assert multilabel_folds(np.ones((3, 2), dtype=bool), ["same"] * 3, seed=0) == []
