"""Every image, video and image-text family of the installed transformers and open_clip loads, or its page says why not.

Each family is built from its default configuration, with one layer where that configuration allows, as a folder with
its own processor. A family that is refused must be in the table of docs/how-to/encoders.md under its reason.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import transformers
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, CLIPImageProcessor
from transformers.models.auto import auto_mappings, modeling_auto
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING

from made import noise
from texthead import load_encoder
from texthead.encoders import build_visual, figures_of, spec_of
from texthead.errors import EncoderError

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "encoders.md"

# The version whose families the table lists.
LISTED = "5.24"

# Reasons in the table, by a pattern in texthead's message.
REASONS = {
    r"only squares are supported": "images of one square size are not what it takes",
    r"neither crops": "its processor pads images, cuts them otherwise, or swaps colours",
    r"library but it was not found": "needs a package that texthead does not install",
    r"pretrained_cfg|timm model name": "a network of timm: `timm:NAME` loads it",
    r"required positional arg|must specify|have to specify|frame_idx|no attribute 'size'": "takes a prompt or a second "
    "input with each image",
    r"meta": "finds boxes or masks; its network cannot be built without weights",
    r"": "no feature of one square image (it finds boxes, reads text, makes images or is a part of a language model)",
}

# Pixels of families whose default processors have no size, but the published ones do.
SIDES = {"pe_video": 336, "pe_audio_video": 336}

# Values of a model that is loaded too; larger ones are built on the device "meta" only.
MAX_WEIGHTS = 60_000_000

# Mappings of models that generate text; their images are a part of a prompt.
GENERATIVE = ("IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM", "CAUSAL_LM")


def names(kind: str) -> set[str]:
    """Return the families of one of transformers' mappings from families to models."""
    return {*getattr(modeling_auto, f"MODEL_FOR_{kind}_MAPPING_NAMES")}


def families() -> list[str]:
    """Return the families whose models encode images or videos, and that `AutoModel` loads."""
    listed = set[str]().union(*map(names, ("IMAGE", "VIDEO_CLASSIFICATION", "ZERO_SHOT_IMAGE_CLASSIFICATION")))
    seen = {*auto_mappings.IMAGE_PROCESSOR_MAPPING_NAMES, *auto_mappings.VIDEO_PROCESSOR_MAPPING_NAMES}
    listed |= seen - set[str]().union(*map(names, GENERATIVE))
    listed |= {"vision-text-dual-encoder"}  # Its processors are those of its parts.
    return sorted(listed & {*modeling_auto.MODEL_MAPPING_NAMES})


def small_config(kind: str) -> Any:
    """Return the default configuration of a family, with one layer in each part; fails if it does not allow that."""
    config = default_config(kind)
    layers: dict[str, Any] = {
        name: {"model_type": getattr(config, name).model_type, "num_hidden_layers": 1}
        for name in config.sub_configs
        if has_layers(getattr(config, name, None))
    }
    return CONFIG_MAPPING[kind](**layers or ({"num_hidden_layers": 1} if has_layers(config) else {}))


def has_layers(config: Any) -> bool:
    """Return whether a configuration has a number of layers of its own, which is no other name of another value."""
    return hasattr(config, "num_hidden_layers") and "num_hidden_layers" not in config.attribute_map


def default_config(kind: str) -> Any:
    """Return the default configuration of a family; EmbeddingGemma 2 has a vision tower only if it names one."""
    vision = {"vision_config": {"model_type": "gemma4_vision"}} if kind == "embedding_gemma2" else {}
    return CONFIG_MAPPING[kind](**vision)


