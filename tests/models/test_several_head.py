"""Heads of several labels: log-odds, and what a run folder keeps of them."""

from pathlib import Path

import pytest
import torch

from made import SPEC, noise, tiny_visual, write_untrained
from messages import refuses
from texthead.errors import DataError
from texthead.models.heads import FrozenHead, Head, LinearHead, ProbeHead, TemplatesHead, TrainableHead
from texthead.models.prompt_head import PromptHead
from texthead.models.recognizer import Recognizer
from texthead.models.several_head import SeveralHead
from texthead.models.temporal import MeanPool
from texthead.runs.run import load_run

NAMES = ("dog", "frisbee", "tree")
BIAS, THRESHOLDS = torch.tensor([-3.0, -4.0, -5.0]), torch.tensor([0.5, -0.25, 0.0])


def inner(kind: str) -> Head:
    rows, prompts = noise(3, SPEC.dim), [f"a {name}" for name in NAMES]
    return {
        "frozen": lambda: FrozenHead(rows, names=NAMES, scale=20.0, center=noise(SPEC.dim, seed=1), prompts=prompts),
        "trainable": lambda: TrainableHead(rows, names=NAMES, scale=20.0),
        "templates": lambda: TemplatesHead(noise(4, 3, SPEC.dim), names=NAMES, scale=20.0),
        "prompt": lambda: PromptHead(None, NAMES, context=noise(2, 8), after="", read=NAMES, rows=rows, scale=20.0),
        "linear": lambda: LinearHead(SPEC.dim, names=NAMES),
        "probe": lambda: ProbeHead(rows, bias=noise(3, seed=2), center=noise(SPEC.dim, seed=1), names=NAMES),
    }[kind]()


KINDS = ("frozen", "trainable", "templates", "prompt", "linear", "probe")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_keeps_head_bias_and_thresholds(kind: str, tmp_path: Path) -> None:
    head, features = inner(kind).eval(), noise(5, SPEC.dim, seed=3)
    several = SeveralHead(head, bias=BIAS, thresholds=THRESHOLDS)
    assert torch.equal(several(features), head(features) + BIAS)
    model = Recognizer(tiny_visual(), MeanPool(), several)
    assert model.several
    assert torch.equal(model.thresholds, THRESHOLDS)
    assert torch.equal(model.probabilities(several(features)), several(features).sigmoid())
    loaded = load_run(write_untrained(tmp_path / "run", model)).head
    assert isinstance(loaded, SeveralHead)
    assert type(loaded.head) is type(head)
    assert (loaded.names, loaded.kind, loaded.prompts) == (several.names, several.kind, several.prompts)
    assert torch.equal(loaded(features), several(features))
    assert torch.equal(loaded.chosen(several(features)), several(features) >= THRESHOLDS)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_carry_bias_and_threshold(kind: str) -> None:
    head = SeveralHead(inner(kind), bias=BIAS, thresholds=THRESHOLDS).eval()
    rows = head.rows()
    swapped = head.with_rows(rows[[2, 0]], ["tree", "dog"])
    features = noise(5, SPEC.dim, seed=3)
    assert torch.allclose(swapped(features), head(features)[:, [2, 0]], atol=1e-5)
    assert torch.equal(swapped.thresholds, THRESHOLDS[[2, 0]])


def test_one_bias_and_threshold_a_class() -> None:
    with refuses(DataError, 3, 2):
        SeveralHead(inner("frozen"), bias=BIAS[:2], thresholds=THRESHOLDS[:2])
    assert Recognizer(tiny_visual(), MeanPool(), inner("frozen")).thresholds is None
