"""Class names that a text encoder misreads."""

import re
from collections.abc import Sequence

from texthead.text import clean_name

# Words without content of their own, as in "class 12" and "video_001".
_EMPTY_WORDS = {"action", "category", "class", "clip", "cls", "id", "idx", "image", "img", "item", "label", "no", "nr"}
_EMPTY_WORDS |= {"number", "object", "type", "vid", "video"}

_WORDS = re.compile(r"[^\W\d_]{2,}")


def is_code(label: str) -> bool:
    """Return whether a label is a number or a code instead of words: `n01440764`, `v_001`, `class 12`, `7`.

    Labels without digits, such as `A` and `TV`, are not codes.
    """
    if not any(character.isdigit() for character in label):
        return False
    words = {word.lower() for word in _WORDS.findall(clean_name(label))}
    return words <= _EMPTY_WORDS


def is_foreign(label: str) -> bool:
    """Return whether a label has non-Latin letters, on which most text encoders were hardly trained."""
    return any(character.isalpha() and ord(character) > 0x24F for character in label)


def run_together(label: str) -> str | None:
    """Return the label split into words if they were run together (`ApplyEyeMakeup`, `push_up`), else None."""
    cleaned = clean_name(label)
    return cleaned if cleaned != " ".join(label.split()) else None


def same_names(labels: Sequence[str]) -> list[list[str]]:
    """Return the groups of labels whose cleaned names differ at most in case, such as `push_up` and `Push up`."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(clean_name(label).casefold(), []).append(label)
    return [group for group in groups.values() if len(group) > 1]
