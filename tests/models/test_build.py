"""The parts of a model follow the recipe and its seed."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from made import SPEC, noise, tiny_visual
from messages import refuses
from run_folders import put
from texthead.data import splits
from texthead.data.protocol import Pixels
from texthead.encoders.encoder import Encoder, Text, Visual, openclip_tower
from texthead.encoders.load import spec_of
from texthead.errors import DataError, RunError
from texthead.models.build import HEADS, drop_patches, make_head, make_temporal_for
from texthead.models.head_rows import (
    ROW_KINDS,
    RowInputs,
    RowKind,
    lda_weights,
    orthogonal_weights,
    random_weights,
    text_weights,
)
from texthead.models.heads import (
    Config,
    FrozenHead,
    Head,
    LinearHead,
    Names,
    ProbeHead,
    Prompts,
    TemplatesHead,
    TrainableHead,
    empty_options,
)
from texthead.models.prompt_head import PromptHead
from texthead.models.recognizer import Recognizer
from texthead.models.spotting_head import SpottingHead
from texthead.models.temporal import MeanPool, TemporalTransformer
from texthead.recipes import HeadKind, InitKind, Recipe
from texthead.runs.class_edits import remove_classes
from texthead.runs.run import load_run
from texthead.training.step import encoder_blocks
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


def test_the_temporal_module_is_the_recipes_and_its_seeds() -> None:
    visual = tiny_visual()
    assert isinstance(make_temporal_for(replace(RECIPE, temporal="mean"), visual), MeanPool)
    assert isinstance(make_temporal_for(replace(RECIPE, frames=1), visual), MeanPool)
    full = make_temporal_for(replace(RECIPE, width=None, layers=2), visual)
    narrow = make_temporal_for(replace(RECIPE, width=128), visual)
    assert isinstance(full, TemporalTransformer)
    assert isinstance(narrow, TemporalTransformer)
    assert (full.options["layers"], full.options["width"], full.options["heads"]) == (2, None, 4)
    assert (narrow.options["layers"], narrow.options["width"], narrow.options["heads"]) == (1, 128, 2)
    torch.manual_seed(999)
    assert_same_weights(copied(make_temporal_for(replace(RECIPE, width=128), visual)), copied(narrow))
    other = copied(make_temporal_for(replace(RECIPE, width=128, seed=4), visual))
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
    module = make_temporal_for(replace(RECIPE, width=None, layers=1), Visual(nn.Identity(), spec))
    assert isinstance(module, TemporalTransformer)
    assert module.options["heads"] == heads


def prompt_row(prompt: str) -> Tensor:
    return draw(SPEC.dim, seed=int(hashlib.sha256(prompt.encode()).hexdigest()[:8], 16))


def prompt_rows(prompts: Sequence[str]) -> Tensor:
    """Encode each prompt as a row that depends only on its characters."""
    return torch.stack([prompt_row(prompt) for prompt in prompts])


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(tiny_visual(), lambda: Text(nn.Identity(), list, prompt_rows, nn.Identity()), scale=21.0)


LABELS = ["PlayingCello", "archery", "juggling"]


def make(
    kind: HeadKind, encoder: Encoder, labels: Sequence[str], recipe: Recipe, *, trainable: bool = False, **others: Any
) -> Any:
    """Return a head, typed as Any because each kind has its own attributes."""
    return make_head(kind, RowInputs(encoder, labels, recipe, **others), trainable=trainable)


def test_each_kind_of_head_is_in_a_table() -> None:
    assert {kind for kind, rows in ROW_KINDS.items() if not rows.trained} == set(get_args(InitKind))
    starts = {head.START for head in HEADS.values()} - {None}
    assert (ROW_KINDS.keys() | starts, ROW_KINDS.keys() & starts) == (set(get_args(HeadKind)), set())


class BiasedHead(FrozenHead):
    """A frozen head with a learned bias per class: the example of docs/explanation/contributing.md."""

    def __init__(self, weight: Float[Tensor, "classes dim"], *, limit: float = 1.0, **options: Any):
        super().__init__(weight, **options)
        self.bias, self.limit = nn.Parameter(torch.zeros(len(weight))), limit

    def config(self) -> dict[str, object]:
        return {**super().config(), "limit": self.limit}

    @classmethod
    def from_config(cls, config: Config, names: Names, *, dim: int, prompts: Prompts | None = None) -> "BiasedHead":
        options = empty_options(config, dim)
        return cls(torch.ones(len(names), dim), limit=config["limit"], names=names, prompts=prompts, **options)

    def rows(self) -> None:
        return None

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        return super().forward(features) + self.bias.clamp(-self.limit, self.limit)


def signs(inputs: RowInputs) -> Float[Tensor, "classes dim"]:
    return torch.randint(2, (len(inputs.labels), inputs.encoder.dim), generator=inputs.generator()) * 2.0 - 1


@torch.no_grad()
def test_a_new_head_and_new_rows_need_a_line_each(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROW_KINDS, "signs", RowKind(signs))
    monkeypatch.setitem(HEADS, "BiasedHead", BiasedHead)
    rows = make_head("signs", RowInputs(encoder, LABELS, RECIPE)).weight
    assert rows.abs().unique().tolist() == pytest.approx([SPEC.dim**-0.5])
    head = BiasedHead(rows, limit=0.5, names=LABELS, center=noise(SPEC.dim))
    head.bias.copy_(torch.tensor([0.1, -0.2, 9.0]))
    run = load_run(put(tmp_path, Recognizer(tiny_visual(), MeanPool(), head)))
    features = draw(4, SPEC.dim)
    assert torch.equal(run.head(features), head(features))
    with refuses(RunError, "BiasedHead"):
        remove_classes(run, ["archery"])


OPTIONS = {"names": LABELS, "center": noise(SPEC.dim), "text_source": "text:x", "text_map": noise(7, SPEC.dim)}


@torch.no_grad()
@pytest.mark.parametrize(
    "head",
    [
        FrozenHead(noise(3, SPEC.dim), scale=7.0, prompts=["a", ["b", "c"], "d"], **OPTIONS),
        TrainableHead(noise(3, SPEC.dim), kind="cosine", names=LABELS),
        TemplatesHead(noise(2, 3, SPEC.dim), draw=True, pooling="probabilities", kind="text", **OPTIONS),
        PromptHead(None, context=noise(2, 5), after=".", rows=noise(3, SPEC.dim), **OPTIONS),
        LinearHead(SPEC.dim, names=LABELS),
        ProbeHead(noise(3, SPEC.dim), bias=noise(3), center=noise(SPEC.dim), names=LABELS),
        SpottingHead(noise(3, SPEC.dim), words=noise(3, 4, SPEC.dim), prompts=["a", "b", "d"], names=LABELS),
    ],
    ids=lambda head: type(head).__name__,
)
def test_a_head_with_other_rows_scores_as_before(head: Head) -> None:
    """The config survives JSON and rebuilds a head of the same kind."""
    head.eval()
    config = json.loads(json.dumps(head.config()))
    empty = HEADS[config["type"]].from_config(config, LABELS, dim=SPEC.dim, prompts=head.prompts)
    assert (type(empty), empty.config(), empty.prompts) == (type(head), head.config(), head.prompts)
    rows, features = head.rows(), draw(4, SPEC.dim)
    assert rows is not None
    turned = head.with_rows(rows[[2, 0]], ["juggling", "cello"])
    assert (type(turned), turned.names) == (type(head), ("juggling", "cello"))
    if not isinstance(head, TemplatesHead):  # it averages probabilities, which depend on the removed classes
        assert torch.allclose(turned(features), head(features)[:, [2, 0]], atol=1e-5)
    assert torch.equal(turned.rows(), rows[[2, 0]])
    assert len(head.names) == 3, "the head itself stays"


def test_a_text_head_is_made_of_the_names_prompts(encoder: Encoder) -> None:
    recipe, names = replace(RECIPE, template="a video of {}."), ["playing cello", "archery", "juggling"]
    head = make("text", encoder, LABELS, recipe, names=names)
    assert isinstance(head, FrozenHead)
    assert (head.names, head.kind) == (tuple(LABELS), "text")
    assert head.prompts == ("a video of playing cello.", "a video of archery.", "a video of juggling.")
    expected = torch.stack([F.normalize(prompt_row(prompt), dim=0) for prompt in head.prompts])
    torch.testing.assert_close(head.weight, expected)
    assert torch.equal(head.weight, F.normalize(text_weights(encoder, names, template="a video of {}."), dim=-1))
    plain = make("text", encoder, LABELS, RECIPE)
    assert isinstance(plain, FrozenHead)
    assert plain.prompts == tuple(LABELS)
    assert head.scale == pytest.approx(21.0)
    assert head.center is None
    scaled = make("text", encoder, LABELS, replace(RECIPE, scale=7.0))
    assert isinstance(scaled, FrozenHead)
    assert scaled.scale == pytest.approx(7.0)


def test_random_orthogonal_and_learned_heads_come_from_the_seed(encoder: Encoder) -> None:
    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(3)

    normal = F.normalize(random_weights(3, SPEC.dim, generator=generator()), dim=-1)
    orthogonal = F.normalize(orthogonal_weights(3, SPEC.dim, generator=generator()), dim=-1)
    linear = LinearHead(SPEC.dim, names=LABELS, generator=generator()).weight
    for kind, rows, made in [
        ("normal", normal, FrozenHead),
        ("orthogonal", orthogonal, FrozenHead),
        ("cosine", normal, TrainableHead),
        ("linear", linear, LinearHead),
    ]:
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
    head = make("lda", encoder, LABELS, RECIPE, features=features, targets=targets)
    picked = splits.at_most([str(int(target)) for target in targets], 60, seed=3)
    assert Counter(targets[picked].tolist()) == {0: 60, 1: 5, 2: 60}
    expected = F.normalize(lda_weights(features[picked], targets[picked]), dim=-1)
    torch.testing.assert_close(head.weight, expected)
    assert not torch.allclose(head.weight, F.normalize(lda_weights(features, targets), dim=-1), atol=1e-3)
    assert isinstance(head, FrozenHead)
    assert head.kind == "lda"
    with refuses(RunError, "lda", "'test'", "features"):
        make("lda", encoder, LABELS, RECIPE)


@pytest.mark.parametrize("kind", ["text", "normal", "orthogonal", "lda"])
def test_fixed_rows_can_be_trained_from(encoder: Encoder, kind: str) -> None:
    options = {"features": draw(12, SPEC.dim, seed=7), "targets": torch.arange(12) % 3}
    frozen, free = (make(kind, encoder, LABELS, RECIPE, trainable=trainable, **options) for trainable in (False, True))
    assert type(frozen) is FrozenHead
    assert type(free) is TrainableHead
    assert torch.equal(frozen.weight, free.weight)
    assert isinstance(free.weight, nn.Parameter)


def test_the_center_is_the_mean_of_the_pretrained_training_features(encoder: Encoder) -> None:
    features, targets = 2 + draw(12, SPEC.dim, seed=7), torch.arange(12) % 3
    recipe = replace(RECIPE, center=True)
    for kind in ("text", "normal", "cosine"):
        head = make(kind, encoder, LABELS, recipe, features=features, targets=targets)
        np.testing.assert_allclose(head.center.numpy(), features.double().numpy().mean(0), rtol=1e-5)
        without = make(kind, encoder, LABELS, RECIPE, features=features, targets=targets)
        assert without.center is None
    assert isinstance(make("linear", encoder, LABELS, recipe), LinearHead)
    with refuses(RunError, "center=True", "'test'", "features"):
        make("text", encoder, LABELS, recipe)


def test_several_templates_are_one_mean_row_or_stay_apart(encoder: Encoder) -> None:
    recipe = replace(RECIPE, template=("a {}.", "{} now"))
    plain = make("text", encoder, LABELS, recipe)
    assert type(plain) is FrozenHead
    assert plain.prompts[0] == ("a PlayingCello.", "PlayingCello now")
    assert torch.equal(plain.weight, text_weights(encoder, LABELS, template=("a {}.", "{} now")))
    assert type(make("text", encoder, LABELS, recipe, trainable=True)) is TrainableHead
    for changes in ({"template_use": "drawn"}, {"template_pooling": "probabilities"}):
        head = make("text", encoder, LABELS, replace(recipe, **changes))
        assert isinstance(head, TemplatesHead)
        assert head.draw == ("template_use" in changes)
        assert head.pooling == changes.get("template_pooling", "features")
        assert torch.allclose(head.variants[1], text_weights(encoder, LABELS, template="{} now"), atol=1e-6)
        with refuses(DataError, "template"):
            make("text", encoder, LABELS, replace(RECIPE, **changes))
        with refuses(DataError, "train"):
            make("text", encoder, LABELS, replace(recipe, **changes), trainable=True)
    with refuses(DataError, "prompt", 2):
        make("prompt", encoder, LABELS, recipe)


# --- patch dropout


def tower(kind: str) -> Visual:
    """A small ViT of 16 patches and a class token, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "openclip":
            vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
            net = openclip_tower({"embed_dim": 24, "vision_cfg": vision})
        else:
            options = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 64, "num_heads": 2, "num_classes": 0}
            net = timm.create_model(kind, **options)
    return Visual(net, replace(SPEC, architecture=kind, size=32)).eval()


