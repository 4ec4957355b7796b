"""Small random models of transformers' families, each saved in its own format with its processor and tokenizer."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, BertTokenizerFast, CLIPImageProcessor, PreTrainedModel
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING

WORDS = 20  # Maximum tokens per text.

_BLOCKS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
_SEEN = {**_BLOCKS, "image_size": 32, "patch_size": 8}
_READ = {**_BLOCKS, "vocab_size": 64, "max_position_embeddings": WORDS, "pad_token_id": 0}
_PAIR = {"text_config": _READ, "vision_config": _SEEN, "projection_dim": 24}
_TUBELETS = {**_BLOCKS, "image_size": 36, "num_frames": 4, "tubelet_size": [1, 18, 18]}
_PREDICTOR = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
_WINDOWS = {"depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
_LAYERS = {"num_spatial_layers": 1, "num_temporal_layers": 1}

# Configuration values by model type.
CONFIGS: dict[str, dict[str, Any]] = {
    "clip": {**_PAIR, "text_config": {**_READ, "eos_token_id": 2}},
    "siglip": {"text_config": _READ, "vision_config": _SEEN},
    "metaclip_2": {**_PAIR, "text_config": {**_READ, "eos_token_id": 3}},
    "altclip": {**_PAIR, "text_config": {**_READ, "project_dim": 24, "max_position_embeddings": WORDS + 10}},
    "chinese_clip": _PAIR,
    "aimv2": _PAIR,
    "tipsv2": {"text_config": _READ, "vision_config": _SEEN},
    "flava": {"text_config": _READ, "image_config": _SEEN, "multimodal_config": _BLOCKS, "projection_dim": 24},
    "vision-text-dual-encoder": {
        "text_config": {**_READ, "model_type": "bert"},
        "vision_config": {**_SEEN, "model_type": "dinov2"},
        "projection_dim": 24,
    },
    "xclip": {
        **_PAIR,
        "vision_config": {**_SEEN, "num_frames": 4, "mit_hidden_size": 24, "mit_num_attention_heads": 2},
        "prompt_layers": 1,
        "prompt_num_attention_heads": 2,
    },
    "videoprism": {"text_config": _READ, "vision_config": {**_TUBELETS, **_LAYERS, "num_auxiliary_layers": 1}},
    "videoprism_vision_model": {**_TUBELETS, **_LAYERS},
    "vjepa2": {**_SEEN, "hidden_size": 48, "crop_size": 32, "frames_per_clip": 4, **_PREDICTOR},
    "videomae": {**_SEEN, "num_frames": 4},
    "vivit": {**_BLOCKS, "image_size": 32, "num_frames": 4, "tubelet_size": [2, 8, 8]},
    "timesformer": {**_SEEN, "num_frames": 4},
    "dinov2": _SEEN,
    # With 0, as by default, its safetensors file cannot be read on Windows.
    "dinov3_vit": {**_SEEN, "num_register_tokens": 4},
    "vit": _SEEN,
    "vit_mae": _SEEN,
    "beit": _SEEN,
    "cvt": {"embed_dim": [8, 12, 16], "num_heads": [1, 2, 2], "depth": [1, 2, 3]},
    "swin": {"image_size": 32, "patch_size": 4, "embed_dim": 12, **_WINDOWS},
    "convnext": {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]},
}

WITH_TEXT = ("clip", "siglip", "metaclip_2", "altclip", "chinese_clip", "aimv2", "tipsv2")
WITH_TEXT += ("vision-text-dual-encoder", "xclip", "videoprism")

STATISTICS = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}


def save_family(folder: Path, kind: str) -> PreTrainedModel:
    """Save a small model of this type with its processor and tokenizer, and return it."""
    if kind not in CONFIG_MAPPING:
        pytest.skip(f"this version of transformers has no {kind}")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(AutoConfig.for_model(kind, **copy.deepcopy(CONFIGS[kind]))).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim <= 1:  # Biases of 0 and scales of 1 would hide a mistake.
                    parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    own_processor(kind, model.config).save_pretrained(folder)
    if kind in WITH_TEXT:
        write_tokenizer(folder)
    return model


def own_processor(kind: str, config: Any) -> Any:
    """Return the family's own processor of images or videos, with sizes that suit the small models."""
    side = 36 if "prism" in kind else 32
    videos = kind in ("vjepa2", "videomae", "videoprism", "videoprism_vision_model")
    found: Any = (VIDEO_PROCESSOR_MAPPING if videos else IMAGE_PROCESSOR_MAPPING).get(type(config), None)
    found = (found.get("torchvision") or found["pil"]) if isinstance(found, dict) else found
    if found is None:  # A pair of any two models has no processor of its own.
        found = CLIPImageProcessor
    processor = found(**STATISTICS)
    sizes = {key for key, value in dict(processor.size or {}).items() if value}
    if sizes == {"shortest_edge"}:
        crops = getattr(processor, "do_center_crop", False) and not hasattr(processor, "crop_pct")
        processor.size = {"shortest_edge": 40 if crops else side}
        processor.crop_size = {"height": side, "width": side}
    else:
        processor.size = {"height": side, "width": side}
        processor.crop_size = {"height": side, "width": side}
    return processor


def write_tokenizer(folder: Path, **values: Any) -> None:
    """Write a tokenizer with a token for each letter and the period."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "."]
    (folder / "vocab.txt").write_text("\n".join([*marks, *letters, *(f"##{letter}" for letter in letters)]))
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=WORDS, **values).save_pretrained(folder)
