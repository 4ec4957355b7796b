"""Findings from an encoder's features of names and files, with `mini` on names and generated pictures."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from messages import prints
from texthead import load_encoder
from texthead.apps.doctor import encoder_findings
from texthead.apps.doctor.encoder_findings import swaps
from texthead.data.dataset import Item
from texthead.encoders.encoder import Encoder


@pytest.fixture(scope="module")
def mini() -> Encoder:
    encoder = load_encoder("mini", keep_text=True)
    encoder.visual.eval()
    return encoder


def test_cosines_of_centered_features() -> None:
    # The class means are (5, 5) plus (0, 2) and (0, -2): the larger class does not pull the center.
    seen = np.array([[5.0, 7.0], [5.0, 7.0], [6.0, 7.0], [4.0, 7.0], [5.0, 3.0]])
    rows = np.array([[0.0, 1.0], [1.0, 0.0]])
    cosines = encoder_findings.centered_cosines(rows, seen, np.array([0, 0, 0, 0, 1]))
    assert cosines[0] == pytest.approx([1, 0])
    assert cosines[4] == pytest.approx([-1, 0])
    assert cosines[2] == pytest.approx([2 / 5**0.5, 1 / 5**0.5])


def test_swapped_names_are_found(mini: Encoder) -> None:
    """Features that lie on the text rows of other names."""
    shown = {"dog": "guitar", "airplane": "airplane", "guitar": "dog"}
    names = list(shown)
    rows = dict(zip(shown, encoder_findings.rows_of(mini, names), strict=True))
    rng = np.random.default_rng(0)
    labels = [label for label in shown for _ in range(6)]
    seen = [5 + rows[shown[label]] + rng.normal(0, 0.02, mini.dim) for label in labels]
    items = [Item(Path(f"{index}"), (label,)) for index, label in enumerate(labels)]
    (swap,) = encoder_findings.class_findings(mini, dict.fromkeys(names), names, items, seen)
    assert (swap.fault, swap.about, swap.severity) == ("names look swapped", "dog", "serious")
    prints(swap.detail, "with guitar", "standard error 0.0")
    true = [Item(item.path, (shown[item.label],)) for item in items]
    assert [*encoder_findings.class_findings(mini, dict.fromkeys(names), names, true, seen)] == []


def test_names_that_are_near_synonyms_are_found(mini: Encoder) -> None:
    names = ["bike", "couch", "bicycle", "sofa", "volcano"]
    items = [Item(Path(name), (name,)) for name in names]
    seen = [5 + row for row in encoder_findings.rows_of(mini, names)]
    result = [*encoder_findings.class_findings(mini, dict.fromkeys(names), names, items, seen)]
    assert {(alike.fault, alike.about) for alike in result} == {("near-synonyms", "couch"), ("near-synonyms", "bike")}
    cosines = [float(re.search(r"rows (\S+)\)", alike.detail)[1]) for alike in result]  # pyright: ignore
    assert cosines == sorted(cosines, reverse=True)


# Cosines of 12 items per class, 0.2 higher for their own name; every name has its own offset.
TARGETS = np.repeat(np.arange(5), 12)
COSINES = np.random.default_rng(0).normal(0, 0.1, (60, 5)) + np.linspace(0, 1, 5) + 0.2 * np.eye(5)[TARGETS]
ALONE = [str(position) for position in range(60)]


def swap(targets: np.ndarray, first: int, second: int) -> np.ndarray:
    """Return the targets with two classes swapped."""
    other = targets.copy()
    other[targets == first], other[targets == second] = second, first
    return other


def test_every_planted_swap_is_found_and_nothing_else() -> None:
    assert swaps(COSINES, TARGETS, ALONE) == []
    for first, second in itertools.combinations(range(5), 2):
        (result,) = swaps(COSINES, swap(TARGETS, first, second), ALONE)
        assert (result.first, result.second) == (first, second)
        assert abs(result.gain - 0.4) < 4 * result.error
        # Two differences of two cosines with a standard deviation of 0.1, each averaged over 12 items.
        assert result.error == pytest.approx((4 * 0.01 / 12) ** 0.5, rel=0.4)
    # Two swaps at once.
    mixed = swap(swap(TARGETS, 0, 3), 1, 4)
    assert {(result.first, result.second) for result in swaps(COSINES, mixed, ALONE)} == {(0, 3), (1, 4)}


@pytest.mark.parametrize(("classes", "found"), [(5, 1), (45, 0)])
def test_among_more_classes_a_swap_must_gain_more(classes: int, found: int) -> None:
    targets = np.repeat(np.arange(classes), 4)
    cosines = 0.5 * np.eye(classes)[targets] + np.linspace(0, 1e-6, 4 * classes)[:, None]
    cosines[:4, :2], cosines[4:8, :2] = (0.4, 0.46), (0.46, 0.4)
    assert len(swaps(cosines, targets, [str(item) for item in range(len(targets))])) == found


def test_class_offsets_cause_no_swaps() -> None:
    mixed = swap(TARGETS, 0, 3)
    lifted = COSINES + np.array([0, 5, 0, -3, 1])[None, :] + np.array([2, 0, 0, 7, 0])[mixed][:, None]
    assert swaps(lifted, mixed, ALONE)[0].gain == pytest.approx(swaps(COSINES, mixed, ALONE)[0].gain)


def test_items_of_one_group_count_as_one_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = swap(TARGETS, 0, 1)
    assert swaps(COSINES, mixed, [str(target) for target in mixed]) == []
    two_scenes = [f"{target} {position % 2}" for position, target in enumerate(mixed)]
    monkeypatch.setattr(encoder_findings, "ERRORS", 0.1)
    (result,) = swaps(COSINES, mixed, two_scenes)
    (by_item,) = swaps(COSINES, mixed, ALONE)
    assert result.gain == by_item.gain
    assert result.error != by_item.error
