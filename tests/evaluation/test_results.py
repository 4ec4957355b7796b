"""Metrics of multi-label items, and of classes of different sizes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from texthead import Dataset, Item
from texthead.errors import DataError
from texthead.evaluation import Evaluation, grouped_interval
from texthead.evaluation.classes import class_rows, wrong_pairs
from texthead.evaluation.evaluate import average_views
from texthead.evaluation.intervals import binomial_interval, paired_interval
from texthead.evaluation.results import MultiLabelEvaluation, average_precision, evaluation_for, joined
from texthead.models.heads import FrozenHead
from texthead.models.multilabel_head import MultiLabelHead


def evaluation(items: int = 60, classes: int = 5, *, signal: float = 1.5, seed: int = 0, groups=None):
    rng = np.random.default_rng(seed)
    targets = rng.random((items, classes)) < 0.3
    scores = signal * targets + rng.normal(size=targets.shape) - 1
    names = tuple("abcde"[:classes])
    paths = [Path(f"{i}.jpg") for i in range(items)]
    return MultiLabelEvaluation(names, paths, torch.tensor(targets), torch.tensor(scores).float(), groups=groups)


def test_metrics_equal_scikit_learns() -> None:
    result = evaluation()
    hot, scores = result.targets.numpy(), result.scores.numpy()
    own, said = hot.any(1), scores >= 0
    expected = [
        average_precision_score(hot, scores, average="macro"),
        average_precision_score(hot[own], scores[own], average="samples"),
        f1_score(hot, said, average="micro"),
        f1_score(hot, said, average="macro"),
        (hot == said).all(1).mean(),
        *average_precision_score(hot, scores, average=None),
    ]
    rates = result.rate, result.item_ap, result.f1, result.macro_f1, result.exact, *result.class_ap
    assert [rate and rate[0] for rate in rates] == pytest.approx(100 * np.array(expected))


def test_average_precision_equals_scikit_learn_s() -> None:
    rng = np.random.default_rng(1)
    scores, hot = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.4
    value, influence = average_precision(scores, hot)
    assert value == pytest.approx(average_precision_score(hot, scores))
    assert influence.sum() == pytest.approx(0)
    for item in range(40):
        weights = np.ones(40)
        weights[item] += 1e-6
        more = average_precision_score(hot, scores, sample_weight=weights)
        assert influence[item] == pytest.approx((more - value) / 1e-6, abs=1e-4)


def test_a_perfect_class_is_as_sure_as_its_positives() -> None:
    scores = torch.linspace(1, 0, 50)[:, None].expand(-1, 2)
    targets = torch.arange(50)[:, None] < torch.tensor([1, 5])
    one, five = MultiLabelEvaluation(("a", "b"), [Path("x")] * 50, targets, scores).class_ap
    assert (one, five) == ((100, *binomial_interval(1, 1)), (100, *binomial_interval(5, 5)))
    once = MultiLabelEvaluation(("a", "b"), [Path("x")] * 50, targets, scores)
    lead, low, high = once.lead_over(once, range(50))
    assert lead == 0
    assert high == -low == pytest.approx(paired_interval(0, 0, 2**2 / (1 + 1 / 5))[1])


def test_copies_in_groups_leave_the_interval_as_wide() -> None:
    once = evaluation(40)
    many = {"paths": once.paths * 5, "targets": once.targets.repeat(5, 1), "scores": once.scores.repeat(5, 1)}
    copies = replace(once, **many, groups=[str(path) for path in many["paths"]])
    for name in ("rate", "item_ap", "f1", "macro_f1", "exact"):
        assert getattr(copies, name) == pytest.approx(getattr(once, name), abs=1.0)
    alone = replace(copies, groups=None)
    assert alone.rate[2] - alone.rate[1] < 0.6 * (once.rate[2] - once.rate[1])


def test_a_lead_is_paired() -> None:
    better, worse = evaluation(300, signal=2.0), evaluation(300, signal=0.5)
    points, low, high = better.lead_over(worse, range(300))
    assert points == pytest.approx(better.rate[0] - worse.rate[0])
    assert 0 < low < points < high
    lead, low, high = better.lead_over(better, range(300))
    assert lead == 0
    assert low == -high < 0, "two perfect rankings may differ on other items"


def test_parts_are_joined_in_the_order_of_the_items() -> None:
    whole = replace(evaluation(), thresholds=torch.zeros(5))
    parts = []
    for positions in ([1, 3, 5, *range(20, 60)], [0, 2, 4, *range(6, 20)]):
        paths = [whole.paths[i] for i in positions]
        own = {"targets": whole.targets[positions], "scores": whole.scores[positions]}
        parts.append((positions, replace(whole, paths=paths, groups=[*map(str, paths)], **own)))
    both = joined(parts)
    assert both.paths == whole.paths
    assert both.rate[0] == whole.rate[0]


def test_classes_are_rated_at_their_thresholds() -> None:
    result = evaluation()
    row = result.classes[2]
    said, has = result.scores[:, 2] >= 0, result.targets[:, 2]
    assert (row.items, row.predicted) == (int(has.sum()), int(said.sum()))
    assert row.recall is not None
    assert row.recall[0] == pytest.approx(100 * float(said[has].float().mean()))


def test_a_head_of_one_class_cannot_score_several_labels() -> None:
    head = FrozenHead(torch.eye(3), names=["a", "b", "c"])
    items, hot = Dataset((Item(Path("a"), ("a", "b")),), multilabel=True), torch.tensor([[True, True, False]])
    with pytest.raises(DataError, match="the items are multi-label, and the model chooses one class"):
        evaluation_for(head, items, hot, torch.zeros(1, 3), [])
    own = MultiLabelHead(head, bias=torch.zeros(3), thresholds=torch.ones(3))
    result = evaluation_for(own, items, hot, torch.tensor([[2.0, 0.5, 0.0]]), [])
    assert isinstance(result, MultiLabelEvaluation)
    assert result.predicted.tolist() == [[True, False, False]]
    one = evaluation_for(own, items, torch.tensor([1]), torch.zeros(1, 3), [])
    assert one.targets.tolist() == [[False, True, False]]
    nothing = evaluation_for(own, items, torch.zeros(1, 3).bool(), torch.zeros(1, 3), [])
    with pytest.raises(DataError, match="none of 1 scored items has a class of the model"):
        _ = nothing.rate


@pytest.mark.filterwarnings("error")
def test_few_labels_and_a_single_group_have_wide_intervals() -> None:
    targets, scores = torch.tensor([[1, 0], [0, 0], [0, 0]]).bool(), torch.tensor([[1.0, -1], [0, 2], [3, 1]])
    paths = [Path(name) for name in "abc"]
    for groups in (None, ["g"] * 3):
        result = MultiLabelEvaluation(("a", "b"), paths, targets, scores, groups=groups)
        for value, low, high in (result.rate, result.item_ap, result.f1, result.macro_f1):
            assert low <= value <= high
            assert high - low > 50
    assert result.lead_over(result, ["g"] * 3) == (0, -100, 100)


def test_several_labels_have_no_top1() -> None:
    result = evaluation()
    for ask in (lambda: result.top1, lambda: result.top5, result.confusion):
        with pytest.raises(DataError, match="is for single-label data"):
            ask()
    assert (result.rate[0], *result.interval) == result.class_mean == result.rate


def test_log_odds_of_the_mean_probability_of_views_stay_finite() -> None:
    head = MultiLabelHead(FrozenHead(torch.eye(2), names=["a", "b"]), bias=torch.zeros(2), thresholds=torch.zeros(2))
    views = torch.tensor([[[1.0, 0.1], [1.0, 0.2]]])
    mean = average_views(views, head, pooling="probabilities")
    assert mean.isfinite().all()
    torch.testing.assert_close(mean.sigmoid(), head(views).sigmoid().mean(1))


def with_one_label(targets: list[int], right: list[bool], names: str = "abcd") -> Evaluation:
    """Return the evaluation of items whose wrong answers are the second class."""
    answers = [target if hit else 1 for target, hit in zip(targets, right, strict=True)]
    return Evaluation(tuple(names), [Path("x")] * len(right), torch.tensor(targets), torch.eye(len(names))[answers])


# 8 of 10 items of class 0 are correct, 1 of 2 of class 2; class 1 has no item.
RESULT = with_one_label([0] * 10 + [2] * 2, [True] * 8 + [False] * 2 + [True, False])


def test_the_mean_over_classes_by_hand() -> None:
    mean, low, high = RESULT.class_mean
    assert mean == pytest.approx((80 + 50) / 2)
    # The ends are 65 and the root of the sum of squares of half of each class's distance to its own end.
    ends = zip(binomial_interval(8, 10), binomial_interval(1, 2), strict=True)
    (below, below_two), (above, above_two) = ((own - 80, other - 50) for own, other in ends)
    assert (low, high) == pytest.approx((65 - np.hypot(below, below_two) / 2, 65 + np.hypot(above, above_two) / 2))
    right = [True, False, True, True]
    assert with_one_label([0, 0, 2, 2], right).class_mean == (75.0, *grouped_interval(np.array(right), None))


CONFUSION = np.array([[8, 2, 0], [1, 4, 5], [0, 0, 0]])


def test_rates_by_hand():
    a, b, c = class_rows(*np.indices((3, 3)).reshape(2, -1).repeat(CONFUSION.ravel(), 1), ["a", "b", "c"])
    assert (a.name, a.items, a.predicted, a.confused_with) == ("a", 10, 9, ("b", 2))
    assert a.recall == (80.0, *binomial_interval(8, 10))
    assert a.precision == (pytest.approx(100 * 8 / 9), *binomial_interval(8, 9))
    assert (b.recall, b.predicted, b.confused_with) == ((40.0, *binomial_interval(4, 10)), 6, ("c", 5))
    # There are no items of c, but items of b were predicted as c.
    assert c == ("c", 0, None, 5, (0.0, *binomial_interval(0, 5)), None)
    # Nothing was predicted as b.
    _, b = class_rows(np.array([0, 0, 1, 1]), np.zeros(4, int), ["a", "b"])
    assert (b.predicted, b.precision, b.recall) == (0, None, (0.0, *binomial_interval(0, 2)))


def test_intervals_of_classes_take_groups_into_account():
    """Items of scenes that are all correct or all wrong count by scene."""
    truth, predicted = np.repeat([0, 1], 8), np.array([0] * 4 + [1] * 4 + [1] * 8)
    alone, _ = class_rows(truth, predicted, ["a", "b"])
    grouped, other = class_rows(truth, predicted, ["a", "b"], [f"scene {i // 4}" for i in range(16)])
    assert alone.recall == (50.0, *binomial_interval(4, 8))
    assert grouped.recall == pytest.approx((50, 0, 100), abs=1)
    assert (other.recall, grouped.precision) == ((100.0, *binomial_interval(2, 2)), (100.0, 0.0, 100.0))
    assert grouped[3:4] == alone[3:4]


def test_the_most_frequent_confusions_come_first():
    assert wrong_pairs(np.array([[3, 1, 0], [0, 0, 2], [4, 0, 5]])) == [(2, 0, 4), (1, 2, 2), (0, 1, 1)]
    assert wrong_pairs(np.eye(3, dtype=np.int64)) == []
