"""`texthead encoders`: what can be loaded, and from where."""

from dataclasses import dataclass

from texthead.commands.parser import argument
from texthead.errors import EncoderError


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """List the encoders by name, and where their weights are.

    Args:
        word: only names that hold this, as ViT-B-16
    """

    word: str | None = argument("WORD", nargs="?")

    def __call__(self) -> None:
        from texthead.commands.console import notes
        from texthead.encoders.load import FORMS, known_encoders

        found = [(name, place) for name, place in known_encoders() if (self.word or "").lower() in name.lower()]
        if not found:
            raise EncoderError(
                f"no published encoder has {self.word!r} in its name; `texthead encoders` lists them all"
            )
        notes().print(f"{len(found)} published encoders; --encoder takes {FORMS}")
        for name, place in found:
            print(f"{name}\t{place}")
