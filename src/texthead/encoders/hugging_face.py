"""CLIP folders in transformers' format: their keys in open_clip's names, so that one kind of tower is known here."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from texthead.encoders.encoder import Encoder, VisualSpec
from texthead.encoders.openclip import Published, assemble, tower_spec
from texthead.encoders.weights import read_tensors
from texthead.errors import EncoderError
from texthead.files import read_value

_TOWERS = (("vision_model.encoder.layers.", "visual."), ("text_model.encoder.layers.", ""))

_NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "visual_projection.weight": "visual.proj",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
    "logit_scale": "logit_scale",
}

_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}

_TRANSPOSED = ("visual_projection.weight", "text_projection.weight")

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


FORMS = ("hf:FOLDER",)


def load(rest: str) -> Encoder:
    """Return the CLIP model in a folder that transformers' `save_pretrained` wrote.

    Raises:
        EncoderError: the folder lacks a part, or holds another kind of model.
    """
    folder = Path(rest)
    config = _read_config(folder)
    weights = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
    if not weights:
        raise EncoderError(f"{folder}: holds none of {', '.join(_WEIGHTS)}; write it again with save_pretrained")
    published = Published(
        f"hf:{rest}",
        config,
        _preprocess(folder),
        lambda: converted(read_tensors(weights[0])),
        lambda: _tokenizer(folder, config["text_cfg"]["context_length"]),
    )
    return assemble(published)


def spec(rest: str) -> VisualSpec:
    """Return the spec of the image tower in a folder, with or without its weights.

    Raises:
        EncoderError: the folder lacks a part, or holds another kind of model.
    """
    return tower_spec(f"hf:{rest}", _read_config(Path(rest)), _preprocess(Path(rest)))


def known() -> list[tuple[str, str]]:
    """Return nothing: there is no list of folders."""
    return []


def _read_config(folder: Path) -> dict:
    config = _json(folder / "config.json")
    if config.get("model_type") != "clip":
        raise EncoderError(
            f"{folder}: holds a model of type {config.get('model_type')!r}, expected 'clip'; name a folder of CLIP"
        )
    from transformers import CLIPConfig

    return _model_config(CLIPConfig.from_pretrained(folder))


def _json(path: Path) -> dict:
    try:
        found = read_value(path)
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: cannot be read as JSON ({type(error).__name__}); check the folder") from None
    if not isinstance(found, dict):
        raise EncoderError(f"{path}: holds a {type(found).__name__}, expected a JSON object; check the folder")
    return found


def _model_config(whole: Any) -> dict:
    """open_clip's model config of a CLIPConfig."""
    vision, text = whole.vision_config, whole.text_config
    if vision.hidden_act not in ("quick_gelu", "gelu") or text.hidden_act != vision.hidden_act:
        raise EncoderError(
            f"activations {vision.hidden_act!r} and {text.hidden_act!r}: both must be quick_gelu, or both gelu; "
            "open_clip has no other CLIP to put the weights into"
        )
    # An end token of 2 is what old files say; transformers then takes the largest token, as open_clip does.
    first_end = {} if text.eos_token_id == 2 else {"pool_type": "eos", "eos_id": text.eos_token_id}
    return {
        "embed_dim": whole.projection_dim,
        "quick_gelu": vision.hidden_act == "quick_gelu",
        "vision_cfg": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "width": vision.hidden_size,
            "layers": vision.num_hidden_layers,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "mlp_ratio": vision.intermediate_size / vision.hidden_size,
            "norm_kwargs": {"eps": vision.layer_norm_eps},
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "width": text.hidden_size,
            "layers": text.num_hidden_layers,
            "heads": text.num_attention_heads,
            "mlp_ratio": text.intermediate_size / text.hidden_size,
            "norm_kwargs": {"eps": text.layer_norm_eps},
            **first_end,
        },
    }


def _preprocess(folder: Path) -> dict:
    path = folder / "preprocessor_config.json"
    found = _json(path) if path.is_file() else {}
    names = {"image_mean": "mean", "image_std": "std"}
    kept = {names[key]: found[key] for key in names if key in found}
    resample = {2: "bilinear", 3: "bicubic"}.get(found.get("resample", 3))
    if resample is None:
        raise EncoderError(f"{path}: resample {found['resample']} is not 2 (bilinear) or 3 (bicubic)")
    return {**kept, "interpolation": resample}


def _tokenizer(folder: Path, context: int) -> Callable:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def tokenize(prompts: Sequence[str], context_length: int = context) -> Tensor:
        return tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=context_length, return_tensors="pt"
        )["input_ids"]

    return tokenize


def converted(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of transformers' CLIP under open_clip's names.

    Raises:
        EncoderError: a name that neither knows.
    """
    found: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if key.endswith("position_ids"):
            continue
        if key in _NAMES:
            found[_NAMES[key]] = value.T if key in _TRANSPOSED else value
            continue
        name = _block_name(key)
        if name is None:
            raise EncoderError(f"{key!r} is no weight of transformers' CLIP")
        if name:
            found[name] = value
    for key in [key for key in tensors if ".self_attn.q_proj." in key]:
        parts = [tensors.get(key.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        if any(part is None for part in parts):
            raise EncoderError(f"{key!r} has no k_proj and v_proj beside it")
        home, kind = key.split(".self_attn.q_proj.")
        name = _block_name(f"{home}.layer_norm1.{kind}")
        assert name is not None
        found[name.replace("ln_1.", "attn.in_proj_")] = torch.cat([part for part in parts if part is not None])
    return found


def _block_name(key: str) -> str | None:
    """open_clip's name of a block's weight; "" for the parts of an attention's input; None if unknown."""
    for theirs, ours in _TOWERS:
        if not key.startswith(theirs):
            continue
        block = re.fullmatch(r"(\d+)\.(.+)\.(weight|bias)", key.removeprefix(theirs))
        if block and block[2] in _BLOCK:
            return f"{ours}transformer.resblocks.{block[1]}.{_BLOCK[block[2]]}.{block[3]}"
        if block and re.fullmatch(r"self_attn\.[qkv]_proj", block[2]):
            return ""
    return None
