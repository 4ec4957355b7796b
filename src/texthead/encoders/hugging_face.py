"""Encoders from transformers models.

A model with `get_text_features` has both towers; any other is a visual tower, which `text=` can pair with a text
encoder. Video towers take clips. Preprocessing, tokenizer and logit scale come from the model's folder.
"""

import json
import math
import string
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from texthead.data.protocol import Pixels
from texthead.data.transforms import view_crops
from texthead.downloads import download_errors
from texthead.encoders import transformers_model as hf
from texthead.encoders.encoder import Encoder, TextEncoder, VisualEncoder, check_lengths
from texthead.encoders.figures import published_figures
from texthead.encoders.spec import VisualSpec, square_side
from texthead.errors import EncoderError, raising
from texthead.recipes import MAX_SIDE

FORMS = ("hf:FOLDER", "hf:ORG/NAME[@REVISION]")

_INTERPOLATIONS: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}

# Prompts are padded to the tower's maximum length, as in its training, if that is at most this many tokens.
_MAX_PADDED = 128

# Frames per clip of a model that takes clips of any length.
_FRAMES = 16

# Prompts per batch of the text tower.
_BATCH = 64

# A 3:2 picture: where a processor keeps the aspect ratio, it does not show every column.
_HEIGHT, _WIDTH = 240, 360

# Most grey levels by which the processor's picture and ours may differ on average, and one scale from another.
_MAX_DIFFERENCE = 1.0
_MAX_STRETCH = 0.02

# If the weights have no logit scale: CLIP's initial one, and for VideoPrism the one of its authors' demo.
_SCALE = 1 / 0.07
_SCALES = {"videoprism": 100.0}


def load(rest: str) -> Encoder:
    """Return the model in a folder that `save_pretrained` wrote, or on the hub.

    Raises:
        EncoderError: the folder is incomplete, or its model is not a visual encoder.
    """
    source = f"hf:{rest}"
    with download_errors(source, hf.REMEDY):
        folder = hf.folder_of(rest)
        visual_spec = _spec(source, folder)
        model, missing = hf.loaded(folder, source)
        has_text = hasattr(model, hf.OF_TEXTS)
        # In all families the scale is a logarithm, or a temperature divides.
        scale, temperature, bias = (getattr(model, name, None) for name in ("logit_scale", "temperature", "logit_bias"))
        factor = _SCALES.get(model.config.model_type, _SCALE) if has_text else _SCALE
        if has_text and scale is not None:
            factor = scale.exp().item()
        elif has_text and temperature is not None:
            factor = temperature.reciprocal().item()
        shift = bias.item() if has_text and scale is not None and bias is not None else 0.0
        tower = hf.Tower(model, visual_spec)
        hf.check_complete(tower.model, missing, source)
        visual = VisualEncoder(tower.requires_grad_(True), visual_spec)
    return Encoder(visual, partial(_text, folder, source) if has_text else None, scale=factor, bias=shift)


def spec(rest: str) -> VisualSpec:
    """Return the spec of the visual tower, from the configuration alone.

    Raises:
        EncoderError: the folder is incomplete, or its model is not a visual encoder.
    """
    source = f"hf:{rest}"
    with download_errors(source, hf.REMEDY):
        return _spec(source, hf.folder_of(rest, weights=False))


def build(spec: VisualSpec) -> hf.Tower:
    """Return the visual tower of a spec, with random weights.

    Raises:
        EncoderError: this version of transformers does not know the architecture.
    """
    from transformers import AutoConfig, AutoModel

    with download_errors(spec.source, hf.REMEDY):
        values = json.loads(spec.config)
        config = hf.plain(AutoConfig.for_model(values.pop("model_type"), **values))
        return hf.Tower(AutoModel.from_config(config), spec)


def list_models() -> list[tuple[str, str]]:
    """Return the hub models in `figures.csv`; there is no complete list."""
    sources = [source for source in published_figures() if source.startswith("hf:")]
    revisions = [hf.named_revision(source.removeprefix("hf:")) for source in sources]
    places = [f"hub: {name}" + (f"/tree/{revision}" if revision else "") for name, revision in revisions]
    return [*zip(sources, places, strict=True)]


# ---- the visual tower


