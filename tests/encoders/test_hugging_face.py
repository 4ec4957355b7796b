"""Models of transformers: features, text rows, logits and sizes match transformers' own."""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import load, save_file
from torch import Tensor
from transformers import AutoTokenizer, CLIPModel, CLIPTokenizerFast, GemmaTokenizer

from families import CONFIGS, STATISTICS, WITH_TEXT, WORDS, own_processor, save_family
from made import noise, smooth, write_clip_folder
from messages import refuses
from texthead import load_encoder
from texthead.data.transforms import view_crops
from texthead.encoders import build_visual, spec_of
from texthead.encoders.spec import VisualSpec
from texthead.encoders.transformers_model import config_of
from texthead.errors import EncoderError

PROMPTS = ["a cat", "two dogs on a pho"]

# Forms of the scalar parameters of which a family's scale is made; the others have its logarithm.
SCALES: dict[str, Callable[[Any], float]] = {
    "tipsv2": lambda model: 1 / model.temperature.item(),
    "videoprism": lambda model: 100,  # It has none; this is its authors' demo.
}


def tensor(found: Any) -> Tensor:
    """Return the features, which are a tensor or inside an object, depending on transformers' version."""
    return found if isinstance(found, Tensor) else found.pooler_output


def unmasked(model: Any) -> Any:
    """Return ViT-MAE without its random mask, which hides three quarters of the patches, in testing too."""
    model.config.mask_ratio = 0.0
    return model


def processed(processor: Any, image: Any) -> Tensor:
    """Return an image of height x width x 3 as the family's own processor prepares it."""
    if hasattr(processor, "do_sample_frames"):
        (pixels,) = processor([[image] * 2], do_sample_frames=False, return_tensors="pt").values()
    else:
        pixels = processor(image, return_tensors="pt")["pixel_values"]
    return pixels.flatten(0, -4)[0]


# How to compute each kind's features; the others use `get_image_features`.
EXPECTED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "xclip": lambda model, clips: tensor(model.get_video_features(clips))[:, None],
    "videoprism": lambda model, clips: tensor(model.get_video_features(clips)).flatten(1)[:, None],
    "videoprism_vision_model": lambda model, clips: model(clips).last_hidden_state.view(len(clips), 4, 4, -1).mean(2),
    "vjepa2": lambda model, clips: model(clips, skip_predictor=True).last_hidden_state.view(-1, 2, 16, 48).mean(2),
    "videomae": lambda model, clips: model(clips).last_hidden_state.view(-1, 2, 16, 32).mean(2),
    "vivit": lambda model, clips: model(clips).last_hidden_state[:, :1],
    "timesformer": lambda model, clips: model(clips).last_hidden_state[:, :1],
    "dinov2": lambda model, images: model(images).pooler_output,
    "dinov3_vit": lambda model, images: model(images).pooler_output,
    "vit": lambda model, images: model(images).last_hidden_state[:, 0],
    "vit_mae": lambda model, images: unmasked(model)(images).last_hidden_state[:, 0],
    "beit": lambda model, images: model(images).pooler_output,  # Which its own classifier takes.
    "cvt": lambda model, images: model(images).last_hidden_state.mean((2, 3)),
    "flava": lambda model, images: model.get_image_features(images).pooler_output[:, 0],
    "swin": lambda model, images: model(images).pooler_output,
    "convnext": lambda model, images: model(images).pooler_output,
}


@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_features_of_a_family_are_transformers_own(kind: str, tmp_path: Path) -> None:
    model: Any = save_family(tmp_path, kind)
    encoder = load_encoder(f"hf:{tmp_path}")
    spec = encoder.visual.spec
    assert spec == spec_of(f"hf:{tmp_path}") == VisualSpec.from_json(json.loads(json.dumps(spec.to_json())))
    if kind != "tipsv2":  # Its processor does not normalise.
        scaled = 2 if kind == "vivit" else 1  # its processor first scales to -1..1
        mean, std = (torch.tensor(each) for each in STATISTICS.values())
        assert spec.mean == pytest.approx(((mean + scaled - 1) / scaled).tolist(), abs=1e-6)
        assert spec.std == pytest.approx((std / scaled).tolist(), abs=1e-6)
    inputs = noise(2, *((spec.frames,) if spec.unit == "clip" else ()), 3, spec.size, spec.size)
    features = encoder.visual(inputs)
    own = EXPECTED.get(kind, lambda model, images: tensor(model.get_image_features(images)))
    expected = own(model, inputs)
    assert features.shape == expected.shape == (2, *((spec.tokens,) if spec.unit == "clip" else ()), encoder.dim)
    assert torch.allclose(features, expected, atol=1e-4)
    # A run holds only the visual half.
    assert sum(weight.numel() for weight in encoder.visual.parameters()) <= model.num_parameters()
    assert not any("text" in name for name in encoder.visual.state_dict())
    again = build_visual(spec)
    again.load_state_dict(encoder.visual.state_dict())
    # ViT-MAE shuffles the patches, so last bits differ.
    assert torch.allclose(again.eval()(inputs), features, rtol=0, atol=1e-5 if kind == "vit_mae" else 0)


