"""Encoders of transformers, by what a model can do: features of images or videos, rows of texts.

A model with `get_text_features` has both halves; another is a visual tower alone, and `text=` gives it rows. Towers
that see several frames at once take clips. Each keeps the preprocessing, the tokenizer and the logit scale that lie
beside its weights.
"""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from texthead.encoders.encoder import Encoder, Text, Visual, VisualSpec
from texthead.encoders.figures import table
from texthead.encoders.transformers_model import (
    Tower,
    config_of,
    empty,
    faults,
    folder_of,
    loaded,
    traced,
    without_text,
)
from texthead.encoders.weights import counted
from texthead.errors import EncoderError
from texthead.recipes import MOST_SIDE

FORMS = ("hf:FOLDER", "hf:ORG/NAME[@REVISION]")

_OF_TEXTS = "get_text_features"

_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}

# Texts are filled up to a tower's most tokens, as in its training, where that is no more than this.
_FILLED = 128

# Prompts that go through a tower at once.
_TOGETHER = 64

# Of a visual half that is built without its weights; each layer of a transformer has about 16 tensors.
_MOST_NUMBERS, _MOST_TENSORS = 10**12, 10_000

# Where a logit scale is not in the weights: of CLIP at its start.
_SCALE = 1 / 0.07


def load(rest: str) -> Encoder:
    """Return the model in a folder that `save_pretrained` wrote, or that lies on the hub.

    Raises:
        EncoderError: the folder lacks a part, or holds a model that is no visual encoder.
    """
    source = f"hf:{rest}"
    with faults(source):
        folder = folder_of(rest)
        made = _spec(source, folder)
        model, missing = loaded(folder, source)
        scale = model.logit_scale.exp().item() if hasattr(model, "logit_scale") else _SCALE
        bias = model.logit_bias.item() if hasattr(model, "logit_bias") else 0.0
        has_text = hasattr(model, _OF_TEXTS)
        tower = Tower(model, made.frames, made.size, made.tokens)
        _check_whole(tower.model, missing, source)
        visual = Visual(tower.requires_grad_(True), made)

    def load_text() -> Text:
        with faults(source):
            return _text(folder, *loaded(folder, source), source)

    return Encoder(visual, load_text if has_text else None, scale=scale, bias=bias)


def spec(rest: str) -> VisualSpec:
    """Return the spec of the visual half, by the configuration alone.

    Raises:
        EncoderError: the folder lacks a part, or holds a model that is no visual encoder.
    """
    source = f"hf:{rest}"
    with faults(source):
        return _spec(source, folder_of(rest, weights=False))


def known() -> list[tuple[str, str]]:
    """Return the models of the hub that `figures.csv` names; there is no list of all."""
    return [(source, f"hub: {source.removeprefix('hf:')}") for source in table() if source.startswith("hf:")]


def place(rest: str) -> str:
    """Return where the weights of ORG/NAME[@REVISION] are published."""
    return f"hub: {rest}"


# ---- the visual half


def _spec(source: str, folder: Path) -> VisualSpec:
    """Return what rebuilds and feeds the visual half of the model in a folder."""
    config = without_text(config_of(folder))
    seen = getattr(config, "vision_config", config)
    # A tower of videos says how many frames it was trained on.
    frames = int(getattr(seen, "num_frames", 0) or getattr(seen, "frames_per_clip", 0) or 1)
    sizes = _preprocessing(folder, source)
    try:
        with counted(source, _MOST_NUMBERS, _MOST_TENSORS, "more than any that is known: name another"):
            _, shape = traced(empty(config), frames, sizes["size"])
    except EncoderError:
        raise
    except Exception as error:  # What sees no images takes none.
        told = " ".join(str(error).split())[:120]
        raise EncoderError(
            f"{source}: a model of type {config.model_type!r} gives no features of pictures ({told}): name another"
        ) from None
    tubelet = getattr(seen, "tubelet_size", 1)
    steps = frames // (tubelet if isinstance(tubelet, int) else tubelet[0])
    return VisualSpec(
        source=source,
        architecture="hf",
        dim=shape[-1],
        activation=str(getattr(seen, "hidden_act", "")),
        channels_last=False,
        any_size=False,
        config=json.dumps(json.loads(config.to_json_string())),
        frames=frames,
        tokens=steps if len(shape) == 3 and frames > 1 else 1,
        **sizes,
    )


