"""The loop: W~ stays, everything else moves, and the same run comes out however it was cut up.

Encoders are small but real (timm's networks for tests, `mini` at 32 pixels), and so are the files.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from test_features import SPEC, tiny_visual, write_image, write_video
from texthead.datasets import Dataset, Item, TrainClips
from texthead.encoders import load_encoder
from texthead.heads import (
    FrozenHead,
    TrainableHead,
)
from texthead.recipes import Recipe
from texthead.recognizer import Recognizer
from texthead.runs import load_run
from texthead.temporal import MeanPool, TemporalTransformer
from texthead.training import (
    set_training,
    train,
)
from texthead.transforms import Augmentation

RECIPE = Recipe(
    name="test",
    frames=2,
    size=32,
    resize=36,
    crop="resized",
    area=(0.5, 1.0),
    flip=0.5,
    epochs=4,
    batch=4,
    lr=1e-3,
    lr_new=2e-3,
    warmup=1.0,
    clip_norm=1.0,
    freeze_batchnorm=True,
    temporal="transformer",
    width=32,
    layers=1,
    seed=3,
)
NAMES = ("blue", "red")
STEPS = 3  # an epoch of 10 items in batches of 4


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_model(
    *, dropout: float = 0.0, head: nn.Module | None = None, temporal: nn.Module | None = None, seed: int = 0
) -> Recognizer:
    if temporal is None:
        temporal = TemporalTransformer(SPEC.dim, 1, 32, heads=2, mlp_ratio=2, dropout=dropout)
        temporal.reset(torch.Generator().manual_seed(1))
        nn.init.normal_(temporal.project_out.weight, std=0.05, generator=torch.Generator().manual_seed(2))
    head = head or FrozenHead(draw(2, SPEC.dim), names=NAMES, scale=10.0)
    return Recognizer(tiny_visual(seed), temporal, head)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Ten training items, videos and an image of two colours, and four to look at."""
    folder = tmp_path_factory.mktemp("media")
    items = [
        Item(write_video(folder / f"{i}.mp4", NAMES[i % 2], frames=3 + i % 4, seed=i), NAMES[i % 2], "train")
        for i in range(9)
    ]
    items.append(Item(write_image(folder / "9.png", "red", seed=9), "red", "train"))
    items += [
        Item(write_video(folder / f"{i}.mp4", NAMES[i % 2], frames=4, seed=i), NAMES[i % 2], "val")
        for i in range(20, 24)
    ]
    return Dataset(tuple(items), "made here")


@pytest.fixture(scope="module")
def data(media: Dataset) -> Dataset:
    return media.split("train")


@pytest.fixture(scope="module")
def val(media: Dataset) -> Dataset:
    return media.split("val")


class Stop(Exception):
    """What a user, a scheduler or a power cut does in the middle of an epoch."""


