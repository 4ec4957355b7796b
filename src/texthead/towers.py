"""The two halves of an encoder: g_V (frames -> features) with its preprocessing, and g_T (prompts -> rows)."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from texthead.errors import EncoderError


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
