"""The two towers of an encoder: g_V (frames -> features) with its preprocessing, and g_T (prompts -> embeddings)."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from texthead.data.protocol import Pixels, Protocol, Views
from texthead.downloads import no_downloads
from texthead.errors import EncoderError, RunError, line_of
from texthead.extensions import find
from texthead.recipes import WITHOUT_TEXT, Recipe, check_clip_size

# The entry points of encoder modules, and the functions that each needs.
ENCODER_GROUP = "texthead.encoders"
ENCODER_FUNCTIONS = ("load", "spec")

# The source and architecture of encoders from `Encoder.from_functions`.
FUNCTIONS = "functions"


@dataclass(frozen=True)
class VisualSpec:
    """The architecture and preprocessing of a visual encoder: all that rebuilds it, except its weights.

    Attributes:
        source: as in `load_encoder`.
        architecture: "timm:NAME", "openclip" or "hf"; "PREFIX" or "PREFIX:..." for another package's network.
        dim: length of a feature.
        size: side of the input in pixels.
        crop: side of the test crop over the short side after resizing.
        interpolation: interpolation of the resize.
        mean, std: of each colour channel, for pixel values from 0 to 1.
        activation: name of the activation function, for information.
        channels_last: whether the network is faster in the channels-last memory format.
        any_size: whether the network accepts inputs of other sizes (a CNN does, a ViT does not).
        config: JSON from which the library builds the network, so that a run does not depend on its list of names.
        squash: whether test images are resized to a square, ignoring their aspect ratio.
        frames: frames that the network takes at once: 1 for an image encoder, more for a video encoder.
        tokens: features per clip of a video encoder, in time order.
        stride: step between its input frames in training, in video frames; 0 if spread over the video, or unknown.
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
    config: str = "{}"
    squash: bool = False
    frames: int = 1
    tokens: int = 1
    stride: int = 0

    @property
    def unit(self) -> Literal["frame", "clip"]:
        """The input of the network: single frames or clips."""
        return "clip" if self.frames > 1 else "frame"

    def pixels(self, recipe: Recipe | None = None) -> Pixels:
        """Return a recipe's sizes for all clips but training clips, or the encoder's own test sizes.

        Raises:
            RunError: the encoder does not support the size, or clips would take too much memory.
        """
        if recipe is None:
            return Pixels(self.size, round(self.size / self.crop), self.interpolation, self.squash)
        return self._pixels(recipe, recipe.test_size or recipe.size or self.size)

    def training_pixels(self, recipe: Recipe) -> Pixels:
        """Return a recipe's training sizes.

        Raises: as `pixels`.
        """
        return self._pixels(recipe, recipe.size or self.size)

    def _pixels(self, recipe: Recipe, size: int) -> Pixels:
        if size != self.size and not self.any_size:
            raise RunError(f"{self.source} takes only {self.size} pixels, got size {size}; use `size={self.size}`")
        pixels = Pixels(size, recipe.resize or round(size / self.crop), self.interpolation, self.squash)
        check_clip_size(recipe.frames, pixels.size, pixels.resize)
        return pixels

    def clip_frames(self, several: int = 8) -> int:
        """Return the clip length of an encoder of whole clips; `several` for an encoder of single frames."""
        return self.frames if self.unit == "clip" else several

    def protocol(self, recipe: Recipe | None = None, *, frames: int = 8) -> Protocol:
        """Return the test settings of a recipe with one view, or the encoder's own.

        Args:
            frames: frames per clip without a recipe, for an encoder of single frames.

        Raises: as `pixels`.
        """
        if recipe is None:
            views = Views(origin="centre", stride=self.stride)
            return Protocol(self.clip_frames(frames), self.pixels(), views)
        return Protocol(recipe.frames, self.pixels(recipe), Views.of(recipe))

    def to_json(self) -> dict[str, object]:
        """Return JSON values, which `VisualSpec.from_json` reads back."""
        return {**asdict(self), "config": json.loads(self.config)}

    @staticmethod
    def from_json(values: dict) -> "VisualSpec":
        """Return the spec that `to_json` wrote.

        Raises:
            EncoderError: a key is missing or unknown, or mean, std or crop is out of range.
        """
        try:
            plain = {"mean": tuple(values["mean"]), "std": tuple(values["std"]), "config": json.dumps(values["config"])}
            spec = VisualSpec(**{**values, **plain})
            for key, value, is_valid in (
                ("mean", spec.mean, all(-math.inf < each < math.inf for each in spec.mean)),
                ("std", spec.std, all(0 < each < math.inf for each in spec.std)),
                ("crop", spec.crop, 0 < spec.crop <= 1),
            ):
                if not is_valid:
                    raise EncoderError(f"visual encoder description: {key} {value} is out of range; restore the file")
            return spec
        except (KeyError, TypeError) as error:
            raise EncoderError(f"visual encoder description is not valid in this version ({line_of(error)})") from None


