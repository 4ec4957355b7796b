"""A run folder loads as the recogniser that was saved, bit for bit, or fails with a one-line error."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save_file

from made import PIXELS, SPEC, frames, noise, tiny_visual
from messages import refuses
from run_folders import RECIPE, at, changed, put
from texthead.encoders import mini
from texthead.errors import RunError
from texthead.models.heads import FrozenHead, LinearHead, TrainableHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool, TemporalTransformer
from texthead.prediction import run as runs
from texthead.prediction.load import load_run
from texthead.runs.folder import describe, load_weights, save_model
from texthead.runs.metrics import MetricsLog
from texthead.runs.saved import is_run
from texthead.training.checkpoints import load_state, restore, save_state
from training_runs import assert_same_weights, copied

NAMES = ("archery", "juggling balls", "señal — 信号")


def make_head(**options: Any) -> FrozenHead:
    return FrozenHead(noise(3, SPEC.dim), names=NAMES, scale=17.0, **options)


def make_temporal(dropout: float = 0.0) -> TemporalTransformer:
    module = TemporalTransformer(SPEC.dim, 1, 32, heads=2, mlp_ratio=2, dropout=dropout)
    with torch.no_grad():  # the output projection starts at zero, but must matter here
        assert isinstance(module.project_out, torch.nn.Linear)
        module.project_out.weight.copy_(0.1 * noise(SPEC.dim, 32, seed=4))
    return module


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return put(tmp_path / "run", Recognizer(tiny_visual(), make_temporal(), make_head()))


def assert_refused(folder: Path, *parts: object) -> None:
    """Check that `load_run` refuses the folder in one line."""
    with refuses(RunError, *parts) as caught:
        load_run(folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(folder))


@pytest.mark.parametrize(
    ("temporal", "head"),
    [
        (MeanPool, lambda: make_head(prompts=[f"a {name}." for name in NAMES])),
        (MeanPool, lambda: make_head(center=noise(SPEC.dim, seed=3), kind="class-means")),
        (
            lambda: make_temporal(dropout=0.5),
            lambda: TrainableHead(
                noise(3, SPEC.dim), names=NAMES, scale=9.0, center=noise(SPEC.dim, seed=1), kind="cosine"
            ),
        ),
        (lambda: TemporalTransformer(SPEC.dim, 1), lambda: LinearHead(SPEC.dim, names=NAMES)),
    ],
    ids=["mean-frozen", "mean-frozen-center", "narrow-trainable", "full-linear"],
)
def test_a_saved_and_moved_run_gives_the_same_logits_bit_for_bit(tmp_path, temporal, head, monkeypatch) -> None:
    clips = frames(6, 32).unflatten(0, (2, 3))
    model = Recognizer(tiny_visual(seed=5), temporal(), head()).eval()
    with torch.no_grad():
        if not isinstance(model.head, LinearHead):
            model.head.log_scale.add_(0.123)  # not the initial value, as after training
        expected = model(clips)
    put(tmp_path / "run", model)
    moved = shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    assert (is_run(moved), is_run(tmp_path / "run")) == (True, False)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("neither a text encoder nor pretrained weights are needed")

    monkeypatch.setattr(runs, "load_encoder", refuse)
    for name in ("sentences", "_wheel", "_load_bridge"):
        monkeypatch.setattr(mini, name, refuse)
    run = load_run(moved)
    with torch.no_grad():
        assert torch.equal(run.model(clips), expected)
    assert not run.model.training
    assert (run.recipe, run.spec, run.pixels, run.labels) == (RECIPE, SPEC, PIXELS, NAMES)
    assert (run.split.trained_on, run.split.held_out) == ({at("a"), at("c")}, {at("b")})
    assert type(run.model.head) is type(model.head)
    assert run.model.head.kind == model.head.kind
    assert getattr(run.model.head, "prompts", None) == getattr(model.head, "prompts", None)
    assert run.model.temporal.config() == model.temporal.config()
    assert_same_weights(model.state_dict(), run.model.state_dict())
    trainable = [[name for name, p in each.named_parameters() if p.requires_grad] for each in (model, run.model)]
    assert trainable[0] == trainable[1]


def test_a_copy_of_a_training_item_is_known(run: Path, tmp_path: Path) -> None:
    again = load_run(run)
    for name in "abd":
        (tmp_path / name).write_text(name)
    paths = [*(tmp_path / name for name in "abd"), Path("/a.mp4"), Path("/b.mp4"), tmp_path / "gone"]
    assert [again.split.was_trained_on(path) for path in paths] == [True, False, False, True, False, False]
    assert [again.split.was_held_out(path) for path in paths] == [False, True, False, False, True, False]


FILES = ["model.safetensors", "recipe.json", "classes.json", "split.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(run: Path, name: str) -> None:
    (run / name).unlink()
    assert_refused(run, name)
    assert_refused(run / "missing", "does not exist")


@pytest.mark.parametrize("name", ["recipe.json", "classes.json", "split.json"])
@pytest.mark.parametrize("content", [b'{"format": 1, ', b"\xff\xfe\x00", b"[1, 2]"])
def test_a_file_that_is_no_json_object(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    assert_refused(run, name, "JSON")


CONV = "visual.net.conv_stem.weight"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda w: w.pop(CONV), [repr(CONV), "none"]),
        (lambda w: w.update(more=torch.zeros(2)), ["'more'", (2,), "none"]),
        (lambda w: w[CONV].fill_(math.nan), [repr(CONV)]),
        (lambda w: w.update({CONV: w[CONV].int()}), [f"'{CONV}' is of type torch.int32", "torch.float32"]),
    ],
    ids=["missing", "surplus", "no_numbers", "whole_numbers"],
)
def test_wrong_weights(run: Path, change: Callable, parts: list[object]) -> None:
    path = run / "model.safetensors"
    tensors = load(path.read_bytes())  # not memory-mapped, because the file is overwritten next
    change(tensors)
    save_file(tensors, path)
    assert_refused(run, *parts)


def test_another_models_weights_are_refused_and_change_nothing(run: Path) -> None:
    other = Recognizer(tiny_visual(seed=2), MeanPool(), make_head())
    before = copied(other)
    with refuses(RunError, run / "model.safetensors", "'temporal."):
        load_weights(run / "model.safetensors", other)
    assert_same_weights(before, other.state_dict())
    save_model(
        run / "model.safetensors",
        Recognizer(tiny_visual(), make_temporal(), FrozenHead(noise(4, SPEC.dim), names=[*"abcd"])),
    )
    assert_refused(run, "'head.weight'", (4, 256), (3, 256))


@pytest.mark.parametrize(
    ("name", "change", "parts"),
    [
        ("recipe.json", lambda v: v.update(format=2), ["format 2", "reads 1"]),
        ("recipe.json", lambda v: v.pop("format"), ["format None", "reads 1"]),
        ("recipe.json", lambda v: v["pixels"].update(sise=3), ["sise"]),
        ("recipe.json", lambda v: v["head"].update(type="OtherHead"), ["OtherHead"]),
        ("classes.json", lambda v: v["classes"].pop(), ["head.weight"]),
        ("classes.json", lambda v: v["classes"][0].update(label=""), ["classes.json", "visible text"]),
        ("split.json", lambda v: v["held_out"].append(3), ["held_out", "list of texts"]),
        ("split.json", lambda v: v["held_out_groups"].append("a"), ["held_out_groups", "values"]),
        ("recipe.json", lambda v: v["recipe"].pop("clip_norm"), ["clip_norm"]),
        ("recipe.json", lambda v: v["encoder"].update(std=[1.0, -1.0, 1.0]), ["std", "-1"]),
        ("recipe.json", lambda v: v["encoder"].update(crop=float("nan")), ["crop", "nan"]),
        ("recipe.json", lambda v: v["pixels"].update(size=32.0), ["`size`", "whole number", "got 32.0"]),
        # Clips that would take all memory.
        ("recipe.json", lambda v: v["pixels"].update(size=10**6, resize=10**6), ["4,096", 10**6]),
        (
            "recipe.json",
            lambda v: (v["recipe"].update(frames=1024), v["pixels"].update(size=4096, resize=4096)),
            ["1,024", "4,096"],
        ),
    ],
)
def test_a_wrong_key_or_value(run: Path, name: str, change: Callable, parts: list[object]) -> None:
    changed(run, name, change)
    assert_refused(run, *parts)


def test_checkpoint_of_tied_and_sliced_weights(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    module[1].weight = module[0].weight
    module.register_buffer("rows", torch.arange(12.0).view(4, 3)[1:3])
    module.register_buffer("turned", torch.arange(6.0).view(2, 3).T)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    before = copied(module)
    average = optimizer.state[module[0].weight]["exp_avg"].clone()
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.path.write_text("")
    save_state(tmp_path, module, optimizer, log, epoch=1, step=1)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.zero_()
    optimizer = torch.optim.AdamW(module.parameters())
    state = load_state(tmp_path)
    assert state is not None
    assert restore(state, module, optimizer, log, tmp_path) == (1, 1)
    assert_same_weights(module.state_dict(), before)
    assert torch.equal(optimizer.state[module[0].weight]["exp_avg"], average)
    assert module[1].weight is module[0].weight


def test_a_head_of_another_class_is_refused() -> None:
    class Means(FrozenHead):
        pass

    own = Means(noise(3, SPEC.dim), names=NAMES)
    with refuses(RunError, "Means", "FrozenHead(rows, names="):
        describe(Recognizer(tiny_visual(), MeanPool(), own), RECIPE, PIXELS)