def _preprocessing(folder: Path, source: str) -> dict[str, Any]:
    """Return the sizes and statistics that lie beside the weights.

    Raises:
        EncoderError: none do, or others than can be made of a square crop.
    """
    found = _processor(folder, source)
    if getattr(found, "max_num_patches", None):  # The largest square of so many patches.
        side = found.patch_size * math.isqrt(found.max_num_patches)
        found.size = {"height": side, "width": side}
    crop = dict(found.crop_size or {}) if getattr(found, "do_center_crop", False) else {}
    size = {key: value for key, value in dict(found.size or {}).items() if value}
    crop = {key: value for key, value in crop.items() if value}
    short = size.get("shortest_edge") or size.get("height")
    sides = {*crop.values()} if crop else {short}
    resample = _INTERPOLATIONS.get(int(found.resample))
    if short is None or len(sides) != 1 or size.get("width", size.get("height")) != size.get("height"):
        raise EncoderError(f"{source}: its pictures have size {size} and crop {crop}; only squares are known here")
    if resample is None:
        raise EncoderError(
            f"{source}: its pictures are resampled by {found.resample!r}, not 2 (bilinear) or 3 (bicubic)"
        )
    (side,) = sides
    if not all(isinstance(each, int) and 1 <= each <= MOST_SIDE for each in (side, short)):
        raise EncoderError(
            f"{source}: its pictures have size {size} and crop {crop}; sides must be from 1 to {MOST_SIDE:,} pixels"
        )
    mean, std = _statistics(found)
    return {
        "size": side,
        "crop": side / short,
        "squash": "height" in size,
        "interpolation": resample,
        "mean": mean,
        "std": std,
    }


def _statistics(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (mean, deviation) of each colour as parts of white, by what a processor makes of black and of white.

    Processors scale, move and normalise in ways of their own, of which all come to this.
    """
    black, white = (_made_of(processor, value) for value in (0, 255))
    return (
        tuple(round(-low / (high - low), 7) for low, high in zip(black, white, strict=True)),
        tuple(round(1 / (high - low), 7) for low, high in zip(black, white, strict=True)),
    )


def _made_of(processor: Any, value: int) -> list[float]:
    """Return what a processor makes of red, green and blue of a grey picture."""
    picture = np.full((64, 64, 3), value, np.uint8)
    if hasattr(processor, "do_sample_frames"):
        made = processor([[picture] * 2], do_sample_frames=False, return_tensors="pt")
    else:
        made = processor(picture, return_tensors="pt")
    pixels = made[next(key for key in made if key.startswith("pixel_values"))]
    if pixels.ndim == 3:  # A list of patches, their colours last.
        return pixels[0, 0, :3].tolist()
    return pixels.flatten(0, -4)[0, :, pixels.shape[-2] // 2, pixels.shape[-1] // 2].tolist()


def _processor(folder: Path, source: str) -> Any:
    from transformers import AutoImageProcessor, AutoVideoProcessor

    for kind in (AutoVideoProcessor, AutoImageProcessor):
        with suppress(Exception):  # A folder has one of the two, and the other raises nearly anything.
            return kind.from_pretrained(folder, trust_remote_code=False)
    raise EncoderError(
        f"{source}: no preprocessor_config.json or video_preprocessor_config.json that can be read lies beside the "
        "weights: save the model's processor there"
    )


# ---- the text half


def _text(folder: Path, model: Any, missing: set[str], source: str) -> Text:
    """Return the text half of a model.

    Raises:
        EncoderError: some of its weights are missing.
    """
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    described = getattr(model.config, "text_config", model.config)
    limit = min(getattr(described, "max_position_embeddings", _FILLED), tokenizer.model_max_length)
    padding = "max_length" if limit <= _FILLED else True
    for name in [name for name, _ in model.named_children()]:
        if name.startswith(("vision", "visual", "video")):
            setattr(model, name, None)
    _check_whole(model, missing, source)

    def tokenize(prompts: Sequence[str]) -> Any:
        for prompt, tokens in zip(prompts, tokenizer(list(prompts))["input_ids"], strict=True):
            if len(tokens) > limit:
                raise EncoderError(f"prompt {prompt[:40]!r}... has {len(tokens)} tokens > {limit}: shorten it")
        return tokenizer(list(prompts), padding=padding, max_length=limit, return_tensors="pt")

    def encode(tokens: Any) -> Tensor:
        device, rows = next(model.parameters()).device, []
        for start in range(0, len(tokens["input_ids"]), _TOGETHER):
            found = model.get_text_features(**{k: v[start : start + _TOGETHER].to(device) for k, v in tokens.items()})
            rows.append(found if isinstance(found, Tensor) else found.pooler_output)
        return torch.cat(rows)

    embeddings = [
        part for part in model.modules() if isinstance(part, nn.Embedding) and len(part.weight) == described.vocab_size
    ]
    return Text(model, tokenize, encode, embeddings[0])


def _check_whole(model: nn.Module, missing: set[str], source: str) -> None:
    """Raise EncoderError if weights that are needed are missing."""
    lost = sorted(missing & {name for name, _ in model.named_parameters()})
    if lost:
        raise EncoderError(f"{source}: its weights lack {lost[0]!r} (in all {len(lost)}): they are of another model")
