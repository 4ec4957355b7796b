"""The parts of a model follow the recipe and its seed."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from installed import Install, example
from made import SPEC, noise, tiny_visual
from messages import refuses
from run_folders import assert_rebuilt, put
from texthead.apps.checkpoints.spotting_head import SpottingHead
from texthead.apps.classes.class_edits import remove_classes
from texthead.data import Pixels, splits
from texthead.encoders.encoder import Encoder, VisualEncoder
from texthead.encoders.load import spec_of
from texthead.errors import DataError, RunError
from texthead.models.build import make_head, make_temporal_for
from texthead.models.head_rows import RowInputs, RowKind, lda_weights
from texthead.models.head_table import head_kind
from texthead.models.heads import FrozenHead, Head, LinearHead, ProbeHead, TrainableHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool, TemporalTransformer
from texthead.prediction.load import load_run
from texthead.recipes import HEADS, WITHOUT_TEXT, Recipe
from training_runs import RECIPE, assert_same_weights, copied, draw


def test_sizes_come_from_the_recipe_or_the_encoder() -> None:
    plain = replace(RECIPE, size=None, resize=None)
    assert replace(SPEC, size=224, crop=0.875).pixels(plain) == Pixels(224, 256, "bilinear")
    assert SPEC.pixels(replace(plain, size=112)) == Pixels(112, 128, "bilinear")
    assert SPEC.pixels(replace(plain, size=112, resize=112)) == Pixels(112, 112, "bilinear")
    fixed = replace(SPEC, size=224, any_size=False, interpolation="bicubic")
    assert fixed.pixels(replace(plain, size=224)) == Pixels(224, 256, "bicubic")
    with refuses(RunError, "tiny", "size", 224, 112):
        fixed.pixels(replace(plain, size=112))
    # Sizes that loading a run would refuse are refused before training.
    with refuses(RunError, "1,024", "4,096", f"{2**28:,}"):
        SPEC.pixels(replace(plain, frames=1024, size=4096, resize=4096))
    with refuses(RunError, "pixels", 4096, 4681):
        SPEC.pixels(replace(plain, frames=1, size=4096))


def test_temporal_module_from_recipe_and_seed() -> None:
    visual = tiny_visual()
    assert isinstance(make_temporal_for(replace(RECIPE, temporal="mean"), visual), MeanPool)
    assert isinstance(make_temporal_for(replace(RECIPE, frames=1), visual), MeanPool)
    full = make_temporal_for(replace(RECIPE, temporal="transformer:layers=2"), visual)
    narrow = make_temporal_for(replace(RECIPE, temporal="transformer:layers=1,width=128"), visual)
    assert isinstance(full, TemporalTransformer)
    assert isinstance(narrow, TemporalTransformer)
    assert (full.options["layers"], full.options["width"], full.options["heads"]) == (2, None, 4)
    assert (narrow.options["layers"], narrow.options["width"], narrow.options["heads"]) == (1, 128, 2)
    torch.manual_seed(999)
    assert_same_weights(
        copied(make_temporal_for(replace(RECIPE, temporal="transformer:layers=1,width=128"), visual)), copied(narrow)
    )
    other = copied(make_temporal_for(replace(RECIPE, temporal="transformer:layers=1,width=128", seed=4), visual))
    assert not torch.equal(other["project_in.1.weight"], copied(narrow)["project_in.1.weight"])
    clip = draw(3, 2, 256)
    torch.testing.assert_close(narrow(clip), clip.mean(1))


@pytest.mark.parametrize(
    ("architecture", "heads"), [("RN50", 8), ("ViT-B-32", 8), ("ViT-B-16", 8), ("ViT-L-14", 12), ("ViT-L-14-336", 12)]
)
def test_the_temporal_transformer_has_the_published_heads(architecture: str, heads: int) -> None:
    """The width of CLIP's text tower divided by 64, as in the published checkpoints."""
    spec = spec_of(f"openclip:{architecture}")
    spec = replace(SPEC, dim=spec.dim, config=spec.config)
    module = make_temporal_for(replace(RECIPE, temporal="transformer:layers=1"), VisualEncoder(nn.Identity(), spec))
    assert isinstance(module, TemporalTransformer)
    assert module.options["heads"] == heads


LABELS = ["PlayingCello", "archery", "juggling"]


def make(
    kind: str, encoder: Encoder, labels: Sequence[str], recipe: Recipe, *, trainable: bool = False, **others: Any
) -> Any:
    """Return a head, typed as Any because each kind has its own attributes."""
    return make_head(kind, RowInputs(encoder, labels, recipe, **others), trainable=trainable)


def test_each_head_of_ours_is_in_a_table() -> None:
    for name in HEADS:
        kind, entry = head_kind(name)
        assert entry.ours
        assert isinstance(kind, RowKind) or kind.from_inputs is not Head.from_inputs
    assert [name for name in HEADS if not head_kind(name)[0].needs_text] == WITHOUT_TEXT.split(", ")
    with refuses(RunError, "text, lda, cosine", "'signs'"):
        head_kind("signs")


