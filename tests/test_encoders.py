"""An encoder is named by its source."""

import pytest

from texthead.encoders import load_encoder, zero_shot_note
from texthead.errors import DataError, EncoderError
from texthead.heads import text_weights


@pytest.mark.parametrize("source", ["", "maxi", "mini:x", "openclip", "openclip:", "clip:ViT-B-16/openai"])
def test_an_unknown_source(source):
    with pytest.raises(EncoderError, match="unknown encoder") as caught:
        load_encoder(source)
    assert repr(source) in str(caught.value)
    assert "mini" in str(caught.value)


def test_what_every_zero_shot_answer_of_mini_says():
    assert "at chance" in zero_shot_note("mini")
    assert "openclip" in zero_shot_note("mini")
    assert zero_shot_note("openclip:ViT-B-16/openai") is None


def test_text_weights_check_names_before_anything_is_loaded():
    encoder = load_encoder("mini")
    with pytest.raises(DataError, match="'a' occurs 2 times"):
        text_weights(encoder, ["a", "a"], template="{}")
    assert "_text" not in vars(encoder)
