"""The two halves of an encoder: g_V (frames -> features) with its preprocessing, and g_T (prompts -> rows)."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from texthead.encoders.downloads import no_downloads
from texthead.encoders.packages import package_module
from texthead.errors import EncoderError
from texthead.recipes import WITHOUT_TEXT

# The source and architecture of an encoder that was made of functions.
_FUNCTIONS = "functions"


@dataclass(frozen=True)
class VisualSpec:
    """What rebuilds a visual encoder without its weights, and the preprocessing that they were trained with.

    `architecture` is "timm:NAME", "openclip", or "PREFIX" or "PREFIX:..." for a network that another package builds;
    `config` is what open_clip or that package builds it from, as JSON, so that a run does not hang on a list of names.
    `crop` is the side of the test crop over the short side that the picture is resized to; `any_size` says that the
    network takes other input sides than `size` (a convolutional one does, a ViT's positions do not). With `squash` test
    pictures are put into the square whole, their shape not kept.

    A tower of single frames gives one feature of each. One that sees a clip as a whole takes `frames` of them at once,
    and gives `tokens` features, one after the other in time. `stride` is how many frames of a video lay from one to the
    next when it was trained; 0 if they are to be spread over the video, or if it is not known.
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
        """What the network sees at once."""
        return "clip" if self.frames > 1 else "frame"

    def to_json(self) -> dict[str, object]:
        """Plain values; `VisualSpec.from_json` reads them back."""
        return {**asdict(self), "config": json.loads(self.config)}

    @staticmethod
    def from_json(values: dict) -> "VisualSpec":
        """The spec that `to_json` wrote.

        Raises:
            EncoderError: a missing or unknown key, or a scale of pixels that cannot be.
        """
        try:
            plain = {"mean": tuple(values["mean"]), "std": tuple(values["std"]), "config": json.dumps(values["config"])}
            spec = VisualSpec(**{**values, **plain})
            for key, value, fits in (
                ("mean", spec.mean, all(-math.inf < each < math.inf for each in spec.mean)),
                ("std", spec.std, all(0 < each < math.inf for each in spec.std)),
                ("crop", spec.crop, 0 < spec.crop <= 1),
            ):
                if not fits:
                    raise EncoderError(f"visual encoder description: {key} {value} scales no pixels; restore the file")
            return spec
        except (KeyError, TypeError) as error:
            told = " ".join(str(error).split())[:300]
            raise EncoderError(f"visual encoder description does not fit this version ({told})") from None


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

    def forward(self, units: Shaped[Tensor, "units *frames 3 height width"]) -> Float[Tensor, "units *tokens dim"]:
        """One feature a frame, or some of each clip, not normalised."""
        return self.net(self.normalised(units))

    def normalised(self, frames: Shaped[Tensor, "*units 3 height width"]) -> Float[Tensor, "*units 3 height width"]:
        """What the network takes: floats, in the order of values that suits it."""
        if not frames.is_floating_point():
            frames = frames.to(self.mean.dtype).sub_(self.mean).div_(self.std)
        return frames.contiguous(memory_format=torch.channels_last) if self.spec.channels_last else frames


class LazyVisual(Visual):
    """A visual encoder whose network is built when something first needs it.

    Until then moves to other devices and changes of the mode are noted.

    Args:
        spec: what `build` builds.
        build: returns the network with its weights.
        digest: of the weights, as `features.engine.weights_digest` gives it.

    Attributes:
        digest: None once the network is there: its weights may change.
    """

    digest: str | None

    def __init__(self, spec: VisualSpec, build: Callable[[], nn.Module], digest: str):
        super().__init__(nn.Identity(), spec)
        self.__dict__["_modules"].clear()
        self.digest = digest
        self._build: Callable[[], nn.Module] | None = build
        self._moves: list[Callable[[Tensor], Tensor]] = []

    # nn.Module reaches all parts of a module through this dictionary.
    @property
    def _modules(self) -> dict[str, nn.Module | None]:
        self._need()
        return self.__dict__["_modules"]

    @_modules.setter
    def _modules(self, modules: dict[str, nn.Module | None]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.__dict__["_modules"] = modules

    def __getattr__(self, name: str) -> Any:
        if name == "net":
            self._need()
        return super().__getattr__(name)

    def _need(self) -> None:
        """Build the network, unless it is there."""
        build = self.__dict__.get("_build")
        if build is None:
            return
        self._build = self.digest = None
        net = build().train(self.training)
        for move in self._moves:
            net._apply(move)
        self.__dict__["_modules"]["net"] = net

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LazyVisual":
        if self._build is not None:
            self._moves.append(fn)
            recurse = False
        return super()._apply(fn, recurse)  # pyright: ignore[reportReturnType]

    def train(self, mode: bool = True) -> "LazyVisual":
        """Set the mode of the network, if it is there."""
        if self._build is None:
            return super().train(mode)
        self.training = mode
        return self


def as_visual(module: nn.Module) -> Visual:
    """The module, if it is a visual encoder with its preprocessing.

    Raises:
        EncoderError: another module: sizes and normalisation of its frames are not known.
    """
    if not isinstance(module, Visual):
        raise EncoderError(f"visual encoder is a {type(module).__name__}: wrap it as Visual(net, spec)")
    return module


def clip_features(
    visual: Visual, clips: Shaped[Tensor, "batch frames 3 height width"]
) -> Float[Tensor, "batch tokens dim"]:
    """The features of clips by an encoder that sees several frames at once, one after the other in time.

    Clips that are longer than the encoder takes are seen part by part.

    Raises:
        EncoderError: clips that are no multiple of what the encoder takes.
    """
    frames, given = visual.spec.frames, clips.shape[1]
    if given % frames:
        raise EncoderError(
            f"{visual.spec.source} sees {frames} frames at once, got clips of {given}: take {frames} or a multiple"
        )
    parts = visual(clips.unflatten(1, (given // frames, frames)).flatten(0, 1))
    return parts.unflatten(0, (-1, given // frames)).flatten(1, 2)


class Text(nn.Module):
    """g_T: prompts -> rows. Its weights ask for no gradient; gradients pass from the token embeddings on.

    Args:
        net: holds all weights.
        tokenize: prompts -> token numbers, one row a prompt.
        encode: what `tokenize` gives -> rows; it runs `net`.
        embedding: the module in `net` that turns token numbers into embeddings; None if no gradient passes `encode`.
        encode_words: what `tokenize` gives -> a row for each token, padding too; None if the tower gives none.
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
        # In a list: it is no second home of the weights.
        self._embedding = [embedding]

    def __deepcopy__(self, memo: dict) -> "Text":
        """Itself: it is frozen, and `encode` runs this network and no copy."""
        return self

    @property
    def embedding(self) -> nn.Module:
        """Token numbers -> token embeddings; what a hook on it returns goes through the rest of the tower.

        Raises:
            EncoderError: no gradient passes through the encoder.
        """
        self.check_gradients()
        (embedding,) = self._embedding
        assert embedding is not None
        return embedding

    def check_gradients(self) -> None:
        """Raise EncoderError if no gradient passes through the encoder."""
        if self._embedding == [None]:
            raise EncoderError(
                "this text encoder passes no gradients, so it can neither be trained nor learn a template: "
                "use its frozen rows (head text), or a text encoder of torch"
            )

    def forward(self, prompts: Sequence[str]) -> Float[Tensor, "prompts dim"]:
        """One row a prompt, not normalised.

        Raises:
            EncoderError: a prompt with more tokens than the tower takes.
        """
        return self.encode(self.tokenize(list(prompts)))

    @torch.no_grad()
    def words(self, prompts: Sequence[str]) -> Float[Tensor, "prompts words dim"]:
        """A row for each token of each prompt, padding too, not normalised.

        Raises:
            EncoderError: a tower that gives none, or a prompt with more tokens than the tower takes.
        """
        if self.encode_words is None:
            raise EncoderError("this text encoder gives no rows of words: take one of open_clip's own, as CLIP's")
        return self.encode_words(self.tokenize(list(prompts)))


class _Called(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        """What the function returns."""
        return self.function(images)


class Encoder:
    """A visual and a text encoder that share a space.

    Attributes:
        visual: g_V, a module from frames to features.
        dim: length of a feature and of a text row.
        source: what `load_encoder` was given.
        scale: the logit scale that suits these features at the start.
        bias: added to the scaled cosines, of encoders trained with a sigmoid for each pair (SigLIP); 0 for others.
        center: what zero-shot subtracts from features before it normalises them; None for most encoders.
        text_source: the text-only encoder that stands in for the pair's own half; None for the pair's own.
        text_map: what moves a text-only encoder's embeddings into this space.
        keep_text: the text encoder stays in memory between calls.
        load_text: returns the text encoder; None without one.
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
    ):
        self.visual = visual
        self.dim = visual.spec.dim
        self.source = visual.spec.source
        self.scale = scale
        self.bias = bias
        self.center = center
        self.text_source = text_source
        self.text_map = text_map
        self.load_text = load_text
        self.keep_text = keep_text
        self._text: Text | None = None
        self._rows: dict[str, Tensor] = {}

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
        """Return an encoder made of two functions, for a notebook; a run of it can be used, and not loaded again.

        Args:
            encode_images: normalised images -> one feature each; a module is trained with the rest.
            encode_text: prompts -> one row each, of the features' length; None for heads without text.
            size: side of the images in pixels.
            mean: of red, green and blue, as parts of white.
            std: their standard deviations.
            scale: the logit scale at the start.

        Raises:
            EncoderError: `encode_images` gives no feature an image.
        """
        with torch.no_grad():
            tried = encode_images(torch.zeros(2, 3, size, size))
        if not isinstance(tried, Tensor) or tried.ndim != 2 or len(tried) != 2:
            given = tuple(tried.shape) if isinstance(tried, Tensor) else type(tried).__name__
            raise EncoderError(f"encode_images gave {given} of 2 images: it must return a tensor of shape (2, dim)")
        (red, green, blue), (red_std, green_std, blue_std) = mean, std
        spec = VisualSpec(
            source=_FUNCTIONS,
            architecture=_FUNCTIONS,
            dim=tried.shape[1],
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
        """The text encoder as a module. It is loaded when it is asked for and stays with whoever asked.

        Raises:
            EncoderError: there is none.
        """
        if self.load_text is None:
            raise EncoderError(
                f"{self.source!r} has no text encoder: train with one (text) for names of your own, or with a head "
                f"that needs none: {WITHOUT_TEXT}"
            )
        text = self._text or self.load_text()
        if self.keep_text:
            self._text = text
        return text

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "prompts dim"]:
        """One row a prompt, not normalised. Each prompt is encoded once, and the text encoder leaves memory afterwards.

        With `keep_text` it stays, and gradients pass from its token embeddings on.

        Source: g_T in Eq. 6.

        Raises:
            EncoderError: a prompt with more tokens than the text encoder takes, or rows and features of two lengths.
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
        """Return scale * cosine + bias of each feature and each row; both are normalised here.

        A softmax over classes does not depend on the bias. Of encoders trained with a sigmoid (SigLIP), the sigmoid of
        each logit is the probability that this text fits, whatever the other classes are.
        """
        if self.center is not None:
            features = features - self.center.to(features.device)
        return self.scale * F.normalize(features, dim=-1) @ F.normalize(rows, dim=-1).T + self.bias

    def _checked(self, rows: Tensor) -> Tensor:
        """Return the rows; raise EncoderError if they are not as long as the features."""
        if rows.shape[-1] != self.dim:
            raise EncoderError(
                f"{self.source!r}: its text encoder gives rows of {rows.shape[-1]} numbers, its visual encoder "
                f"features of {self.dim}: both must have one length"
            )
        return rows


@no_downloads()
def build_visual(spec: VisualSpec) -> Visual:
    """Return the visual encoder of a spec with random weights, into which a run's own weights are loaded.

    Nothing is downloaded: a configuration from elsewhere may name pretrained parts.

    Raises:
        EncoderError: an architecture that the installed libraries do not know.
    """
    kind, _, name = spec.architecture.partition(":")
    if kind == _FUNCTIONS:
        raise EncoderError(
            "the encoder of this run was made of functions, which are not saved: put them into a package of encoders"
        )
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
                "texthead needs the version that made the run"
            ) from None
    if spec.architecture == "hf":
        from texthead.encoders.transformers_model import build_tower

        return Visual(build_tower(spec.source, spec.config, spec.frames, spec.size, spec.tokens), spec)
    module = package_module(kind)
    if module is None or not callable(getattr(module, "build", None)):
        raise EncoderError(
            f"unknown architecture {spec.architecture!r}: not 'timm:NAME' or 'openclip', and no installed package "
            f"has a build(spec) for {kind!r}: install the one that made {spec.source!r}"
        )
    return Visual(module.build(spec), spec)


def _check_timm(name: str | None) -> None:
    """Raise EncoderError if timm lacks the architecture: other names make it ask a hub or open folders."""
    import timm

    if name is not None and not timm.is_model(name):
        raise EncoderError(f"timm has no architecture {name!r}: texthead needs the version that made the run")


def openclip_tower(config: dict) -> nn.Module:
    """open_clip's image tower of a model config, with random weights and without a text tower worth the name."""
    import open_clip

    text = open_clip.CLIPTextCfg(context_length=8, vocab_size=8, width=64, heads=1, layers=1)
    vision = {**config["vision_cfg"], "output_tokens": False, "timm_model_pretrained": False}
    clip = open_clip.CLIP(config["embed_dim"], vision, text, quick_gelu=config.get("quick_gelu", False))  # pyright: ignore[reportArgumentType]
    return clip.visual