@torch.no_grad()
def test_a_package_adds_rows_of_a_head(encoder: Encoder, tmp_path: Path, install: Install) -> None:
    install("signs", "texthead.heads", "signs = signs:signs", example("rows"))
    head = make("signs", encoder, LABELS, RECIPE)
    assert (type(head), head.kind) == (FrozenHead, "signs")
    assert head.weight.abs().unique().tolist() == pytest.approx([SPEC.dim**-0.5])
    trained = make("signs", encoder, LABELS, RECIPE, trainable=True)
    assert (type(trained), trained.kind) == (TrainableHead, "signs")
    run = load_run(put(tmp_path / "run", Recognizer(tiny_visual(), MeanPool(), head)))
    features = draw(4, SPEC.dim)
    assert torch.equal(run.head(features), head(features))


@torch.no_grad()
def test_a_package_adds_a_head_with_state(encoder, tmp_path, install, monkeypatch) -> None:
    packages = install("biased", "texthead.heads", "biased = biased:BiasedHead", example("head"))
    head = make("biased", encoder, LABELS, RECIPE)
    assert (head.names, head.limit) == (tuple(LABELS), 1.0)
    head.limit = 0.5
    head.bias.copy_(torch.tensor([0.1, -0.2, 9.0]))
    with refuses(DataError, "head biased", "train_head"):
        make("biased", encoder, LABELS, RECIPE, trainable=True)
    folder = put(tmp_path / "run", Recognizer(tiny_visual(), MeanPool(), head))
    assert json.loads((folder / "recipe.json").read_text())["head"]["type"] == "biased"
    run, features = load_run(folder), draw(4, SPEC.dim)
    assert torch.equal(run.head(features), head(features))
    with refuses(RunError, "BiasedHead"):
        remove_classes(run, ["archery"])
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(packages)])
    with refuses(RunError, folder, "'biased'", "install the package"):
        load_run(folder)
    with refuses(RunError, "BiasedHead", "texthead.heads"):
        put(tmp_path / "other", Recognizer(tiny_visual(), MeanPool(), head))


# A head of a package whose scores are its features.
NO_SCORES = """
import torch
import texthead as th

class signs(th.FrozenHead):
    @classmethod
    def from_inputs(cls, inputs):
        return cls(torch.ones(len(inputs.labels), inputs.encoder.dim), names=inputs.labels)
    def forward(self, x):
        return x
"""


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("def signs(inputs): return [[1.0, 2.0]]", ["a list", (3, SPEC.dim)]),
        ("import torch\ndef signs(inputs): return torch.ones(3, 2)", [(3, 2), (3, SPEC.dim)]),
        ("signs = 3", ["function", "RowKind", "Head"]),
        (NO_SCORES, [(2, SPEC.dim), (2, 3)]),
    ],
)
def test_a_broken_package_is_one_line_when_its_head_is_used(code, parts, encoder, install) -> None:
    install("signs", "texthead.heads", "signs = signs:signs", code)
    make("cosine", encoder, LABELS, RECIPE)
    with refuses(RunError, "head 'signs'", "package signs", *parts) as caught:
        make("signs", encoder, LABELS, RECIPE)
    assert "\n" not in str(caught.value)


LAST = """
import torch
import texthead as th
from texthead.models import Temporal

class Last(Temporal):
    kind = "last"
    def __init__(self, dim):
        super().__init__()
        self.options = {"dim": dim}
        self.bias = torch.nn.Parameter(torch.zeros(dim))
    @classmethod
    def from_recipe(cls, recipe, visual):
        return cls(visual.spec.dim)
    def forward(self, features):
        return features[:, -1] + self.bias
"""


@torch.no_grad()
def test_a_package_adds_a_temporal_module(tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = install("last-frame", "texthead.temporal", "last = last_frame:Last", LAST)
    module = make_temporal_for(replace(RECIPE, temporal="last"), tiny_visual())
    module.bias.add_(1.0)
    model = Recognizer(tiny_visual(), module, FrozenHead(noise(2, SPEC.dim), names=["a", "b"]))
    folder, clips = put(tmp_path / "run", model), draw(2, 3, SPEC.dim)
    assert torch.equal(load_run(folder).model.temporal(clips), clips[:, -1] + 1)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(packages)])
    with refuses(RunError, "'last'", "package that you install"):
        load_run(folder)
    with refuses(RunError, "`temporal`", "attentive", "'last'"):
        make_temporal_for(replace(RECIPE, temporal="last"), tiny_visual())
    with refuses(RunError, "Last", "texthead.temporal"):
        put(tmp_path / "other", model)


OPTIONS = {"names": LABELS, "center": noise(SPEC.dim), "text_source": "text:x", "text_map": noise(7, SPEC.dim)}


