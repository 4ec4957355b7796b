"""Text-only encoders of transformers: sentences -> embeddings, as from BERT."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from texthead.downloads import faults
from texthead.encoders.encoder import Text, check_lengths
from texthead.encoders.transformers_model import REMEDY, check_complete, folder_of, loaded, mean_embedding

# Sentences per batch.
BATCH = 64


def sentences(source: str | Path, *, limit: int | None = None) -> Text:
    """Return a text-only encoder: sentences -> the normalised mean over all tokens that are not padding.

    Args:
        source: a folder in transformers' format, or a name on the hub (through the hub client and its cache).
        limit: maximum tokens per sentence; None is the limit of tokenizer and model.

    Raises:
        EncoderError: the folder or model is missing, lacks weights, or describes a network much larger than its
            weights.
    """
    from transformers import AutoTokenizer

    with faults(str(source), REMEDY):
        folder = folder_of(source)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model, missing = loaded(folder, f"text:{folder}")
    # Mean pooling does not use the pooler.
    check_complete(model, {name for name in missing if "pooler" not in name}, f"text:{folder}")
    positions = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    most = limit or min(positions, tokenizer.model_max_length)

    def tokenize(prompts: Sequence[str]) -> list[list[int]]:
        tokens: list[list[int]] = tokenizer(list(prompts))["input_ids"]
        check_lengths(prompts, map(len, tokens), most)
        return tokens

    def encode(tokens: Sequence[Sequence[int]]) -> Float[Tensor, "prompts width"]:
        """Return the embeddings, in order; sentences of similar length share a batch."""
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        embeddings: list[Tensor] = []
        for start in range(0, len(tokens), BATCH):
            picked = [list(tokens[i]) for i in order[start : start + BATCH]]
            inputs = tokenizer.pad({"input_ids": picked}, return_tensors="pt").to(model.device)
            embeddings.append(F.normalize(mean_embedding(model, **inputs), dim=-1))
        return torch.cat(embeddings)[torch.tensor(order).argsort()]

    net = nn.ModuleDict({"model": model})
    return Text(net, tokenize, encode, model.get_input_embeddings(), width=int(model.config.hidden_size))
