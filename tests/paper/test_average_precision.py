"""Mean average precision: scikit-learn's for each class that has an item, once or twice through a softmax."""

import pytest
import torch

from made import noise
from paper.average_precision import mean_average_precision


def test_a_class_without_an_item_is_left_out() -> None:
    scores, targets = noise(30, 5), torch.arange(30) % 3
    assert mean_average_precision(scores, targets) == pytest.approx(mean_average_precision(scores[:, :3], targets))


def test_double_softmax_keeps_item_order() -> None:
    # Items 0 and 1 tie for class 0; a second softmax (0.384 and 0.391) puts item 1 first. Class 1 is right in both.
    probabilities = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]])
    assert mean_average_precision(probabilities, torch.tensor([1, 0])) == pytest.approx(75)
    assert mean_average_precision(probabilities, torch.tensor([1, 0]), double_softmax=True) == pytest.approx(100)
    order = probabilities.double().argsort(stable=True)
    assert torch.equal(probabilities.double().softmax(-1).argsort(stable=True), order)
    large = (5 * noise(200, 10)).softmax(-1)
    labels = torch.arange(200) % 10
    once, again = (mean_average_precision(large, labels, double_softmax=double) for double in (False, True))
    assert once != again
    assert again == pytest.approx(mean_average_precision(large.double().softmax(-1), labels))
    # Small probabilities must not tie: in single precision exp(1e-8) is 1, and both items would score alike.
    small = torch.tensor([[2e-8, 0.4, 0.6], [1e-8, 0.6, 0.4]])
    assert mean_average_precision(small, torch.tensor([0, 1]), double_softmax=True) == pytest.approx(100)
