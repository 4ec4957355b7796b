"""Jobs that tests run in several processes, and the small real models they use.

`benchmarks.process_group.processes` imports this file in each process; tests compare with the same jobs in one.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from made import PIXELS, SMALL, SPEC, noise, write_video
from paper.matching import Matching, gather_rows
from texthead import Dataset, Encoder, Item, Protocol, Views, load_encoder
from texthead.evaluation.evaluate import evaluate
from texthead.features.reading import ReadOptions
from texthead.models.heads import TrainableHead, text_head
from texthead.models.multilabel_head import MultiLabelHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.parallel.distributed import all_gather_list, check_same, raise_on_all_ranks, rank, world_size
from texthead.parallel.progress import Reporter
from texthead.training.optimizer import begin_step
from texthead.training.step import ModelWithLoss
from texthead.training.train import fine_tune
from training_runs import make_model

NAMES = ("blue", "green", "red")
FIRST = Views(origin="first")
RECIPE = replace(SMALL, epochs=2, warmup=0.5)


def write_media(folder: Path, count: int, first: int = 0) -> Dataset:
    """Write videos of the three colours in turn."""
    numbers = range(first, first + count)
    rows = [(write_video(folder / f"{i}.mp4", NAMES[i % 3], frames=3 + i % 3, seed=i), NAMES[i % 3]) for i in numbers]
    return Dataset(tuple(Item(path, (label,), "train") for path, label in rows), "made here")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Nine items: with batches of 4, the last batch has 1 item, fewer than two processes."""
    return write_media(tmp_path_factory.mktemp("media"), 9)


@pytest.fixture(scope="module")
def val(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_media(tmp_path_factory.mktemp("val"), 5, first=20)


def write_encoder(folder: Path, *, quick_gelu: bool = False, **vision: object) -> str:
    """Write an open_clip pair with 32-pixel frames and 24-dimensional features, and return its source."""
    config = {
        "embed_dim": 24,
        "quick_gelu": quick_gelu,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, **vision},
        "text_cfg": {"context_length": 16, "width": 64, "heads": 2, "layers": 1, "vocab_size": 49408},
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(**config)
        with torch.no_grad():  # At initialisation all texts have nearly the same embedding.
            model.token_embedding.weight.mul_(50)
            model.logit_scale.fill_(2.0)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return f"openclip:local-dir:{folder}"


def pair(source: str, *, center: bool = True) -> tuple[Recognizer, Encoder]:
    """Return a model with a text head, and its encoder, in double precision so that rounding does not matter."""
    encoder = load_encoder(source)
    shift = 0.1 * noise(encoder.dim, seed=5) if center else None
    head = text_head(encoder, NAMES, template="a video of {}.", center=shift)
    return Recognizer(encoder.visual, MeanPool(), head).double(), encoder


def objective_for(encoder: Encoder, *, online: bool, **options) -> Matching:
    return Matching(encoder.text if online else None, **options).double()


def plain_model(*, temporal: bool = True, seed: int = 0) -> Recognizer:
    """Return a model with trainable rows and no text, in single precision."""
    head = TrainableHead(noise(3, SPEC.dim, seed=seed), names=NAMES, scale=10.0)
    return make_model(head=head, temporal=None if temporal else MeanPool(), seed=seed)


def weights(*modules: nn.Module) -> dict[str, Tensor]:
    return {f"{i}.{name}": t.clone() for i, module in enumerate(modules) for name, t in module.state_dict().items()}


def trained(
    data: Dataset, val: Dataset | None, changes: dict, out: Path, options: dict | None = None
) -> tuple[list[dict], dict[str, Tensor], list[str]]:
    """Train and return (records, weights, messages); each process starts from different weights."""
    model = plain_model(temporal=changes.get("tune") != "none", seed=rank())
    if data.multilabel:
        model.head = MultiLabelHead(model.head, bias=torch.zeros(3), thresholds=torch.zeros(3))
    if changes.get("tune") != "none":
        model = model.double()
    lines: list[str] = []
    reporter = Reporter(say=lines.append)
    records = fine_tune(model, data, val, replace(RECIPE, **changes), out=out, reporter=reporter, **(options or {}))
    return records, weights(model), lines


def stopped(steps: int, run: Callable, *args: object) -> None:
    """Run a training that stops in all processes after this many updates."""
    step, done = torch.optim.AdamW.step, []

    def stop(optimizer: torch.optim.AdamW) -> None:
        done.append(step(optimizer))
        if len(done) == steps:
            raise KeyError("stopped here")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyError, match="stopped here"):
        patch.setattr(torch.optim.AdamW, "step", stop)
        run(*args)


