"""BIKE's video concept spotting: each class weights the frames by their similarity to the words of its prompt."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead import Encoder
from texthead.apps.checkpoints.templates_head import PromptsHead
from texthead.errors import DataError
from texthead.models import Head, text_rows

_Prompts = Sequence[str | Sequence[str]]

# Temperature of the softmax over frames.
_TEMPERATURE = 0.01


class SpottingHead(PromptsHead):
    """Scores = scale x sum over frames of (weight of the frame for the class) x cosine(frame, row of the class).

    The weight is the softmax over frames of 100 x cosine(frame, word), averaged over the words of the class's prompt.
    The input is the concatenated features of a clip's frames, as returned by `FrameTransformer` or `JoinedFrames`.

    Args:
        weight: one row per class.
        words: a row for each token position of each class's prompt, including padding.
        options: as for `CosineHead`.

    Source: BIKE (Wu et al., CVPR 2023), video concept spotting, and its published code.
    """

    words: Tensor

    def __init__(
        self, weight: Float[Tensor, "classes dim"], *, words: Float[Tensor, "classes words dim"], **options: Any
    ):
        super().__init__(weight, **options)
        self.register_buffer("words", F.normalize(words.detach().float(), dim=-1))

    @classmethod
    def of_prompts(cls, encoder: Encoder, prompts: _Prompts, **options: Any) -> "SpottingHead":
        """Return a head from one prompt for each class.

        Raises:
            DataError: a class has several prompts.
            EncoderError: the text encoder does not return word embeddings.
        """
        single = _single(prompts)
        rows, words = text_rows(encoder, single), encoder.text.words(single)
        return cls(rows, words=words, kind="text", prompts=single, **options)

    def config(self) -> dict[str, object]:
        """Return the head's entry in `recipe.json`."""
        return {**super().config(), "words": self.words.shape[1]}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], names: Sequence[str], *, dim: int, prompts: _Prompts | None = None
    ) -> Head:
        """Return the head described by `config`, to load weights into."""
        words = torch.ones(len(names), config["words"], dim)
        return super().from_config({**config, "words": words}, names, dim=dim, prompts=prompts)

    def rows(self) -> Float[Tensor, "classes rows numbers"]:
        """Return a copy of each class's row followed by its words."""
        return torch.cat([self.weight[:, None], self.words], dim=1)

    def state_of(self, rows: Float[Tensor, "classes rows numbers"]) -> dict[str, Tensor]:
        """Return the entries of the state dict that hold `rows`."""
        return {"weight": rows[:, 0], "words": rows[:, 1:]}

    def encode_rows(self, encoder: Encoder, prompts: _Prompts) -> Float[Tensor, "classes rows numbers"]:
        """Return text rows for new classes, followed by the words of their prompts."""
        single = _single(prompts)
        words = F.normalize(encoder.text.words(single), dim=-1)
        return torch.cat([text_rows(encoder, single)[:, None], words], dim=1)

    def forward(self, features: Float[Tensor, "*batch frames_dim"]) -> Float[Tensor, "*batch classes"]:
        """Return the logits of each class."""
        frames = self.directions(features.unflatten(-1, (-1, self.weight.shape[1])))
        # Word by word: all at once would take classes x words x frames numbers per clip.
        weights = [(F.linear(frames, word) / _TEMPERATURE).softmax(dim=-2) for word in self.words.unbind(1)]
        weight = sum(weights) / len(weights)
        return self.log_scale.exp() * (weight * F.linear(frames, self.weight)).sum(dim=-2)


def _single(prompts: _Prompts) -> list[str]:
    """Return the prompts; raise DataError unless there is one per class."""
    groups = [[prompt] if isinstance(prompt, str) else prompt for prompt in prompts]
    if any(len(group) != 1 for group in groups):
        raise DataError("video concept spotting needs exactly one prompt per class; give one template")
    return [prompt for (prompt,) in groups]
