"""The two towers of an encoder: g_V (frames -> features) with its preprocessing, and g_T (prompts -> embeddings)."""

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from texthead.downloads import no_downloads
from texthead.encoders.spec import Grid, VisualSpec
from texthead.errors import DataError, EncoderError
from texthead.extensions import find
from texthead.parallel.caller import apart_from_caller
from texthead.recipes import WITHOUT_TEXT
from texthead.text.class_names import clean_name
from texthead.text.prompts import flat

# The entry points of encoder modules, and the functions that each needs.
ENCODER_GROUP = "texthead.encoders"
ENCODER_FUNCTIONS = ("load", "spec")

# Our encoder modules by prefix. A new one is a module and a line here. It has
#   FORMS              the forms of its sources, for messages,
#   load(rest)         returns the pretrained encoder,
#   spec(rest)         returns the spec of its visual tower, without weights or downloads,
#   build(spec)        returns the network of a spec, with random weights,
#   list_models()      returns (source, location of its weights) of every published encoder,
#   load_text(rest)    returns the text tower alone, if that is faster than to load both,
#   familiarity        as in `Encoder`, if its embeddings tell,
# where `rest` is the part of a source after the prefix and colon: "ViT-B-16/openai" of "openclip:ViT-B-16/openai".
# Modules of other packages need only `load` and `spec`, and `build` for networks of their own; `texthead encoders` and
# `--encoder here` know those of `list_models` whose location begins with "package ".
BUILT_IN = {
    "mini": "texthead.encoders.mini",
    "openclip": "texthead.encoders.openclip",
    "hf": "texthead.encoders.hugging_face",
    "timm": "texthead.encoders.timm_visual",
}

# For each class a prompt, or several.
Prompts = Sequence[str | Sequence[str]]

# The source and architecture of encoders from `Encoder.from_functions`.
FUNCTIONS = "functions"


class VisualEncoder(nn.Module):
    """A network from frames to features with its own preprocessing.

    uint8 frames are scaled and normalised here, on the network's device; float frames must already be normalised.

    Attributes:
        identity: None if texthead or an installed package knows the architecture. Else a random number that is saved
            with the weights, which do not tell what a function or a class of a notebook computes: features are not
            cached then, and nothing that was made with another object is taken for its own.
    """

    mean: Tensor
    std: Tensor
    identity: Tensor | None

    def __init__(self, net: nn.Module, spec: VisualSpec):
        super().__init__()
        self.net = net
        self.spec = spec
        self.register_buffer("mean", torch.tensor(spec.mean, dtype=torch.float32).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(spec.std, dtype=torch.float32).view(3, 1, 1) * 255, persistent=False)
        known = find(ENCODER_GROUP, BUILT_IN).get(spec.architecture.partition(":")[0]) is not None
        self.register_buffer("identity", None if known else torch.tensor([*os.urandom(16)], dtype=torch.uint8))

    @property
    def device(self) -> torch.device:
        """Its device; a lazy network is not built."""
        return self.mean.device

    def forward(self, units: Shaped[Tensor, "units *frames 3 height width"]) -> Float[Tensor, "units *tokens dim"]:
        """Return one feature per frame, or `tokens` features per clip, not normalised."""
        return self.net(self.normalised(units))

    def with_grid(self, most: Grid) -> "VisualEncoder":
        """Return the same encoder with the finest grid of features of at most these steps, rows and columns.

        The weights are shared. An encoder that cannot choose its grid is returned as it is.
        """
        spec = self.spec.with_grid(most)
        if spec == self.spec or not hasattr(self.net, "grid"):
            return self
        net = copy.copy(self.net)
        net.grid = spec.grid  # pyright: ignore[reportArgumentType]
        return VisualEncoder(net, spec).to(self.device).train(self.training)

    def normalised(self, frames: Shaped[Tensor, "*units 3 height width"]) -> Float[Tensor, "*units 3 height width"]:
        """Return the input of the network: normalised floats in its memory format."""
        if not frames.is_floating_point():
            frames = frames.to(self.mean.dtype).sub_(self.mean).div_(self.std)
        return frames.contiguous(memory_format=torch.channels_last) if self.spec.channels_last else frames


