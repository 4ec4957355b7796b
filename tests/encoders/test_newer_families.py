"""Families whose features transformers has no method for: EmbeddingGemma 2, PE-Video and PE-AV."""

import json
import string
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer, GemmaTokenizer

from families import STATISTICS, WORDS, write_tokenizer
from made import frames, noise
from texthead import load_encoder
from texthead.encoders import build_visual, spec_of

PROMPTS = ["a cat", "two dogs"]

BLOCKS = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
HEADS = {**BLOCKS, "head_dim": 16}


def write_embedding_gemma(folder: Path) -> tuple[Any, Any]:
    """Write a small random EmbeddingGemma 2; return (its model, its processor)."""
    marks = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *string.ascii_lowercase]
    marks += ["<audio>", "<image>", "<start>", "<end>"]
    ids = {token: index for index, token in enumerate(marks)}
    text = {**HEADS, "vocab_size": 64, "num_key_value_heads": 1, "global_head_dim": 16, "embedding_dim": 24}
    vision = {**HEADS, "model_type": "gemma4_vision", "num_key_value_heads": 2, "patch_size": 4}
    sound = {"model_type": "gemma4_audio", "subsampling_conv_channels": [4, 4]}
    config = AutoConfig.for_model(
        "embedding_gemma2",
        text_config={**text, "hidden_size_per_layer_input": 8},
        vision_config={**vision, "position_embedding_size": 64},
        audio_config={**BLOCKS, **sound, "output_proj_dims": 32},
        boi_token_id=ids["<start>"],
        eoi_token_id=ids["<end>"],
        image_token_id=ids["<image>"],
        audio_token_id=ids["<audio>"],
        video_token_id=63,
    )
    torch.manual_seed(0)
    model = AutoModel.from_config(config).eval()
    model.save_pretrained(folder)
    named = {"image_token": "<image>", "boi_token": "<start>", "eoi_token": "<end>", "audio_token": "<audio>"}
    tokenizer = GemmaTokenizer(ids, add_bos_token=True, add_eos_token=True, extra_special_tokens=named)
    images = {"image_processor_type": "Gemma4ImageProcessor", "patch_size": 4, "max_soft_tokens": 70}
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    processor = transformers.EmbeddingGemma2Processor(
        feature_extractor=transformers.Gemma4AudioFeatureExtractor(),
        image_processor=AutoImageProcessor.from_pretrained(folder),
        tokenizer=tokenizer,
        video_processor=transformers.EmbeddingGemma2VideoProcessor(patch_size=4),
    )
    (folder / "preprocessor_config.json").unlink()
    processor.save_pretrained(folder)  # All in processor_config.json, as published.
    return model, processor


@pytest.mark.skipif("embedding_gemma2" not in transformers.CONFIG_MAPPING, reason="this transformers has none")
@torch.no_grad()
def test_embedding_gemma_averages_tokens_of_images_and_texts(tmp_path: Path) -> None:
    """Its authors' form: the mean of all tokens that are not padding; an image is a sequence without a text."""
    model, processor = write_embedding_gemma(tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}")
    spec = encoder.visual.spec
    assert spec == spec_of(f"hf:{tmp_path}")
    assert (spec.unit, spec.size, spec.squash, encoder.dim) == ("frame", 8 * 3 * 4, True, 24)
    images = frames(2, spec.size)
    inputs = processor(images=[[image.permute(1, 2, 0).numpy()] for image in images], return_tensors="pt")
    assert torch.allclose(encoder.visual(images), model(**inputs).last_hidden_state.mean(1), atol=1e-5)
    texts = processor.tokenizer(PROMPTS, padding=True, return_tensors="pt")
    mask = texts["attention_mask"][..., None]
    assert not mask.all()
    expected = (model(**texts).last_hidden_state * mask).sum(1) / mask.sum(1)
    assert torch.allclose(encoder.encode_text(PROMPTS), expected, atol=1e-5)
    # Sound is left out.
    assert not any("audio" in name for name in encoder.visual.state_dict())
    again = build_visual(spec)
    again.load_state_dict(encoder.visual.state_dict())
    assert torch.equal(again.eval()(images), encoder.visual(images))


@pytest.mark.parametrize("kind", ["pe_video", pytest.param("pe_audio_video", marks=pytest.mark.slow)])
@torch.no_grad()
def test_features_and_rows_of_pe_video_are_those_of_its_forward(kind: str, tmp_path: Path) -> None:
    """PE-AV's video half has no use for sound."""
    if kind not in transformers.CONFIG_MAPPING:
        pytest.skip(f"this version of transformers has no {kind}")
    text = {"model_type": "modernbert", **BLOCKS, "vocab_size": 64, "max_position_embeddings": WORDS, "pad_token_id": 0}
    text |= {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    frame = {"architecture": "vit_pe_core_tiny_patch16_384", "do_pooling": True, "num_classes": 24}
    small = {"depth": 1, "img_size": 32, "embed_dim": 32, "num_heads": 2, "ref_feat_shape": [2, 2]}
    video = {**HEADS, "vision_config": {**frame, "global_pool": "map", "initializer_range": 0.02, "model_args": small}}
    values: dict[str, Any] = {"text_config": text, "video_config": video}
    if kind == "pe_audio_video":
        both = {**HEADS, "audio_config": HEADS, "video_config": video}
        values = {"text_config": text, "audio_video_config": both}
    torch.manual_seed(0)
    model: Any = AutoModel.from_config(AutoConfig.for_model(kind, **values)).eval()
    model.save_pretrained(tmp_path)
    size = {"size": {"height": 32, "width": 32}, "num_frames": 4, "do_rescale": True, "do_normalize": True}
    processor = {**STATISTICS, **size, "video_processor_type": "PeVideoVideoProcessor", "do_resize": True}
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(processor))
    write_tokenizer(tmp_path, model_input_names=["input_ids", "attention_mask"])
    encoder = load_encoder(f"hf:{tmp_path}")
    spec = encoder.visual.spec
    assert (spec.unit, spec.frames, spec.size, spec.grid) == ("clip", 4, 32, (1, 1, 1))
    tokens = AutoTokenizer.from_pretrained(tmp_path)(
        PROMPTS, padding="max_length", max_length=WORDS, return_tensors="pt"
    )
    clips = noise(2, 4, 3, 32, 32)
    own = getattr(model, "video_model", model)(pixel_values_videos=clips, **tokens)
    assert torch.allclose(encoder.visual(clips)[:, 0], own.video_embeds, atol=1e-5)
    assert torch.allclose(encoder.encode_text(PROMPTS), own.text_video_embeds, atol=1e-5)
    assert not any("text" in name or "audio" in name for name in encoder.visual.state_dict())
