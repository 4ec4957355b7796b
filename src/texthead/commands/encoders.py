"""`texthead encoders`: what can be loaded, and from where."""

from typing import Any

from texthead.commands.console import notes
from texthead.encoders.load import FORMS, known_encoders
from texthead.errors import EncoderError


def encoders(options: Any) -> None:
    """Print one line an encoder: its name, a tab, where its weights come from."""
    found = [(name, place) for name, place in known_encoders() if options.word.lower() in name.lower()]
    if not found:
        raise EncoderError(f"no published encoder has {options.word!r} in its name; `texthead encoders` lists them all")
    notes().print(f"{len(found)} published encoders; --encoder takes {FORMS}")
    for name, place in found:
        print(f"{name}\t{place}")
