"""`train` beside the training step of the paper's published code: 42 steps, the same clips, the published rates and scale.

The step is a plain loop in torch, written from a description of the published code. It shares with texthead the decoded
clips and their order, open_clip's towers, and the first weights of the temporal transformer. An epoch has 14 steps, the
first of three is warm-up, and the rate is set every tenth step.

Measured on two CPU cores. Loss: the largest difference in a step, over the larger of 1 and the loss. Weights: the
length of the difference over the distance moved, for all weights together, and for the worst tensor or batch-norm
statistic.

| | loss | all weights | worst |
|---|---|---|---|
| transformer | 4e-6 | 1.0e-5 | 4e-5 |
| TokenT1D | 4e-6 | 1.4e-5 | 4e-5 |
| matching | 3e-6 | 0.6e-5 | 2e-5 |
| transformer, two processes beside the loop in one | 4e-6 | 1.2e-5 | 4e-5 |
| matching, both in two processes without gather | 2e-6 | 0.5e-5 | 1.5e-4 |
| matching, both in two processes with gather | 3e-6 | 2.5e-5 | 9e-5 |
| ResNet, batch norms in training mode | 3e-6 | 1.1e-4 | 6e-4 |
| the same, both in two processes | 3e-6 | 1.4e-4 | 1.3e-3 |
| bf16 beside the loop in bf16 | 0.023 | 0.030 | 0.09 |
| bf16 beside the loop in fp32 | 0.036 | 0.050 | 0.11 |

The published gather passes gradients to a process's own rows alone, so their mean over two processes is half of the
gradient in one process, which is ours. AdamW undoes the factor except for its eps: with half the eps in the loop, the
weights are 0.6e-5 apart instead of 2.5e-5.

Key biases are not compared. They shift all scores of a query alike, so their gradients are rounding alone, which AdamW
enlarges to steps of the usual size.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import ranked
from paper.matching import Matching
from ranked import NAMES
from texthead import Recognizer, text_head
from texthead.data.clips import TrainClips, epoch_batches
from texthead.data.dataset import Dataset
from texthead.encoders.load import load_encoder
from texthead.models import make_temporal_for
from texthead.parallel.distributed import all_reduce_sum, rank, world_size
from texthead.recipes import Recipe, temporal_sizes, text4vis
from texthead.training.train import fine_tune

# The loss of each step; weights and batch-norm statistics before the first and after the last step.
Outcome = tuple[list[float], dict[str, Tensor], dict[str, Tensor]]
Gather = bool | None  # None: cross-entropy instead of matching
Two = Callable[..., list[Outcome]]


class Transf(nn.Module):
    """Pre-norm blocks with QuickGELU over frames with learned positions, added to the frames."""

    def __init__(self, dim: int, heads: int, layers: int):
        super().__init__()
        options: dict[str, Any] = {"activation": lambda x: x * torch.sigmoid(1.702 * x), "layer_norm_eps": 1e-12}
        options |= {"dropout": 0.0, "batch_first": True, "norm_first": True}
        self.positions = nn.Embedding(77, dim)
        self.blocks = nn.Sequential(
            *[nn.TransformerEncoderLayer(dim, heads, 4 * dim, **options) for _ in range(layers)]
        )

    def forward(self, frames: Tensor) -> Tensor:
        return frames + self.blocks(frames + self.positions.weight[: frames.shape[1]])


class TokenT1D(nn.Module):
    """A block of the tower that convolves class tokens over the frames, before attention and before the MLP."""

    def __init__(self, block: Any, frames: int):
        super().__init__()
        self.block, self.frames, width = block, frames, len(block.ln_1.weight)
        self.control_point = nn.Conv1d(width, width, 3, padding=1, groups=width, bias=False)
        taps = torch.tensor([2, 0, 1, 1]).repeat_interleave(width // 4)
        self.control_point.weight.data = F.one_hot(taps, 3).float()[:, None]

    def mixed(self, x: Tensor) -> Tensor:
        tokens = x[:, 0].unflatten(0, (-1, self.frames)).transpose(1, 2)
        return torch.cat([self.control_point(tokens).transpose(1, 2).flatten(0, 1)[:, None], x[:, 1:]], dim=1)

    def forward(self, x: Tensor, **_: object) -> Tensor:
        x = self.mixed(x)
        y = self.block.ln_1(x)
        x = self.mixed(x + self.block.attn(y, y, y, need_weights=False)[0])
        return x + self.block.mlp(self.block.ln_2(x))


class Official(nn.Module):
    """What is trained: image tower, logit scale, temporal module, and in matching the text tower."""

    def __init__(self, source: str, recipe: Recipe, *, matching: bool):
        super().__init__()
        clip: Any = open_clip.create_model(source.removeprefix("openclip:"))
        self.visual, self.logit_scale = clip.visual, clip.logit_scale
        with torch.no_grad():
            self.logit_scale.fill_(math.log(100))
            self.rows = clip.encode_text(_tokens(range(len(NAMES))))
        self.fusion = nn.Identity()
        if temporal_sizes(recipe.temporal)[0] == "transformer":
            self.fusion = Transf(
                self.rows.shape[1], len(clip.ln_final.weight) // 64, temporal_sizes(recipe.temporal)[1]["layers"]
            )
        if recipe.temporal == "token-conv":
            for i, block in enumerate(blocks := self.visual.transformer.resblocks):
                blocks[i] = TokenT1D(block, recipe.frames)
        self.text = clip if matching else None
        del clip.visual, clip.logit_scale

    def forward(self, clips: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return unit features of the clips, unit text rows (of all classes, or in matching the labels'), the scale."""
        frames = self.visual(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        rows = self.rows if self.text is None else self.text.encode_text(_tokens(labels))
        return F.normalize(self.fusion(frames).mean(1), dim=-1), F.normalize(rows, dim=-1), self.logit_scale.exp()

    def state(self) -> dict[str, Tensor]:
        return {_named(name): tensor.clone() for name, tensor in self.state_dict().items()}


def _tokens(labels: Any) -> Tensor:
    return open_clip.tokenize([f"a video of a person {NAMES[label]}." for label in labels], context_length=16)


def _named(name: str) -> str:
    """Return texthead's name of a weight."""
    words = {r"^logit_scale": "head.log_scale", "^text": "text.net", r"\.block\.": ".", "self_attn": "attn"}
    words |= {r"^visual.*(\.\d+)\.control_point": r"temporal.convs\1", "^visual": "visual.net", r"\.norm": ".ln_"}
    words |= {r"^fusion\.positions": "temporal.frame_position_embeddings", "linear1": "mlp.c_fc"}
    words |= {r"^fusion\.blocks": "temporal.transformer.resblocks", "linear2": "mlp.c_proj"}
    for word, ours in words.items():
        name = re.sub(word, ours, name)
    return name


def by_loop(source: str, data: Dataset, recipe: Recipe, gather: Gather = None) -> Outcome:
    """Return the outcome of the published step; in several processes DDP averages gradients."""
    model, like = Official(source, recipe, matching=gather is not None), ours(source, recipe, None)[0]
    first = like.state_dict()
    model.fusion.load_state_dict({name: first[_named(f"fusion.{name}")] for name in model.fusion.state_dict()})
    before, losses, net = model.state(), [], DistributedDataParallel(model) if world_size() > 1 else model
    groups: list[dict[str, Any]] = [{"base": 5e-6, "params": []}, {"base": 5e-5, "params": []}]
    for name, weight in model.named_parameters():
        low = name.startswith(("visual", "text", "logit_scale")) and "control_point" not in name
        groups[0 if low else 1]["params"].append(weight)
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.2)
    items, batches = (
        TrainClips(data, recipe, like.spec.pixels(recipe, training=True)),
        epoch_batches(len(data), recipe),
    )
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    net.train()
    for epoch in range(recipe.epochs):
        batches.epoch = epoch
        for i, keys in enumerate(batches):
            if i == 0 or i % 10 == 9:
                now, warm, end = epoch + i / len(batches), recipe.warmup, recipe.epochs
                factor = now / warm if now < warm else (1 + math.cos(math.pi * (now - warm) / (end - warm))) / 2
                for group in optimizer.param_groups:
                    group["lr"] = group["base"] * factor
            clips, positions = zip(*(items[key] for key in keys), strict=True)
            labels = data.targets(like.names)[[*positions]]
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
                video, text, scale = net((torch.stack(clips) / 255 - mean) / std, labels)
                if gather:
                    video, text, labels = _joined(video), _joined(text), _joined(labels)
                logits = scale * video @ text.T
                loss = F.cross_entropy(logits, labels) if gather is None else _divergence(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(all_reduce_sum(loss.item())[0] / world_size())
    return losses, before, model.state()


def _joined(rows: Tensor) -> Tensor:
    """Return the rows of all processes; only this process's own have a gradient."""
    pieces = [torch.empty_like(rows) for _ in range(world_size())]
    dist.all_gather(pieces, rows.detach())
    pieces[rank()] = rows
    return torch.cat(pieces)


def _divergence(logits: Tensor, labels: Tensor) -> Tensor:
    target = (10 * (labels[:, None] == labels).float()).softmax(1)
    sides = [F.kl_div(side.log_softmax(1), target, reduction="batchmean") for side in (logits, logits.T)]
    return (sides[0] + sides[1]) / 2


def ours(source: str, recipe: Recipe, gather: Gather) -> tuple[Recognizer, Matching | None]:
    encoder = load_encoder(source)
    head = text_head(encoder, NAMES, template=recipe.template, scale=100.0)
    model = Recognizer(encoder.visual, make_temporal_for(recipe, encoder.visual), head)
    return model, None if gather is None else Matching(encoder.text, gather=gather)


def by_train(source: str, data: Dataset, recipe: Recipe, out: Path, gather: Gather = None) -> Outcome:
    model, objective = ours(source, recipe, gather)

    def state() -> dict[str, Tensor]:
        both = {**model.state_dict(), **({} if objective is None else objective.state_dict())}
        return {name: tensor.clone() for name, tensor in both.items() if name != "head.weight"}

    before = state()
    records = fine_tune(model, data, None, recipe, out=out, objective=objective, checkpoint_every=0)
    return [record["loss"] for record in records], before, state()


def recipe_of(**changes: Any) -> Recipe:
    few: dict[str, Any] = {"epochs": 3, "warmup": 1.0, "batch": 4, "frames": 3, "temporal": "transformer:layers=2"}
    return text4vis(**{**few, "augment": "none", **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, str, str]:
    """Videos, a CLIP with a ViT, and one with a ResNet."""
    media, vit, resnet = (tmp_path_factory.mktemp(name) for name in ("media", "vit", "resnet"))
    stages = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    sources = ranked.write_encoder(vit, quick_gelu=True, layers=2), ranked.write_encoder(resnet, **stages)
    return ranked.write_media(media, 56), *sources


def assert_same(result: Outcome, expected: Outcome, *, loss: float = 1e-5, weights: float = 1e-4) -> None:
    """Compare with bounds on the losses and on all weights together; that on each tensor is ten times as large."""
    (losses, first, last), (right, before, after) = result, expected
    assert len(right) == 42
    assert losses == pytest.approx(right, rel=loss, abs=loss)
    assert {name for name in first | before if not torch.equal(first[name], before[name])} == set()
    away, moved = distances(last, after), distances(after, before)
    trained = [name for name in moved if not re.search("running_|batches", name)]
    total = [torch.stack([each[name] for name in trained]).norm() for each in (away, moved)]
    assert total[0] <= weights * total[1]
    assert {name for name in moved if not away[name] <= 10 * weights * moved[name]} == set()


def distances(new: dict[str, Tensor], old: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the distance between each pair of tensors, without key biases."""
    change = {name: new[name].double() - old[name] for name in new | old if not name.endswith("k_proj.bias")}
    for name, each in change.items():
        if name.endswith("in_proj_bias"):
            each.chunk(3)[1].zero_()
    return {name: each.norm() for name, each in change.items()}


SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in (("token-conv", None), ("transformer:layers=2", False))]


@pytest.mark.parametrize(("temporal", "gather"), [("transformer:layers=2", None), *SLOW])
def test_steps_of_one_process(made: tuple, tmp_path: Path, temporal: str, gather: Gather) -> None:
    (data, vit, _), recipe = made, recipe_of(temporal=temporal)
    assert_same(by_train(vit, data, recipe, tmp_path / "run", gather), by_loop(vit, data, recipe, gather))


@pytest.mark.slow
@pytest.mark.parametrize("gather", [None, False, True])
def test_steps_of_two_processes(two: Two, made: tuple, tmp_path: Path, gather: Gather) -> None:
    """Recognition equals the loop in one process; matching compares with other texts there."""
    (data, vit, _), recipe = made, recipe_of()
    expected = by_loop(vit, data, recipe) if gather is None else two(by_loop, vit, data, recipe, gather)[0]
    assert_same(two(by_train, vit, data, recipe, tmp_path / "run", gather)[0], expected)


@pytest.mark.slow
def test_steps_with_batch_norms_in_training_mode(two: Two, made: tuple, tmp_path: Path) -> None:
    (data, _, resnet), recipe, bounds = made, recipe_of(), {"loss": 5e-5, "weights": 1e-3}
    assert_same(by_train(resnet, data, recipe, tmp_path / "one"), by_loop(resnet, data, recipe), **bounds)
    result, expected = two(by_train, resnet, data, recipe, tmp_path / "two"), two(by_loop, resnet, data, recipe)
    assert_same(result[0], expected[0], **bounds)


@pytest.mark.slow
def test_steps_in_bfloat16(made: tuple, tmp_path: Path) -> None:
    (data, vit, _), recipe = made, recipe_of(precision="bf16")
    result = by_train(vit, data, recipe, tmp_path / "run")
    assert_same(result, by_loop(vit, data, recipe), loss=0.05, weights=0.06)
    assert_same(result, by_loop(vit, data, recipe_of()), loss=0.08, weights=0.1)