@pytest.mark.parametrize("kind", ["openclip", "vit_tiny_patch16_224", "eva02_tiny_patch14_224"])
def test_a_part_of_the_patches_is_left_out_in_training_only(kind: str) -> None:
    visual, seen = tower(kind), []
    blocks = encoder_blocks(visual)
    assert len(blocks) == 2
    blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    frames = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain, names = visual(frames), list(visual.state_dict())
    drop_patches(visual, 0.75)
    assert torch.equal(visual(frames), plain)
    visual.train()
    torch.manual_seed(1)
    first = visual(frames)
    torch.manual_seed(1)
    assert torch.equal(visual(frames), first), "drawn from the seed of the step"
    assert not torch.equal(visual(frames), first)
    drop_patches(visual, 0.0)
    assert torch.equal(visual(frames), plain)
    assert seen == [17, 17, 5, 5, 5, 17], "the class token and a quarter of 16 patches"
    assert list(visual.state_dict()) == names
    bare = tiny_visual()
    drop_patches(bare, 0.0)
    with refuses(RunError, "EfficientNet", "patch"):
        drop_patches(bare, 0.5)


# --- attention


@pytest.mark.parametrize("kind", ["openclip", "vit_tiny_patch16_224", "eva02_tiny_patch14_224", "temporal"])
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
def test_attention_in_training_is_torch_s_fused_one(kind: str, half: bool) -> None:
    """Also in nn.MultiheadAttention (open_clip and the temporal transformer), as no attention weights are requested."""
    module = TemporalTransformer(64, layers=2, heads=2) if kind == "temporal" else tower(kind)
    inputs = torch.randn(2, 4, 64) if kind == "temporal" else torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        found, nodes = module.train()(inputs), set()
    ahead = [found.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            ahead += [following for following, _ in node.next_functions]
    fused = [node for node in nodes if node.name().startswith("ScaledDotProductFlashAttention")]
    assert len(fused) == 2, "one a block"
    assert not any(node.name().startswith("Softmax") for node in nodes)
