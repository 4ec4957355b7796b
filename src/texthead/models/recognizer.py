"""The model: visual encoder, temporal module, head (Eq. 3). It neither reads files nor saves."""

import copy
from contextlib import nullcontext
from itertools import chain

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from texthead.data.labels import Task
from texthead.data.protocol import Protocol
from texthead.encoders.encoder import VisualEncoder, clip_features
from texthead.encoders.lazy import weights_digest, weights_key
from texthead.encoders.spec import VisualSpec
from texthead.errors import EncoderError, RunError


class Recognizer(nn.Module):
    """Maps a batch of clips to a score for each class name.

    Args:
        visual: (batch*frames, channels, height, width) -> (batch*frames, dim), or for an encoder of whole clips
            (batch, frames, channels, height, width) -> (batch, tokens, dim). `nn.Identity()` if the inputs are cached
            features: the model then trains on those.
        temporal: (batch, frames, dim) -> (batch, dim).
        head: (batch, dim) -> (batch, classes), with `.names`. Any module works, but run folders hold only heads of
            texthead or of an installed package; put your own rows into FrozenHead or TrainableHead.

    Source: Eq. 3: H(y | softmax(W~ g_V(x))).
    """

    def __init__(self, visual: nn.Module, temporal: nn.Module, head: nn.Module):
        super().__init__()
        self.visual = visual
        self.temporal = temporal
        self.head = head

    @property
    def protocol(self) -> Protocol:
        """The encoder's default protocol."""
        return self.spec.protocol()

    @property
    def visual_encoder(self) -> VisualEncoder:
        """The visual encoder.

        Raises:
            EncoderError: it is not a `VisualEncoder`, so that its input size and normalisation are unknown.
        """
        if not isinstance(self.visual, VisualEncoder):
            raise EncoderError(f"visual encoder is a {type(self.visual).__name__}: wrap it as VisualEncoder(net, spec)")
        return self.visual

    @property
    def spec(self) -> VisualSpec:
        """What the encoder takes and gives; raises as `visual_encoder`."""
        return self.visual_encoder.spec

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, in the order of the scores."""
        return self.head.names  # pyright: ignore[reportReturnType]

    @property
    def task(self) -> Task:
        """What the model is asked about a file."""
        return Task(self.names, self.multilabel)

    @property
    def multilabel(self) -> bool:
        """Whether a file has any number of classes, each a binary label; else it has one."""
        return getattr(self.head, "multilabel", False)

    @property
    def thresholds(self) -> Float[Tensor, " classes"] | None:
        """The log-odds of each class from which on a file is assigned it; None if a file has one class."""
        return self.head.thresholds.detach().cpu() if self.multilabel else None  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]

    def probabilities(self, scores: Float[Tensor, "*items classes"]) -> Float[Tensor, "*items classes"]:
        """Return the probability (0-1) of each class: the softmax over classes, or for multi-label data the sigmoid."""
        return scores.sigmoid() if self.multilabel else scores.softmax(-1)

    def features(self, clips: Shaped[Tensor, "batch frames *frame"]) -> Float[Tensor, "batch dim"]:
        """Return one feature per clip, not normalised.

        `clips` are batch frames channels height width (uint8 0-255, or normalised floats), or batch frames dim if
        `visual` is the identity.
        """
        if self.takes_clips:
            return self.temporal(clip_features(self.visual_encoder, clips))
        with self.temporal.over(clips.shape[1]) if self._mixes_frames else nullcontext():  # pyright: ignore[reportCallIssue]
            frames = self.visual(clips.flatten(0, 1))
        return self.temporal(frames.unflatten(0, clips.shape[:2]))

    def forward(self, clips: Shaped[Tensor, "batch frames *frame"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of each class."""
        return self.head(self.features(clips))

    def with_head(self, head: nn.Module) -> "Recognizer":
        """Return a model with another head and the same encoder and temporal module (shared, not copied).

        Source: Tables 9 and 11: new names, same model.

        Raises:
            RunError: the new head has another feature dimension.
        """
        old, new = (getattr(each.weight, "shape", (0, 0))[1] for each in (self.head, head))
        if old != new:
            raise RunError(f"head of dim {new} does not fit features of dim {old}; encode the names with this encoder")
        return Recognizer(self.visual, self.temporal, head)

    @property
    def device(self) -> torch.device:
        """The model's device; a lazy encoder is not built."""
        modules = (self.head, self.temporal, self.visual)
        kinds = ((m.buffers(recurse=False), m.parameters(), m.buffers()) for m in modules)
        return next(tensor.device for tensor in chain.from_iterable(chain.from_iterable(kinds)))

    @property
    def takes_clips(self) -> bool:
        """Whether the encoder takes whole clips instead of single frames."""
        return isinstance(self.visual, VisualEncoder) and self.visual.spec.unit == "clip"

    @property
    def _mixes_frames(self) -> bool:
        """Whether the temporal module works inside the encoder."""
        return getattr(self.temporal, "inside_encoder", False)

    @property
    def encodes_frames_independently(self) -> bool:
        """Whether a frame's feature is the same in every clip, so that it can be cached."""
        return not (self._mixes_frames or self.takes_clips)

    def features_digest(self) -> str:
        """Return a digest of the weights that features depend on, and not the head's; a lazy encoder is not built."""
        return weights_key(self.temporal, f"{self.temporal} {weights_digest(self.visual_encoder)}")

    def on_features(self) -> "Recognizer":
        """Return a model for cached features, of frames or of clips, with the same temporal module and head (shared).

        Raises:
            RunError: the temporal module works inside the encoder, so features cannot be cached.
        """
        if self._mixes_frames:
            raise RunError(
                f"{type(self.temporal).__name__} works inside the encoder, so a frame's feature depends on its "
                "neighbours; use another `tune` than none, or `temporal=mean` or `temporal=transformer`"
            )
        return Recognizer(nn.Identity(), self.temporal, self.head)

    def frozen_copy(self) -> "Recognizer":
        """Return a detached copy in evaluation mode, unaffected by later training."""
        return copy.deepcopy(self).requires_grad_(False).eval()
