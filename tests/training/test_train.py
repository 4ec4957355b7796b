"""The loop: W~ stays fixed, everything else moves, and interruptions do not change a run.

Encoders are small but real (timm's networks for tests, `mini` at 32 pixels), and so are the files.
"""

import json
import math
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import texthead as th
from installed import Install
from made import PIXELS, SPEC, tiny_visual, write_broken, write_image, write_video
from messages import prints, refuses
from paper.matching import Matching
from run_folders import contents
from texthead import Dataset, Item, MeanPool, Protocol, Recognizer, Views, recipes
from texthead.data.clips import EpochBatchSampler, TrainClips
from texthead.encoders.load import load_encoder
from texthead.errors import DataError, MediaError, RunError
from texthead.evaluation.evaluate import evaluate
from texthead.features.reading import ReadOptions
from texthead.media.paths import MediaPath
from texthead.models import make_temporal_for
from texthead.models.heads import FrozenHead, LinearHead, TrainableHead
from texthead.models.multilabel_head import MultiLabelHead
from texthead.parallel.progress import Reporter
from texthead.prediction.load import load_run
from texthead.recipes import Recipe, paper
from texthead.training import RunInfo
from texthead.training import optimizer as optimizing
from texthead.training.epochs import READ_EVERY
from texthead.training.optimizer import parameter_groups
from texthead.training.step import ModelWithLoss, ParallelModel, precision_on, set_training
from texthead.training.train import fine_tune
from training_runs import (
    NAMES,
    RECIPE,
    Stop,
    assert_same_weights,
    copied,
    counts_of,
    draw,
    losses,
    make_model,
    on_disk,
    stop_after,
    timeless,
)

# The package offers the function under this name.
training = import_module("texthead.training.train")

ONE = replace(RECIPE, epochs=1, warmup=0.5)
SHORT = replace(RECIPE, epochs=2)
STEPS = 3  # an epoch of 10 items in batches of 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Ten items of two colours: nine videos and an image."""
    folder, items = tmp_path_factory.mktemp("media"), []
    for i in range(9):
        path = write_video(folder / f"{i}.mp4", NAMES[i % 2], frames=3 + i % 4, seed=i)
        items.append(Item(path, (NAMES[i % 2],), "train"))
    return Dataset((*items, Item(write_image(folder / "9.png", "red", seed=9), ("red",), "train")), "made here")


