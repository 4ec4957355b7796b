"""open_clip encoders: by tag, by file, from a folder or a hub's repository in open_clip's format."""

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from texthead.encoders.downloads import check_url
from texthead.encoders.encoder import Encoder, Text, Visual, VisualSpec, build_visual
from texthead.encoders.weights import NO_WEIGHTS, check_folder, fill, is_torchscript, read_tensors, sized_as
from texthead.errors import EncoderError
from texthead.files import read_value, replacing, write_json

_OPENAI_MEAN, _OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

FORMS = ("openclip:ARCH/TAG", "openclip:ARCH/FILE", "openclip:local-dir:FOLDER", "openclip:hf-hub:ORG/NAME")

_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "open_clip_model.pt")


@dataclass(frozen=True)
class Published:
    """A CLIP model as it is published.

    Attributes:
        source: what the user typed.
        config: open_clip's model config: embed_dim, vision_cfg, text_cfg, quick_gelu, ...
        preprocess: mean, std, interpolation, resize_mode, where they differ from OpenAI's.
        read: gives the tensors under open_clip's names.
        tokenizer: gives a tokenizer, which takes prompts and `context_length`.
    """

    source: str
    config: dict
    preprocess: dict
    read: Callable[[], dict[str, Tensor]]
    tokenizer: Callable[[], Callable]


def load(rest: str) -> Encoder:
    """Return the encoder that `rest` names: ARCH/TAG, ARCH/FILE, local-dir:FOLDER or hf-hub:ORG/NAME."""
    return assemble(_published(rest))


def spec(rest: str) -> VisualSpec:
    """Return the image tower of ARCH, ARCH/TAG, ARCH/FILE or local-dir:FOLDER, with the preprocessing of a tag.

    Raises:
        EncoderError: an unknown architecture, or a folder without a description.
    """
    source = f"openclip:{rest}"
    if rest.startswith("local-dir:"):
        return tower_spec(source, *_described(Path(rest.removeprefix("local-dir:"))))
    name, _, tag = rest.partition("/")
    return tower_spec(source, *_of_tag(name, tag))


def known() -> list[tuple[str, str]]:
    """Return every architecture and tag that open_clip knows."""
    import open_clip

    return [(f"openclip:{name}/{tag}", place(f"{name}/{tag}")) for name, tag in open_clip.list_pretrained()]


def place(rest: str) -> str:
    """Return where the weights of ARCH/TAG or hf-hub:ORG/NAME are published."""
    import open_clip

    if rest.startswith("hf-hub:"):
        return f"hub: {rest.removeprefix('hf-hub:')}"
    published = open_clip.get_pretrained_cfg(*rest.split("/", 1))
    return f"hub: {published['hf_hub'].rstrip('/')}" if published.get("hf_hub") else published.get("url", "?")


def openclip_tensors(rest: str) -> dict[str, Tensor]:
    """Return all weights of the model that `rest` names, in open_clip's names and in float32."""
    return _named(_published(rest))


def save_openclip(folder: Path, config: dict, tensors: dict[str, Tensor]) -> None:
    """Put a model into a folder in open_clip's format, which `openclip:local-dir:FOLDER` reads.

    Raises:
        RunError: the folder cannot be written.
    """
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": {}})
    with replacing(folder / _WEIGHTS[0]) as beside:
        save_file({key: value.contiguous() for key, value in tensors.items()}, beside)


def openai_tokenizer() -> Callable:
    """The tokenizer of OpenAI's CLIP, which the models tuned from it share."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def _published(rest: str) -> Published:
    source = f"openclip:{rest}"
    kind, _, place = rest.partition(":")
    if kind == "local-dir":
        return _from_folder(source, Path(place))
    if kind == "hf-hub":
        return _from_folder(source, _from_hub(source, place))
    return _by_name(source, rest)


def _by_name(source: str, rest: str) -> Published:
    import open_clip

    name, _, weights = rest.partition("/")
    config, preprocess = _of_tag(name, weights)
    tags = open_clip.list_pretrained_tags_by_model(_plain(name))
    if not weights:
        raise EncoderError(
            f"{source!r} names no weights: use 'openclip:{name}/TAG' (tags: {', '.join(tags) or 'none published'}) "
            "or a file"
        )
    if weights in tags:
        try:
            published = open_clip.get_pretrained_cfg(name, weights)
            if not published.get("hf_hub"):
                check_url(published["url"], Path("~/.cache/clip").expanduser())
            path = Path(open_clip.download_pretrained(published))
        except Exception as error:  # The hubs' clients raise nearly every kind there is.
            raise EncoderError(
                f"{source!r}: weights cannot be downloaded ({type(error).__name__}: {_line(error)}); "
                "connect once, or name a file: openclip:ARCH/FILE"
            ) from None
    else:
        path = Path(weights)
        if not path.is_file():
            raise EncoderError(f"{weights!r} is neither a tag of {name} nor a file: check the path")
        config["quick_gelu"] = _is_quick(source, name, config, path)
    return Published(
        source, config, preprocess, lambda: read_tensors(path), lambda: open_clip.get_tokenizer(_plain(name))
    )


def _is_quick(source: str, name: str, config: dict, path: Path) -> bool:
    """Return whether the network of a file has QuickGELU in place of GELU.

    OpenAI's weights need it: its archives are TorchScript or hold its own numbers, and copies of them keep the name.

    Raises:
        EncoderError: the file does not say, and the architecture is published with both.
    """
    import open_clip

    if config.get("quick_gelu") or is_torchscript(path) or "openai" in path.name.lower():
        return True
    both = f"{name}-quickgelu" in open_clip.list_models()
    if not both or _plain(name) != name:
        return False
    if "input_resolution" in read_tensors(path):
        return True
    raise EncoderError(
        f"{source!r}: the file does not say whether its network has GELU or QuickGELU: write openclip:{name}-quickgelu/"
        f"FILE for OpenAI's weights and what was tuned from them, openclip:{name}-gelu/FILE for open_clip's own"
    )


def _plain(name: str) -> str:
    """Return open_clip's name of an architecture: without the -gelu that says which of both a file has."""
    return name.removesuffix("-gelu")


