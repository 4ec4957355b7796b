"""Text-only encoders: sentences -> embeddings; BERT-like ones through transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from texthead.downloads import faults
from texthead.encoders.transformers_model import REMEDY, check_complete, folder_of, loaded
from texthead.errors import EncoderError

# Sentences per batch.
BATCH = 64


class TextOnly(nn.Module):
    """A text-only encoder: sentences -> normalised embeddings.

    Attributes:
        width: length of an embedding.
    """

    width: int

    @property
    def embedding(self) -> nn.Module | None:
        """The module that maps token ids to token embeddings; None if the encoder is not differentiable."""
        return None

    def tokenize(self, prompts: Sequence[str]) -> Any:
        """Return the input of `encode`, one entry per sentence: the sentences, if `encode` has its own tokenizer."""
        return list(prompts)

    def encode(self, tokens: Any) -> Float[Tensor, "prompts width"]:
        """Return the embeddings, in order."""
        raise NotImplementedError

    def forward(self, prompts: Sequence[str]) -> Float[Tensor, "prompts width"]:
        """Return the embedding of each sentence; there must be one."""
        return self.encode(self.tokenize(prompts))


class Sentences(TextOnly):
    """Sentences -> normalised embeddings: the mean over all tokens that are not padding.

    Args:
        source: a folder in transformers' format, or a name on the hub (through the hub client and its cache).
        limit: maximum tokens per sentence; None is the limit of tokenizer and model.

    Raises:
        EncoderError: the folder or model is missing, lacks weights, or describes a network much larger than its
            weights.
    """

    def __init__(self, source: str | Path, *, limit: int | None = None):
        super().__init__()
        from transformers import AutoTokenizer

        with faults(str(source), REMEDY):
            folder = folder_of(source)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            self.model, missing = loaded(folder, f"text:{folder}")
        # Mean pooling does not use the pooler.
        check_complete(self.model, {name for name in missing if "pooler" not in name}, f"text:{folder}")
        positions = getattr(self.model.config, "max_position_embeddings", None) or self.tokenizer.model_max_length
        self.limit = limit or min(positions, self.tokenizer.model_max_length)
        self.width = int(self.model.config.hidden_size)

    @property
    def embedding(self) -> nn.Module:
        """The module that maps token ids to token embeddings."""
        return self.model.get_input_embeddings()

    def tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each sentence.

        Raises:
            EncoderError: a sentence has more tokens than the limit.
        """
        tokens: list[list[int]] = self.tokenizer(list(prompts))["input_ids"]
        for prompt, ids in zip(prompts, tokens, strict=True):
            if len(ids) > self.limit:
                raise EncoderError(f"prompt {prompt[:40]!r}... has {len(ids)} tokens > {self.limit}: shorten it")
        return tokens

    def encode(self, tokens: Sequence[Sequence[int]]) -> Float[Tensor, "prompts width"]:
        """Return the embeddings, in order; sentences of similar length share a batch."""
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        embeddings: list[Tensor] = []
        for start in range(0, len(tokens), BATCH):
            picked = [list(tokens[i]) for i in order[start : start + BATCH]]
            inputs = self.tokenizer.pad({"input_ids": picked}, return_tensors="pt").to(self.model.device)
            hidden = self.model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None].to(hidden.dtype)
            embeddings.append(F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1))
        return torch.cat(embeddings)[torch.tensor(order).argsort()]
