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

# Parts of transformers' names -> open_clip's, replaced one after another.
_RENAMED = (
    ("vision_model.", "visual."),
    ("text_model.", ""),
    ("embeddings.", ""),
    ("encoder.layers.", "transformer.resblocks."),
    ("patch_embedding", "conv1"),
    ("position_embedding.weight", "positional_embedding"),
    ("pre_layrnorm", "ln_pre"),
    ("post_layernorm", "ln_post"),
    ("final_layer_norm", "ln_final"),
    ("layer_norm", "ln_"),
    ("self_attn.", "attn."),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("visual_projection.weight", "visual.proj"),
    ("text_projection.weight", "text_projection"),
)

_OURS = re.compile(
    r"logit_scale|text_projection|token_embedding\.weight|ln_final\.(weight|bias)|(visual\.)?positional_embedding|"
    r"visual\.(proj|class_embedding|conv1\.weight|ln_(pre|post)\.(weight|bias))|"
    r"(visual\.)?transformer\.resblocks\.\d+\.(ln_[12]|attn\.([qkv]|out)_proj|mlp\.c_(fc|proj))\.(weight|bias)"
)

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
        name = key
        for theirs, ours in _RENAMED:
            name = name.replace(theirs, ours)
        if _OURS.fullmatch(name):
            found[name] = value.T.contiguous() if key in _TRANSPOSED else value
        elif not key.endswith("position_ids"):
            raise EncoderError(f"{key!r} is no weight of transformers' CLIP")
    for name in [name for name in found if ".q_proj." in name]:
        parts = [found.pop(name.replace(".q_proj.", f".{part}_proj."), None) for part in "qkv"]
        if any(part is None for part in parts):
            raise EncoderError(f"{name!r} (open_clip's name) has no k_proj and v_proj beside it")
        found[name.replace("q_proj.", "in_proj_")] = torch.cat([part for part in parts if part is not None])
    return found