def first_gradients(run: Callable, *args: object) -> dict[str, Tensor]:
    """Return the gradients of the first update of a training."""
    make, made, result = ModelWithLoss.__init__, [], {}

    def see(trained: ModelWithLoss, *parts: object) -> None:
        make(trained, *parts)  # pyright: ignore[reportArgumentType]
        made.append(trained)

    def keep(_: torch.optim.AdamW) -> None:
        named = made[0].named_parameters()
        result.update((name, each.grad.clone()) for name, each in named if each.grad is not None)
        raise KeyError("seen")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyError, match="seen"):
        patch.setattr(torch.optim.AdamW, "step", keep)
        patch.setattr(ModelWithLoss, "__init__", see)
        run(*args)
    return result


def drawn(step: int) -> float:
    """Return a random number drawn in a step, as dropout would."""
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "peak_lr": 0.1}])
    begin_step(optimizer, RECIPE, step, 3)
    return torch.rand(()).item()


def train_plain(data: Dataset, out: Path, changes: dict) -> None:
    fine_tune(plain_model().double(), data, None, replace(RECIPE, **changes), out=out)


def train_own_batch(data: Dataset, out: Path) -> None:
    train_plain(data, out, {"batch": 4 + rank()})


def ends_in_a_step(data: Dataset, out: Path) -> None:
    """Run a training, killing the second process at its second backward pass; write the error message of the first."""
    backward, done = Tensor.backward, []

    def end(loss: Tensor) -> None:
        done.append(loss)
        if len(done) == 2 and rank() == 1:
            os._exit(3)
        backward(loss)

    Tensor.backward = end  # pyright: ignore[reportAttributeAccessIssue]
    (out.parent / f"message-{rank()}").write_text(message_of(train_plain, data, out, {}))


def evaluated(data: Dataset, cache: Path | None = None, skip: bool = False, batch: int = 1):
    """Evaluate and return (paths, targets, scores, paths of unreadable files)."""
    model = plain_model()
    reading = ReadOptions(batch=batch, cache=cache or False, skip_unreadable=skip)
    result = evaluate(model, data, Protocol(2, PIXELS), reading)
    return result.paths, result.targets, result.scores, [error.path for error in result.skipped]


def evaluate_own(data: Dataset) -> None:
    """Evaluate only this process's part of the data, which no caller should do."""
    evaluated(data.select(range(rank(), len(data), world_size())))


def gathered(counts: tuple[int, ...]) -> dict[str, object]:
    own = [f"{rank()}-{i}" for i in range(counts[rank()])]
    rows = torch.arange(float(3 * counts[rank()])).view(-1, 3) + 100 * rank()
    rows.requires_grad_(True)
    joined = gather_rows(rows)
    # Each process uses different weights for the joined rows.
    (joined * (1 + rank()) * torch.arange(1.0, len(joined) + 1)[:, None]).sum().backward()
    numbers = gather_rows(torch.full((len(own),), rank()))
    return {"list": all_gather_list(own), "rows": joined.detach(), "grad": rows.grad, "numbers": numbers}


def message_of(job: Callable, *args: object) -> str:
    """Return the type and message of the error that a job raises."""
    try:
        job(*args)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def fails_in(number: int) -> None:
    """Fail in one process inside a block that all processes must finish."""
    with raise_on_all_ranks():
        if rank() == number:
            raise ValueError("no such thing")


def differs() -> None:
    check_same("words", "equal")
    check_same("words", f"word {rank()}")


def comes_late(seconds: float) -> None:
    if rank() == 1:
        time.sleep(seconds)
    else:
        all_gather_list([1])


def ends(number: int) -> list[int]:
    if rank() == number:
        os._exit(3)
    return all_gather_list([rank()])


def threads() -> int:
    return torch.get_num_threads()
