"""Published checkpoints: read their weights under open_clip's names; the conventions behind their published results."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from texthead.encoders import clip_tensors, read_checkpoint
from texthead.errors import EncoderError, PositiveFloat, PositiveInt, listed, raising
from texthead.recipes import Along, Origin, Pooling
from texthead.text import read_template

Kind = Literal["openai", "text4vis", "text4vis-nce", "bike", "actionclip", "vifi-clip"]

# The prompts that ActionCLIP trains and tests with.
ACTIONCLIP_TEMPLATES = read_template(str(Path(__file__).with_name("actionclip.txt")))

PIXELS = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "imagenet": ((123.675 / 255, 116.28 / 255, 103.53 / 255), (58.395 / 255, 57.12 / 255, 57.375 / 255)),
}


@dataclass(frozen=True)
class Convention:
    """How the published results of a kind of checkpoint were measured.

    Attributes:
        template: template or templates of the prompts.
        template_pooling: what is averaged over several templates: rows ("features"), or probabilities.
        origin, pooling, crops_along: as in a recipe.
        pixels: whose mean and standard deviation normalise the pixels.
        interpolation: interpolation of the resize before cropping.
        antialias: whether that resize is antialiased.
        margin: crop sizes (in pixels) that are cut from a short side of 256/224 of their size; others use all of it.
        resize: the short side before cropping, in pixels; None for that of `margin`.
        test_scale: logit scale in testing; None is the learned one.
        interaction: how BIKE compares frames with text: "dp", the cosine of their mean, or "vcs", video concept
            spotting, where each class weights the frames by the words of its prompt; None for other kinds.
    """

    template: str | tuple[str, ...]
    template_pooling: Literal["features", "probabilities"] = "features"
    origin: Origin = "center"
    pooling: Pooling = "features"
    crops_along: Along = "width"
    pixels: Literal["clip", "imagenet"] = "clip"
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    antialias: bool = True
    margin: Literal["none", "224", "all"] = "all"
    resize: PositiveInt | None = None
    test_scale: PositiveFloat | None = None
    interaction: Literal["dp", "vcs"] | None = None

    def short_side(self, size: int) -> int:
        """Return the short side before a crop of `size` pixels: 256 for 224 if there is a margin."""
        return self.resize or (size * 256 // 224 if self.margin in ("all", str(size)) else size)


_TEXT4VIS = Convention("a video of a person {}.", origin="first", margin="224", test_scale=100.0)

CONVENTIONS: dict[Kind, Convention] = {
    "openai": Convention("a photo of a {}.", margin="none"),
    "text4vis": _TEXT4VIS,
    "text4vis-nce": _TEXT4VIS,
    # The published code averages softmaxes of unscaled cosines, which is close to averaging logits; these softmaxes are
    # not usable as probabilities.
    "bike": replace(_TEXT4VIS, template="This is a video about {}", pooling="logits"),
    "actionclip": Convention(ACTIONCLIP_TEMPLATES, template_pooling="probabilities", origin="middle", test_scale=100.0),
    "vifi-clip": Convention(
        "a photo of a {}.",
        pooling="probabilities",
        crops_along="long-side",
        pixels="imagenet",
        interpolation="bilinear",
        antialias=False,
    ),
}


@dataclass(frozen=True)
class Checkpoint:
    """The content of a published checkpoint.

    Attributes:
        path: the file.
        kind: which code wrote it.
        clip: image tower (`visual.*`), text tower if present, and `logit_scale`, under open_clip's names.
        temporal: weights of a temporal transformer under our names; empty for mean pooling.
        from_openai: whether the towers are known to be OpenAI's or fine-tuned from them, and so to have QuickGELU.
    """

    path: Path
    kind: Kind
    clip: dict[str, Tensor]
    temporal: dict[str, Tensor]
    from_openai: bool

    @property
    def missing_text(self) -> list[str]:
        """Parts of the text tower missing from the file: all for Text4Vis, the token embedding for ViFi-CLIP."""
        text = ("token_embedding.weight", "positional_embedding", "text_projection", "ln_final.weight")
        return [key for key in text if key not in self.clip]


def read_published(path: Path, kind: Kind | None = None) -> Checkpoint:
    """Read a checkpoint of OpenAI's CLIP, Text4Vis, BIKE, ActionCLIP or ViFi-CLIP, without running its code.

    Checkpoints of open_clip's training are of the kind `openai`.

    Args:
        path: the file.
        kind: which code wrote it; None detects it by its keys.

    Raises:
        EncoderError: the file cannot be read, is not of this kind or of any known one, or has weights that no module of
            texthead uses.
    """
    content: dict = read_checkpoint(path)
    saved = content.get("state_dict")  # A checkpoint of open_clip's training.
    with_settings = "input_resolution" in (saved if isinstance(saved, dict) else content)
    if isinstance(saved, dict):
        content = clip_tensors(saved)
    possible, tensors, fusion = _parts(content, path)
    if kind is None:
        kind, *others = possible
        if others:
            raise EncoderError(
                f"{path}: files of {', '.join(possible)} have the same keys but other prompts: pass one as `kind`"
            )
    if kind not in possible:
        raise EncoderError(f"{path}: its keys are those of {' or '.join(possible)}, not of {kind}; remove `kind`")
    prefix = "fusion_model."
    fusion |= {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    clip = {key: value.float() for key, value in tensors.items() if not key.startswith(prefix)}
    unknown = [key for key in clip if not key.startswith(_CLIP) or any(name in key for name in _ACROSS)]
    if unknown := sorted([*unknown, *(key for key in fusion if not key.startswith(_FUSION))]):
        raise EncoderError(
            f"{path}: has weights of unsupported modules ({listed(unknown, 3)}); use a model with "
            "mean pooling or the temporal transformer"
        )
    scale = clip.get("logit_scale")
    if scale is None or scale.numel() != 1:
        raise EncoderError(f"{path}: has no scalar logit_scale: it is not a checkpoint of CLIP or a similar model")
    for key, tensor in (clip | fusion).items():
        if not bool(torch.isfinite(tensor).all()):
            raise EncoderError(f"{path}: {key!r} is not finite: the file is damaged; download it again")
    return Checkpoint(
        path,
        kind,
        clip,
        {key: value.float() for key, value in fusion.items()},
        kind != "openai" or with_settings or "openai" in path.name.lower(),
    )


# Prefixes of CLIP's own weights.
_CLIP = ("visual.", "transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection")
_CLIP += ("logit_scale",)

# Prefixes of the temporal transformer's weights.
_FUSION = ("frame_position_embeddings.weight", "transformer.resblocks.")

# Parts of keys of towers that mix frames in ways that texthead does not support.
_ACROSS = (".net.", ".control_point.", "visual.time_embedding", "VPT")


def _parts(content: dict, path: Path) -> tuple[tuple[Kind, ...], dict[str, Tensor], dict[str, Tensor]]:
    """Return (the kinds that a file may be, its tensors, those of a temporal transformer in a place of its own)."""
    model, fusion = content.get("model_state_dict"), content.get("fusion_model_state_dict")
    if isinstance(content.get("model"), dict):
        tensors = clip_tensors(content["model"])
        if any(key.startswith("image_encoder.") for key in tensors):
            # Without the embedded prompts of its training classes.
            dropped = ("prompt_learner.token_", "prompt_learner.complete_text_embeddings")
            names = {key: key.replace("image_encoder.", "visual.", 1) for key in tensors if not key.startswith(dropped)}
            return ("vifi-clip",), {name.removeprefix("text_encoder."): tensors[key] for key, name in names.items()}, {}
    elif isinstance(model, dict) and "fusion_model_state_dict" not in content:
        return ("text4vis",), clip_tensors(model), {}
    elif isinstance(model, dict) and isinstance(fusion, dict):
        # ActionCLIP and BIKE may keep the prefix of (Distributed)DataParallel; only ActionCLIP stores half precision.
        parallel = bool(fusion) and all(str(key).startswith("module.") for key in fusion)
        halves = any(isinstance(value, Tensor) and value.dtype == torch.float16 for value in model.values())
        kinds: tuple[Kind, ...] = ("bike", "actionclip") if parallel else ("text4vis-nce", "bike", "actionclip")
        kinds = ("actionclip",) if parallel and halves else kinds
        return kinds, clip_tensors(model), clip_tensors(fusion)
    elif any(str(key).startswith("visual.") for key in content) and "token_embedding.weight" in content:
        return ("openai",), clip_tensors(content), {}
    first = ", ".join(sorted(map(str, content))[:4])
    raise EncoderError(f"{path}: its keys ({first}, ...) match none of {', '.join(get_args(Kind))}; check the file")


def model_config(clip: dict[str, Tensor], source: str, *, quick_gelu: bool = True) -> dict:
    """Return open_clip's model config, from the shapes of the weights; without text_cfg if there is no text tower.

    Raises:
        EncoderError: the image tower is neither CLIP's ViT nor CLIP's ResNet.
    """
    with raising(EncoderError, f"{source}: not an image tower of CLIP", "check the file", KeyError, IndexError):
        if "visual.proj" in clip:
            width, _, _, patch = clip["visual.conv1.weight"].shape
            grid = round((len(clip["visual.positional_embedding"]) - 1) ** 0.5)
            layers = len({key.split(".")[3] for key in clip if key.startswith("visual.transformer.resblocks.")})
            vision = {"image_size": grid * patch, "layers": layers, "width": width, "patch_size": patch}
            hidden = len(clip["visual.transformer.resblocks.0.mlp.c_fc.weight"])
            if hidden != 4 * width:  # g-14, bigG-14 and e-14; open_clip rounds width * mlp_ratio down.
                vision["mlp_ratio"] = (hidden + 0.5) / width
            # The keys do not show the heads: open_clip's wider ViTs (H-14 and H-16 among them) have 16.
            if width > 1024:
                vision["head_width"] = width // 16
            dim = clip["visual.proj"].shape[1]
        else:
            layers = [len({k.split(".")[2] for k in clip if k.startswith(f"visual.layer{i}.")}) for i in range(1, 5)]
            grid = round((len(clip["visual.attnpool.positional_embedding"]) - 1) ** 0.5)
            width = len(clip["visual.layer1.0.conv1.weight"])
            vision = {"image_size": grid * 32, "layers": layers, "width": width, "patch_size": None}
            dim = len(clip["visual.attnpool.c_proj.weight"])
    config: dict = {"embed_dim": dim, "quick_gelu": quick_gelu, "vision_cfg": vision}
    if {"ln_final.weight", "token_embedding.weight", "positional_embedding"} <= clip.keys():
        width = len(clip["ln_final.weight"])
        config["text_cfg"] = {
            "context_length": len(clip["positional_embedding"]),
            "vocab_size": len(clip["token_embedding.weight"]),
            "width": width,
            "heads": width // 64,
            "layers": len({key.split(".")[2] for key in clip if key.startswith("transformer.resblocks.")}),
        }
    return config


def original(config: dict) -> str | None:
    """Return the published encoder that this architecture was fine-tuned from; None if not one of the paper's five."""
    vision = config["vision_cfg"]
    names = {
        (768, 32, 224): "ViT-B-32",
        (768, 16, 224): "ViT-B-16",
        (1024, 14, 224): "ViT-L-14",
        (1024, 14, 336): "ViT-L-14-336",
    }
    name = names.get((vision["width"], vision["patch_size"], vision["image_size"]))
    if vision["layers"] == [3, 4, 6, 3] and config["embed_dim"] == 1024:
        name = "RN50"
    return name and f"openclip:{name}-quickgelu/openai"


def temporal_heads(config: dict) -> int:
    """Return the attention heads of a published temporal transformer: the width of CLIP's text tower over 64."""
    if "text_cfg" in config:
        return config["text_cfg"]["heads"]
    # RN50 is the only one of the five whose text tower is narrower than its features.
    return 8 if original(config) == "openclip:RN50-quickgelu/openai" else max(1, config["embed_dim"] // 64)
