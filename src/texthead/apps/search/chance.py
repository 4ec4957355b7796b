"""What words fit a folder by chance, to compare a query's best hit with.

A cosine means nothing to a person, and its height depends on the encoder and the folder. But most words name things
that are not in a folder, so the best hits of a few hundred common words show how well words fit by chance.
"""

import hashlib
import math
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from texthead.apps.search.index import Index
from texthead.errors import RunError
from texthead.files import cache_dir, replacing
from texthead.models import text_rows

# Words that are compared at once.
_BLOCK = 16


class CommonWords(NamedTuple):
    """Common words of an index.

    Attributes:
        rows: their text rows.
        center: subtracted from features; the encoder's own, if it has one, because the mean of a small folder shows
            mostly what is in it.
        fits: how well the best window of each word fits it, as `fit`.
    """

    rows: Float[Tensor, "words dim"]
    center: Float[Tensor, " dim"]
    fits: Float[Tensor, " words"]

    def share_as_good(self, row: Float[Tensor, " dim"], feature: Float[Tensor, " dim"]) -> float:
        """Return the share (0-1) of words for things that are not in the folder that fit as well as a query by chance.

        The largest of many values has a Gumbel distribution, whose quartile and median give its scale and location.
        Words for things that are in the folder are mostly in the upper half, which is not used.

        Args:
            row: the query, of length 1.
            feature: of its best window.

        Source: comparing with other texts is querybank normalisation (Bogolin et al., CVPR 2022); the rest is ours.
        """
        unit = F.normalize(feature.float() - self.center, dim=-1)
        value = float(fit(row @ unit, self.rows @ unit))
        quartile, median = self.fits.quantile(torch.tensor([0.25, 0.5])).tolist()
        # With a share of exp(-exp(-(x - location) / scale)) below x, median - quartile is log(2) x scale.
        scale = max(median - quartile, 1e-6) / math.log(2)
        location = median + math.log(math.log(2)) * scale
        return -math.expm1(-math.exp(min((location - value) / scale, 700)))


def fit(cosine: Float[Tensor, "*queries"], others: Float[Tensor, "*queries words"]) -> Float[Tensor, "*queries"]:
    """Return how far a cosine with a window is above those of all common words, in their standard deviations."""
    return (cosine - others.mean(-1)) / others.std(-1).clamp(min=1e-6)


@lru_cache(maxsize=2)
def common_words(index: Index) -> CommonWords:
    """Return the common words (words.txt) of an index, from the user's cache folder if neither has changed.

    Raises:
        EncoderError: the encoder has no text encoder.
    """
    encoder = index.encoder
    words = Path(__file__).with_name("words.txt").read_text("utf-8").splitlines()
    name = repr((str(index.data.resolve()), encoder.source, encoder.text_source))
    file = cache_dir() / "words" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.safetensors"
    state = torch.cat([text_rows(encoder, words[:1])[0], index.center, torch.tensor([len(words), len(index)])])
    with suppress(OSError, SafetensorError, KeyError):
        saved = load_file(file)
        if saved["state"].shape == state.shape and torch.allclose(saved["state"], state, 1e-4, 1e-6):
            return CommonWords(saved["rows"], saved["center"], saved["fits"])
    rows = text_rows(encoder, words)
    center = None if index.run else encoder.center
    common = common_words_of(index, rows, index.center if center is None else center)
    with suppress(OSError, RunError), replacing(file) as temporary:
        save_file({"state": state, **common._asdict()}, temporary)
    return common


def common_words_of(index: Index, rows: Float[Tensor, "words dim"], center: Float[Tensor, " dim"]) -> CommonWords:
    """Return the common words with these rows, compared with the windows of an index."""
    best = torch.cat([index.cosines(block).argmax(1) for block in rows.split(_BLOCK)])
    units = F.normalize(index.features[best].float() - center, dim=-1)
    return CommonWords(rows, center, fit((units * rows).sum(-1), units @ rows.T))