@pytest.mark.parametrize("kind", CONFIGS)
def test_pixels_of_a_family_are_those_of_its_processor(kind: str, tmp_path: Path) -> None:
    """The processor's geometry is measured, so that no family's own rule (a `crop_pct`, a squash) is missed."""
    save_family(tmp_path, kind)
    spec = spec_of(f"hf:{tmp_path}")
    processor = type(own_processor(kind, config_of(tmp_path))).from_pretrained(tmp_path)
    mean, std = (torch.tensor(each)[:, None, None] for each in (spec.mean, spec.std))
    for height, width in ((90, 60), (50, 80), (64, 64)):
        image = smooth(height=height, width=width)
        theirs = processed(processor, image.permute(1, 2, 0).numpy()) * std + mean
        ours = view_crops(image[None], spec.pixels())[0, 0] / 255
        assert theirs.shape == ours.shape
        assert (theirs - ours).abs().mean() < 0.5 / 255


@pytest.mark.parametrize("kind", WITH_TEXT)
@torch.no_grad()
def test_rows_and_probabilities_of_a_family_are_transformers_own(kind: str, tmp_path: Path) -> None:
    model: Any = save_family(tmp_path, kind)
    for name, value in (("logit_bias", -3.0), ("logit_scale", 2.5), ("temperature", 0.005)):
        if hasattr(model, name):
            getattr(model, name).fill_(value)
    model.save_pretrained(tmp_path)
    encoder, tokenizer = load_encoder(f"hf:{tmp_path}", keep_text=True), AutoTokenizer.from_pretrained(tmp_path)
    prompts = [f"{prompt}." for prompt in PROMPTS] if kind == "videoprism" else PROMPTS  # As its authors end them.
    tokens = tokenizer(prompts, padding="max_length", max_length=WORDS, return_tensors="pt")
    rows = encoder.encode_text(PROMPTS)
    assert torch.allclose(rows, tensor(model.get_text_features(**tokens)), atol=1e-4)
    with refuses(EncoderError, "'abcdefghijklmnopqrstuvwxyz'", WORDS):
        encoder.encode_text(["abcdefghijklmnopqrstuvwxyz"])
    # Learned templates need gradients at the token embeddings.
    reached = []
    encoder.text.embedding.register_forward_hook(lambda _, __, out: reached.append(out.requires_grad_()) or out)
    with torch.enable_grad():
        encoder.encode_text(PROMPTS).sum().backward()
    assert reached
    assert encoder.bias == (-3.0 if "siglip" in kind else 0.0)
    assert encoder.scale == pytest.approx(SCALES.get(kind, lambda model: model.logit_scale.exp().item())(model))
    if kind == "xclip":  # It adapts its text rows to each video; here rows are fixed per class.
        return
    size, videos = encoder.visual.spec.size, encoder.visual.spec.unit == "clip"
    inputs = noise(3, *((encoder.visual.spec.frames,) if videos else ()), 3, size, size)
    if videos:
        # VideoPrism has no logit scale, and its logits are a softmax over the videos.
        theirs = model(pixel_values_videos=inputs, temperature=1 / encoder.scale, **tokens).logits_per_video
    else:
        theirs = model(pixel_values=inputs, **tokens).logits_per_image
    features = encoder.visual(inputs)
    logits = encoder.logits(features[:, 0] if videos else features, rows)
    assert torch.allclose(logits.softmax(0) if videos else logits, theirs, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_a_temperature_that_published_weights_lack(tmp_path: Path) -> None:
    """TIPSv2's files have none: it is in the configuration."""
    model: Any = save_family(tmp_path, "tipsv2")
    tensors = load((tmp_path / "model.safetensors").read_bytes())  # Windows replaces no mapped file.
    assert tensors.pop("temperature").numel() == 1
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    encoder = load_encoder(f"hf:{tmp_path}")
    assert encoder.scale == pytest.approx(1 / model.config.temperature_init_value) == pytest.approx(197, rel=1e-2)
    assert encoder.encode_text(PROMPTS).shape == (2, 32)


def test_names_of_siglip_2_are_cleaned_as_open_clip_does(tmp_path: Path) -> None:
    """Published folders of `siglip` models with SigLIP 2's vocabulary have Gemma's tokenizer, which has capitals."""
    save_family(tmp_path, "siglip")
    marks = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", "!", "_", *string.ascii_letters]
    GemmaTokenizer(
        {token: index for index, token in enumerate(marks)},
        padding_side="right",
        model_max_length=WORDS,
        model_input_names=["input_ids"],
    ).save_pretrained(tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}")
    names = ["Golden Retriever!", "golden  retriever", "Golden_Retriever", "gold &amp; retriever"]
    theirs = HFTokenizer(str(tmp_path), context_length=WORDS, clean="canonicalize")(names)
    assert torch.equal(encoder.text.tokenize(names)["input_ids"], theirs)
    first, second, third, other = encoder.encode_text(names)
    assert torch.equal(first, second)
    assert torch.equal(first, third)
    assert not torch.equal(first, other)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)  # Without cleaning they differ.
    assert tokenizer("Golden Retriever!")["input_ids"] != tokenizer("golden retriever")["input_ids"]


