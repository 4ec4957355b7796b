"""Class names that a text encoder will not read as they are meant. Plain strings only: nothing here imports torch."""

import re
from collections.abc import Sequence

from texthead.prompts import clean_name

# Words that name nothing by themselves: "class 12", "video_001".
_EMPTY_WORDS = frozenset(
    word
    for words in ("action category class clip cls id idx image img item", "label no nr number object type vid video")
    for word in words.split()
)
_WORDS = re.compile(r"[^\W\d_]{2,}")


def is_code(label: str) -> bool:
    """Whether a label is a number or a code instead of words: `n01440764`, `v_001`, `class 12`, `7`.

    A label of letters alone is none, so that `A` and `TV` stay.
    """
    if not any(character.isdigit() for character in label):
        return False
    words = {word.lower() for word in _WORDS.findall(clean_name(label))}
    return words <= _EMPTY_WORDS


def is_foreign(label: str) -> bool:
    """Whether a label has letters beyond the Latin alphabet, which few text encoders have seen enough of."""
    return any(character.isalpha() and ord(character) > 0x24F for character in label)


def run_together(label: str) -> str | None:
    """The label with its words apart, where they were run together (`ApplyEyeMakeup`, `push_up`); None elsewhere."""
    cleaned = clean_name(label)
    return cleaned if cleaned != " ".join(label.split()) else None


def same_names(labels: Sequence[str]) -> list[list[str]]:
    """The labels that become the same name but for case, where there are several: `push_up`, `Push up`."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(clean_name(label).casefold(), []).append(label)
    return [group for group in groups.values() if len(group) > 1]