def stop_after(clips: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= clips:
            raise Stop

    return progress


def timeless(records: list[dict]) -> list[dict]:
    """The records without what a clock has measured."""
    return [{key: value for key, value in record.items() if key != "clips_per_second"} for record in records]


def on_disk(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(records: list[dict]) -> list[float]:
    return [record["loss"] for record in records if record["kind"] == "train"]


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def assert_same_weights(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def spy_on_adamw(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What every optimiser step was given: the groups' rates, and each parameter's gradient in order."""
    seen: list[dict] = []

    class Spy(torch.optim.AdamW):
        def step(self, closure=None):
            grads = [p.grad.clone() for group in self.param_groups for p in group["params"] if p.grad is not None]
            seen.append({"rates": [group["lr"] for group in self.param_groups], "grads": grads})
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
    # No weight decay: what moves was moved by a gradient.
    train(model, data, None, replace(RECIPE, epochs=1, warmup=0.2, weight_decay=0.0, clip_norm=0.0), out=tmp_path)
    after = copied(model)
    assert torch.equal(after["head.weight"], before["head.weight"])
    assert torch.equal(after["head.center"], before["head.center"])
    assert "head.weight" not in parameters
    assert not model.head.weight.requires_grad
    still = [name for name in parameters if torch.equal(after[name], before[name])]
    # Only the first frames' positions are used, but they are rows of one parameter.
    assert still == []
    assert torch.equal(load_file(tmp_path / "model.safetensors")["head.weight"], before["head.weight"])


def test_a_trainable_head_moves(data: Dataset, tmp_path: Path) -> None:
    model = make_model(head=TrainableHead(draw(2, SPEC.dim), names=NAMES))
    before = copied(model)
    train(model, data, None, replace(RECIPE, epochs=1, warmup=0.2), out=tmp_path)
    assert not torch.equal(model.head.weight, before["head.weight"])


@pytest.mark.parametrize("learn", [True, False])
def test_the_logit_scale_is_learned_where_the_recipe_says_so(data: Dataset, tmp_path: Path, learn: bool) -> None:
    model = make_model()
    before = model.head.scale
    train(model, data, None, replace(RECIPE, epochs=1, warmup=0.2, learn_scale=learn), out=tmp_path)
    assert (model.head.scale != before) == learn
    assert load_run(tmp_path).model.head.scale == model.head.scale


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_norms_keep_their_statistics_where_the_recipe_says_so(
    data: Dataset, tmp_path: Path, frozen: bool
) -> None:
    model = make_model()
    before = copied(model.visual)
    train(model, data, None, replace(RECIPE, epochs=1, warmup=0.2, freeze_batchnorm=frozen), out=tmp_path)
    after = copied(model.visual)
    statistics = [name for name in before if "running_" in name]
    assert len(statistics) > 10
    assert all(torch.equal(before[name], after[name]) == frozen for name in statistics)


def test_set_training_reaches_dropout_but_not_frozen_batch_norms() -> None:
    model = make_model(dropout=0.5).eval()
    set_training(model, RECIPE)
    modes = {type(module).__name__: module.training for module in model.modules()}
    assert modes["Dropout"]
    assert not modes["BatchNormAct2d"]
    set_training(model, replace(RECIPE, freeze_batchnorm=False))
    assert all(module.training for module in model.modules())


def test_a_frozen_encoder_is_left_as_it_is(data: Dataset, tmp_path: Path) -> None:
    model = make_model()
    before = copied(model)
    train(model, data, None, replace(RECIPE, epochs=1, warmup=0.2, freeze_encoder=True), out=tmp_path)
    after = copied(model)
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"temporal", "head"}
    assert torch.equal(after["head.weight"], before["head.weight"])


@pytest.mark.parametrize("frozen", [False, True], ids=["fine-tuned", "frozen"])
def test_it_learns(data: Dataset, val: Dataset, tmp_path: Path, frozen: bool) -> None:
    model = make_model()
    recipe = replace(RECIPE, epochs=6, freeze_encoder=frozen, lr_new=5e-3)
    records = train(model, data, val, recipe, out=tmp_path)
    found = losses(records)
    assert np.mean(found[-3:]) < 0.5 * np.mean(found[:3])
    assert records[-1]["kind"] == "val"
    assert records[-1]["top1"] == 100


# --- against a loop without any of our machinery --------------------------------------------------------------------


def bare_losses(model: Recognizer, data: Dataset) -> list[float]:
    """The losses of RECIPE in plain PyTorch, the rates from Sec. 4.1 spelled out."""
    picture = Augmentation(32, 36, "resized", (0.5, 1.0), (3 / 4, 4 / 3), flip=0.5, gray=0.0, interpolation="bilinear")
    clips = TrainClips(data, NAMES, frames=2, augmentation=picture, seed=3)
    old, new = [*model.visual.parameters(), model.head.log_scale], [*model.temporal.parameters()]
    optimizer = torch.optim.AdamW([{"params": old}, {"params": new}], betas=(0.9, 0.999), weight_decay=0.2)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    found: list[float] = []
    for epoch in range(4):
        order = np.random.default_rng([3, epoch]).permutation(10)
        for picked in (order[0:4], order[4:8], order[8:10]):
            at = (len(found) + 0.5) / 3
            factor = at if at < 1 else 0.5 + 0.5 * math.cos(math.pi * (at - 1) / 3)
            optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = 1e-3 * factor, 2e-3 * factor
            batch = [clips[epoch, int(i)] for i in picked]
            loss = F.cross_entropy(
                model(torch.stack([clip for clip, _, _ in batch])), torch.tensor([t for _, t, _ in batch])
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([*old, *new], 1.0)
            optimizer.step()
            found.append(loss.item())
    return found


def test_the_losses_are_those_of_a_bare_loop(data: Dataset, tmp_path: Path) -> None:
    records = train(make_model(), data, None, RECIPE, out=tmp_path)
    expected = bare_losses(make_model(), data)
    assert len(expected) == 4 * STEPS
    assert losses(records) == pytest.approx(expected, abs=1e-6)
    assert expected[-1] != pytest.approx(expected[0], abs=1e-2), "the weights have moved between"
