"""The fitted temperature maximises the likelihood; thresholds and prediction sets meet their guarantees."""

import json
import math
from dataclasses import replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor

from made import drawn_scores
from messages import refuses
from texthead.errors import DataError
from texthead.evaluation import calibration, reliability


def label_sets(scores: Tensor, quantile: float) -> Tensor:
    return calibration.Calibration(1.0, 1, coverage=calibration.Coverage(0.9, quantile)).prediction_sets(scores)


@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(2, 9))
@settings(max_examples=60, deadline=None)
def test_no_other_temperature_is_likelier(seed, items, classes):
    scores, targets = drawn_scores(items, classes, 3.0, seed)
    result = calibration.fit_temperature(scores, targets)
    losses = [float(F.cross_entropy(scores.double() / (result * f), targets)) for f in (0.97, 1.0, 1.03)]
    if not (scores.argmax(1) == targets).all():
        assert losses[1] <= min(losses) + 1e-9 or result in (calibration.MAX_TEMPERATURE, calibration.MIN_TEMPERATURE)


def test_temperatures_of_extreme_scores():
    """With no mistakes there is nothing to fit; a class scored -inf is ignored, but is an error as a label."""
    scores, _ = drawn_scores(20)
    assert calibration.fit_temperature(scores, scores.argmax(1)) == 1.0
    assert calibration.fit_temperature(scores, scores.argmin(1)) == calibration.MAX_TEMPERATURE
    scores, targets = drawn_scores(200, 4, 2.0)
    wider = torch.cat([scores, torch.full((200, 1), -torch.inf)], 1)
    assert calibration.fit_temperature(wider, targets) == pytest.approx(
        calibration.fit_temperature(scores, targets), rel=1e-6
    )
    with refuses(DataError, "label 4", "-inf"):
        calibration.fit_temperature(wider, torch.full_like(targets, 4))


@given(st.integers(0, 10**6), st.floats(calibration.MIN_TEMPERATURE, calibration.MAX_TEMPERATURE))
@settings(max_examples=60, deadline=None)
def test_a_temperature_changes_no_ranking(seed, temperature):
    """Not even for scores that differ only in the last bit."""
    generator = torch.Generator().manual_seed(seed)
    scores = 30 * torch.randn(20, 5, generator=generator)
    scores[:, 1] = torch.nextafter(scores[:, 0], torch.tensor(torch.inf))
    after = calibration.Calibration(temperature, 1).apply(scores)
    assert torch.equal(after.argsort(dim=1), scores.argsort(dim=1))


@pytest.mark.parametrize("size", [1, 4])
def test_cross_fitting_does_not_depend_on_the_order_of_items_or_classes(size):
    scores, targets = drawn_scores(48, heat=4.0)
    groups = [i // size for i in range(48)]
    fitted = calibration.cross_fitted(scores, targets, groups=groups)
    items, classes = torch.randperm(48, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 1, 0, 5, 4, 2])
    again = calibration.cross_fitted(
        scores[items][:, classes], classes.argsort()[targets[items]], groups=[groups[i] for i in items]
    )
    torch.testing.assert_close(again, fitted[items][:, classes])


