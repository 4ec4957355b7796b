"""The page: complete, self-contained, and inert whatever names it contains."""

import base64

import numpy as np
import pytest
from jinja2 import UndefinedError
from matplotlib.figure import Figure

from pages import SCRIPT, Page, assert_self_contained
from texthead.report import figures
from texthead.report.html import _environment, render


def small_figure() -> Figure:
    return figures.plot_curves([{"kind": "train", "step": 1, "loss": 2.0}])


def macro(call: str, **values: object) -> str:
    """Render a call of one of the macros."""
    source = '{% from "macros.html" import figures, table with context %}{{ CALL }}'.replace("CALL", call)
    return _environment("texthead.report").from_string(source).render(sections=[], **values)


def blocks(*content: tuple[str, object], title: str = "a", subtitle: str = "") -> str:
    """Return a page of blocks."""
    return render("blocks.html", title=title, subtitle=subtitle, blocks=content)


def test_blocks_appear_in_order():
    content = [("text", "first"), ("section", "Seen classes"), ("code", "texthead predict run\n  video.mp4")]
    page = Page(blocks(*content, title="Run 7", subtitle="two classes"))
    assert page.strings == [
        *("Run 7", "Run 7", "two classes", "first", "Seen classes"),
        "texthead predict run\n  video.mp4",
    ]


def test_control_characters_escaped():
    """`exe.gpj` after U+202E is displayed as `jpg.exe`; right-to-left marks are a normal part of names."""
    html = blocks(title="a\x1b[31m\u202egpj.\u2066", subtitle="\u200fשלום")
    assert Page(html).strings[1:] == [r"a\x1b[31m\u202egpj.\u2066", "\u200fשלום"]


def test_a_table_shows_values_as_given_on_their_side():
    rows = [["x", 12, 55.0, None], ["y", 3, np.float64(0.125), None], ["z", None, 5e-06, None]]
    call = 'table(["name", "items", "value", "none"], rows, "left right right left", "The caption", highlight=1)'
    page = Page(macro(call, rows=rows))
    assert page.rows == [
        ["name", "items", "value", "none"],
        ["x", "12", "55.0", "–"],
        ["y", "3", "0.125", "–"],
        ["z", "–", "5e-06", "–"],
    ]
    cells = [attributes["class"] for tag, attributes in page.tags if tag in ("td", "th")]
    assert cells == ["left", "right", "right", "left"] * 4
    assert [row.get("class") for row in page.all("tr")] == [None, None, "highlight", None]
    assert page.strings[0] == "The caption"
    assert [cell["class"] for cell in Page(macro('table(["a", "b"], [[1, "x"]])')).all("td")] == ["left", "left"]
    with pytest.raises(UndefinedError):
        macro('table(["a"], [["x", "y"]])')


def test_figures_are_embedded_at_their_size():
    pairs = [(small_figure(), "left one"), (small_figure(), "right one")]
    page = Page(macro("figures(pairs)", pairs=pairs))
    assert page.attributes("alt") == ["left one", "right one"]
    assert page.strings == ["left one", "right one"]
    assert page.attributes("style") == ["width:580px"] * 2
    data = str(page.attributes("src")[0]).removeprefix("data:image/png;base64,")
    assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")


def test_every_string_is_escaped():
    content = [("section", name) for name in (SCRIPT, "b", "c")] + [("text", SCRIPT), ("code", SCRIPT)]
    content += [("table", ([SCRIPT], [[SCRIPT]], "", SCRIPT)), ("figure", (small_figure(), SCRIPT))]
    html = blocks(*content, title=SCRIPT, subtitle=SCRIPT)
    page = Page(html)
    assert page.all("script") == []
    assert_self_contained(html, page)
    # Title twice, subtitle, link, heading, text, code, three in the table, caption.
    assert page.strings.count(SCRIPT) == 11
    assert page.attributes("alt") == [SCRIPT]