class Visual(nn.Module):
    """A network from frames to features with its own preprocessing.

    uint8 frames are scaled and normalised here, on the network's device; float frames must already be normalised.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, spec: VisualSpec):
        super().__init__()
        self.net = net
        self.spec = spec
        self.register_buffer("mean", torch.tensor(spec.mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(3, 1, 1) * 255, persistent=False)

    def forward(self, units: Shaped[Tensor, "units *frames 3 height width"]) -> Float[Tensor, "units *tokens dim"]:
        """Return one feature per frame, or `tokens` features per clip, not normalised."""
        return self.net(self.normalised(units))

    def normalised(self, frames: Shaped[Tensor, "*units 3 height width"]) -> Float[Tensor, "*units 3 height width"]:
        """Return the input of the network: normalised floats in its memory format."""
        if not frames.is_floating_point():
            frames = frames.to(self.mean.dtype).sub_(self.mean).div_(self.std)
        return frames.contiguous(memory_format=torch.channels_last) if self.spec.channels_last else frames


def as_visual(module: nn.Module) -> Visual:
    """Return the module if it is a Visual.

    Raises:
        EncoderError: it is another module, whose input size and normalisation are unknown.
    """
    if not isinstance(module, Visual):
        raise EncoderError(f"visual encoder is a {type(module).__name__}: wrap it as Visual(net, spec)")
    return module


def clip_features(
    visual: Visual, clips: Shaped[Tensor, "batch frames 3 height width"]
) -> Float[Tensor, "batch tokens dim"]:
    """Return the features of clips from a video encoder, in time order.

    Clips longer than the encoder's input are encoded in chunks.

    Raises:
        EncoderError: the length of the clips is not a multiple of the encoder's `frames`.
    """
    frames, length = visual.spec.frames, clips.shape[1]
    if length % frames:
        raise EncoderError(
            f"{visual.spec.source} takes {frames} frames at once, not {length}: use a multiple of {frames}"
        )
    features = visual(clips.unflatten(1, (length // frames, frames)).flatten(0, 1))
    return features.unflatten(0, (-1, length // frames)).flatten(1, 2)


class Text(nn.Module):
    """g_T: prompts -> text embeddings. Its weights are frozen, but gradients flow to the token embeddings.

    Args:
        net: the network with all weights.
        tokenize: prompts -> token ids, one row per prompt.
        encode: token ids -> embeddings; runs `net`.
        embedding: the module in `net` that maps token ids to token embeddings; None if `encode` is not differentiable.
        encode_words: token ids -> an embedding for each token, padding too; None if not supported.
    """

    def __init__(
        self,
        net: nn.Module,
        tokenize: Callable[[Sequence[str]], Any],
        encode: Callable[[Any], Tensor],
        embedding: nn.Module | None,
        encode_words: Callable[[Any], Tensor] | None = None,
    ):
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        self.encode_words = encode_words
        self.tokenize = tokenize
        self.encode = encode
        # In a list, so that the module is not registered twice.
        self._embedding = [embedding]

    def __deepcopy__(self, memo: dict) -> "Text":
        """Return self: it is frozen, and `encode` would run the original network anyway."""
        return self

    @property
    def embedding(self) -> nn.Module:
        """The module that maps token ids to token embeddings; a hook on it can replace them.

        Raises:
            EncoderError: the encoder is not differentiable.
        """
        self.check_gradients()
        (embedding,) = self._embedding
        assert embedding is not None
        return embedding

    def check_gradients(self) -> None:
        """Raise EncoderError if the encoder is not differentiable."""
        if self._embedding == [None]:
            remedy = "use its frozen embeddings (`head=text`), or a text encoder in PyTorch"
            raise EncoderError(f"no gradients flow through this text encoder: {remedy}")

    def forward(self, prompts: Sequence[str]) -> Float[Tensor, "prompts dim"]:
        """Return one embedding per prompt, not normalised.

        Raises:
            EncoderError: a prompt has too many tokens.
        """
        return self.encode(self.tokenize(list(prompts)))

    @torch.no_grad()
    def words(self, prompts: Sequence[str]) -> Float[Tensor, "prompts words dim"]:
        """Return an embedding for each token of each prompt, padding too, not normalised.

        Raises:
            EncoderError: the encoder does not support it, or a prompt has too many tokens.
        """
        if self.encode_words is None:
            raise EncoderError("this text encoder has no word embeddings: use one of open_clip's own, such as CLIP")
        return self.encode_words(self.tokenize(list(prompts)))


class _Called(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        """Return the function's result."""
        return self.function(images)


