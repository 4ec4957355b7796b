"""BIKE's video concept spotting: each class weights the frames by their similarity to the words of its prompt."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead import Encoder
from texthead.apps.checkpoints.templates_head import PromptsHead
from texthead.errors import DataError, EncoderError

# Temperature of the softmax over frames.
_TEMPERATURE = 0.01


class SpottingHead(PromptsHead):
    """Scores = scale x sum over frames of (weight of the frame for the class) x cosine(frame, row of the class).

    The weight is the softmax over frames of 100 x cosine(frame, word), averaged over the words of the class's prompt.
    The input is the concatenated features of a clip's frames, as returned by `FrameTransformer` or `JoinedFrames`.
    The rows of a class are that of its prompt, then one for each token position of the prompt, including padding.

    Source: BIKE (Wu et al., CVPR 2023), video concept spotting, and its published code.
    """

    @staticmethod
    def weight_of(rows: Float[Tensor, "classes rows dim"]) -> Float[Tensor, "classes dim"]:
        """Return the rows of the prompts."""
        return rows[:, 0]

    @staticmethod
    def encode(encoder: Encoder, prompts: Sequence[str | Sequence[str]]) -> Float[Tensor, "classes rows dim"]:
        """Return text rows of classes, each followed by the words of its prompt.

        Raises:
            DataError: a class has several prompts.
            EncoderError: the text encoder does not return word embeddings.
        """
        groups = [[prompt] if isinstance(prompt, str) else prompt for prompt in prompts]
        if any(len(group) != 1 for group in groups):
            raise DataError("video concept spotting needs exactly one prompt per class; use a single template")
        single = [prompt for (prompt,) in groups]
        text, tokens = encoder.text, list[Tensor]()
        tower: Any = getattr(text.net, "text", text.net)
        projection = getattr(tower, "text_projection", None)
        if not isinstance(projection, Tensor):
            raise EncoderError("this text encoder has no word embeddings: use one of open_clip's own, such as CLIP")
        with torch.no_grad(), tower.ln_final.register_forward_hook(lambda *call: tokens.append(call[2])):
            text(single)
        words = F.normalize(tokens[0] @ projection, dim=-1)
        return torch.cat([encoder.text_rows(single)[:, None], words], dim=1)

    def forward(self, features: Float[Tensor, "*batch frames_dim"]) -> Float[Tensor, "*batch classes"]:
        """Return the logits of each class."""
        frames = self.directions(features.unflatten(-1, (-1, self.weight.shape[1])))
        # Word by word: all at once would take classes x words x frames numbers per clip.
        weights = [(F.linear(frames, word) / _TEMPERATURE).softmax(dim=-2) for word in self.all_rows[:, 1:].unbind(1)]
        weight = sum(weights) / len(weights)
        return self.log_scale.exp() * (weight * F.linear(frames, self.weight)).sum(dim=-2)
