"""Rows at smoke scale: training items, test items, and training that is not changed by recording curves."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paper import data, fit, worlds
from paper.class_draws import half_classes
from paper.data import Runtime
from paper.rows import Job, Row
from texthead.evaluation.results import Evaluation

pytestmark = pytest.mark.nightly("paper")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory) -> Runtime:
    return Runtime("smoke", cache_folder=tmp_path_factory.mktemp("kept"))


def result(row: Row, runtime: Runtime, seed: int = 0) -> dict:
    return fit.fit(Job("row", seed, row), runtime)


def test_a_row_trains_and_is_scored_on_every_test_item(runtime):
    other = result(replace(worlds.CLOTHING, scored="airborne"), runtime)
    assert other["count"] == len(data.test_items(data.read("airborne", runtime)))
    actual = result(worlds.CLOTHING, runtime)
    assert actual["count"] == len(data.test_items(data.read("clothing", runtime))) == 6
    assert (actual["steps"], actual["rows_moved"]) == (2, False)
    assert actual["views"]["1x1"]["top1"] == actual["top1"]
    assert len(actual["halves"]) == 10


def test_seed_determines_curve_despite_validation(runtime):
    row = replace(worlds.CLOTHING, watch=1)
    curve = result(row, runtime)["curve"]
    assert result(row, runtime)["curve"] == curve
    assert result(row, runtime, 1)["curve"] != curve
    bench = fit.prepare(worlds.smoke(worlds.CLOTHING), 0, runtime)
    unwatched = [record for record in fit.train(bench, bench.model()) if record["kind"] == "train"]
    assert [loss for _, loss, _ in curve] == [loss for _, loss, _ in fit.curve_of(unwatched)]
    # A second training run starts from the first one's weights.
    assert result(replace(row, after="airborne"), runtime)["curve"][0][1] != curve[0][1]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"head": "linear", "head_rate": 30.0}, {"rows_moved": True}), ({"k": 3}, {"different_items_a_class": (3, 3)})],
)
def test_what_a_row_changes(runtime, changes, expected):
    row = replace(worlds.CLOTHING, **changes)
    assert result(row, runtime).items() >= expected.items()
    if "head_rate" in changes:
        assert fit.recipe_for(row, 16, 0).lr_new == pytest.approx(30 * fit.recipe_for(row, 16, 0).lr)


def test_held_out_items_are_not_trained_on(runtime):
    whole = data.read("clothing", runtime)
    train, _, held = fit.chosen(replace(worlds.CLOTHING, score="held-out"), whole, 0)
    trained, scored, every = ({item.path for item in part.items} for part in (train, held, whole.split("train")))
    assert trained | scored == every
    assert not trained & scored
    assert held.classes == train.classes
    # With K shots the held-out items are taken from the shots.
    train, _, held = fit.chosen(replace(worlds.CLOTHING, k=3, score="held-out"), whole, 0)
    assert len(train) + len(held) == 18


def test_unseen_classes_are_scored_among_themselves(runtime):
    row = replace(worlds.CLOTHING, unseen=0.4, score="unseen")
    train, _, test = fit.chosen(row, data.read("clothing", runtime), 0)
    assert len(test.classes) == 2
    assert not set(test.classes) & set(train.classes)
    # All items of these classes, from training too.
    whole = data.read("clothing", runtime)
    every = fit.chosen(replace(row, score="all unseen"), whole, 0)[2]
    assert {item.path for item in every.items} == {item.path for item in whole.items if item.label in test.classes}
    bench = fit.prepare(worlds.smoke(row), 0, runtime)
    model = bench.model()
    other = model.with_head(bench.text_head(model, test.classes))  # pyright: ignore[reportArgumentType]
    assert bench.evaluate(other, test).scores.shape[1] == 2


def test_halves_are_the_published_ones():
    scores = torch.eye(10)
    taken, other = half_classes(10, 0)[:2]
    scores[taken, other] = 2.0  # one class is mistaken for another where both are candidates
    actual = fit.half_scores(Evaluation(tuple("abcdefghij"), [Path("x")] * 10, torch.arange(10), scores))
    for seed, top1 in enumerate(actual):
        half = half_classes(10, seed)
        assert top1 == pytest.approx(100 * (len(half) - ({taken, other} <= {*half})) / len(half))
    assert {round(value) for value in actual} == {80, 100}
