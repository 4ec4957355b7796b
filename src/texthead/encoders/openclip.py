"""open_clip encoders: by tag, from a weights file, or from a folder or hub repository in open_clip's format."""

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from texthead.downloads import check_url, download_errors
from texthead.encoders.encoder import Encoder, TextEncoder, VisualEncoder, build_visual, check_lengths
from texthead.encoders.spec import VisualSpec, square_side
from texthead.encoders.timm_visual import check_architecture
from texthead.encoders.weights import clip_tensors, fill, read_tensors
from texthead.errors import EncoderError, raising
from texthead.files import read_value, replacing, write_json

_OPENAI_MEAN, _OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

FORMS = ("openclip:ARCH/TAG", "openclip:ARCH/FILE", "openclip:local-dir:FOLDER", "openclip:hf-hub:ORG/NAME")

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "open_clip_model.pt")


@dataclass(frozen=True)
class ClipModel:
    """A CLIP model in open_clip's format.

    Attributes:
        source: as in `load_encoder`.
        config: open_clip's model config: embed_dim, vision_cfg, text_cfg, quick_gelu, ...
        preprocess: mean, std, interpolation, resize_mode, if they differ from OpenAI's.
        read: returns the weights as published; none if only the spec is needed.
        tokenizer: returns a tokenizer, which takes prompts and `context_length`; that of OpenAI's CLIP if not given.
    """

    source: str
    config: dict
    preprocess: dict = field(default_factory=dict)
    read: Callable[[], dict[str, Tensor]] = dict
    tokenizer: Callable[[], Callable] | None = None

    @classmethod
    def from_name(cls, rest: str) -> "ClipModel":
        """Return the model ARCH/TAG, ARCH/FILE, local-dir:FOLDER or hf-hub:ORG/NAME.

        Raises:
            EncoderError: it is unknown, or its files are missing or incomplete.
        """
        source = f"openclip:{rest}"
        kind, _, name = rest.partition(":")
        if kind == "local-dir":
            return _from_folder(source, Path(name))
        if kind == "hf-hub":
            from huggingface_hub import snapshot_download

            with download_errors(source, "check the name or the connection"):
                folder = snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.model", *WEIGHTS])
            return _from_folder(source, Path(folder))
        return _by_name(source, rest)

    @property
    def spec(self) -> VisualSpec:
        """The spec of the image tower.

        Raises:
            EncoderError: the input is not square.
        """
        source, vision, preprocess = self.source, self.config["vision_cfg"], self.preprocess
        size = vision.get("image_size", 224)
        mode = preprocess.get("resize_mode", "shortest")
        if mode not in ("shortest", "squash"):
            warnings.warn(
                f"{source}: was trained on images resized by {mode!r}; texthead resizes the short side and crops the "
                "center, so it may not reach its published accuracy",
                stacklevel=2,
            )
        # The paper's temporal transformer derives its number of heads from the width of the text tower.
        text_config = self.config.get("text_cfg", {})
        text = {"text_width": text_config["width"]} if "width" in text_config else {}
        quick = bool(self.config.get("quick_gelu")) and "timm_model_name" not in vision
        dim = self.config["embed_dim"]
        return VisualSpec(
            source=source,
            architecture="openclip",
            dim=int(dim),
            size=square_side(source, size if isinstance(size, list | tuple) else [size]),
            crop=1.0,
            interpolation=preprocess.get("interpolation", "bicubic"),
            mean=tuple(preprocess.get("mean", _OPENAI_MEAN)),
            std=tuple(preprocess.get("std", _OPENAI_STD)),
            activation="quick_gelu" if quick else "gelu",
            config=json.dumps({"embed_dim": dim, "vision_cfg": vision, "quick_gelu": quick, **text}),
            squash=mode == "squash",
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return all weights under open_clip's names, in float32.

        Raises:
            EncoderError: open_clip cannot convert them.
        """
        from open_clip.convert import convert_state_dict

        tensors, problem = clip_tensors(self.read()), f"'{self.source}': open_clip cannot read this file format"
        with raising(EncoderError, problem, "use one of open_clip's tags", AttributeError):
            tensors = convert_state_dict(None, tensors)  # pyright: ignore[reportArgumentType]
        return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}

    def save(self, folder: Path) -> None:
        """Save the model to a folder in open_clip's format, which `openclip:local-dir:FOLDER` reads.

        Raises:
            RunError: the folder cannot be written.
        """
        write_json(folder / "open_clip_config.json", {"model_cfg": self.config, "preprocess_cfg": self.preprocess})
        with replacing(folder / WEIGHTS[0]) as temp:
            save_file({key: value.contiguous() for key, value in self.tensors().items()}, temp)

    def encoder(self) -> Encoder:
        """Return the encoder; its text tower is loaded on demand.

        Raises:
            EncoderError: the weights do not match the architecture.
        """
        spec, tensors = self.spec, self.tensors()
        own = {key.removeprefix("visual."): value for key, value in tensors.items() if key.startswith("visual.")}
        with torch.device("meta"):
            net = build_visual(spec).net
        # Some towers compute buffers in their constructor that are not in the file, so they cannot stay on "meta".
        if any(name not in net.state_dict() for name, _ in net.named_buffers()):
            net = build_visual(spec).net
        fill(net, own, spec.source)
        scale = float(tensors["logit_scale"].float().exp()) if "logit_scale" in tensors else 100.0
        bias = float(tensors["logit_bias"]) if "logit_bias" in tensors else 0.0
        return Encoder(VisualEncoder(net, spec).eval(), self.text, scale=scale, bias=bias)

    def text(self) -> TextEncoder:
        """Return the text tower.

        Raises: as `encoder`.
        """
        import open_clip

        config = self.config
        text = {**config["text_cfg"], "output_tokens": False, "hf_model_pretrained": False}
        custom = bool(config.get("custom_text") or "hf_model_name" in text or "multimodal_cfg" in config)
        tower: Any = open_clip.CustomTextCLIP if custom else open_clip.CLIP
        make = partial(tower, quick_gelu=bool(config.get("quick_gelu")))
        vision = open_clip.CLIPVisionCfg(layers=1, width=64, head_width=64, patch_size=16, image_size=16)
        tensors = self.tensors()
        with download_errors(self.source, "go online once, so that the files of its text tower can be downloaded"):
            net = make(config["embed_dim"], vision, text)
            tokenizer = self.tokenizer() if self.tokenizer else open_clip.SimpleTokenizer()
        del net.visual
        net.register_parameter("logit_scale", None)
        if custom and "positional_embedding" in tensors:
            from open_clip.model import convert_to_custom_text_state_dict

            tensors = convert_to_custom_text_state_dict(tensors)
        expected = net.state_dict()
        others = ("visual.", "logit_", "text_decoder.", "text.transformer.embeddings.position_ids")
        fill(net, {k: v for k, v in tensors.items() if k in expected or not k.startswith(others)}, self.source)
        limit = net.context_length

        def tokenize(prompts: Sequence[str]) -> Tensor:
            padding = tokenizer([""], context_length=4 * limit)[0, -1]
            # The tokenizer truncates silently at its limit, so count with a larger one.
            counted = (tokenizer([prompt], context_length=4 * limit)[0] != padding for prompt in prompts)
            check_lengths(prompts, (int(used.nonzero().max()) + 1 for used in counted), limit)
            return tokenizer(list(prompts))

        inner = net.text if custom else net
        embedding = inner.transformer.embeddings.word_embeddings if "hf_model_name" in text else inner.token_embedding

        def encode(tokens: Tensor) -> Tensor:
            return net.encode_text(tokens.to(next(net.parameters()).device))

        return TextEncoder(net, tokenize, encode, embedding)


def load(rest: str) -> Encoder:
    """Return the encoder ARCH/TAG, ARCH/FILE, local-dir:FOLDER or hf-hub:ORG/NAME."""
    return ClipModel.from_name(rest).encoder()


def spec(rest: str) -> VisualSpec:
    """Return the spec of the image tower of ARCH, ARCH/TAG, ARCH/FILE or local-dir:FOLDER.

    Raises:
        EncoderError: the architecture is unknown, or the folder has no config.
    """
    source = f"openclip:{rest}"
    if rest.startswith("local-dir:"):
        return ClipModel(source, *_folder_config(Path(rest.removeprefix("local-dir:")))).spec
    name, _, tag = rest.partition("/")
    return ClipModel(source, *_tag_config(name, tag)).spec


def build(spec: VisualSpec) -> nn.Module:
    """Return the image tower of a spec, with random weights.

    Raises:
        EncoderError: the installed open_clip does not know the architecture.
    """
    import open_clip

    config = json.loads(spec.config)
    if name := config.get("vision_cfg", {}).get("timm_model_name"):
        check_architecture(name)
    with download_errors(spec.source, "install the open_clip that made the run"):
        # A text tower of minimal size, which is not used.
        text = open_clip.CLIPTextCfg(context_length=8, vocab_size=8, width=64, heads=1, layers=1)
        vision = {**config["vision_cfg"], "output_tokens": False, "timm_model_pretrained": False}
        quick = config.get("quick_gelu", False)
        return open_clip.CLIP(config["embed_dim"], vision, text, quick_gelu=quick).visual  # pyright: ignore[reportArgumentType]


def list_models() -> list[tuple[str, str]]:
    """Return (source, location of its weights) of every architecture and tag of open_clip."""
    import open_clip

    models = []
    for name, tag in open_clip.list_pretrained():
        published = open_clip.get_pretrained_cfg(name, tag)
        hub = published.get("hf_hub", "").rstrip("/")
        models.append((f"openclip:{name}/{tag}", f"hub: {hub}" if hub else published.get("url", "?")))
    return models


def _by_name(source: str, rest: str) -> ClipModel:
    import open_clip

    name, _, weights = rest.partition("/")
    config, preprocess = _tag_config(name, weights)
    tags = open_clip.list_pretrained_tags_by_model(_plain(name))
    if weights in tags:
        with download_errors(source, "go online once, or use a file: openclip:ARCH/FILE"):
            published = open_clip.get_pretrained_cfg(name, weights)
            if not published.get("hf_hub"):
                check_url(published["url"], Path("~/.cache/clip").expanduser())
            path = Path(open_clip.download_pretrained(published))
    else:
        path = Path(weights)
        if not path.is_file():
            forms = f"openclip:{name}/TAG (tags: {', '.join(tags) or 'none'}) or openclip:{name}/FILE"
            raise EncoderError(f"'{source}': '{weights}' is neither a tag of {name} nor a file; use {forms}")
        config["quick_gelu"] = _is_quick(source, name, config, path)
    tokenizer = partial(open_clip.get_tokenizer, _plain(name))
    return ClipModel(source, config, preprocess, partial(read_tensors, path), tokenizer)


def _is_quick(source: str, name: str, config: dict, path: Path) -> bool:
    """Return whether the weights in a file were trained with QuickGELU instead of GELU.

    OpenAI's weights were. They have its `input_resolution`, or "openai" in their name.

    Raises:
        EncoderError: the file does not tell, and the architecture is published with both.
    """
    import open_clip

    if config.get("quick_gelu") or "openai" in path.name.lower():
        return True
    both = f"{name}-quickgelu" in open_clip.list_models()
    if not both or _plain(name) != name:
        return False
    if "input_resolution" in read_tensors(path):
        return True
    raise EncoderError(
        f"'{source}': the file does not say whether its network has GELU or QuickGELU: use openclip:{name}-quickgelu/"
        f"FILE for OpenAI's weights and models fine-tuned from them, openclip:{name}-gelu/FILE for open_clip's own"
    )


def _plain(name: str) -> str:
    """Return open_clip's name of an architecture, without our suffix -gelu for files."""
    return name.removesuffix("-gelu")


def _from_folder(source: str, folder: Path) -> ClipModel:
    """Return the model in a folder with open_clip_config.json and weights."""
    import open_clip

    config, preprocess = _folder_config(folder)
    files = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if not files:
        raise EncoderError(f"{folder}: has none of {', '.join(WEIGHTS)}; put the weights there")
    tokenizer = partial(open_clip.get_tokenizer, f"local-dir:{folder}")
    return ClipModel(source, config, preprocess, partial(read_tensors, files[0]), tokenizer)


def _folder_config(folder: Path) -> tuple[dict, dict]:
    """Return (model config, preprocessing) from a folder."""
    file = folder / "open_clip_config.json"
    problem, remedy = f"{file}: not the configuration of an open_clip model", "use the folder of a model"
    with raising(EncoderError, problem, remedy, KeyError, TypeError):
        config = read_value(file)
        return config["model_cfg"], config.get("preprocess_cfg", {})


def _tag_config(name: str, tag: str) -> tuple[dict, dict]:
    """Return (model config, preprocessing) of an architecture and a tag; preprocessing is empty if there is no tag."""
    import open_clip

    plain = _plain(name)
    if plain not in open_clip.list_models():
        raise EncoderError(f"open_clip has no architecture {name!r}; `texthead encoders` lists them")
    config = dict(open_clip.get_model_config(plain) or {})
    if tag not in open_clip.list_pretrained_tags_by_model(name):
        return config, {}
    published = open_clip.get_pretrained_cfg(name, tag)
    # open_clip knows which tags need QuickGELU, but only warns if the architecture's name does not say so.
    config["quick_gelu"] = bool(published.get("quick_gelu", config.get("quick_gelu", False)))
    return config, {key: published[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in published}
