"""The heads that only tables compare: their rows, what is drawn, and runs that hold them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import texthead as th
from made import SPEC, noise, tiny_visual
from messages import refuses
from paper.heads import TemplatesHead, normal, orthogonal
from paper.prompt_head import PromptHead
from paper.steps import StepsHead
from run_folders import assert_rebuilt, put
from texthead.encoders.encoder import Encoder
from texthead.errors import DataError
from texthead.models import Head, RowInputs, make_head
from texthead.recipes import Recipe

LABELS = ["cello", "archery", "juggling"]
RECIPE = Recipe(name="test", template=("a {}.", "{} now"), seed=3)


def test_random_rows_come_from_the_seed(encoder: Encoder) -> None:
    for kind, rows in (("normal", normal), ("orthogonal", orthogonal)):
        expected = F.normalize(rows(RowInputs(encoder, LABELS, RECIPE)), dim=-1)
        for trainable in (False, True):
            head = make_head(kind, RowInputs(encoder, LABELS, RECIPE), trainable=trainable)
            assert type(head) is (th.TrainableHead if trainable else th.FrozenHead)
            assert torch.equal(head.weight, expected)
        assert not torch.equal(make_head(kind, RowInputs(encoder, LABELS, replace(RECIPE, seed=4))).weight, expected)

    few, all_rows = (orthogonal(RowInputs(encoder, [str(i) for i in range(n)], RECIPE)) for n in (3, SPEC.dim))
    assert all_rows.dtype == torch.float32
    assert (all_rows @ all_rows.T - torch.eye(SPEC.dim)).abs().max() < 1e-5
    assert torch.equal(few, all_rows[:3])
    with refuses(DataError, SPEC.dim + 1, SPEC.dim):
        orthogonal(RowInputs(encoder, [str(i) for i in range(SPEC.dim + 1)], RECIPE))


def test_templates_have_a_row_each(encoder: Encoder) -> None:
    head = make_head("templates", RowInputs(encoder, LABELS, RECIPE))
    assert isinstance(head, TemplatesHead)
    for rows, template in zip(head.all_rows.unbind(1), RECIPE.template, strict=True):
        assert torch.allclose(rows, th.text_head(encoder, LABELS, template=template).weight, atol=1e-6)
    assert (head.prompts[0], head.is_text, head.scale) == (("a cello.", "cello now"), True, pytest.approx(21.0))
    with refuses(DataError, "1 prompts", "at least two"):
        make_head("templates", RowInputs(encoder, LABELS, replace(RECIPE, template="a {}.")))
    with refuses(DataError, 2, "got 3"):
        head.encode_rows(encoder, [("a", "b", "c")])


def test_templates_are_drawn_for_each_class_in_training_only():
    variants, features = noise(3, 4, 8), noise(1, 8, seed=1)
    head = TemplatesHead(variants.transpose(0, 1), names=list("abcd")).train()
    each = torch.stack([th.FrozenHead(one, names=list("abcd"))(features)[0] for one in variants])
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        drawn = head(features)[0]
        torch.manual_seed(seed)
        assert torch.equal(head(features)[0], drawn)
        which = [int((each[:, c] - drawn[c]).abs().argmin()) for c in range(4)]
        assert torch.allclose(each[which, range(4)], drawn, atol=1e-4)
        seen.add(tuple(which))
    assert len(seen) > 30, "each class draws for itself"
    mean = th.FrozenHead(F.normalize(variants, dim=-1).mean(0), names=list("abcd"))
    assert torch.equal(head.eval()(features), mean(features))


OPTIONS = {"names": LABELS, "center": noise(SPEC.dim), "text_source": "text:x", "text_map": noise(7, SPEC.dim)}
HEADS = [
    TemplatesHead(noise(3, 2, SPEC.dim), kind="templates", **OPTIONS),
    PromptHead(None, context=noise(2, 5), after=".", rows=noise(3, SPEC.dim), **OPTIONS),
    StepsHead([noise(count, SPEC.dim) for count in (1, 3, 2)], kind="steps", **OPTIONS),
]


@torch.no_grad()
@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
def test_a_run_holds_it(head: Head, tmp_path: Path) -> None:
    assert_rebuilt(head.eval())
    run = th.load_run(put(tmp_path / "run", th.Recognizer(tiny_visual(), th.MeanPool(), head)))
    features = noise(4, SPEC.dim)
    assert torch.equal(run.head(features), head(features))
