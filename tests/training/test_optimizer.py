"""The schedule gives the published learning rates."""

import pytest

from texthead.recipes import paper
from texthead.training.optimizer import lr_factor, step_epoch


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 0), (0.1, 1e-6), (0.5, 5e-6), (2.5, 2.5e-5), (5, 5e-5), (10, 4.5225e-5), (17.5, 2.5e-5), (30, 0)],
)
def test_the_published_rates(epoch, rate):
    recipe = paper()
    factor = lr_factor(float(epoch), epochs=float(recipe.epochs), warmup=recipe.warmup)
    assert recipe.lr_new * factor == pytest.approx(rate, rel=1e-4, abs=1e-12)
    assert recipe.lr * factor == pytest.approx(rate / 10, rel=1e-4, abs=1e-12)


def test_every_step_has_the_rate_of_its_middle():
    epochs = [step_epoch(step, steps_per_epoch=4, schedule_every=1) for step in range(8)]
    assert epochs == [0.125, 0.375, 0.625, 0.875, 1.125, 1.375, 1.625, 1.875]
    # So no step has a rate of 0, not even the only step of a run.
    first, last = epochs[0], epochs[-1]
    assert lr_factor(first, epochs=2.0, warmup=1.0) > 0
    assert lr_factor(last, epochs=2.0, warmup=1.0) > 0
    assert lr_factor(step_epoch(0, steps_per_epoch=1, schedule_every=1), epochs=1.0, warmup=0.0) > 0