def clip_features(
    visual: VisualEncoder, clips: Shaped[Tensor, "batch frames 3 height width"]
) -> Float[Tensor, "batch tokens dim"]:
    """Return the features of clips from a video encoder, in time order.

    Clips longer than the encoder's input are encoded in chunks. Unless the encoder is trained, features have the
    precision in which they are cached: a grid of means is rounded to half precision, which ends at 65504.

    Raises:
        EncoderError: the length of the clips is not a multiple of the encoder's `frames`.
    """
    frames, length = visual.spec.frames, clips.shape[1]
    if length % frames:
        raise EncoderError(
            f"{visual.spec.source} takes {frames} frames at once, not {length}: use a multiple of {frames}"
        )
    features = visual(clips.unflatten(1, (length // frames, frames)).flatten(0, 1))
    features = features.unflatten(0, (-1, length // frames)).flatten(1, 2)
    if features.requires_grad or visual.spec.number_type == "float32":
        return features
    return features.clamp(-65504, 65504).half().float()


def check_lengths(prompts: Sequence[str], counts: Iterable[int], limit: int) -> None:
    """Raise EncoderError if a prompt has more tokens than a text encoder takes; `counts` are those of each prompt."""
    for prompt, count in zip(prompts, counts, strict=True):
        if count > limit:
            raise EncoderError(f"prompt {prompt[:40]!r}... has {count} tokens > {limit}: shorten it")


class TextEncoder(nn.Module):
    """g_T: prompts -> text embeddings. Its weights are frozen, but gradients flow to the token embeddings.

    Args:
        net: the network with all weights.
        tokenize: prompts -> token ids, one row per prompt.
        encode: token ids -> embeddings; runs `net`.
        embedding: the module in `net` that maps token ids to token embeddings; None if `encode` is not differentiable.
        width: length of an embedding; 0 if only `encode` tells.
    """

    def __init__(
        self,
        net: nn.Module,
        tokenize: Callable[[Sequence[str]], Any],
        encode: Callable[[Any], Tensor],
        embedding: nn.Module | None,
        width: int = 0,
    ):
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        self.tokenize = tokenize
        self.encode = self.unmapped = encode
        self.width = width
        # In a list, so that the module is not registered twice.
        self._embedding = [embedding]

    def __deepcopy__(self, memo: dict) -> "TextEncoder":
        """Return self: it is frozen, and `encode` would run the original network anyway."""
        return self

    @property
    def embedding(self) -> nn.Module:
        """The module that maps token ids to token embeddings; a hook on it can replace them.

        Raises:
            EncoderError: the encoder is not differentiable.
        """
        (embedding,) = self._embedding
        if embedding is None:
            remedy = "use its frozen embeddings (`head=text`), or a text encoder in PyTorch"
            raise EncoderError(f"no gradients flow through this text encoder: {remedy}")
        return embedding

    def forward(self, prompts: Sequence[str]) -> Float[Tensor, "prompts dim"]:
        """Return one embedding per prompt, not normalised.

        Raises:
            EncoderError: a prompt has too many tokens.
        """
        return self.encode(self.tokenize(list(prompts)))

    def rows(self, prompts: Prompts) -> Float[Tensor, "classes dim"]:
        """Return rows as `Encoder.text_rows` does, with their gradient."""
        return _class_rows(self, prompts)

    def then(self, change: Callable[[Tensor], Tensor], net: nn.Module | None = None) -> "TextEncoder":
        """Return this encoder with its embeddings mapped by `change`; `net` has the weights of both."""
        (embedding,) = self._embedding
        mapped = TextEncoder(net or self.net, self.tokenize, lambda tokens: change(self.encode(tokens)), embedding)
        mapped.unmapped = self.encode
        return mapped


@dataclass(eq=False, repr=False)
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

    visual: VisualEncoder
    load_text: Callable[[], TextEncoder] | None
    _: KW_ONLY
    scale: float
    bias: float = 0.0
    center: Float[Tensor, " dim"] | None = None
    keep_text: bool = False
    text_source: str | None = None
    text_map: Float[Tensor, "width dim"] | None = None
    familiarity: Callable[[Float[Tensor, "prompts dim"]], Float[Tensor, " prompts"]] | None = None

    def __post_init__(self) -> None:
        self.dim = self.visual.spec.dim
        self.source = self.visual.spec.source
        self._text: TextEncoder | None = None
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
        """Return an encoder made of two functions, for notebooks.

        Its runs cannot be loaded from their folder, and its features are not cached: its code may change.

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
        colours: Any = tuple(mean), tuple(std)
        spec = VisualSpec(FUNCTIONS, FUNCTIONS, features.shape[1], size, 1.0, "bicubic", *colours)
        if isinstance(encode_images, nn.Module):
            net = encode_images
        else:
            net = nn.Module()
            net.forward = encode_images
        load_text = None if encode_text is None else partial(TextEncoder, nn.Identity(), list, encode_text, None)
        return cls(VisualEncoder(net, spec), load_text, scale=scale)

    @property
    def has_text(self) -> bool:
        """Whether there is a text encoder."""
        return self.load_text is not None

    @property
    def text(self) -> TextEncoder:
        """The text encoder, loaded on each access unless `keep_text` is set.

        Raises:
            EncoderError: there is none.
        """
        if self.load_text is None:
            raise EncoderError(f"'{self.source}' has no text encoder: add one (`text`), or use a head {WITHOUT_TEXT}")
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
        if not prompts:
            return torch.empty(0, self.dim)
        if self.keep_text:
            return self._checked(self.text(prompts))
        new = list(dict.fromkeys(prompt for prompt in prompts if prompt not in self._rows))
        if new:
            with apart_from_caller(), torch.no_grad():
                self._rows.update(zip(new, self._checked(self._embeddings(new)), strict=True))
        return torch.stack([self._rows[prompt] for prompt in prompts])

    def _embeddings(self, prompts: Sequence[str]) -> Float[Tensor, "prompts dim"]:
        """Return the embeddings of prompts that are not cached."""
        return self.text(prompts)

    def text_rows(self, prompts: Prompts) -> Float[Tensor, "classes dim"]:
        """Return one row per class: the normalised mean of the normalised embeddings of its prompts; no gradient.

        Raises:
            DataError: a class has no prompt.
            EncoderError: as `encode_text`.
        """
        return _class_rows(self.encode_text, prompts).detach()

    def familiarity_scaled_rows(self, names: Sequence[str], prompts: Prompts) -> Float[Tensor, "classes dim"]:
        """Return the rows of `text_rows`, each as long as the text encoder knows its class: from 0 to 1.

        The length is the familiarity of the best-known prompt, or of the bare name if a prompt contains it, since the
        words of a template make it less familiar. It is 1 for encoders that cannot tell.

        Raises: as `text_rows`.
        """
        rows = self.text_rows(prompts)
        if self.familiarity is None:
            return rows
        groups = [[prompt] if isinstance(prompt, str) else list(prompt) for prompt in prompts]
        for name, group in zip(map(clean_name, names), groups, strict=True):
            group += [name] if any(name in prompt for prompt in group) else []
        known = self.familiarity(self.encode_text(flat(groups)).detach()).split([len(group) for group in groups])
        return rows * torch.stack([each.max() for each in known])[:, None]

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
            raise EncoderError(f"'{self.source}': {lengths}: they must be equal")
        return rows


def _class_rows(encode: Callable[[list[str]], Tensor], prompts: Prompts) -> Float[Tensor, "classes dim"]:
    """Return the normalised mean of the normalised embeddings of each class's prompts."""
    groups = [[prompt] if isinstance(prompt, str) else list(prompt) for prompt in prompts]
    if not all(groups):
        raise DataError(f"class {groups.index([]) + 1} of {len(groups)} has no prompt; add one")
    rows = F.normalize(encode(flat(groups)), dim=-1)
    return F.normalize(torch.stack([group.mean(0) for group in rows.split([len(one) for one in groups])]), dim=-1)


@no_downloads()
def build_visual(spec: VisualSpec) -> VisualEncoder:
    """Return the visual encoder of a spec with random weights, ready to load a run's weights.

    Downloads are forbidden, since an untrusted configuration may name pretrained parts.

    Raises:
        EncoderError: the installed libraries do not know the architecture.
    """
    build = builder_of(spec.architecture)
    if build is None:
        raise EncoderError(
            f"unknown architecture {spec.architecture!r}: not 'timm:NAME' or 'openclip', and no installed package "
            f"has a build(spec) for it: install the package of '{spec.source}', or make one of an encoder of functions"
        )
    return VisualEncoder(build(spec), spec)


def builder_of(architecture: str) -> Callable[[VisualSpec], nn.Module] | None:
    """Return the function `build` of the encoder module that an architecture's prefix names; None if it has none."""
    extension = find(ENCODER_GROUP, BUILT_IN).get(architecture.partition(":")[0])
    module = extension.load(ENCODER_FUNCTIONS) if extension else None
    build: Any = getattr(module, "build", None)
    return build if callable(build) else None  # pyright: ignore[reportReturnType]
