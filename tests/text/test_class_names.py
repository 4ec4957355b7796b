"""Class names that are refused, and labels as a text encoder reads them."""

import pytest

from messages import refuses
from texthead.errors import DataError
from texthead.text.class_names import check_names, clean_names


@pytest.mark.parametrize("blank", ["", " \xa0", "\u200b", "\u200d\ufeff", "\u0301", "\xad", "\u3164", "\u2800", "\x1b"])
def test_names_that_draw_nothing_are_refused(blank: str) -> None:
    with refuses(DataError, "class name 2 of 2", ascii(blank)[1:-1], "no visible character", "rename"):
        check_names(["dog", blank])


@pytest.mark.parametrize("name", ["a\nb", "a\u2028", "a\0b", "\x1b[31mred", "a\u202eb", "\u2066a"])
def test_names_that_are_no_line_of_text_are_refused(name: str) -> None:
    with refuses(DataError, "control characters", "one line"):
        check_names(["dog", name])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("cat", name) for name in ("cat\u200b", "\ufeffcat", "c\u200dat", "cat\U000e0041\U000e0042", " cat ")),
        ("a b", "a \xa0b"),
        ("caf\u00e9", "cafe\u0301"),
        ("\u2764", "\u2764\ufe0f"),
        ("跑步", "跑步\u200c"),
    ],
)
def test_names_that_look_the_same_are_refused(one: str, other: str) -> None:
    with refuses(DataError, "look the same", "rename"):
        check_names([one, other])


def test_names_equal_in_lower_case_cannot_be_cleaned() -> None:
    with refuses(DataError, "both become"):
        clean_names(["Cat", "cat\u200b"])


def test_names_of_all_scripts_are_allowed() -> None:
    """Joiners in emoji, Persian and Hindi, tags in flags, marks of direction in Hebrew, an icon of a font."""
    emoji = [
        "👩\u200d💻",
        "👩💻",
        "\u2764\ufe0f\u200d🔥",
        "1\ufe0f\u20e3",
        "\U0001f3f4\U000e0067\U000e007f",
        "\U0001f3f4",
    ]
    words = ["می\u200cخواهم", "میخواهم", "क्\u200dष", "क्ष", "\u200fשלום!", "पुस्तक", "e\u0301te\u0301", "\ue000", "_", "?"]
    check_names([*emoji, *words])


def test_names_that_are_no_text_are_refused() -> None:
    # From a folder name, or from a command line in a non-UTF-8 locale.
    for name in ("caf\udce9", "a \ud800 b"):
        with refuses(DataError, "not valid UTF-8", "C.UTF-8"):
            check_names(["dog", name])
