"""Estimated accuracy with few labels, compared with the true value."""

import numpy as np
import torch
from torch import Tensor

from made import noise
from texthead.apps.label.learning_curve import learning_curve
from texthead.apps.label.selection import class_probabilities

CLASSES, DIM = 5, 32


def clouds(count: int, spread: float, seed: int) -> tuple[Tensor, Tensor]:
    targets = torch.from_numpy(np.random.default_rng(seed).integers(CLASSES, size=count))
    return noise(CLASSES, DIM, seed=1)[targets] + spread * noise(count, DIM, seed=seed), targets


def test_few_labels_or_one_class_have_no_curve() -> None:
    features, targets = clouds(9, 1.0, seed=2)
    assert learning_curve(None, features, targets, classes=CLASSES) is None
    features, targets = clouds(20, 1.0, seed=2)
    assert learning_curve(None, features, torch.zeros_like(targets), classes=CLASSES) is None


def test_accuracy_near_held_out() -> None:
    estimated, true, confidence = [], [], []
    tests, truth = clouds(2000, 3.0, seed=99)
    for seed in range(12):
        features, targets = clouds(40, 3.0, seed=seed)
        curve = learning_curve(None, features, targets, classes=CLASSES, seed=seed)
        assert curve.low < curve.top1 < curve.high
        assert curve.probabilities.shape == (40, CLASSES)
        others = class_probabilities(None, torch.cat([features, tests]), range(40), targets, classes=CLASSES)[40:]
        confidence.append(100 * float(curve.calibrated(others).amax(-1).mean()))
        estimated.append(curve.top1)
        true.append(100 * float((others.argmax(-1) == truth).float().mean()))
    # Fits on four fifths of the items are slightly worse than a fit on all.
    assert -8 < np.mean(estimated) - np.mean(true) < 4
    assert abs(np.mean(confidence) - np.mean(true)) < 8


def test_groups_stay_whole_and_each_item_is_scored_once() -> None:
    features, targets = clouds(30, 4.0, seed=3)
    # Each item occurs twice; without groups, its copy leaks the label.
    twice, groups = torch.cat([features, features]), [*range(30), *range(30)]
    curve = learning_curve(None, twice, targets.repeat(2), classes=CLASSES)
    apart = learning_curve(None, twice, targets.repeat(2), classes=CLASSES, groups=groups)
    assert curve.top1 > apart.top1
    assert torch.allclose(apart.probabilities.sum(-1), torch.ones(60), atol=1e-4)
    assert torch.allclose(apart.probabilities[:30], apart.probabilities[30:], atol=1e-3)


def test_a_class_with_one_label_is_found_by_text_alone() -> None:
    features, targets = clouds(30, 0.3, seed=4)
    positions = [index for index in range(30) if targets[index] != 4] + [int((targets == 4).nonzero()[0, 0])]
    rows = noise(CLASSES, DIM, seed=1)
    with_text = learning_curve(rows, features[positions], targets[positions], classes=CLASSES)
    assert int(with_text.probabilities[-1].argmax()) == 4