class Encoder:
    """A visual and a text encoder that share a space.

    Attributes:
        visual: g_V, a module from frames to features.
        dim: length of features and text embeddings.
        source: as passed to `load_encoder`.
        scale: initial logit scale for these features.
        bias: logit bias of encoders trained with a sigmoid loss (SigLIP); 0 for others.
        center: subtracted from features before normalising them, for zero-shot; None for most encoders.
        text_source: source of the text-only encoder that replaces the encoder's own text tower, or None.
        text_map: matrix that maps the embeddings of that text-only encoder into this space, or None.
        familiarity: maps text embeddings to how well the text encoder knows their prompts (0-1); None if the embeddings
            do not tell.
        keep_text: whether the text encoder stays in memory between calls.
        load_text: returns the text encoder; None if there is none.
    """

    def __init__(
        self,
        visual: Visual,
        load_text: Callable[[], Text] | None,
        *,
        scale: float,
        bias: float = 0.0,
        center: Float[Tensor, " dim"] | None = None,
        keep_text: bool = False,
        text_source: str | None = None,
        text_map: Float[Tensor, "width dim"] | None = None,
        familiarity: Callable[[Float[Tensor, "prompts dim"]], Float[Tensor, " prompts"]] | None = None,
    ):
        self.visual = visual
        self.dim = visual.spec.dim
        self.source = visual.spec.source
        self.scale = scale
        self.bias = bias
        self.center = center
        self.text_source = text_source
        self.text_map = text_map
        self.familiarity = familiarity
        self.load_text = load_text
        self.keep_text = keep_text
        self._text: Text | None = None
        self._rows: dict[str, Tensor] = {}

    def __repr__(self) -> str:
        return f"Encoder({self.source!r}, dim={self.dim})"

    @classmethod
    def from_functions(
        cls,
        encode_images: Callable[[Float[Tensor, "images 3 size size"]], Tensor],
        encode_text: Callable[[list[str]], Tensor] | None = None,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        scale: float = 100.0,
    ) -> "Encoder":
        """Return an encoder made of two functions, for notebooks. Its runs cannot be loaded from their folder.

        Args:
            encode_images: normalised images -> one feature each; if it is a module, it is trained too.
            encode_text: prompts -> one embedding each, as long as a feature; None for heads without text.
            size: side of the images in pixels.
            mean: means of red, green and blue, for pixel values from 0 to 1.
            std: their standard deviations.
            scale: initial logit scale.

        Raises:
            EncoderError: `encode_images` does not return one feature per image.
        """
        with torch.no_grad():
            features = encode_images(torch.zeros(2, 3, size, size))
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
            returned = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise EncoderError(f"encode_images returned {returned} for 2 images, not a tensor of shape (2, dim)")
        (red, green, blue), (red_std, green_std, blue_std) = mean, std
        spec = VisualSpec(
            source=FUNCTIONS,
            architecture=FUNCTIONS,
            dim=features.shape[1],
            size=size,
            crop=1.0,
            interpolation="bicubic",
            mean=(red, green, blue),
            std=(red_std, green_std, blue_std),
            activation="",
            channels_last=False,
            any_size=False,
        )
        net = encode_images if isinstance(encode_images, nn.Module) else _Called(encode_images)
        read = encode_text
        load_text = None if read is None else lambda: Text(nn.Identity(), list, read, None)
        return cls(Visual(net, spec), load_text, scale=scale)

    @property
    def has_text(self) -> bool:
        """Whether there is a text encoder."""
        return self.load_text is not None

    @property
    def text(self) -> Text:
        """The text encoder, loaded on each access unless `keep_text` is set.

        Raises:
            EncoderError: there is none.
        """
        if self.load_text is None:
            raise EncoderError(f"{self.source!r} has no text encoder: add one (`text`), or take a head {WITHOUT_TEXT}")
        text = self._text or self.load_text()
        if self.keep_text:
            self._text = text
        return text

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "prompts dim"]:
        """Return one embedding per prompt, not normalised.

        Results are cached and the text encoder is freed afterwards. With `keep_text` it stays in memory, nothing is
        cached, and gradients flow to its token embeddings.

        Source: g_T in Eq. 6.

        Raises:
            EncoderError: a prompt has too many tokens, or embeddings and features differ in length.
        """
        if self.keep_text:
            return self._checked(self.text(prompts))
        new = list(dict.fromkeys(prompt for prompt in prompts if prompt not in self._rows))
        if new:
            with torch.no_grad():
                self._rows.update(zip(new, self._checked(self.text(new)), strict=True))
        return torch.stack([self._rows[prompt] for prompt in prompts]) if prompts else torch.empty(0, self.dim)

    def logits(
        self, features: Float[Tensor, "*units dim"], rows: Float[Tensor, "classes dim"]
    ) -> Float[Tensor, "*units classes"]:
        """Return scale * cosine + bias of each feature and each row; normalises both.

        The bias does not affect a softmax over classes. For encoders trained with a sigmoid loss (SigLIP), the sigmoid
        of a logit is the probability that the text matches, independent of other classes.
        """
        if self.center is not None:
            features = features - self.center.to(features.device)
        return self.scale * F.normalize(features, dim=-1) @ F.normalize(rows, dim=-1).T + self.bias

    def _checked(self, rows: Tensor) -> Tensor:
        """Return the rows; raise EncoderError unless they have `dim` dimensions."""
        if rows.shape[-1] != self.dim:
            lengths = f"text embeddings have {rows.shape[-1]} dimensions, visual features {self.dim}"
            raise EncoderError(f"{self.source!r}: {lengths}: they must be equal")
        return rows


