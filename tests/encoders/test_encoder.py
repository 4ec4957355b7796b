"""A visual encoder carries its preprocessing and is rebuilt from its spec."""

import json
from dataclasses import replace

import pytest
import torch

from made import SPEC, write_image, write_untrained
from messages import refuses
from texthead import MeanPool, Recognizer, text_head
from texthead.data.protocol import Protocol
from texthead.encoders.encoder import Encoder, TextEncoder, VisualEncoder, build_visual
from texthead.encoders.spec import VisualSpec
from texthead.errors import EncoderError
from texthead.prediction.load import load_run
from texthead.prediction.run import Run


def test_a_spec_of_another_version():
    values = SPEC.to_json()
    without = {key: value for key, value in values.items() if key != "mean"}
    for other, key in (({**values, "colour": 1}, "'colour'"), (without, "'mean'")):
        with pytest.raises(EncoderError) as caught:  # The message quotes Python.
            VisualSpec.from_json(other)
        assert key in str(caught.value)


def test_an_architecture_that_cannot_be_built():
    """A run cannot make timm contact a hub or open folders."""
    for name in ("torchvision:x", "timm", "timm:no_such_model", "timm:hf-hub:a/b"):
        with refuses(EncoderError, name.partition(":")[2]):
            build_visual(replace(SPEC, architecture=name))
    for name in ("hf-hub:nobody/nothing", "local-dir:/tmp", "no_such_model"):
        config = {"embed_dim": 8, "vision_cfg": {"timm_model_name": name, "image_size": 32}}
        with refuses(EncoderError, repr(name)):
            build_visual(replace(SPEC, architecture="openclip", config=json.dumps(config)))


def test_text_is_loaded_only_for_new_prompts():
    loads: list[int] = []

    def load():
        loads.append(1)
        table = torch.nn.Embedding(3, 8)
        return TextEncoder(table, lambda prompts: torch.zeros(len(prompts), dtype=torch.long), table, table)

    spec = VisualSpec("x", "timm:x", 8, 32, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3, "gelu", False, True)
    encoder = Encoder(VisualEncoder(torch.nn.Identity(), spec), load, scale=10.0)
    assert not loads
    assert encoder.encode_text(("a", "b")).shape == (2, 8)
    assert encoder.encode_text(["b", "a", "b"]).shape == (3, 8)
    assert loads == [1], "each prompt is encoded once"
    assert encoder.encode_text([]).shape == (0, 8)
    encoder.encode_text(["a", "c"])
    assert loads == [1, 1], "it leaves memory in between"
    kept = Encoder(VisualEncoder(torch.nn.Identity(), spec), load, scale=10.0, keep_text=True)
    assert torch.equal(kept.encode_text(["a"]), kept.encode_text(["a"]))
    assert loads == [1, 1, 1]


def test_an_encoder_of_two_functions(tmp_path):
    """An encoder made from two functions scores at once, but a run with it cannot be loaded."""
    statistics = {"size": 8, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.5, 0.25)}
    names = ["red", "green", "blue"]
    encoder = Encoder.from_functions(
        lambda images: images.mean((2, 3)),
        lambda prompts: torch.eye(3)[[names.index(prompt) for prompt in prompts]],
        **statistics,
    )
    assert (encoder.dim, encoder.scale, encoder.has_text) == (3, 100.0, True)
    assert repr(encoder) == f"Encoder({encoder.source!r}, dim=3)"
    assert torch.equal(encoder.encode_text(["blue", "red"]), torch.eye(3)[[2, 0]])
    green = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    green[:, 1] = 255
    expected = (torch.tensor([0.0, 1.0, 0.0]) - torch.tensor(statistics["mean"])) / torch.tensor(statistics["std"])
    assert torch.allclose(encoder.visual(green)[0], expected, atol=1e-5)
    model = Recognizer(encoder.visual, MeanPool(), text_head(encoder, names))
    picture = write_image(tmp_path / "picture.png", "green")
    (result,) = Run.from_model(model).predict([picture], Protocol(1))
    assert result.top[0][0] == "green"
    with refuses(EncoderError, "functions"):
        load_run(write_untrained(tmp_path / "run", model))
    assert not Encoder.from_functions(torch.nn.Flatten(), **statistics).has_text
    with refuses(EncoderError, "encode_images", (2, 3, 8, 8)):
        Encoder.from_functions(lambda images: images, **statistics)
