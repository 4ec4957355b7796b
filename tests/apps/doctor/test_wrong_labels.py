"""Labels that look wrong, on drawn features."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from made import noise
from texthead import Dataset, Item
from texthead.apps.doctor import suspicious_labels
from texthead.apps.doctor.findings import label_findings
from texthead.apps.doctor.wrong_labels import PENALTY, JudgedLabels, SuspiciousLabel, _scores_by_others

CLASSES, EACH, DIM = 5, 48, 32
TRUE = torch.arange(CLASSES * EACH) % CLASSES
MEANS = noise(CLASSES, DIM, seed=0)


def clouds(spread: float) -> Tensor:
    return MEANS[TRUE] + spread * noise(len(TRUE), DIM, seed=1)


def planted(*items: int) -> Tensor:
    """Return the labels, those of some items one class further."""
    labels = TRUE.clone()
    labels[list(items)] = (labels[list(items)] + 1) % CLASSES
    return labels


def test_planted_labels_come_first_with_their_class() -> None:
    wrong = (3, 17, 40, 77, 101, 133, 200, 222)
    judged = suspicious_labels(clouds(0.8), planted(*wrong))
    assert {label.item for label in judged.ranked[:8]} == {*wrong} == {label.item for label in judged.listed}
    assert all(label.better == TRUE[label.item] == label.fits.argmax() for label in judged.listed)
    assert len(judged.ranked) == len(TRUE)
    assert judged.unjudged == ""
    # Zeros beside the features change nothing, but more numbers than items take the other form of the inverse.
    wide = suspicious_labels(torch.cat([clouds(0.8), torch.zeros(len(TRUE), 300)], dim=1), planted(*wrong))
    assert [label.item for label in wide.ranked] == [label.item for label in judged.ranked]
    assert np.allclose(wide.listed[0].fits, judged.listed[0].fits, atol=1e-4)


@pytest.mark.parametrize("spread", [0.1, 0.8, 3.0])
def test_clean_labels_are_not_listed(spread: float) -> None:
    judged = suspicious_labels(clouds(spread), TRUE)
    assert judged.listed == ()
    assert (judged.agreement > 0.99) == (spread < 1)


def test_scores_are_those_of_a_fit_without_the_group() -> None:
    x, hot = clouds(0.5).double().numpy(), np.eye(CLASSES)[TRUE]
    groups = [item // 7 for item in range(len(x))]
    scores = _scores_by_others(x, hot, groups)
    hot = hot - hot.mean(0)
    for group in (0, 4):
        own = np.array(groups) == group
        rest = x[~own]
        weight = np.linalg.solve(rest.T @ rest + PENALTY * np.eye(DIM), rest.T @ hot[~own])
        assert np.allclose(scores[own], x[own] @ weight)


def test_the_items_of_a_group_do_not_vouch_for_each_other() -> None:
    features, scene = clouds(0.8), list(range(5, 45, 5))
    features[scene] = features[scene[:1]] + 0.01 * noise(8, DIM, seed=2)
    groups = [0 if item in scene else item for item in range(len(TRUE))]
    alone, grouped = (suspicious_labels(features, planted(*scene), keys) for keys in (None, groups))
    for item in scene:
        own, without = ([label.fits[1] for label in judged.ranked if label.item == item] for judged in (alone, grouped))
        assert own > without
    assert {label.item for label in grouped.ranked[:8]} == {*scene}


def test_labels_that_cannot_be_judged() -> None:
    assert "two classes" in suspicious_labels(clouds(0.5), torch.zeros(len(TRUE), dtype=torch.long)).unjudged
    assert "two classes" in suspicious_labels(torch.zeros(0, DIM), torch.zeros(0, dtype=torch.long)).unjudged
    by_chance = suspicious_labels(noise(len(TRUE), DIM, seed=3), TRUE)
    assert by_chance.listed == ()
    assert "60 % are needed" in by_chance.unjudged
    labels = TRUE.clone()
    labels[[0, 1]] = CLASSES
    few = suspicious_labels(clouds(0.5), labels)
    assert few.unjudged.startswith("2 labels")
    assert len(few.ranked) == len(TRUE) - 2


def test_a_label_is_questioned_once_and_named_to_check_if_none_is_listed() -> None:
    items = tuple(Item(Path(name), (label,)) for name, label in (("gone", "x"), ("a", "x"), ("b", "y")))
    ranked = (SuspiciousLabel(1, 1, np.array([0.2, 0.8])), SuspiciousLabel(2, 0, np.array([0.7, 0.3])))
    judged = JudgedLabels(ranked, agreement=0.9)
    (finding,), note = label_findings(Dataset(items), replace(judged, listed=ranked), {2})
    assert (finding.severity, finding.about, finding.items, note) == ("warning", "a", (1,), "")
    assert "labelled x, but fits y better (80 % against 20 %)" in finding.detail

    for known, words in (((), "check a first (fits y)"), ((1,), "check b first (fits x)"), ((1, 2), "no label looks")):
        assert words in label_findings(Dataset(items), judged, {*known})[1]
