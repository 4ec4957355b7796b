"""Small models to train, and helpers that compare two runs."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from made import SMALL, SPEC, noise, tiny_visual
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import TemporalTransformer
from texthead.parallel.progress import Reporter

RECIPE = replace(SMALL, decode="reduced", temporal="transformer:layers=1,width=32")
NAMES = ("blue", "red")
draw = noise


def make_model(
    *, dropout: float = 0.0, head: nn.Module | None = None, temporal: nn.Module | None = None, seed: int = 0
) -> Recognizer:
    if temporal is None:
        temporal = TemporalTransformer(SPEC.dim, 1, 32, heads=2, mlp_ratio=2, dropout=dropout)
        temporal.reset(torch.Generator().manual_seed(1))
        nn.init.normal_(temporal.project_out.weight, std=0.05, generator=torch.Generator().manual_seed(2))
    head = head or FrozenHead(draw(2, SPEC.dim), names=NAMES, scale=10.0)
    return Recognizer(tiny_visual(seed), temporal, head)


class Stop(Exception):
    """Stands for a user, a scheduler or a power cut that stops a training mid-epoch."""


def stop_after(clips: int) -> Reporter:
    """Return a reporter that stops `train` after this many clips."""

    def progress(done: int, total: int) -> None:
        if done >= clips:
            raise Stop

    return Reporter().counting(progress, "train")


def losses(records: list[dict]) -> list[float]:
    return [record["loss"] for record in records if record["kind"] == "train"]


def timeless(records: list[dict]) -> list[dict]:
    """Return the records without the speed, which differs between runs."""
    return [{key: value for key, value in record.items() if key != "clips_per_second"} for record in records]


def on_disk(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def counts_of(out: Path) -> dict[str, int]:
    """Return the counts of a run's checkpoint."""
    with safe_open(out / "state" / "last.safetensors", "pt") as file:
        return {key: int(value) for key, value in file.metadata().items()}


def assert_same_weights(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


def assert_close(tensors: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert tensors.keys() == expected.keys()
    for key, tensor in expected.items():
        away = (tensors[key].double() - tensor.double()).abs().max()
        assert away <= tolerance, f"{key} is {away} away"


def free_port() -> str:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return str(own.getsockname()[1])


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
