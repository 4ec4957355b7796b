"""The library leaves its caller's process as it was."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import texthead as th
from made import write_colour_run, write_image
from texthead.parallel.caller import apart_from_caller
from training_runs import RECIPE, make_model

MODEL = make_model()
CALLS: dict[str, Callable[[Path], object]] = {
    "load_encoder": lambda _: th.load_encoder("mini"),
    "load_run": lambda folder: th.load_run(folder / "run"),
    "predict": lambda folder: th.predict(th.load_run(folder / "run"), folder / "a.png"),
    "search": lambda folder: th.search(th.open_index(folder / "photos"), "a red thing"),
    "compare": lambda folder: th.compare(th.read_dataset(folder / "photos")),
    "diagnose": lambda folder: th.diagnose(th.read_dataset(folder / "photos")),
    "train": lambda folder: th.train(th.read_dataset(folder / "photos"), folder / "trained"),
    "fine_tune": lambda folder: th.fine_tune(
        MODEL, th.read_dataset(folder / "photos"), None, RECIPE, out=folder / "tuned"
    ),
    "TextHeadClassifier": lambda folder: th.TextHeadClassifier().fit([*folder.glob("photos/*/0.png")], ["a", "b"]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, a picture, and two classes of pictures."""
    folder = tmp_path_factory.mktemp("caller")
    write_colour_run(folder / "run")
    write_image(folder / "a.png", "red")
    for colour in ("red", "blue"):
        for number in range(3):
            write_image(folder / "photos" / colour / f"{number}.png", colour, number)
    return folder


@pytest.mark.parametrize("call", CALLS)
def test_torch_s_random_state_and_the_environment_stay(call: str, folder: Path) -> None:
    before, names = torch.get_rng_state(), {*os.environ}
    CALLS[call](folder)
    assert torch.equal(torch.get_rng_state(), before)
    assert {name for name in os.environ if name.startswith("KMP_")} <= names


def test_a_generator_that_is_given_moves_on() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (th.random_weights(2, 3, generator=generator) for _ in range(2))
    assert not torch.equal(first, second)


def test_answers_do_not_depend_on_default_dtype_or_autocast(folder: Path) -> None:
    expected = CALLS["predict"](folder)
    torch.set_default_dtype(torch.float64)
    try:
        assert CALLS["predict"](folder) == expected
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.autocast("cpu"):
        assert CALLS["predict"](folder) == expected
        assert torch.is_autocast_enabled("cpu")


def test_a_failure_restores_all() -> None:
    drawn = random.getstate()
    with pytest.raises(ZeroDivisionError), apart_from_caller():
        torch.set_default_dtype(torch.float64)
        random.random()
        raise ZeroDivisionError
    assert torch.get_default_dtype() == torch.float32
    assert random.getstate() == drawn