@pytest.fixture(scope="module")
def val(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("val")
    paths = [write_video(folder / f"{i}.mp4", NAMES[i % 2], frames=4, seed=i) for i in range(20, 24)]
    return Dataset(tuple(Item(path, (NAMES[i % 2],), "val") for i, path in enumerate(paths)), "made here")


def assert_same_run(out: Path, expected: Path) -> None:
    assert timeless(on_disk(out)) == timeless(on_disk(expected))
    assert_same_weights(*(load_file(run / "model.safetensors") for run in (out, expected)))


def spy_on_adamw(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Record each optimiser step's input: the groups' rates, the gradients in parameter order, and their norm."""
    seen: list[dict] = []

    class Spy(torch.optim.AdamW):
        def step(self, closure=None):
            grads = [p.grad.clone() for group in self.param_groups for p in group["params"] if p.grad is not None]
            norm = math.sqrt(sum(float(grad.square().sum()) for grad in grads))
            seen.append({"rates": [group["lr"] for group in self.param_groups], "grads": grads, "norm": norm})
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "AdamW", Spy)
    return seen


# --- Eq. 3: W~ stays, the encoder learns ----------------------------------------------------------------------------


@pytest.mark.parametrize("mini", [False, True], ids=["tiny", "mini"])
def test_the_frozen_rows_stay_and_every_encoder_parameter_moves(data: Dataset, tmp_path: Path, mini: bool) -> None:
    if mini:
        encoder = load_encoder("mini")
        head = FrozenHead(draw(2, encoder.dim), names=NAMES, scale=10.0, center=0.1 * draw(encoder.dim, seed=1))
        model = Recognizer(encoder.visual, MeanPool(), head)
    else:
        model = make_model(head=FrozenHead(draw(2, SPEC.dim), names=NAMES, center=0.1 * draw(SPEC.dim, seed=1)))
    before, parameters = copied(model), dict(model.named_parameters())
    # No weight decay, so only gradients move parameters.
    fine_tune(model, data, None, replace(ONE, weight_decay=0.0, clip_norm=0.0), out=tmp_path)
    after = copied(model)
    assert torch.equal(after["head.weight"], before["head.weight"])
    assert torch.equal(after["head.center"], before["head.center"])
    still = [name for name in parameters if torch.equal(after[name], before[name])]
    # Only the first frames' positions are used, but they are rows of one parameter.
    assert still == []
    assert torch.equal(load_file(tmp_path / "model.safetensors")["head.weight"], before["head.weight"])


@pytest.mark.parametrize("on", [True, False])
def test_logit_scale_and_batch_norms_follow_recipe(data: Dataset, tmp_path: Path, on: bool) -> None:
    model = make_model()
    before = copied(model)
    fine_tune(model, data, None, replace(ONE, scale="learned" if on else None, freeze_batchnorm=not on), out=tmp_path)
    after = copied(model)
    statistics = [name for name in before if "running_" in name]
    assert len(statistics) > 10
    assert all(torch.equal(before[name], after[name]) != on for name in [*statistics, "head.log_scale"])
    assert load_run(tmp_path).model.head.scale == model.head.scale


def test_set_training_reaches_dropout_but_not_frozen_batch_norms() -> None:
    model = make_model(dropout=0.5).eval()
    set_training(model, RECIPE)
    modes = {type(module).__name__: module.training for module in model.modules()}
    assert modes["Dropout"]
    assert not modes["BatchNormAct2d"]
    set_training(model, replace(RECIPE, freeze_batchnorm=False))
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("kind", [FrozenHead, TrainableHead])
def test_a_frozen_encoder_is_left_as_it_is(data: Dataset, tmp_path: Path, kind: type[nn.Module]) -> None:
    model = make_model(head=kind(draw(2, SPEC.dim), names=NAMES))
    before = copied(model)
    fine_tune(model, data, None, replace(ONE, tune="none"), out=tmp_path)
    after = copied(model)
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"temporal", "head"}
    assert torch.equal(after["head.weight"], before["head.weight"]) == (kind is FrozenHead)


# --- against a loop in plain PyTorch --------------------------------------------------------------------------------


def bare_losses(model: Recognizer, data: Dataset, shift: tuple[float, float]) -> list[float]:
    """Return the losses of RECIPE in plain PyTorch, with the rates of Sec. 4.1 written out."""
    recipe = Recipe("test", frames=2, crop="resized", area=(0.5, 1.0), flip=0.5, seed=3)
    clips, targets = TrainClips(data, recipe, PIXELS), data.targets(NAMES)
    old, new = [*model.visual.parameters(), model.head.log_scale], [*model.temporal.parameters()]
    optimizer = torch.optim.AdamW([{"params": old}, {"params": new}], betas=(0.9, 0.999), weight_decay=0.2)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    values: list[float] = []
    for epoch in range(4):
        order = np.random.default_rng([3, epoch]).permutation(10)
        for picked in (order[0:4], order[4:8], order[8:10]):
            at = (len(values) + 0.5) / 3
            factor = at if at < 1 else 0.5 + 0.5 * math.cos(math.pi * (at - 1) / 3)
            optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = 1e-3 * factor, 2e-3 * factor
            logits = model(torch.stack([clips[epoch, int(i)][0] for i in picked])) + torch.tensor(shift)
            loss = F.cross_entropy(logits, targets[picked])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([*old, *new], 1.0)
            optimizer.step()
            values.append(loss.item())
    return values


@pytest.mark.parametrize(
    ("shares", "shift"), [("labels", (0.0, 0.0)), ("equal", (math.log(0.4 / 0.5), math.log(0.6 / 0.5)))]
)
def test_losses_and_rates_are_those_of_a_bare_loop(shares, shift, data, tmp_path, monkeypatch) -> None:
    seen = spy_on_adamw(monkeypatch)
    items = list(data.items)
    first = next(number for number, item in enumerate(items) if item.label == NAMES[0])
    items[first] = replace(items[first], labels=(NAMES[1],))  # 4 and 6 labels.
    data, recipe = replace(data, items=tuple(items)), replace(RECIPE, class_shares=shares)
    records = fine_tune(make_model(), data, None, recipe, out=tmp_path)
    expected = bare_losses(make_model(), data, shift)
    assert losses(records) == pytest.approx(expected, abs=1e-6)
    assert expected[-1] != pytest.approx(expected[0], abs=1e-2), "the weights have moved between"
    steps = 4 * STEPS
    rates = [step["rates"] for step in seen]
    assert rates[:steps] == [pytest.approx(bare, rel=1e-9) for bare in rates[steps:]]
    assert max(step["norm"] for step in seen[:steps]) == pytest.approx(RECIPE.clip_norm, rel=1e-3)
    assert [[record["lr"], record["lr_new"]] for record in records] == rates[:steps]
    assert [(record["epoch"], record["step"]) for record in records] == [(i // STEPS, i + 1) for i in range(steps)]


def test_bf16_is_the_forward_pass_and_weights_stay_float32(data: Dataset, tmp_path: Path) -> None:
    model = make_model()
    seen: list[torch.dtype] = []
    model.temporal.register_forward_hook(lambda _module, _inputs, out: seen.append(out.dtype))
    half = losses(fine_tune(model, data, None, replace(ONE, precision="bf16"), out=tmp_path / "bf16"))
    full = losses(fine_tune(make_model(), data, None, ONE, out=tmp_path / "fp32"))
    assert set(seen) == {torch.bfloat16}
    assert half != full
    assert half == pytest.approx(full, rel=0.1)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


def test_precision_is_bf16_only_on_a_gpu_that_has_it_or_if_set(data, tmp_path, monkeypatch) -> None:
    for native in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)  # noqa: B023
        precisions = [precision_on(torch.device(kind)) for kind in ("cpu", "cuda", "mps")]
        assert precisions == ["fp32", "bf16" if native else "fp32", "fp32"]
    assert all(recipes.RECIPES[name]().precision is None for name in recipes.RECIPES)
    model, seen = make_model(), list[torch.dtype]()
    model.temporal.register_forward_hook(lambda _module, _inputs, out: seen.append(out.dtype))
    fine_tune(model, data, None, ONE, out=tmp_path)
    assert set(seen) == {torch.float32}
    assert json.loads((tmp_path / "recipe.json").read_text())["recipe"]["precision"] == "fp32"
    with refuses(RunError, "`precision` 'fp32', not 'bf16'"):
        fine_tune(make_model(), data, None, replace(ONE, precision="bf16"), out=tmp_path, resume=True)


# --- the same run, however it is interrupted ------------------------------------------------------------------------


def train_short(data: Dataset, out: Path, *, seed: int = SHORT.seed, **options) -> list[dict]:
    return fine_tune(make_model(dropout=0.4), data, None, replace(SHORT, seed=seed), out=out, **options)


@pytest.fixture(scope="module")
def uncut(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("uncut") / "run"
    train_short(data, out)
    return out


def test_losses_do_not_depend_on_the_number_of_workers(data: Dataset, uncut: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)  # earlier draws in the process don't matter either
    train_short(data, tmp_path / "workers", reading=ReadOptions(2))
    assert_same_run(tmp_path / "workers", uncut)
    other = losses(train_short(data, tmp_path / "seed", seed=4))
    assert len({*losses(on_disk(uncut)), *other}) == 4 * STEPS, "another seed is another run"


RESUMED = [
    pytest.param({}, id="fine-tuned"),
    pytest.param({"accumulate": 2}, id="accumulated"),
    pytest.param({"tune": "none", "precision": "bf16", "clip_norm": 0.0}, id="encoder frozen, bf16"),
    pytest.param({"freeze_batchnorm": False, "precision": "bf16"}, id="batch norms move, bf16", marks=pytest.mark.slow),
]


def make_free_model() -> Recognizer:
    """Return a model that is trained in all parts; its convolutions are channels-last, as those of `mini`."""
    model = make_model(dropout=0.4, head=TrainableHead(draw(2, SPEC.dim), names=NAMES, scale=10.0))
    return model.to(memory_format=torch.channels_last)


@pytest.fixture(scope="module", params=RESUMED)
def whole(
    request: pytest.FixtureRequest, data: Dataset, val: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recipe, Path, dict[str, Tensor]]:
    """Return (recipe, run folder, weights) of an uninterrupted run of three epochs."""
    recipe, out, model = replace(RECIPE, epochs=3, **request.param), tmp_path_factory.mktemp("whole"), make_free_model()
    fine_tune(model, data, val, recipe, out=out)
    return recipe, out, copied(model)


@pytest.mark.slow
@pytest.mark.parametrize("every", [None, 2], ids=["between epochs", "within an epoch"])
def test_resumed_run_matches_bitwise(whole, data, val, tmp_path, monkeypatch, every) -> None:
    recipe, uncut, weights = whole
    # On features too, each epoch has a checkpoint.
    monkeypatch.setattr("texthead.training.epochs.CHECKPOINT_SECONDS", 0)
    with pytest.raises(Stop):  # in the third step of the second epoch
        options = {"reporter": stop_after(20), "checkpoint_every": every}
        fine_tune(make_free_model(), data, val, recipe, out=tmp_path, **options)
    assert not (tmp_path / "model.safetensors").exists()
    assert len(losses(on_disk(tmp_path))) == 2 * STEPS

    torch.manual_seed(12345)
    model, seen, drawn, lines, draw_all = make_free_model(), [], [], [], EpochBatchSampler.__iter__
    monkeypatch.setattr(EpochBatchSampler, "__iter__", lambda self: (drawn.append(b) or b for b in draw_all(self)))
    reporter = Reporter(say=lines.append).counting(lambda *done: seen.append(done), "train")
    reading = ReadOptions(0 if every else 1)
    records = fine_tune(model, data, val, recipe, out=tmp_path, resume=True, reading=reading, reporter=reporter)
    done = 4 if every else 0  # items of the second epoch at the last checkpoint
    ends = [4, 8, 10] if recipe.accumulate == 1 else [2, 4, 6, 8, 10]
    assert seen == [(10 * epoch + end, 30) for epoch in (1, 2) for end in ends if 10 * epoch + end > 10 + done]
    order = np.random.default_rng([recipe.seed, 1]).permutation(10).tolist()
    assert [position for batch in drawn for epoch, position in batch if epoch == 1] == order[done:]
    if every:
        prints("\n".join(lines), "step 1", 3)
    assert records == on_disk(tmp_path)
    assert [record["kind"] for record in records] == 3 * ["train", "train", "train", "val"]
    assert_same_run(tmp_path, uncut)
    assert_same_weights(copied(model), weights)


@pytest.mark.parametrize("every", [0, 1, 3])
def test_checkpoints_change_nothing(data: Dataset, uncut: Path, tmp_path: Path, every: int) -> None:
    train_short(data, tmp_path, checkpoint_every=every)
    assert_same_run(tmp_path, uncut)
    assert (tmp_path / "state" / "last.safetensors").exists() == (every > 0)


def test_short_epochs_on_kept_features_share_a_checkpoint(data: Dataset, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=3, tune="none")
    with pytest.raises(Stop):
        fine_tune(make_model(), data, None, recipe, out=tmp_path, reporter=stop_after(20))
    assert not (tmp_path / "state").exists()
    fine_tune(make_model(), data, None, recipe, out=tmp_path, resume=True)
    assert counts_of(tmp_path)["step"] == 9


def test_a_run_stopped_before_its_first_checkpoint_starts_anew(data: Dataset, uncut: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train_short(data, tmp_path, reporter=stop_after(8))
    train_short(data, tmp_path, resume=True)
    assert_same_run(tmp_path, uncut)


def test_resuming_a_finished_run_changes_nothing(data: Dataset, uncut: Path) -> None:
    before, model = contents(uncut), make_model(dropout=0.4)
    idle = Reporter().counting(lambda *_: pytest.fail("a step was made"))
    assert fine_tune(model, data, None, SHORT, out=uncut, resume=True, reporter=idle) == on_disk(uncut)
    assert contents(uncut) == before
    assert_same_weights(copied(model), load_file(uncut / "model.safetensors"))


@pytest.fixture(scope="module")
def stopped(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run stopped after the first of two checkpoints; copy it before changing it."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Stop):
        train_short(data, out, reporter=stop_after(14))
    return out


@pytest.fixture
def again(stopped: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def test_thread_count_change_is_noted(data: Dataset, again: Path) -> None:
    assert counts_of(again)["threads"] == torch.get_num_threads()
    edit(again / "state" / "last.safetensors", threads=7)
    records = train_short(data, again, resume=True)
    (note,) = (record for record in records if record["kind"] == "note")
    prints(note["text"], torch.get_num_threads(), 7)
    assert on_disk(again) == records
    assert len(losses(records)) == 2 * STEPS


@pytest.mark.parametrize(
    ("part", "change", "parts"),
    [
        ("data", lambda data: data.select(range(9)), ()),
        ("data", lambda data: data.select([1, 0, *range(2, 10)]), ()),
        ("data", lambda data: replace(data, items=(replace(data.items[0], labels=("red",)), *data.items[1:])), ()),
        ("recipe", lambda recipe: replace(recipe, lr=2e-3), ("lr", 0.001, 0.002)),
        ("recipe", lambda recipe: replace(recipe, epochs=3), ("epochs", 2, 3)),
        ("recipe", lambda recipe: replace(recipe, area=(0.4, 1.0)), ("area", [0.5, 1.0], [0.4, 1.0])),
        ("recipe", lambda recipe: replace(recipe, tune="none"), ("tune", "all", "none")),
        ("visual", lambda _: tiny_visual(spec=replace(SPEC, mean=(0.4, 0.5, 0.5))), ()),
        ("temporal", lambda _: MeanPool(), ()),
        ("head", lambda _: TrainableHead(draw(2, SPEC.dim), names=NAMES, scale=10.0), ()),
        ("head", lambda _: FrozenHead(draw(2, SPEC.dim), names=NAMES[::-1], scale=10.0), ()),
    ],
)
def test_a_run_is_resumed_as_it_was_begun_only(stopped, data, part, change, parts) -> None:
    before, model = contents(stopped), make_model(dropout=0.4)
    begun = {"data": data, "recipe": SHORT, "visual": model.visual, "temporal": model.temporal, "head": model.head}
    begun[part] = change(begun[part])
    model = Recognizer(begun["visual"], begun["temporal"], begun["head"])
    with refuses(RunError, stopped, *parts):
        fine_tune(model, begun["data"], None, begun["recipe"], out=stopped, resume=True)
    assert contents(stopped) == before


def test_a_head_is_not_resumed_on_other_weights_of_a_frozen_encoder(data: Dataset, tmp_path: Path) -> None:
    recipe = replace(SHORT, tune="none")
    with pytest.raises(Stop):
        fine_tune(make_model(), data, None, recipe, out=tmp_path, reporter=stop_after(9), checkpoint_every=1)
    with refuses(RunError, tmp_path, "another encoder"):
        fine_tune(make_model(seed=1), data, None, recipe, out=tmp_path, resume=True)
    fine_tune(make_model(), data, None, recipe, out=tmp_path, resume=True)


def test_a_run_is_not_resumed_with_other_pictures_of_the_same_names(stopped: Path, data: Dataset) -> None:
    path = data.items[9].path
    picture = path.read_bytes()
    try:
        write_image(path, "blue", seed=1)
        with refuses(RunError, stopped, path.name, "other content"):
            train_short(data, stopped, resume=True)
    finally:
        path.write_bytes(picture)


def test_a_resumed_run_records_the_items_that_it_will_be_scored_on(data: Dataset, again: Path) -> None:
    held_out = [str(item.media.resolved()) for item in data.items[:2]]
    train_short(data, again, resume=True, info=RunInfo(held_out=data.select(range(2))))
    assert json.loads((again / "split.json").read_text())["held_out"] == held_out
    train_short(data, again, resume=True)
    assert json.loads((again / "split.json").read_text())["held_out"] == held_out, "no items named, none changed"


def test_resume_needs_run_folder(stopped: Path, again: Path, data: Dataset, tmp_path: Path) -> None:
    before = contents(stopped)
    with refuses(RunError, tmp_path / "none", "resume"):
        train_short(data, tmp_path / "none", resume=True)
    about = json.loads((again / "recipe.json").read_text())
    (again / "recipe.json").write_text(json.dumps({**about, "format": 2}))
    with refuses(RunError, again, "another encoder, head or training items"):
        train_short(data, again, resume=True)
    with refuses(RunError, stopped, "resume"):
        train_short(data, stopped)
    assert contents(stopped) == before


def edit(file: Path, *, drop: str = "", step: str = str(STEPS), threads: int = 1, **tensors: Tensor) -> None:
    # Copies, because the tensors are mapped from the file that is overwritten.
    others = {key: tensor.clone() for key, tensor in load_file(file).items() if key != drop}
    counts = {**counts_of(file.parents[1]), "step": step, "threads": threads}
    save_file({**others, **tensors}, file, {key: str(value) for key, value in counts.items() if value != drop})


# Pickles are tested in faults/test_untrusted_code.py.
SPOILED: dict[str, Callable[[Path], object]] = {
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "text": lambda file: file.write_text("no checkpoint at all"),
    "a tensor is missing": lambda file: edit(file, drop="model.head.weight"),
    "the optimiser lacks a count of steps": lambda file: edit(file, drop="optimizer.model.head.log_scale.step"),
    "a tensor too many": lambda file: edit(file, more=torch.zeros(1)),
    "another shape": lambda file: edit(file, **{"model.head.weight": torch.zeros(7, 7)}),
    "a mean of another shape": lambda file: edit(file, **{"optimizer.model.head.log_scale.exp_avg": torch.zeros(7)}),
    "another optimiser": lambda file: edit(file, **{"optimizer.model.none.exp_avg": torch.zeros(1)}),
    "a count is no number": lambda file: edit(file, step="../3"),
    "a count is missing": lambda file: edit(file, step="none", drop="none"),
}


@pytest.mark.parametrize("damage", SPOILED.values(), ids=SPOILED)
def test_a_damaged_checkpoint_is_refused(data: Dataset, again: Path, damage: Callable[[Path], object]) -> None:
    damage(again / "state" / "last.safetensors")
    with refuses(RunError, again / "state" / "last.safetensors"):
        train_short(data, again, resume=True)


# --- batches, rates, groups -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize(("length", "batch"), [(10, 4), (8, 4), (3, 16), (1, 1), (13, 5), (7, 1)])
def test_every_item_comes_exactly_once_an_epoch(length: int, batch: int, accumulate: int) -> None:
    part = math.ceil(batch / accumulate)
    batches, whole, other = (
        EpochBatchSampler(length, batch, size, seed=seed) for size, seed in ((part, 5), (batch, 5), (batch, 6))
    )
    sizes, orders = [batch] * (length // batch) + [length % batch] * (length % batch > 0), []
    for epoch in range(3):
        batches.epoch = whole.epoch = epoch
        parts, steps = list(batches), list(batches.steps())
        orders.append([key for keys in parts for key in keys])
        assert sorted(orders[-1]) == [(epoch, i) for i in range(length)]
        assert len(parts) == len(batches) == sum(micro for _, micro in steps)
        assert [items for items, _ in steps] == [len(keys) for keys in whole] == sizes
        assert len(steps) == batches.steps_per_epoch
        for (_, micro), keys in zip(steps, whole, strict=True):
            taken, parts = parts[:micro], parts[micro:]
            assert [key for keys in taken for key in keys] == keys, "parts do not change the order"
            assert all(len(keys) == part for keys in taken[:-1])
            assert 1 <= len(taken[-1]) <= part
    positions = {tuple(position for _, position in order) for order in orders}
    assert length <= 6 or len(positions) == 3
    assert length <= 6 or [key for keys in other for key in keys] != orders[0]


def test_groups_hold_each_trained_parameter_once_at_its_own_rate() -> None:
    """Eq. 1: the paper's recipe uses the rate of new modules for a head; changing it leaves the encoder's rate alone."""
    model = make_model(head=TrainableHead(draw(2, SPEC.dim), names=NAMES))
    old, new = parameter_groups(model, RECIPE)
    assert (old["lr"], old["peak_lr"], new["lr"], new["peak_lr"]) == (1e-3, 1e-3, 2e-3, 2e-3)
    visual, scale = [*map(id, model.visual.parameters())], id(model.head.log_scale)
    assert [*map(id, old["params"])] == [*visual, scale]
    assert {*map(id, new["params"])} == {*map(id, model.temporal.parameters()), id(model.head.weight)}
    assert [*map(id, parameter_groups(model, replace(RECIPE, scale=None))[0]["params"])] == visual
    linear = make_model(head=LinearHead(SPEC.dim, names=NAMES), temporal=MeanPool())
    for recipe, rate in ((paper(), 5e-5), (paper(lr_new=5e-3), 5e-3)):
        old, new = parameter_groups(linear, recipe)
        assert (old["peak_lr"], new["peak_lr"]) == (5e-6, rate)
        assert [*map(id, new["params"])] == [id(linear.head.weight)]
    first, _ = parameter_groups(make_model().on_features(), RECIPE)
    assert len(first["params"]) == 1, "the logit scale"
    (only,) = parameter_groups(linear.on_features(), RECIPE)
    assert only["peak_lr"] == 2e-3


@pytest.mark.parametrize(("batch", "accumulate"), [(4, 2), (4, 4), (5, 2), (10, 3)])
def test_accumulated_gradient_matches_batch(data, tmp_path, monkeypatch, batch, accumulate) -> None:
    seen = spy_on_adamw(monkeypatch)
    recipe = replace(ONE, batch=batch, clip_norm=0.0)
    whole = fine_tune(make_model(), data, None, recipe, out=tmp_path / "whole")
    parts = fine_tune(make_model(), data, None, replace(recipe, accumulate=accumulate), out=tmp_path / "parts")
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-3)
    assert losses(parts)[0] == pytest.approx(losses(whole)[0], rel=1e-5)
    steps = len(whole)
    assert len(seen) == 2 * steps
    assert len(seen[0]["grads"]) > 40
    assert max(step["norm"] for step in seen) > 1, "a clip_norm of 0 cuts nothing"
    for one, several in zip(seen[0]["grads"], seen[steps]["grads"], strict=True):
        torch.testing.assert_close(several, one, rtol=1e-3, atol=1e-4 * float(one.abs().max()))


# --- errors ---------------------------------------------------------------------------------------------------------


def assert_is_the_checkpoint_of_the_first_epoch(out: Path) -> None:
    counts = counts_of(out)
    assert (counts["epoch"], counts["step"]) == (1, STEPS)
    assert all(bool(tensor.isfinite().all()) for tensor in load_file(out / "state" / "last.safetensors").values())


def test_non_finite_loss_keeps_checkpoint(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The second epoch's first update ruins the weights; its second loss shows it.
    monkeypatch.setattr(optimizing, "lr_factor", lambda at, **_: 0.5 if at < 1 else 1e35)
    batches = EpochBatchSampler(10, 4, 4, seed=3)
    batches.epoch = 1
    _, second, _ = batches
    items = [data.items[position].path for _, position in second[:3]]
    with refuses(RunError, "step 5", "1e+32, 2e+32", *items) as caught:
        fine_tune(make_model(), data, None, replace(RECIPE, clip_norm=0.0), out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert_is_the_checkpoint_of_the_first_epoch(tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert len(on_disk(tmp_path / "run")) == STEPS + 1, "no number that JSON can't hold is logged"


def test_overflowed_weights_not_saved(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No loss has revealed the overflow yet."""
    step, done = torch.optim.AdamW.step, []

    def overflow(self: torch.optim.AdamW) -> None:
        step(self)
        done.append(1)
        if len(done) == 2 * STEPS:
            self.param_groups[0]["params"][0].data.mul_(torch.inf)

    monkeypatch.setattr(torch.optim.AdamW, "step", overflow)
    with refuses(RunError, "step 6", tmp_path / "state"):
        fine_tune(make_model(), data, None, RECIPE, out=tmp_path)
    assert_is_the_checkpoint_of_the_first_epoch(tmp_path)


@pytest.mark.parametrize(("frozen", "workers"), [(False, 2), (True, 0)], ids=["fine-tuned", "frozen"])
def test_an_unreadable_item_is_an_error_with_its_path(data, tmp_path, workers, frozen) -> None:
    broken = write_broken(tmp_path / "broken.mp4")
    data = replace(data, items=(*data.items[:4], Item(broken, ("red",)), *data.items[4:]))
    recipe = replace(RECIPE, tune="none" if frozen else "all")
    path, message = None, ""
    try:
        fine_tune(make_model(), data, None, recipe, out=tmp_path / "run", reading=ReadOptions(workers))
    except MediaError as error:
        # Not pytest.raises, which keeps the frames: the workers would live on and shut down slowly.
        path, message = error.path, str(error)
    assert path == broken
    assert message.startswith(f"{broken}: ")
    assert "skip" in message


def test_unreadable_validation_item_costs_no_epoch(data: Dataset, val: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "late.mp4"
    late = replace(val, items=(*val.items, Item(path, ("red",))))
    with refuses(MediaError, path):
        fine_tune(make_model(), data, late, SHORT, out=tmp_path / "run")
    assert counts_of(tmp_path / "run")["epoch"] == 1
    shutil.copy(val.items[0].path, path)
    fine_tune(make_model(), data, late, SHORT, out=tmp_path / "run", resume=True)
    fine_tune(make_model(), data, late, SHORT, out=tmp_path / "whole")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_untrainable_models_refused_before_run(data: Dataset, tmp_path: Path) -> None:
    def refuse(kind: type[Exception], *parts: object, model: Recognizer | None = None, **options) -> None:
        given = {"train_set": data, "val_set": None, "recipe": RECIPE, **options}
        with refuses(kind, *parts):
            fine_tune(model or make_model(), **given, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    refuse(DataError, data.source, train_set=data.select([]))
    odd = replace(data, items=(*data.items, Item(data.items[0].path.parent / "20.mp4", ("violet",))))
    for name in ("train_set", "val_set"):
        refuse(DataError, "violet", 2, **{name: odd})
    with refuses(DataError, "checkpoint_every", -1):
        th.fine_tune(make_model(), data, None, RECIPE, out=tmp_path / "run", checkpoint_every=-1)
    for scale in (None, "learned"):  # a logit scale alone changes no prediction
        recipe = replace(RECIPE, tune="none", scale=scale, temporal="mean")
        refuse(RunError, "temporal", model=make_model(temporal=MeanPool()), recipe=recipe)
    model, recipe = convolved(grad_checkpointing=True)
    model.visual.net.set_grad_checkpointing = lambda on: None
    refuse(RunError, "tiny", "checkpointing", model=model, recipe=recipe)
    model, recipe = convolved(tune="none")
    refuse(RunError, "TemporalConv", "temporal", model=model, recipe=recipe)


# --- contents of a run folder ---------------------------------------------------------------------------------------


def test_the_folder_holds_what_prediction_needs(data, val, tmp_path, monkeypatch) -> None:
    seen: list[Protocol] = []

    def watched(model: Recognizer, dataset: Dataset, protocol: Protocol, reading: ReadOptions, **options: Any):
        seen.append(protocol)
        return evaluate(model, dataset, protocol, reading, **options)

    monkeypatch.setattr(training, "evaluate", watched)
    head = FrozenHead(draw(2, SPEC.dim), names=NAMES, prompts=["a blue thing", "a red thing"])
    model = make_model(head=head)
    recipe = replace(ONE, origin="center")
    records = fine_tune(model, data, val, recipe, out=tmp_path, info=RunInfo(["Blue", "Red"], val))
    run = load_run(tmp_path)
    assert (run.recipe, run.spec, run.pixels, run.labels) == (replace(recipe, precision="fp32"), SPEC, PIXELS, NAMES)
    assert run.split.trained_on == {str(item.path.resolve()) for item in data.items}
    assert run.split.held_out == {str(item.path.resolve()) for item in val.items}
    split, classes = (json.loads((tmp_path / name).read_text()) for name in ("split.json", "classes.json"))
    assert (split["source"], split["train_labels"]) == ("made here", data.labels)
    assert classes["classes"][1] == {"label": "red", "name": "Red", "prompt": "a red thing"}
    protocol = Protocol(2, PIXELS, Views(origin="center"))
    scored, expected = evaluate(run.model, val, protocol), evaluate(model, val, protocol)
    assert torch.equal(scored.scores, expected.scores)
    last = timeless(records)[-1]
    assert last == {"kind": "val", "epoch": 0, "step": 3, "top1": scored.top1, "top5": scored.top5, "count": 4}
    assert on_disk(tmp_path) == records
    assert seen == [protocol]


def test_features_for_a_frozen_encoder_are_kept(data, val, tmp_path, monkeypatch) -> None:
    recipe = replace(RECIPE, epochs=2, tune="none")
    cache = tmp_path / "cache"
    plain = fine_tune(make_model(), data, val, recipe, out=tmp_path / "plain")
    first = fine_tune(make_model(), data, val, recipe, out=tmp_path / "first", reading=ReadOptions(cache=cache))
    monkeypatch.setattr(MediaPath, "open", lambda path, **_: pytest.fail(f"{path} was opened"))
    again = fine_tune(make_model(), data, val, recipe, out=tmp_path / "again", reading=ReadOptions(cache=cache))
    assert timeless(again) == timeless(first)
    assert losses(first) == pytest.approx(losses(plain), abs=1e-4)


# --- a loss of a package


SMOOTHED = """
import torch.nn.functional as F
from texthead.training import Objective

class Smoothed(Objective):
    def __init__(self, model):
        super().__init__()
    def config(self):
        return {"smoothing": 0.0}
    def forward(self, model, clips, labels):
        return F.cross_entropy(model(clips), labels.to(model.device), ignore_index=-1)
"""


def test_a_package_adds_a_loss(data: Dataset, tmp_path: Path, install: Install) -> None:
    install("smoothed", "texthead.losses", "smoothed = smoothed:Smoothed\nwrong = smoothed:len", SMOOTHED)
    expected, records = (
        fine_tune(make_model(), data, None, replace(RECIPE, epochs=1, warmup=0.5, loss=loss), out=tmp_path / loss)
        for loss in ("cross-entropy", "smoothed")
    )
    assert losses(records) == pytest.approx(losses(expected), abs=1e-6)
    about = json.loads((tmp_path / "smoothed" / "recipe.json").read_text())
    assert about["objective"] == {"smoothing": 0.0, "trains_text": False}
    for loss, parts in (("wrong", ("loss 'wrong'", "package smoothed")), ("no", ("`loss`", "cross-entropy"))):
        with refuses(RunError, *parts):
            fine_tune(make_model(), data, None, replace(RECIPE, loss=loss), out=tmp_path / loss)
        assert not (tmp_path / loss).exists()


# --- convolutions inside the encoder, and gradient checkpointing


def convolved(**changes: object) -> tuple[Recognizer, Recipe]:
    visual, recipe = tiny_visual(), replace(RECIPE, temporal="conv", epochs=2, **changes)
    head = FrozenHead(draw(2, SPEC.dim), names=NAMES, scale=10.0)
    return Recognizer(visual, make_temporal_for(recipe, visual), head), recipe


def test_encoder_convolutions_train_and_load(data: Dataset, val: Dataset, tmp_path: Path) -> None:
    model, recipe = convolved()
    before = copied(model.temporal)
    assert all(key.startswith("convs.") for key in before)
    fine_tune(model, data, val, recipe, out=tmp_path / "run")
    assert not any(torch.equal(before[key], tensor) for key, tensor in copied(model.temporal).items())
    run = load_run(tmp_path / "run")
    assert run.model.temporal.config() == {"kind": "conv", "start": "shift"}
    for frames in (2, 5):
        first, again = (evaluate(m, val, Protocol(frames, PIXELS)) for m in (model, run.model))
        assert torch.equal(first.scores, again.scores)
    plain = Recognizer(run.model.visual, MeanPool(), run.model.head)
    assert not torch.allclose(evaluate(plain, val, Protocol(2, PIXELS)).scores, again.scores, atol=1e-3)


def test_no_cache_for_frames_with_context(data: Dataset, val: Dataset, tmp_path: Path) -> None:
    model, _ = convolved()
    cache = tmp_path / "cache"
    plain = evaluate(model, val, Protocol(2, PIXELS))
    assert torch.equal(evaluate(model, val, Protocol(2, PIXELS), ReadOptions(cache=cache)).scores, plain.scores)


# --- on a GPU, each value read from it within a step waits for all the work queued before


MORE = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("several labels", "matching", "cached features")]


@pytest.mark.parametrize("kind", ["one label", *MORE])
def test_a_value_is_read_every_ten_steps(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of the device meta have no values: the first call that needs one raises."""
    passes: list[None] = []

    def to_meta(trained: ModelWithLoss, *rest: Any) -> ParallelModel:
        trained.to("meta").model.temporal.register_forward_hook(lambda *_: passes.append(None))
        return ParallelModel(trained, *rest)

    monkeypatch.setattr(training, "ParallelModel", to_meta)  # The clips are made by then.
    # Neither autocast nor fused kernels know meta.
    adamw = torch.optim.AdamW
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, fused, **options: adamw(groups, **options))
    model, multilabel = make_model(), kind == "several labels"
    if multilabel:
        model.head = MultiLabelHead(model.head, bias=torch.zeros(2), thresholds=torch.zeros(2))
    items = (Item(write_image(tmp_path / f"{i}.png", NAMES[i % 2]), (NAMES[i % 2],), "train") for i in range(2))
    data = Dataset((*items,) * (2 * READ_EVERY), "made here", multilabel=multilabel)
    recipe = replace(ONE, batch=2, accumulate=2, tune="none" if kind == "cached features" else "all")
    own = {"objective": Matching() if kind == "matching" else None, "checkpoint_every": 0}
    with pytest.raises(NotImplementedError, match="meta"):
        fine_tune(model, data, None, recipe, out=tmp_path / "run", **own)
    assert len(passes) == 2 * READ_EVERY
