"""The library leaves its caller's process as it was."""

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import texthead as th
from made import write_colour_run, write_image
from texthead.parallel.caller import apart_from_caller
from texthead.prediction.run import Run
from training_runs import RECIPE, make_model

MODEL = make_model()
CALLS: dict[str, Callable[[Path], object]] = {
    "load_encoder": lambda _: th.load_encoder("mini"),
    "load_run": lambda folder: th.load_run(folder / "run"),
    "predict": lambda folder: th.load_run(folder / "run").predict(folder / "a.png"),
    "search": lambda folder: th.search(th.open_index(folder / "photos"), "a red thing"),
    "compare": lambda folder: th.compare(photos(folder)),
    "diagnose": lambda folder: th.diagnose(photos(folder)),
    "train": lambda folder: th.train(photos(folder), folder / "trained"),
    "fine_tune": lambda folder: th.fine_tune(MODEL, photos(folder), None, RECIPE, out=folder / "tuned"),
    "FrozenEncoder.files": lambda folder: frozen(folder / "features").files(folder / "a.png"),
    "Run.with_classes": lambda folder: th.load_run(folder / "mini").with_classes(["a kite", "a crow"]),
    "TextHeadClassifier": lambda folder: th.TextHeadClassifier().fit([*folder.glob("photos/*/0.png")], ["a", "b"]),
}


AUTOCAST = torch.autocast("cpu", torch.bfloat16)


def photos(folder: Path) -> th.Dataset:
    return th.read_dataset(folder / "photos")


def frozen(cache: Path) -> th.FrozenEncoder:
    return th.FrozenEncoder(th.load_encoder("mini", lazy=True), reading=th.ReadOptions(cache=cache))


def rows(run: Run) -> list[list[float]]:
    assert isinstance(run.head.weight, torch.Tensor)
    return run.head.weight.tolist()


def set_convolutions(precision: str) -> None:
    torch.backends.mkldnn.conv.fp32_precision = precision


def precisions() -> tuple[object, ...]:
    """Return all that decides in which precision torch computes."""
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv
    modes = [backend.fp32_precision for backend in backends]
    return torch.get_default_dtype(), torch.is_autocast_enabled("cpu"), torch.get_float32_matmul_precision(), *modes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, a picture, and two classes of pictures."""
    folder = tmp_path_factory.mktemp("caller")
    write_colour_run(folder / "run")
    write_image(folder / "a.png", "red")
    for colour in ("red", "blue"):
        for number in range(3):
            write_image(folder / "photos" / colour / f"{number}.png", colour, number)
    th.train(photos(folder), folder / "mini", reading=th.ReadOptions())
    return folder


@pytest.mark.parametrize("call", CALLS)
def test_torch_s_random_state_and_the_environment_stay(call: str, folder: Path) -> None:
    before, names = torch.get_rng_state(), {*os.environ}
    CALLS[call](folder)
    assert torch.equal(torch.get_rng_state(), before)
    assert {name for name in os.environ if name.startswith("KMP_")} <= names


# What a caller may set, each as a function that sets and one that restores it.
SETTINGS: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "float64": (lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_dtype(torch.float32)),
    "matmul": (
        lambda: torch.set_float32_matmul_precision("medium"),
        lambda: torch.set_float32_matmul_precision("highest"),
    ),
    "one backend": (lambda: set_convolutions("bf16"), lambda: set_convolutions("none")),
    "autocast": (AUTOCAST.__enter__, lambda: AUTOCAST.__exit__(None, None, None)),
}

# What has an answer, by the cache folder: functions, and methods, some of which keep what they compute.
ANSWERS: dict[str, Callable[[Path, Path], object]] = {
    "predict": lambda folder, _: CALLS["predict"](folder),
    "predict, mini": lambda folder, _: th.load_run(folder / "mini").predict(folder / "a.png"),
    "FrozenEncoder.files": lambda folder, cache: frozen(cache).files(folder / "a.png").features.tolist(),
    "FrozenEncoder.items": lambda folder, cache: frozen(cache).items(photos(folder)).features.tolist(),
    "Run.with_classes": lambda folder, _: rows(th.load_run(folder / "mini").with_classes(["a red kite", "a crow"])),
    "Encoder.encode_text": lambda *_: th.load_encoder("mini", lazy=True).encode_text(["a red kite"]).tolist(),
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ANSWERS)
def test_a_caller_s_precision_changes_no_answer_nor_what_is_kept(name, setting, folder, tmp_path, monkeypatch) -> None:
    def answer(cache: str) -> object:
        monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / cache))
        th.load_encoder("mini", lazy=True)  # From the second time on lazily, and then texts are kept.
        return ANSWERS[name](folder, tmp_path / cache / "features")

    change, restore = SETTINGS[setting]
    expected, before = answer("plain"), precisions()
    change()
    changed = precisions()
    try:
        assert answer("changed") == expected
        assert precisions() == changed != before
    finally:
        restore()
    assert answer("changed") == expected, "what the caller's precision computed was kept"


def test_calls_that_overlap_in_threads_are_exact_and_restore_all() -> None:
    """The second begins before the first ends, and ends after it."""
    entered, ended = threading.Event(), threading.Event()
    inside = list[tuple[object, ...]]()

    def second() -> None:
        with apart_from_caller():
            entered.set()
            ended.wait(60)
            inside.append(precisions())

    exact = precisions()
    set_convolutions("bf16")
    torch.set_default_dtype(torch.float64)
    try:
        before, thread = precisions(), threading.Thread(target=second)
        with apart_from_caller():
            inside.append(precisions())
            thread.start()
            assert entered.wait(60)
        ended.set()
        thread.join()
        assert precisions() == before != exact
        assert inside[1] == inside[0]
    finally:
        set_convolutions("none")
        torch.set_default_dtype(torch.float32)


def test_a_failure_restores_all() -> None:
    drawn = random.getstate()
    with pytest.raises(ZeroDivisionError), apart_from_caller():
        torch.set_default_dtype(torch.float64)
        random.random()
        raise ZeroDivisionError
    assert torch.get_default_dtype() == torch.float32
    assert random.getstate() == drawn