def _spec(source: str, folder: Path) -> VisualSpec:
    """Return the spec of the visual tower of the model in a folder."""
    config = hf.config_of(folder)
    if text := getattr(config, "text_config", None):  # A text tower of minimal size, which is not used.
        text.num_hidden_layers = 1
        text.vocab_size = min(text.vocab_size, 1000)
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            if (getattr(text, name, None) or 0) >= text.vocab_size:
                setattr(text, name, 0)
    vision = getattr(config, "vision_config", config)
    # Most video towers have the number of frames that they were trained on.
    frames = int(getattr(vision, "num_frames", 0) or getattr(vision, "frames_per_clip", 0) or 0)
    problem = f"{source}: a model of type {config.model_type!r} has no image features"
    with raising(EncoderError, problem, "use another", Exception):  # Models without image input may raise anything.
        model = hf.empty(config)
        takes_clips = frames > 1 or hasattr(model, "get_video_features")
        processor = _processor(folder, source, takes_clips)
        if takes_clips:
            frames = frames or getattr(processor, "num_frames", None) or _FRAMES
        frames, sizes = frames or 1, _preprocessing(processor, source)
        _, shape = hf.traced(model, frames, sizes["size"])
    tubelet = getattr(vision, "tubelet_size", 1)
    steps, finest = frames // (tubelet if isinstance(tubelet, int) else tubelet[0]), (1, 1, 1)
    if len(shape) == 3 and frames > 1:
        side = math.isqrt(shape[1] // steps)
        finest = (steps, side, side) if steps * side * side == shape[1] else (steps, 1, 1)  # The tokens form no square.
    return VisualSpec(
        source=source,
        architecture="hf",
        dim=shape[-1],
        activation=str(getattr(vision, "hidden_act", "")),
        config=json.dumps(json.loads(config.to_json_string())),
        frames=frames,
        grid=(finest[0], 1, 1),
        finest=finest,
        **sizes,
    )


def _preprocessing(processor: Any, source: str) -> dict[str, Any]:
    """Return the sizes and pixel statistics of a processor.

    Raises:
        EncoderError: its images are not squares.
    """
    size = {key: value for key, value in dict(processor.size or {}).items() if value}
    short = size.get("shortest_edge") or size.get("height")
    resample = _INTERPOLATIONS.get(int(processor.resample))
    crop = dict(getattr(processor, "crop_size", None) or {})
    sides = [side for side in (*size.values(), *crop.values()) if side]
    right = all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in sides)
    if short is None or resample is None or not right:
        raise EncoderError(
            f"{source}: its images have size {size} and crop {crop} and are resampled by {processor.resample!r}; only "
            f"squares of 1 to {MAX_SIDE:,} pixels work, and 2 (bilinear) and 3 (bicubic)"
        )
    # Processors differ in how they rescale and normalise, but each amounts to these two numbers per colour.
    greys: list[list[float]] = []
    for value in (0, 255):
        pixels = _processed(processor, torch.full((3, 64, 64), value, dtype=torch.uint8))
        greys.append(pixels[:, pixels.shape[-2] // 2, pixels.shape[-1] // 2].tolist())
    mean = tuple(round((0 - low) / (high - low), 7) for low, high in zip(*greys, strict=True))
    std = tuple(round(1 / (high - low), 7) for low, high in zip(*greys, strict=True))
    processed = _processed(processor, _coordinate_picture())
    height, width = processed.shape[-2:]
    if not getattr(processor, "do_center_crop", False) and min(height, width) == short < max(height, width):
        geometry = short, 1.0, False  # It takes any shape; ours is the central square.
    else:
        levels = 255 * (processed * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None])
        geometry = _measured_geometry(levels, resample, source)
    sizes = dict(zip(("size", "crop", "squash"), geometry, strict=True))
    return {**sizes, "floor": True, "interpolation": resample, "mean": mean, "std": std}


def _processed(processor: Any, picture: Tensor) -> Tensor:
    """Return an image after processing: "3 height width"."""
    image = picture.permute(1, 2, 0).numpy()
    if hasattr(processor, "do_sample_frames"):
        inputs = processor([[image] * 2], do_sample_frames=False, return_tensors="pt")
    else:
        inputs = processor(image, return_tensors="pt")
    return inputs[next(key for key in inputs if key.startswith("pixel_values"))].float().flatten(0, -4)[0]


def _processor(folder: Path, source: str, takes_clips: bool) -> Any:
    """Return the processor in a folder: that for videos if the model takes clips and there is one, or for images."""
    from transformers import AutoImageProcessor, AutoVideoProcessor

    kinds: list[Any] = [AutoImageProcessor, AutoVideoProcessor]
    for kind in reversed(kinds) if takes_clips else kinds:
        with suppress(Exception):  # A folder has one of the two; the other may raise anything.
            return kind.from_pretrained(folder, trust_remote_code=False)
    raise EncoderError(
        f"{source}: no readable preprocessor_config.json or video_preprocessor_config.json beside the "
        "weights: save the model's processor there"
    )


# ---- how a processor resizes and crops, measured with a picture whose colours are its coordinates


def _coordinate_picture() -> UInt8[Tensor, "3 240 360"]:
    """Return the picture: red grows from left to right, green from top to bottom, blue falls along the diagonal."""
    down, across = torch.linspace(0, 255, _HEIGHT)[:, None], torch.linspace(0, 255, _WIDTH)[None]
    red, green = across.expand(_HEIGHT, _WIDTH), down.expand(_HEIGHT, _WIDTH)
    return torch.stack([red, green, 255 - (red + green) / 2]).round().to(torch.uint8)


def _measured_geometry(
    levels: Float[Tensor, "3 height width"], interpolation: Literal["bilinear", "bicubic"], source: str
) -> tuple[int, float, bool]:
    """Return (size, crop, squash) as in `VisualSpec`, with which `view_crops` gives what a processor gave.

    Args:
        levels: what a processor of transformers made of `_coordinate_picture`, as grey levels from 0 to 255.

    Raises:
        EncoderError: it is not square, or neither a central crop nor a squashed picture.
    """
    height = square_side(source, levels.shape[-2:])
    # The width and height of the resized picture before its crop, from how fast the colours change in the middle.
    middle = slice(height // 4, height - height // 4)
    lines = levels[0].mean(0)[middle], levels[1].mean(1)[middle]
    slopes = [float(np.polyfit(range(len(line)), line.numpy(), 1)[0]) for line in lines]
    sides = (_WIDTH, _HEIGHT)
    resized = [255 * side / (side - 1) / max(slope, 1e-6) for slope, side in zip(slopes, sides, strict=True)]
    squash = abs(resized[0] / resized[1] - 1) < _MAX_STRETCH
    differences = {}
    around = 2 + round(0.005 * height)
    for short in range(round(min(resized)) - around, round(min(resized)) + around + 1):
        if height <= short <= 4 * height:
            pixels = Pixels(height, short, interpolation, squash, floor=True)
            ours = view_crops(_coordinate_picture()[None], pixels)[0, 0]
            differences[short] = (ours - levels).abs().mean().item()
    if not differences or min(differences.values()) > _MAX_DIFFERENCE:
        raise EncoderError(
            f"{source}: its processor neither crops the center of an image nor resizes it to a square: use another"
        )
    return height, height / min(differences, key=differences.__getitem__), squash


# ---- the text tower


def _text(folder: Path, source: str) -> TextEncoder:
    """Return the text tower of the model in a folder.

    Raises:
        EncoderError: some of its weights are missing.
    """
    from transformers import AutoTokenizer

    with download_errors(source, hf.REMEDY):
        model, missing = hf.loaded(folder, source)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    clean = _cleaning(model.config.model_type)
    config = getattr(model.config, "text_config", model.config)
    limit = min(getattr(config, "max_position_embeddings", _MAX_PADDED), tokenizer.model_max_length)
    padding = {"padding": "max_length", "max_length": limit} if limit <= _MAX_PADDED else {"padding": True}
    for name in [name for name, _ in model.named_children()]:
        if name.startswith(("vision", "visual", "video")):
            setattr(model, name, None)
    hf.check_complete(model, missing, source)

    def tokenize(prompts: Sequence[str]) -> Any:
        texts = [clean(prompt) for prompt in prompts]
        check_lengths(prompts, map(len, tokenizer(texts)["input_ids"]), limit)
        return tokenizer(texts, **padding, return_tensors="pt")

    def encode(tokens: Any) -> Tensor:
        device, rows = next(model.parameters()).device, []
        for start in range(0, len(tokens["input_ids"]), _BATCH):
            output = model.get_text_features(**{k: v[start : start + _BATCH].to(device) for k, v in tokens.items()})
            output = output if isinstance(output, Tensor) else output.pooler_output
            rows.append(output if output.ndim == 2 else output[:, 0])
        return torch.cat(rows)

    embeddings = [
        each for each in model.modules() if isinstance(each, nn.Embedding) and len(each.weight) == config.vocab_size
    ]
    return TextEncoder(model, tokenize, encode, embeddings[0])


def _cleaning(kind: str) -> Callable[[str], str]:
    """Return the function with which a family's authors change a prompt before its tokenizer.

    transformers leaves it to the tokenizer, and published tokenizers do not do it, or only in part.

    Source: open_clip's tokenizers of SigLIP and SigLIP 2; `canonicalize_text` of github.com/google-deepmind/videoprism.
    """
    if kind == "siglip":
        from open_clip.tokenizer import get_clean_fn

        return get_clean_fn("canonicalize")
    if kind == "videoprism":
        spaces = str.maketrans(dict.fromkeys(string.punctuation, " "))
        return lambda prompt: " ".join(prompt.translate(spaces).lower().split()) + "."
    return str