@no_downloads()
def build_visual(spec: VisualSpec) -> Visual:
    """Return the visual encoder of a spec with random weights, ready to load a run's weights.

    Downloads are forbidden, since an untrusted configuration may name pretrained parts.

    Raises:
        EncoderError: the installed libraries do not know the architecture.
    """
    kind, _, name = spec.architecture.partition(":")
    if kind == FUNCTIONS:
        raise EncoderError("the run's encoder was made of functions, which are not saved: make it an encoder package")
    if kind == "timm":
        import timm

        _check_timm(name)
        return Visual(timm.create_model(name, num_classes=0), spec)
    if spec.architecture == "openclip":
        import open_clip

        config = json.loads(spec.config)
        _check_timm(config.get("vision_cfg", {}).get("timm_model_name"))
        try:
            return Visual(openclip_tower(config), spec)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, OSError) as error:
            raise EncoderError(
                f"open_clip {open_clip.__version__} cannot build the encoder of this architecture ({error}): "
                "install the open_clip version that made the run"
            ) from None
    if spec.architecture == "hf":
        from texthead.encoders.transformers_model import build_tower

        return Visual(build_tower(spec.source, spec.config, spec.frames, spec.size, spec.tokens), spec)
    package = find(ENCODER_GROUP).get(kind)
    module: Any = package.load(ENCODER_FUNCTIONS, EncoderError) if package else None
    if not callable(getattr(module, "build", None)):
        raise EncoderError(
            f"unknown architecture {spec.architecture!r}: not 'timm:NAME' or 'openclip', and no installed package "
            f"has a build(spec) for {kind!r}: install the package of {spec.source!r}"
        )
    return Visual(module.build(spec), spec)


def _check_timm(name: str | None) -> None:
    """Raise EncoderError if timm lacks the architecture: it would look up other names on a hub or in folders."""
    import timm

    if name is not None and not timm.is_model(name):
        raise EncoderError(f"timm has no architecture {name!r}: install the timm version that made the run")


def openclip_tower(config: dict) -> nn.Module:
    """Return open_clip's image tower for a model config, with random weights; builds only a tiny text tower."""
    import open_clip

    text = open_clip.CLIPTextCfg(context_length=8, vocab_size=8, width=64, heads=1, layers=1)
    vision = {**config["vision_cfg"], "output_tokens": False, "timm_model_pretrained": False}
    clip = open_clip.CLIP(config["embed_dim"], vision, text, quick_gelu=config.get("quick_gelu", False))  # pyright: ignore[reportArgumentType]
    return clip.visual
