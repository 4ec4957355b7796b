"""CLIP folders of transformers give what transformers gives."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPModel, CLIPTokenizerFast

from made import frames, noise, write_clip_folder
from messages import refuses
from texthead.encoders.hugging_face import converted
from texthead.encoders.load import load_encoder, spec_of
from texthead.errors import EncoderError

PROMPTS = ["a cat", "two dogs on a photo"]


@pytest.fixture(params=[(2, "quick_gelu"), (190, "gelu")], ids=["old end", "own end"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_clip_folder(tmp_path, *request.param)


@torch.no_grad()
def test_features_and_logits_are_transformers_own(folder: Path) -> None:
    encoder, model = load_encoder(f"hf:{folder}"), CLIPModel.from_pretrained(folder).eval()
    spec = encoder.visual.spec
    assert spec == spec_of(f"hf:{folder}")
    assert (spec.mean, spec.std, spec.interpolation) == ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "bilinear")
    assert spec.activation == model.config.vision_config.hidden_act
    inputs = CLIPTokenizerFast.from_pretrained(folder)(
        PROMPTS, padding="max_length", max_length=20, return_tensors="pt"
    )
    given = noise(3, 3, 32, 32)
    theirs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], pixel_values=given)
    rows, features = encoder.encode_text(PROMPTS), encoder.visual(given)
    assert torch.allclose(F.normalize(features, dim=-1), theirs.image_embeds, atol=1e-4)
    assert torch.allclose(F.normalize(rows, dim=-1), theirs.text_embeds, atol=1e-4)
    logits = encoder.scale * F.normalize(features, dim=-1) @ F.normalize(rows, dim=-1).T
    assert torch.allclose(logits, theirs.logits_per_image, atol=1e-4)
    mean, std = torch.tensor(spec.mean)[:, None, None], torch.tensor(spec.std)[:, None, None]
    pixels = frames(2, 32)
    assert torch.allclose(encoder.visual(pixels), encoder.visual((pixels / 255 - mean) / std), atol=1e-4)
    with refuses(EncoderError, "'a very long prompt ", 20):
        encoder.encode_text(["a cat", "a very long prompt of many letters"])


def test_folders_and_keys_of_no_clip(folder: Path, tmp_path: Path) -> None:
    with refuses(EncoderError, "nowhere/config.json"):
        load_encoder(f"hf:{tmp_path / 'nowhere'}")
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**about, "model_type": "bert"}))
    with refuses(EncoderError, folder, "'bert'"):
        load_encoder(f"hf:{folder}")
    (folder / "config.json").write_text(json.dumps({**about, "projection_dim": 23}))
    with refuses(EncoderError, "'proj'", (32, 24), (32, 23)):
        load_encoder(f"hf:{folder}")
    (folder / "model.safetensors").unlink()
    with refuses(EncoderError, folder, "model.safetensors"):
        load_encoder(f"hf:{folder}")

    with refuses(EncoderError, "'vision_model.lora.weight'"):
        converted({"vision_model.lora.weight": torch.zeros(2)})
    key = "text_model.encoder.layers.0.self_attn.q_proj.weight"
    with refuses(EncoderError, "'transformer.resblocks.0.attn.q_proj.weight'", "k_proj"):
        converted({key: torch.zeros(2, 2)})