def _from_folder(source: str, folder: Path) -> Published:
    """The model of a folder with open_clip_config.json and weights."""
    import open_clip

    config, preprocess = _described(folder)
    found = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
    if not found:
        raise EncoderError(f"{folder}: holds none of {', '.join(_WEIGHTS)}; put the weights there")
    return Published(
        source,
        config,
        preprocess,
        lambda: read_tensors(found[0]),
        lambda: open_clip.get_tokenizer(f"local-dir:{folder}"),
    )


def _described(folder: Path) -> tuple[dict, dict]:
    """The model's config and its preprocessing, as a folder describes them."""
    if folder.is_dir():
        check_folder(folder)
    try:
        described = read_value(folder / "open_clip_config.json")
        return described["model_cfg"], described.get("preprocess_cfg", {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderError(
            f"{folder}: no open_clip model (open_clip_config.json with model_cfg: {type(error).__name__}); "
            "check the folder"
        ) from None


def _from_hub(source: str, repository: str) -> Path:
    """The folder of a hub's repository in the hub client's own cache."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=["*.json", "*.txt", "*.model", *_WEIGHTS]))
    except Exception as error:
        raise EncoderError(
            f"{source!r}: cannot be downloaded and is not in the hub's cache ({type(error).__name__}); "
            "check the name or the connection"
        ) from None


def assemble(published: Published) -> Encoder:
    """Return the encoder of a published model: the image tower alone; the text tower when it is asked for.

    Raises:
        EncoderError: weights that do not fit the architecture.
    """
    spec = tower_spec(published.source, published.config, published.preprocess)
    tensors = _named(published)
    visual = _filled(spec, {key[7:]: value for key, value in tensors.items() if key.startswith("visual.")})
    scale = float(tensors["logit_scale"].float().exp()) if "logit_scale" in tensors else 100.0
    bias = float(tensors["logit_bias"]) if "logit_bias" in tensors else 0.0
    return Encoder(visual.eval(), lambda: _load_text(published), scale=scale, bias=bias)


def _architecture(name: str) -> dict:
    """open_clip's model config of one of its architectures."""
    import open_clip

    plain = _plain(name)
    config = open_clip.get_model_config(plain) if plain in open_clip.list_models() else None
    if config is None:
        raise EncoderError(f"open_clip has no architecture {name!r}; `texthead encoders` lists them")
    return dict(config)


def _of_tag(name: str, tag: str) -> tuple[dict, dict]:
    """Return (model config, preprocessing) of an architecture and a tag; without a tag preprocessing is empty."""
    import open_clip

    config = _architecture(name)
    if tag not in open_clip.list_pretrained_tags_by_model(name):
        return config, {}
    published = open_clip.get_pretrained_cfg(name, tag)
    # open_clip knows of a tag whether it needs QuickGELU, but only warns where the architecture's name does not say it.
    config["quick_gelu"] = bool(published.get("quick_gelu", config.get("quick_gelu", False)))
    return config, {key: published[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in published}


def tower_spec(source: str, config: dict, preprocess: dict) -> VisualSpec:
    """The image tower of an open_clip model config.

    Raises:
        EncoderError: an input that is no square.
    """
    vision = config["vision_cfg"]
    size = vision.get("image_size", 224)
    if isinstance(size, list | tuple):
        if size[0] != size[1]:
            raise EncoderError(
                f"{source!r} takes {size[0]}x{size[1]} pixels, only squares are supported: choose another"
            )
        size = size[0]
    mode = preprocess.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        warnings.warn(
            f"{source}: was trained on pictures resized by {mode!r}; here the short side is resized and the centre is "
            "cut, so its published numbers are not met",
            stacklevel=2,
        )
    # The width of the text tower gives the paper's temporal transformer its number of heads.
    text = {"text_width": config["text_cfg"]["width"]} if "width" in config.get("text_cfg", {}) else {}
    quick = bool(config.get("quick_gelu")) and "timm_model_name" not in vision
    return VisualSpec(
        source=source,
        architecture="openclip",
        dim=int(config["embed_dim"]),
        size=int(size),
        crop=1.0,
        interpolation=preprocess.get("interpolation", "bicubic"),
        mean=tuple(preprocess.get("mean", _OPENAI_MEAN)),
        std=tuple(preprocess.get("std", _OPENAI_STD)),
        activation="quick_gelu" if quick else "gelu",
        channels_last=False,
        any_size=False,
        config=json.dumps({"embed_dim": config["embed_dim"], "vision_cfg": vision, "quick_gelu": quick, **text}),
        squash=mode == "squash",
    )


def _named(published: Published) -> dict[str, Tensor]:
    """The tensors in open_clip's names and in float32."""
    from open_clip.convert import convert_state_dict

    tensors = {key: value for key, value in published.read().items() if key.split(".")[-1] not in NO_WEIGHTS}
    try:
        tensors = convert_state_dict(None, tensors)  # pyright: ignore[reportArgumentType]
    except AttributeError:
        raise EncoderError(f"{published.source!r}: this file's layout is read by open_clip's tags only") from None
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def _filled(spec: VisualSpec, tensors: dict[str, Tensor]) -> Visual:
    """The image tower around its tensors: nothing is drawn and nothing is copied."""
    with sized_as([tensor.shape for tensor in tensors.values()], spec.source):
        visual = build_visual(spec)
    # Some towers compute tables in their constructor that are in no file.
    if any(name not in visual.net.state_dict() for name, _ in visual.net.named_buffers()):
        visual = build_visual(spec)
    visual = Visual(visual.net, spec)
    fill(visual.net, tensors, spec.source)
    return visual


def _load_text(published: Published) -> Text:
    """The text tower alone."""
    import open_clip

    config = published.config
    text = {**config["text_cfg"], "output_tokens": False, "hf_model_pretrained": False}
    custom = bool(config.get("custom_text") or "hf_model_name" in text or "multimodal_cfg" in config)
    tower: Any = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    make = partial(tower, quick_gelu=bool(config.get("quick_gelu")))
    vision = open_clip.CLIPVisionCfg(layers=1, width=64, head_width=64, patch_size=16, image_size=16)
    tensors = _named(published)
    try:
        with sized_as([tensor.shape for tensor in tensors.values()], published.source):
            make(config["embed_dim"], vision, text)
        net = make(config["embed_dim"], vision, text)
        tokenizer = published.tokenizer()
    except EncoderError:
        raise
    except Exception as error:
        raise EncoderError(
            f"{published.source!r}: text tower or tokenizer cannot be built ({type(error).__name__}: {_line(error)}); "
            "connect once, so that the hub's client has what they need"
        ) from None
    del net.visual
    net.register_parameter("logit_scale", None)
    if custom and "positional_embedding" in tensors:
        from open_clip.model import convert_to_custom_text_state_dict

        tensors = convert_to_custom_text_state_dict(tensors)
    wanted = net.state_dict()
    others = ("visual.", "logit_", "text_decoder.", "text.transformer.embeddings.position_ids")
    fill(net, {k: v for k, v in tensors.items() if k in wanted or not k.startswith(others)}, published.source)
    limit = net.context_length

    def tokenize(prompts: Sequence[str]) -> Tensor:
        padding = tokenizer([""], context_length=4 * limit)[0, -1]
        for prompt in prompts:
            # The tokenizer cuts silently at its limit, so it is asked with a longer one.
            used = int((tokenizer([prompt], context_length=4 * limit)[0] != padding).nonzero().max()) + 1
            if used > limit:
                raise EncoderError(f"prompt {prompt[:40]!r}... has {used} tokens > {limit}: shorten it")
        return tokenizer(list(prompts))

    inner = net.text if custom else net
    embedding = inner.transformer.embeddings.word_embeddings if "hf_model_name" in text else inner.token_embedding

    def encode(tokens: Tensor) -> Tensor:
        return net.encode_text(tokens.to(next(net.parameters()).device))

    def encode_words(tokens: Tensor) -> Tensor:
        seen: list[Tensor] = []
        with inner.ln_final.register_forward_hook(lambda *call: seen.append(call[2])):
            encode(tokens)
        return seen[0] @ inner.text_projection

    projected = isinstance(getattr(inner, "text_projection", None), Tensor)
    return Text(net, tokenize, encode, embedding, encode_words if projected else None)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