def test_names_of_videoprism_are_cleaned_as_its_authors_do(tmp_path: Path) -> None:
    save_family(tmp_path, "videoprism")
    text = load_encoder(f"hf:{tmp_path}").text
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokens = text.tokenize(["Hello,World..", "  hello   world"])["input_ids"]
    assert torch.equal(tokens[0], tokens[1])
    assert tokens[0].tolist() == tokenizer("hello world.", padding="max_length", max_length=WORDS)["input_ids"]


@pytest.mark.parametrize(("end", "activation"), [(2, "quick_gelu"), (190, "gelu")])
@torch.no_grad()
def test_logits_of_clip_are_transformers_own(tmp_path: Path, end: int, activation: str) -> None:
    """With CLIP's tokenizer; old configurations name another token as the end."""
    folder = write_clip_folder(tmp_path, end, activation)
    encoder, model = load_encoder(f"hf:{folder}"), CLIPModel.from_pretrained(folder).eval()
    assert (encoder.visual.spec.interpolation, encoder.visual.spec.activation) == ("bilinear", activation)
    tokenizer = CLIPTokenizerFast.from_pretrained(folder)
    tokens = tokenizer(PROMPTS, padding="max_length", max_length=20, return_tensors="pt")
    images = noise(3, 3, 32, 32)
    logits = encoder.logits(encoder.visual(images), encoder.encode_text(PROMPTS))
    assert torch.allclose(logits, model(pixel_values=images, **tokens).logits_per_image, atol=1e-4)


def test_folders_that_lack_a_part(tmp_path: Path) -> None:
    folder = write_clip_folder(tmp_path)
    with refuses(EncoderError, "nowhere", "folder", "ORG/NAME"):
        load_encoder(f"hf:{tmp_path / 'no' / 'where' / 'nowhere'}")
    about, processor = (folder / "config.json").read_text(), (folder / "preprocessor_config.json").read_text()
    (folder / "config.json").write_text(json.dumps({**json.loads(about), "projection_dim": 23}))
    with refuses(EncoderError, "text_projection", (24, 32), (23, 32)):
        load_encoder(f"hf:{folder}")
    (folder / "config.json").write_text(about)
    for change, texts in (
        ({"resample": 4}, ("resampled", 4)),
        ({"crop_size": {"height": 32, "width": 40}, "do_center_crop": True}, ("squares", 40)),
        ({"crop_size": {"height": 100_000, "width": 100_000}}, ("4,096",)),
        ({"crop_size": {"height": 2.5, "width": 2.5}}, ("4,096",)),
    ):
        (folder / "preprocessor_config.json").write_text(json.dumps({**json.loads(processor), **change}))
        with refuses(EncoderError, folder, *texts):
            spec_of(f"hf:{folder}")
    (folder / "preprocessor_config.json").unlink()
    with refuses(EncoderError, folder, "preprocessor_config.json"):
        load_encoder(f"hf:{folder}")
    (folder / "preprocessor_config.json").write_text(processor)
    (folder / "model.safetensors").unlink()
    with refuses(EncoderError, folder, "model.safetensors"):
        load_encoder(f"hf:{folder}")
