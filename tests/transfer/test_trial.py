"""Trials of fine-tuning: both recognisers are scored on items that neither was fitted to."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from made import SPEC, tiny_visual, write_image
from texthead.data.dataset import Dataset, Item
from texthead.data.protocol import Protocol
from texthead.encoders.encoder import Encoder
from texthead.features.frozen import FrozenEncoder, FrozenItems
from texthead.models.head_rows import RowInputs
from texthead.models.heads import ProbeHead
from texthead.recipes import Recipe
from texthead.transfer import trial as trials
from texthead.transfer.closed_form import logistic_head
from texthead.transfer.trial import TuningTrial, try_tuning

# The package offers the function under this name.
training = import_module("texthead.training.train")


def rows_of(prompts: list[str]) -> torch.Tensor:
    """Encode each prompt as a random row, seeded by its length."""
    return torch.stack([torch.randn(SPEC.dim, generator=torch.Generator().manual_seed(len(text))) for text in prompts])


def test_fine_tuning_is_ahead_only_with_more_right_answers() -> None:
    right = np.array([True] * 6 + [False] * 4)
    groups, ones = [str(index) for index in range(10)], np.ones(10)
    assert not TuningTrial(right, right[::-1].copy() & False, groups, ones).tuned_is_ahead
    assert not TuningTrial(right, right, groups, ones).tuned_is_ahead
    ahead = TuningTrial(right, np.array([True] * 9 + [False]), groups, ones)
    assert ahead.tuned_is_ahead
    assert not ahead.is_decided(0)
    assert TuningTrial(right & False, right | True, groups, ones).is_decided(0)
    # Tied so far: undecided while fine-tuning could still fix mistakes of the text-probe.
    assert not TuningTrial(right, right, groups, ones).is_decided(1)
    assert TuningTrial(right, right, groups, ones).is_decided(0)
    # One item of a rare class outweighs two of a frequent one.
    rare = TuningTrial(right, right ^ np.array([True, True, *[False] * 7, True]), groups, np.array([1.0] * 9 + [5.0]))
    assert rare.tuned_is_ahead
    assert "(+21.4 points" in str(rare)
    assert "10 cross-validated training items" in str(ahead)
    assert "fine-tuning classifies 90.0 % correctly and the text-probe 60.0 % (+30.0 points" in str(ahead)


@pytest.mark.parametrize(("enough", "wrong", "tried"), [(4, True, 2), (100, True, 5), (100, False, 1)])
def test_trial_stops_when_decided(
    enough: int, wrong: bool, tried: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text-probe that is always right cannot be beaten."""
    colours = ("blue", "red")
    items = tuple(
        Item(write_image(tmp_path / f"{colour}{index}.png", colour, seed=index), colour)
        for colour in colours
        for index in range(5)
    )
    data, visual = Dataset(items), tiny_visual()
    recipe = Recipe(name="test", frames=1, size=32, epochs=2, warmup=0.5, batch=4, center=True, temporal="mean")
    protocol = Protocol(1, SPEC.pixels(recipe))
    encoder = Encoder(visual, None, scale=10.0)
    monkeypatch.setattr(type(encoder), "has_text", True)
    monkeypatch.setattr(encoder, "encode_text", rows_of)
    encoded = FrozenEncoder(encoder, protocol).items(data)
    inputs = RowInputs(encoder, colours, recipe, features=encoded.features, targets=encoded.targets)

    def quick(items: FrozenItems) -> ProbeHead:
        return logistic_head(items.features, (items.targets - int(wrong)).abs(), names=colours)

    before = {name: tensor.clone() for name, tensor in visual.state_dict().items()}
    trained_on: list[set[Path]] = []

    def spied(model, train_set, *arguments, **options):
        trained_on.append({item.path for item in train_set.items})
        return training.train(model, train_set, *arguments, **options)

    monkeypatch.setattr(trials, "train", spied)
    monkeypatch.setattr(trials, "ENOUGH", enough)
    monkeypatch.setattr(trials, "lead_interval", lambda *_: (-1.0, 1.0))
    result = try_tuning(quick, encoded, inputs, protocol)
    assert result.quick.all() != wrong
    assert len(result.quick) == len(result.tuned) == len(result.groups) == len(result.weights) == 2 * tried
    assert [len(paths) for paths in trained_on] == [8] * tried
    assert all(torch.equal(before[name], tensor) for name, tensor in visual.state_dict().items())
