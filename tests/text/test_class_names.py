"""Class names that are refused, and labels as a text encoder reads them."""

import pytest

from messages import refuses
from texthead.errors import DataError
from texthead.text.class_names import check_names, clean_names

BLANK = ("", " \xa0", "\u200b", "\u200d\ufeff", "\u0301", "\xad", "\u3164", "\u2800", "\x1b")
NOT_ONE_LINE = ("a\nb", "a\u2028", "a\0b", "\x1b[31mred", "a\u202eb", "\u2066a")
LIKE_CAT = ("cat\u200b", "\ufeffcat", "c\u200dat", "cat\U000e0041\U000e0042", " cat ")
ALIKE = (("a b", "a \xa0b"), ("caf\u00e9", "cafe\u0301"), ("\u2764", "\u2764\ufe0f"), ("跑步", "跑步\u200c"))


@pytest.mark.parametrize(
    ("one", "other", "parts"),
    [
        *(
            ("dog", name, ("class name 2 of 2", ascii(name)[1:-1], "one line of visible text", "rename"))
            for name in BLANK
        ),
        *(("dog", name, ("one line of visible text", "rename")) for name in NOT_ONE_LINE),
        # From a folder name, or from a command line in a non-UTF-8 locale.
        *(
            ("dog", name, ("class name 2 of 2", ascii(name)[-7:-1] if "d800" not in ascii(name) else "ud800", "UTF-8"))
            for name in ("caf\udce9", "a \ud800 b")
        ),
        *((one, other, ("look the same", "rename")) for one, other in (*(("cat", name) for name in LIKE_CAT), *ALIKE)),
    ],
)
def test_names_that_are_refused(one: str, other: str, parts: tuple[str, ...]) -> None:
    with refuses(DataError, *parts):
        check_names([one, other])


def test_names_equal_in_lower_case_cannot_be_cleaned() -> None:
    with refuses(DataError, "both become"):
        clean_names(["Cat", "cat\u200b"])


def test_names_of_all_scripts_are_allowed() -> None:
    """Joiners in emoji, Persian and Hindi, tags in flags, marks of direction in Hebrew, an icon of a font."""
    emoji = ["👩\u200d💻", "\u2764\ufe0f\u200d🔥", "1\ufe0f\u20e3", "\U0001f3f4\U000e0067\U000e007f"]
    words = ["می\u200cخواهم", "क्\u200dष", "\u200fשלום!", "पुस्तक", "e\u0301te\u0301", "\ue000", "_", "?"]
    check_names([*emoji, *words])
