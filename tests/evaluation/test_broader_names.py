"""Answers with broader names, the level that keeps wrong ones rare, and the counts of each."""

import json

import pytest
import torch

from made import drawn_scores
from messages import refuses
from texthead.errors import DataError
from texthead.evaluation.broader_names import answer_rows, answers, best_wrong, members
from texthead.evaluation.calibration import Calibration, Level, Unknown, calibrate, with_level

# pug, beagle, siamese, kite.
BROADER = {"animal": [0, 1, 2], "dog": [0, 1]}
PROBABILITIES = torch.tensor(
    [[0.95, 0.03, 0.01, 0.01], [0.5, 0.42, 0.04, 0.04], [0.4, 0.1, 0.42, 0.08], [0.3, 0.1, 0.1, 0.5]]
)


def test_the_most_specific_name_that_reaches_the_level_answers():
    assert answers(PROBABILITIES, BROADER, 0.9).tolist() == [0, 5, 4, -1]
    assert answers(PROBABILITIES, BROADER, 0.99).tolist() == [-1, -1, -1, -1]
    assert answers(PROBABILITIES, BROADER, 0.3).tolist() == [0, 0, 2, 3]
    assert answers(PROBABILITIES, {}, 0.9).tolist() == [0, -1, -1, -1]
    assert answers(PROBABILITIES, BROADER, 0.96, 0.9).tolist() == [5, 5, 4, -1]


@pytest.mark.parametrize("level", [0.05, 0.3, 0.45, 0.6])
def test_above_the_best_wrong_name_no_answer_is_wrong(level):
    scores, targets = drawn_scores(500, 4, 1.0)
    probabilities = scores.double().softmax(-1)
    right = members(BROADER, 4)[:, targets].T
    best_class, best_broader = best_wrong(probabilities, right, BROADER)
    for other in (level, 0.7):
        given = answers(probabilities, BROADER, level, other)
        wrong = (given >= 0) & ~members(BROADER, 4)[given, targets]
        assert wrong.any()
        assert not (wrong & (given < 4) & (best_class < level)).any()
        assert not (wrong & (given >= 4) & (best_broader < other)).any()


def test_wrong_answers_to_new_items_stay_below_the_share():
    shares = []
    for seed in range(60):
        scores, targets = drawn_scores(400, 4, 2.0, seed)
        held = scores[:99], targets[:99]
        made = with_level(calibrate(*held, coverage=None), *held, BROADER, wrong=0.1)
        given = made.answers(scores[99:])
        shares.append(float(((given >= 0) & ~members(BROADER, 4)[given, targets[99:]]).float().mean()))
    assert 0.05 < sum(shares) / len(shares) < 0.105
    with refuses(DataError, "a fraction of wrong answers", "at least 99 items"):
        with_level(made, scores[:50], targets[:50], BROADER, wrong=0.01)


def test_wrong_answers_to_unknown_items_stay_below_the_share():
    """A name above an unknown item's class is right for it, so the level for broader names is lower."""
    shares, any_name = [], []
    for seed in range(60):
        (scores, targets), (unknown, _) = drawn_scores(200, 4, 2.0, seed), drawn_scores(400, 4, 2.0, 1000 + seed)
        right = torch.zeros(400, 6, dtype=torch.bool)
        right[::2, 4:] = True
        plain = calibrate(scores, targets, unknown=Unknown(unknown[:99]), coverage=None, false_accept=0.1)
        made = with_level(plain, scores, targets, BROADER, wrong=0.5, unknown=Unknown(unknown[:99], None, right[:99]))
        assert (made.level.false_accept, made.level.unknown_items) == (0.1, 99)
        given = made.answers(unknown[99:])
        shares.append(float(((given >= 0) & ~right[99:].gather(1, given[:, None].clamp(min=0))[:, 0]).float().mean()))
        any_name.append(float((given >= 0).float().mean()))
        strict = with_level(plain, scores, targets, BROADER, wrong=0.5)
        assert (strict.level.false_accept, strict.level.unknown_items) == (None, 0)
        assert not (strict.answers(scores) >= 0)[~strict.accepts(scores)].any()
    assert 0.03 < sum(shares) / len(shares) < 0.105
    assert sum(any_name) > sum(shares)


def test_answers_are_counted_at_each_level():
    rows = answer_rows(torch.tensor([0, 5, 4, -1, 0]), torch.tensor([0, 1, 3, 3, 1]), BROADER, 4)
    assert [(row.answer, row.items, row.correct and row.correct[0]) for row in rows] == [
        ("class", 2, 50),
        ("broader name", 1, 100),
        ("2 steps broader", 1, 0),
        ("any answer", 4, 50),
        ("none of these", 1, None),
        ("correct answer", 2, None),
    ]
    assert rows[-1].fraction[0] == 40


def test_a_calibration_with_a_level_is_saved_and_can_be_replaced():
    made = Calibration(2.0, 30, level=Level(0.8, 0.7, BROADER, 0.05, 0.1, 30))
    assert Calibration.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made.at_least(0.7, {}).level == Level(0.7, 0.7, {})
    assert made.temperature_only().level is None
    with refuses(DataError, "at_least", "1.5"):
        made.at_least(1.5, {})
