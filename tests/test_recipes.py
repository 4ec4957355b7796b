"""Recipes hold the paper's numbers, refuse invalid values and survive JSON."""

import json
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from messages import refuses
from texthead.errors import RunError
from texthead.recipes import RECIPES, Recipe, paper, small, temporal_sizes, text4vis


def test_what_the_paper_states():
    recipe = paper()
    assert (recipe.epochs, recipe.warmup, recipe.batch, recipe.lr) == (30, 5, 128, 5e-6)
    assert (recipe.frames, recipe.template) == (8, "a video of a person {}.")
    assert (recipe.temporal, recipe.flip) == ("transformer", 0)


def test_what_the_published_logs_and_code_do():
    recipe = text4vis()
    changed = {"name": "text4vis", "crop": "text4vis", "flip": 0.5, "batch": 256, "augment": "rand-augment"}
    assert recipe == replace(paper(), **changed)
    assert (recipe.lr, recipe.lr_new, recipe.weight_decay) == (5e-6, 5e-5, 0.2)
    assert (recipe.area, recipe.clip_norm) == ((0.08, 1.0), 0)
    assert (recipe.schedule_every, paper().schedule_every) == (10, 1)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_name_command_and_changes(name):
    recipe = RECIPES[name]()
    assert recipe.name == name
    changed = RECIPES[name](frames=16, seed=7)
    assert changed == replace(recipe, frames=16, seed=7)
    with refuses(RunError, "framez", "did you mean frames?"):
        RECIPES[name](framez=16)
    with pytest.raises(FrozenInstanceError):
        recipe.frames = 16
    about = RECIPES[name].__doc__
    assert "Command: texthead train" in about or "Command: as `paper`" in about
    assert "Expected:" in about


def test_warmup_of_recipes():
    assert [make(epochs=epochs).warmup for make in (paper, text4vis) for epochs in (6, 12, 200)] == 6 * [5]
    assert [small(epochs=epochs).warmup for epochs in (1, 10, 40)] == [0.1, 1, 4]
    assert small(epochs=40, warmup=2.0).warmup == small(warmup=2.0).warmup == 2
    assert small(lr=0.5).with_epochs(40) == small(lr=0.5, epochs=40)
    with refuses(RunError, "warmup", 5):
        paper(epochs=5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, 0) for key in ("frames", "epochs", "batch", "accumulate")),
        *((key, -1.0) for key in ("lr_new", "warmup", "weight_decay", "clip_norm")),
        *((key, "centre") for key in ("crop", "origin")),
        *(("lr", rate) for rate in (-1e-9, 1e38, float("nan"))),
        *(("area", bounds) for bounds in ((0.0, 1.0), (0.5, 0.4))),
        *(("seed", seed) for seed in (-1, True)),
        ("size", 15),
        ("accumulate", 129),  # of a batch of 128
        ("flip", 1.1),
        ("warmup", 30.0),  # of 30 epochs
        *(("scale", scale) for scale in (0.0, float("inf"))),
        ("clip_norm", float("inf")),
        ("frames", 1025),
        ("precision", "fp16"),
        ("class_shares", 3),
    ],
)
def test_a_value_outside_its_rule(key, value):
    recipe = paper()
    # Set afterwards, since beartype checks the types of arguments before the recipe does.
    object.__setattr__(recipe, key, value)
    with refuses(RunError, key, value):
        recipe.__post_init__()


@pytest.mark.parametrize(
    ("option", "known"), [("temporal", "vjepa2"), ("loss", "cross-entropy"), ("augment", "rand-augment")]
)
def test_names_of_parts_are_checked(option, known):
    with refuses(RunError, f"`{option}`", known, "'transfomer'"):
        small(**{option: "transfomer"})
    assert getattr(small(**{option: known}), option) == known


@pytest.mark.parametrize(
    "change",
    [{"frames": 1}, {"size": 16}, {"size": None}, {"accumulate": 128}, {"lr": 0.0}, {"flip": 1.0}, {"warmup": 0.0},
     {"scale": None}, {"clip_norm": 0.0}, {"seed": 0}],
)  # fmt: skip
def test_the_edges_of_the_rules_are_inside(change):
    assert all(getattr(paper(**change), key) == value for key, value in change.items())


def test_sizes_of_a_temporal_module():
    assert temporal_sizes(" transformer: layers = 2, width=256") == ("transformer", {"layers": 2, "width": 256})
    assert temporal_sizes("mean") == ("mean", {})
    for temporal in ("attentive:layers=3", "vjepa2:width=64", "mean:layers=1", "transformer:layers=0", "transformer:"):
        with refuses(RunError, "`temporal`", temporal):
            paper(temporal=temporal)
    assert [small(temporal=name).temporal for name in ("attentive", "vjepa2")] == ["attentive:width=256", "vjepa2"]
    assert small(temporal="transformer:layers=6").temporal == "transformer:layers=6"
    assert small().temporal == small(temporal="transformer").temporal == "transformer:layers=2,width=256"


@pytest.mark.parametrize("make", [*RECIPES.values(), lambda: small(scale=12.5, size=None, area=(0.5, 0.75), seed=3)])
def test_json_and_back(make):
    recipe = make()
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert isinstance(again.area, tuple)
    assert set(recipe.to_json()) == {field.name for field in fields(Recipe)}


def test_json_of_other_options_or_values_is_refused():
    values = paper().to_json()
    with refuses(RunError, "framez"):
        Recipe.from_json({**values, "framez": 3})
    with refuses(RunError, "'area', 'lr'"):
        Recipe.from_json({key: value for key, value in values.items() if key not in ("lr", "area")})
    with refuses(RunError, "frames", 0):
        Recipe.from_json({**values, "frames": 0})
