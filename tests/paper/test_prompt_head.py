"""A learnable template: its vectors take the place of words, and only they are learned."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from made import SPEC, noise, tiny_visual
from messages import refuses
from paper.prompt_head import PromptHead, random_context, template_context
from run_folders import put
from text_models import bert, image_only
from texthead import MeanPool, Recognizer
from texthead.encoders.encoder import Encoder, TextEncoder
from texthead.encoders.load import load_encoder
from texthead.encoders.pairing import pair
from texthead.errors import RunError
from texthead.models.heads import text_head
from texthead.prediction.load import load_run
from texthead.recipes import Recipe

NAMES = ["cat", "dog", "boat on a lake"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return pair(image_only(), bert(tmp_path_factory.mktemp("small") / "bert", 16))


@pytest.fixture(scope="module", params=["bert", "open_clip", "mini"])
def encoder(request, small: Encoder, published) -> Encoder:
    if request.param == "bert":
        return small
    return load_encoder("mini" if request.param == "mini" else f"openclip:tiny-vit/{published / 'tiny-vit'}.pt")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn_head(text: TextEncoder, vectors: int = 4, *, names: list[str] = NAMES, **options) -> PromptHead:
    """Return a head with random context vectors, in training mode."""
    return PromptHead(text, names, context=random_context(text, vectors, generator=seeded()), **options).train()


@pytest.mark.parametrize("template", ["a boat on a {}", "a tree on {} lake"])
def test_initial_context_gives_template_rows(encoder: Encoder, template: str) -> None:
    text = encoder.text
    context = template_context(text, template)
    assert len(context) == len(template.split("{}")[0].split())
    head = PromptHead(text, NAMES, context=context, after=template.split("{}")[1])
    expected = text_head(encoder, NAMES, template=template).weight
    assert torch.allclose(head.weight, expected, atol=1e-5)
    assert torch.allclose(head.learned_rows(), expected, atol=1e-5)
    moved = PromptHead(text, NAMES, context=context + noise(*context.shape), after=template.split("{}")[1])
    assert not torch.allclose(moved.weight, expected, atol=1e-3)


def test_gradients_of_the_vectors_against_finite_differences(encoder: Encoder) -> None:
    head = PromptHead(encoder.text, NAMES, context=random_context(encoder.text, 3, generator=seeded()) + 0.05).train()
    features, step = noise(2, encoder.dim), 1e-2
    head(features).square().sum().backward()
    direction = F.normalize(noise(*head.context.shape, seed=2), dim=None)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            head.context.add_(sign * step * direction)
            values.append(head(features).square().sum().item())
            head.context.sub_(sign * step * direction)
    assert head.context.grad is not None
    slope = (head.context.grad * direction).sum().item()
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=0.05, abs=0.02 * values[0])
    assert all(parameter.grad is None for parameter in encoder.text.net.parameters())


def losses_of(head: PromptHead, steps: int = 30) -> list[float]:
    features, targets = noise(12, head.weight.shape[1]), torch.arange(12) % len(head.names)
    optimizer = torch.optim.AdamW([p for p in head.parameters() if p is not head.log_scale], lr=3e-2, fused=True)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(head(features), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_only_context_vectors_are_learned(small: Encoder) -> None:
    weights = {key: value.clone() for key, value in small.text.net.state_dict().items()}
    head = drawn_head(small.text, scale=10.0)
    assert sorted(head.state_dict()) == ["context", "log_scale", "weight"]
    before = head.weight.clone()
    losses = losses_of(head)
    assert losses[-1] < 0.9 * losses[0]
    assert all(torch.equal(value, weights[key]) for key, value in small.text.net.state_dict().items())
    assert not torch.allclose(head.eval().weight, before, atol=1e-3)
    assert not head.weight.requires_grad


def test_run_applies_learned_template_to_other_names(tmp_path: Path) -> None:
    source = bert(tmp_path / "bert", 16)
    torch.save(tiny_visual().net.state_dict(), tmp_path / "tiny.pt")
    encoder = pair(load_encoder(f"timm:test_efficientnet/{tmp_path / 'tiny.pt'}"), source)
    options = {"center": noise(SPEC.dim, seed=8), "text_source": source, "text_map": encoder.text_map}
    head = drawn_head(encoder.text, after=".", scale=10.0, **options)
    losses_of(head, 5)
    model = Recognizer(encoder.visual, MeanPool(), head).eval()
    run = load_run(put(tmp_path, model, Recipe(name="test", size=32, resize=36, epochs=1, warmup=0.5, template="{}.")))
    features = noise(3, SPEC.dim, seed=3)
    with torch.no_grad():
        assert torch.equal(run.model.head(features), head(features))
    assert isinstance(run.model.head, PromptHead)
    assert run.model.head.prompts == tuple(f"{name}." for name in NAMES)
    with refuses(RunError, "text encoder"):
        run.model.head.train()(features)
    others = ["tree", "dog"]
    other = run.model.head.with_names(encoder, others, labels=["arbre", "chien"])
    expected = PromptHead(encoder.text, others, context=head.context.detach(), after=".").weight
    assert other.names == ("arbre", "chien")
    assert torch.allclose(other.weight, expected, atol=1e-5)
    assert torch.allclose(other.weight[1], head.weight[1], atol=1e-5)
    assert (other.scale, other.center.sum()) == (pytest.approx(10.0), head.center.sum())
    plain = run.with_classes(others, template="a {}").model.head
    assert torch.allclose(plain.weight, text_head(encoder, others, template="a {}").weight, atol=1e-5)


def test_rows_follow_vectors_that_were_put_back(small: Encoder) -> None:
    """As when a run resumes: the checkpoint's rows are one step behind its vectors."""
    head = drawn_head(small.text)
    losses_of(head, 3)
    state = {key: value.clone() for key, value in head.state_dict().items()}
    again = PromptHead(small.text, NAMES, context=torch.zeros(4, 16)).eval()
    again.load_state_dict(state)
    assert torch.allclose(again.eval().weight, head.eval().weight, atol=1e-6)
    assert not torch.allclose(again.weight, state["weight"], atol=1e-6)