def write_family(folder: Path, config: Any) -> None:
    """Write the configuration of a family and its processors, for the input size in the configuration."""
    config.save_pretrained(folder)
    side = getattr(getattr(config, "vision_config", config), "image_size", None)
    mappings = IMAGE_PROCESSOR_MAPPING, VIDEO_PROCESSOR_MAPPING
    found: list[Any] = [mapping.get(type(config), None) for mapping in mappings]
    kinds = [each.get("torchvision") or each["pil"] if isinstance(each, dict) else each for each in found if each]
    for each in kinds or [CLIPImageProcessor]:
        processor = each()
        if config.model_type in SIDES:
            processor.size = dict.fromkeys(("height", "width"), SIDES[config.model_type])
            processor.do_resize = True
        size = {key: value for key, value in dict(processor.size or {}).items() if value}
        if isinstance(side, int) and len({*size.values()}) == 1 and "longest_edge" not in size:
            processor.size = dict.fromkeys(size, side)
            if getattr(processor, "do_center_crop", False):
                processor.crop_size = {"height": side, "width": side}
        processor.save_pretrained(folder)


def outcome(folder: Path, kind: str) -> str:
    """Return why a family is refused, or "" if it loads and gives the same finite features twice."""
    try:
        write_family(folder, default_config(kind))
        spec_of(f"hf:{folder}")
    except (EncoderError, ImportError, TypeError) as error:  # The last two are those of a processor.
        return str(error)
    try:
        write_family(folder, small_config(kind))
        config = AutoConfig.for_model(**json.loads(spec_of(f"hf:{folder}").config))
    except Exception:  # It must have more layers.
        return ""
    with torch.device("meta"):
        if sum(each.numel() for each in AutoModel.from_config(config).parameters()) > MAX_WEIGHTS:
            return ""
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    encoder = load_encoder(f"hf:{folder}")
    spec = encoder.visual.spec
    inputs = noise(1, *((spec.frames,) if spec.unit == "clip" else ()), 3, spec.size, spec.size)
    with torch.no_grad():
        first, second = encoder.visual(inputs), encoder.visual(inputs)
    assert first.shape == (1, *((spec.tokens,) if spec.unit == "clip" else ()), spec.dim), kind
    assert first.isfinite().all(), kind
    assert torch.allclose(first, second, rtol=1e-3, atol=1e-3), kind
    return ""


def table(refused: dict[str, str]) -> list[str]:
    """Return the rows of the page's table of refused families and their reasons."""
    found: dict[str, list[str]] = {reason: [] for reason in REASONS.values()}
    for kind, message in refused.items():
        found[next(reason for pattern, reason in REASONS.items() if re.search(pattern, message))].append(kind)
    return [f"| {reason} | {', '.join(found[reason])} |" for reason in found if found[reason]]


@pytest.mark.nightly("src/texthead/encoders", "docs/how-to/encoders.md")
def test_every_family_loads_or_the_page_says_why_not(tmp_path: Path) -> None:
    refused = {}
    for kind in families():
        folder = tmp_path / kind
        folder.mkdir()
        message = outcome(folder, kind)
        shutil.rmtree(folder)
        assert "\n" not in message, message
        if message:
            refused[kind] = message
    assert "siglip" not in refused
    if not transformers.__version__.startswith(LISTED):
        pytest.skip(f"the page lists the families of transformers {LISTED}")
    rows = table(refused)
    page = PAGE.read_text(encoding="utf-8")
    assert [row for row in rows if row not in page] == [], "\n".join(rows)


@pytest.mark.nightly("src/texthead/encoders")
@pytest.mark.parametrize("name", open_clip.list_models())
@torch.no_grad()
def test_every_architecture_of_open_clip_is_built(name: str) -> None:
    """On the device "meta"; where it has weights, size and parameters are those in the table of figures."""
    spec, tags = spec_of(f"openclip:{name}"), open_clip.list_pretrained_tags_by_model(name)
    with torch.device("meta"):
        assert build_visual(spec).eval().net(torch.zeros(1, 3, spec.size, spec.size)).shape == (1, spec.dim)
        about = figures_of(f"openclip:{name}/{next(iter(tags), '')}", "")
        config = open_clip.get_model_config(name) or {}
        if tags and "hf_model_name" not in config["text_cfg"]:  # Those need a configuration from the hub.
            kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
            model = (open_clip.CoCa if "multimodal_cfg" in config else kind)(**config)
            assert about.parameters == pytest.approx(sum(each.numel() for each in model.parameters()), rel=1e-3)
    assert not tags or about.size == spec.size