@torch.no_grad()
@pytest.mark.parametrize(
    "head",
    [
        FrozenHead(noise(3, SPEC.dim), scale=7.0, prompts=["a", ["b", "c"], "d"], **OPTIONS),
        TrainableHead(noise(3, SPEC.dim), kind="cosine", names=LABELS),
        LinearHead(SPEC.dim, names=LABELS),
        ProbeHead(noise(3, SPEC.dim), bias=noise(3), center=noise(SPEC.dim), names=LABELS),
        SpottingHead(noise(3, 5, SPEC.dim), prompts=["a", "b", "d"], names=LABELS),
    ],
    ids=lambda head: type(head).__name__,
)
def test_a_head_with_other_rows_scores_as_before(head: Head) -> None:
    assert_rebuilt(head.eval())
    assert head.rows() is not None


def test_a_text_head_is_made_of_the_names_prompts(encoder: Encoder) -> None:
    recipe, names = replace(RECIPE, template="a video of {}."), ["playing cello", "archery", "juggling"]
    head = make("text", encoder, LABELS, recipe, names=names)
    assert isinstance(head, FrozenHead)
    assert (head.names, head.kind) == (tuple(LABELS), "text")
    assert head.prompts == ("a video of playing cello.", "a video of archery.", "a video of juggling.")
    assert torch.equal(head.weight, F.normalize(encoder.text_rows(head.prompts), dim=-1))
    assert make("text", encoder, LABELS, RECIPE).prompts == tuple(LABELS)
    assert head.scale == pytest.approx(21.0)
    assert head.center is None
    assert make("text", encoder, LABELS, replace(RECIPE, scale=7.0)).scale == pytest.approx(7.0)


def test_learned_heads_come_from_the_seed(encoder: Encoder) -> None:
    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(3)

    normal = F.normalize(torch.randn(3, SPEC.dim, generator=generator()), dim=-1)
    linear = LinearHead(SPEC.dim, names=LABELS, generator=generator()).weight
    for kind, rows, made in [("cosine", normal, TrainableHead), ("linear", linear, LinearHead)]:
        head = make(kind, encoder, LABELS, RECIPE)
        assert type(head) is made
        assert head.kind == kind
        assert head.names == tuple(LABELS)
        assert torch.equal(head.weight, rows)
        assert isinstance(head.weight, nn.Parameter) == (made is not FrozenHead)
        assert not torch.equal(make(kind, encoder, LABELS, replace(RECIPE, seed=4)).weight, rows)


def test_an_lda_head_is_made_of_at_most_sixty_items_a_class(encoder: Encoder) -> None:
    targets = torch.tensor([0] * 70 + [1] * 5 + [2] * 65)
    features = draw(3, SPEC.dim, seed=5)[targets] + draw(140, SPEC.dim, seed=6)
    names = [f"{i}.mp4" for i in range(140)]
    head = make("lda", encoder, LABELS, RECIPE, features=features, targets=targets, items=names)
    picked = splits.at_most([str(int(target)) for target in targets], 60, names=names, seed=3)
    assert Counter(targets[picked].tolist()) == {0: 60, 1: 5, 2: 60}
    expected = F.normalize(lda_weights(features[picked], targets[picked]), dim=-1)
    torch.testing.assert_close(head.weight, expected)
    assert not torch.allclose(head.weight, F.normalize(lda_weights(features, targets), dim=-1), atol=1e-3)
    assert isinstance(head, FrozenHead)
    assert head.kind == "lda"


@pytest.mark.parametrize("kind", ["text", "lda"])
def test_fixed_rows_can_be_trained_from(encoder: Encoder, kind: str) -> None:
    options = {"features": draw(12, SPEC.dim, seed=7), "targets": torch.arange(12) % 3}
    frozen, free = (make(kind, encoder, LABELS, RECIPE, trainable=trainable, **options) for trainable in (False, True))
    assert type(frozen) is FrozenHead
    assert type(free) is TrainableHead
    assert torch.equal(frozen.weight, free.weight)
    assert isinstance(free.weight, nn.Parameter)


def test_center_is_mean_of_training_features(encoder: Encoder) -> None:
    features, targets = 2 + draw(12, SPEC.dim, seed=7), torch.arange(12) % 3
    recipe = replace(RECIPE, center=True)
    for kind in ("text", "cosine"):
        head = make(kind, encoder, LABELS, recipe, features=features, targets=targets)
        np.testing.assert_allclose(head.center.numpy(), features.double().numpy().mean(0), rtol=1e-5)
        without = make(kind, encoder, LABELS, RECIPE, features=features, targets=targets)
        assert without.center is None
    assert isinstance(make("linear", encoder, LABELS, recipe), LinearHead)


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
def test_attention_in_training_is_torch_s_fused_one(half: bool) -> None:
    """In the temporal transformer's nn.MultiheadAttention, as no attention weights are requested."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        result, nodes = TemporalTransformer(64, layers=2, heads=2).train()(torch.randn(2, 4, 64)), set()
    ahead = [result.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            ahead += [following for following, _ in node.next_functions]
    fused = [node for node in nodes if node.name().startswith("ScaledDotProductFlashAttention")]
    assert len(fused) == 2, "one a block"
    assert not any(node.name().startswith("Softmax") for node in nodes)