def test_cross_fitting_leaves_each_group_to_the_others():
    scores, targets = drawn_scores(60, heat=4.0)
    groups = [i // 6 for i in range(60)]
    ratio = (scores / calibration.cross_fitted(scores, targets, groups=groups))[:, 0]
    used = [ratio[6 * g : 6 * g + 6] for g in range(10)]
    for g, each in enumerate(used):
        assert each.max() - each.min() < 1e-4
        # Other labels in the group's own fold (of two groups) change nothing.
        fold = [h for h in range(10) if abs(float(used[h][0] - each[0])) < 1e-6]
        assert g in fold
        mixed = targets.clone()
        for h in fold:
            mixed[6 * h : 6 * h + 6] = (mixed[6 * h : 6 * h + 6] + 1) % 6
        again = (scores / calibration.cross_fitted(scores, mixed, groups=groups))[6 * g : 6 * g + 6, 0]
        torch.testing.assert_close(again, each)
    with refuses(DataError, "temperature", 2, 1):
        calibration.cross_fitted(scores[:1], targets[:1])


@pytest.mark.parametrize(("rate", "items"), [(0.05, 19), (0.1, 9), (0.01, 99), (0.5, 1), (0.2, 4), (1 - 0.9, 9)])
def test_the_fewest_items_of_a_promise(rate, items):
    assert calibration.min_items(rate) == items
    values = torch.rand(items, generator=torch.Generator().manual_seed(1))
    assert calibration.threshold_for(values, false_accept=rate) == pytest.approx(float(values.max()), abs=3e-5)
    if items > 1:
        with refuses(DataError, f"{rate:g}", items, items - 1, f"{1 / items:.3f}"):
            calibration.threshold_for(values[1:], false_accept=rate)


@pytest.mark.parametrize("change", [-1, 1])
def test_thresholds_tolerate_last_bits(change):
    best = torch.linspace(0.1, 1, 20).pow(0.001).double()
    threshold = calibration.threshold_for(best, false_accept=0.1)
    again = (best.logit() + change * 1e-5).sigmoid()
    assert (again > threshold).tolist() == 19 * [False] + [True]
    scores, targets = drawn_scores(30)
    quantile = calibration.conformal_quantile(scores, targets, coverage=0.8)
    result = label_sets(scores * (1 + change * 1e-7), quantile).gather(1, targets[:, None])
    assert result.sum() == math.ceil(31 * 0.8)


def test_unknown_items_get_an_answer_as_often_as_promised():
    """With one new item per draw, counts are binomial; the rate is less than 1 / (n + 1) below the nominal one."""
    items, rate, draws, generator = 30, 0.05, 6000, torch.Generator().manual_seed(5)
    values = torch.rand(draws, items + 1, generator=generator) ** 2
    passed = sum(float(row[0]) > calibration.threshold_for(row[1:], false_accept=rate) for row in values)
    assert passed <= binom.ppf(0.9999, draws, rate)
    assert passed >= binom.ppf(0.0001, draws, rate - 1 / (items + 1))


def test_nine_of_ten_draws_keep_the_worst_rate():
    limit = calibration.worst_false_accept(60, 0.05)
    generator = torch.Generator().manual_seed(6)
    # For uniform values, a threshold's rate is 1 - threshold.
    rates = [1 - calibration.threshold_for(torch.rand(60, generator=generator), false_accept=0.05) for _ in range(5000)]
    kept = sum(rate <= limit for rate in rates)
    assert binom.ppf(0.0001, 5000, 0.9) <= kept <= binom.ppf(0.9999, 5000, 0.9)
    assert 0.05 < limit < 0.1


def test_sets_hold_the_label_as_often_as_promised():
    """With one new item per draw, counts are binomial; coverage is at most 1 / (n + 1) above the nominal one."""
    items, level, draws, held = 60, 0.5, 3000, 0
    for seed in range(draws):
        scores, targets = drawn_scores(items + 1, heat=3.0, seed=seed)
        quantile = calibration.conformal_quantile(scores[1:], targets[1:], coverage=level)
        held += bool(label_sets(scores[:1], quantile)[0, targets[0]])
    assert held >= binom.ppf(0.0001, draws, level)
    assert held <= binom.ppf(0.9999, draws, level + 1 / (items + 1))


@given(st.integers(0, 10**6), st.floats(0.01, 100))
@settings(max_examples=40, deadline=None)
def test_sets_are_the_best_labels_at_any_temperature(seed, temperature):
    scores, targets = drawn_scores(30, seed=seed)
    sets = label_sets(scores, calibration.conformal_quantile(scores, targets, coverage=0.8))
    assert sets.gather(1, scores.argmax(1, keepdim=True)).all()
    for row, inside in zip(scores, sets, strict=True):
        assert row[inside].min() > row[~inside].max() if (~inside).any() else inside.all()
    cooler = scores.double() / temperature
    gap = calibration.conformal_quantile(cooler, targets, coverage=0.8)
    assert gap * temperature == pytest.approx(calibration.conformal_quantile(scores, targets, coverage=0.8), rel=1e-9)


def test_sets_need_items_and_labels_that_can_be_named():
    scores, targets = drawn_scores(8)
    with refuses(DataError, 0.1, 9, 8):
        calibration.conformal_quantile(scores, targets, coverage=0.9)
    scores, targets = drawn_scores(30)
    scores[:, 0] = -torch.inf
    with refuses(DataError, "coverage=0.9"):
        calibration.conformal_quantile(scores, torch.zeros_like(targets), coverage=0.9)


@pytest.mark.parametrize(("groups", "size"), [(19, 5), (30, 20)])
def test_guarantees_hold_for_items_of_new_groups(groups: int, size: int) -> None:
    """Items of a scene share most of their score: ranks of single items miss the rates, those of groups keep them."""
    draws, generator, rate = 600, torch.Generator().manual_seed(7), 0.05
    own, missed = [i // size for i in range(groups * size)], torch.zeros(2, 2)
    for _ in range(draws):
        scenes = torch.randn(groups + 1, generator=generator)
        values = scenes[:, None] + 0.3 * torch.randn(groups + 1, size, generator=generator)
        known, new = values[:-1].flatten(), values[-1, 0]
        # Two classes: the gap of a label is how far its score is below the other's.
        scores, label = (torch.stack([each, torch.zeros_like(each)], -1) for each in (known, new)), 1
        scores, fresh = scores
        targets = torch.full((len(known),), label)
        for row, keys in enumerate((None, own)):
            limit = calibration.threshold_for(known.sigmoid(), keys, false_accept=rate)
            quantile = calibration.conformal_quantile(scores, targets, groups=keys, coverage=1 - rate)
            inside = label_sets(fresh[None], quantile)[0, label]
            missed[row] += torch.tensor([float(new.sigmoid() > limit), float(not inside)])
    alone, grouped = (missed / draws).tolist()
    assert max(grouped) <= binom.ppf(0.999, draws, rate) / draws
    assert min(alone) >= rate


def test_wrong_answers_of_probability_1_leave_no_level_that_an_answer_reaches() -> None:
    assert calibration.risk_limit(torch.ones(100).double(), None, wrong=0.05) > torch.ones(10).double().sum() / 10


def test_a_group_counts_as_one_item() -> None:
    scores, targets = drawn_scores(60)
    films = [i % 3 for i in range(60)]
    assert calibration.effective_items(torch.ones(60), films) == 3
    # Sums of thirds, sixths and the like are rounded.
    for groups, size in product(range(2, 30), range(2, 12)):
        own = [item // size for item in range(groups * size)]
        assert calibration.Unknown(torch.zeros(len(own), 2), own).worth == groups
    for call in (
        lambda: calibration.calibrate(scores, targets, groups=films),
        lambda: calibration.calibrate(scores, targets, coverage=None, unknown=calibration.Unknown(scores, films)),
        lambda: calibration.risk_limit(scores.softmax(-1)[:, 0].double(), None, films, wrong=0.05),
    ):
        with refuses(DataError, "got 3"):
            call()
    missing = calibration.missing_guarantees(3, 3, calibration.Rates(0.05, 0.9, 0.05), ((), films))
    assert "got 3 (60 items of 3 groups)" in missing["threshold"]
    # Groups of one item change no bit, and copies of each item none of the ranks.
    once, twice = (calibration.calibrate(scores, targets, groups=[*range(60)]), torch.arange(60).repeat_interleave(2))
    assert once == calibration.calibrate(scores, targets)
    copies = calibration.calibrate(scores[twice], targets[twice], groups=twice.tolist())
    assert copies.coverage == once.coverage


def test_equal_weights_change_no_bit_and_others_act_as_copies():
    scores, targets = drawn_scores(60, heat=2.0)
    plain = calibration.calibrate(scores, targets)
    assert calibration.calibrate(scores, targets, weights=torch.full((60,), 0.3)) == plain
    weights = torch.tensor([1.0, 3.0]).repeat(30)
    copies = torch.arange(60).repeat_interleave(weights.long())
    assert calibration.fit_temperature(scores, targets, weights) == pytest.approx(
        calibration.fit_temperature(scores[copies], targets[copies]), rel=1e-8
    )
    # As the items are worth 40 of the heaviest, a miss rate of 1 in 41 is possible, and of 1 in 42 is not.
    assert calibration.effective_items(weights) == 40
    assert calibration.conformal_quantile(scores, targets, weights, coverage=1 - 1 / 41) > 0
    with refuses(DataError, 41, 40):
        calibration.conformal_quantile(scores, targets, weights, coverage=1 - 1 / 42)


@pytest.mark.parametrize("seed", range(12))
def test_a_temperature_is_checked_with_the_weights_that_it_is_fitted_with(seed):
    """An item of weight 5 is five items of one group, also where its class is rare and harder."""
    scores, targets = drawn_scores(120, classes=2, heat=1.5, seed=seed)
    weights = torch.where(targets == 0, 5.0, 1.0).double()
    copies = torch.arange(120).repeat_interleave(weights.long())
    once, repeated = (
        calibration.checked_temperature(scores[rows], targets[rows], each, groups=rows.tolist())
        for rows, each in ((torch.arange(120), weights), (copies, None))
    )
    assert once[0] == pytest.approx(repeated[0], rel=1e-8)
    assert once[2][:2] == pytest.approx(repeated[2][:2])
    assert bool(once[3]) == bool(repeated[3])


SCORES, TARGETS = drawn_scores(60, heat=2.0)
UNKNOWN, _ = drawn_scores(40, seed=1)


def test_a_calibration_comes_back_from_json():
    made = calibration.calibrate(SCORES, TARGETS, unknown=calibration.Unknown(UNKNOWN))
    made = replace(made, classes="abc", source="here", content=frozenset("xy"))
    assert calibration.Calibration.from_json(made.to_json()) == made
    assert made.threshold is not None
    assert made.coverage is not None
    bare = calibration.calibrate(SCORES, TARGETS, coverage=None)
    assert (bare.threshold, bare.coverage) == (None, None)
    assert bare.accepts(SCORES).all()
    assert calibration.Calibration.from_json(bare.to_json()) == bare
    without = made.temperature_only()
    assert (without.temperature, without.threshold) == (made.temperature, None)


def test_a_measurement_comes_back_and_has_the_bins_of_the_plot():
    made = calibration.calibrate(SCORES, TARGETS, unknown=calibration.Unknown(UNKNOWN), false_accept=0.1)
    result = calibration.measure(made, SCORES, TARGETS, unknown=UNKNOWN)
    sure, right = reliability.confidences(SCORES.double()).numpy(), (SCORES.argmax(1) == TARGETS).numpy()
    assert result.before.rows == reliability.reliability_bins(sure, right)
    assert result.before.error == pytest.approx(reliability.expected_calibration_error(sure, right))
    assert (result.before.low, result.before.high) == reliability.error_interval(sure, right)
    assert result.after.chance == reliability.chance_error(reliability.confidences(made.apply(SCORES)).numpy())
    # At 10 %, the threshold is value ceil(41 x 0.9) = 37 of 40, so 3 pass.
    assert result.unknown_accepted == (3, 40)
    assert result.known_rejected == int((~made.accepts(SCORES)).sum())
    # At 90 %, the limit is gap ceil(61 x 0.9) = 55 of 60.
    assert result.covered == 55
    kept = replace(made, measured=result)
    assert calibration.Calibration.from_json(json.loads(json.dumps(kept.to_json()))) == kept
    assert "measured" not in kept.to_json(with_items=False)
    assert kept.temperature_only().measured is None
    bare = calibration.measure(made.temperature_only(), SCORES, TARGETS)
    assert (bare.unknown_accepted, bare.known_rejected, bare.covered, bare.mean_set_size) == (None,) * 4
    kept = replace(made, measured=bare)
    assert calibration.Calibration.from_json(json.loads(json.dumps(kept.to_json()))) == kept
    # A level decides in place of the threshold, whose rates would not be those of the answers.
    level = calibration.Level(0.5, 0.5, {})
    levelled = calibration.measure(replace(made, level=level), SCORES, TARGETS, unknown=UNKNOWN)
    assert (levelled.unknown_accepted, levelled.known_rejected) == (None, None)


MADE = calibration.calibrate(SCORES, TARGETS, unknown=calibration.Unknown(UNKNOWN))
MEASURED = calibration.measure(MADE, SCORES, TARGETS).to_json()


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ({"format": 9}, "9"),
        ({"temperature": None}, "`temperature` must be a number, got None"),
        ({"threshold": {"probability": 0.5}}, "'false_accept'"),
        ({"threshold": {"false_accept": "a", "probability": 0.5, "unknown_items": 3}}, "'a'"),
        ({"protocol": 3}, "a mapping, got 3"),
        ({"measured": {**MEASURED, "covered": "all"}}, "`covered` must be a whole number, got 'all'"),
    ],
)
def test_json_of_no_calibration_is_an_error(change, value):
    with pytest.raises(ValueError, match=value):
        calibration.Calibration.from_json({**MADE.to_json(), **change})


def test_unknown_items_of_groups_are_counted_as_both():
    """A bound that was set on 20 groups of 2 names the 40 items that a reader can count."""
    groups = [i // 2 for i in range(len(UNKNOWN))]
    made = calibration.calibrate(SCORES, TARGETS, unknown=calibration.Unknown(UNKNOWN, groups), false_accept=0.1)
    assert replace(made, measured=calibration.measure(made, SCORES, TARGETS, unknown=UNKNOWN)).unknown_text == (
        "40 unknown items of 20 groups"
    )
