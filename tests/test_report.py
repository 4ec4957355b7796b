"""The page: whole, self-contained, and inert whatever the names say."""

import base64
import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pages import SCRIPT, Page, assert_self_contained
from texthead import figures
from texthead.errors import TextheadError
from texthead.report import Report, picture


def small_figure() -> Figure:
    return figures.plot_bars([("a", 50.0, 1.0)])


# ---------------------------------------------------------------- blocks


def test_blocks_appear_in_order():
    report = Report(title="Run 7", subtitle="two classes")
    report.text("first")
    report.section("Seen classes")
    report.code("texthead predict run\n  video.mp4")
    report.numbers([("top-1", "87.3%", "of 400 items")])
    page = Page(report.html())
    assert page.strings == [
        *("Run 7", "Run 7", "two classes", "first", "Seen classes"),
        *("texthead predict run\n  video.mp4", "top-1", "87.3%", "of 400 items"),
    ]


def test_page_suits_phones_and_dark_screens_and_fetches_nothing():
    html = Report(title="a").html()
    page = Page(html)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in [a for _, a in page.tags]
    assert "default-src 'none'" in str(page.attributes("content"))
    assert "prefers-color-scheme: dark" in html


def test_sections_are_linked_from_three_on():
    report = Report(title="a")
    report.section("one")
    report.section("two")
    assert Page(report.html()).attributes("href") == []
    report.section("three")
    page = Page(report.html())
    assert page.attributes("href") == ["#section-1", "#section-2", "#section-3"]
    assert page.attributes("id") == ["section-1", "section-2", "section-3"]


def test_table_shows_numbers_as_given_and_to_the_right():
    report = Report(title="a")
    rows = [["x", 12, 55.0, None], ["y", 3, 0.125, None], ["z", None, 5e-06, None]]
    report.table(["name", "items", "value", "none"], rows, caption="The caption", highlight_row=1)
    page = Page(report.html())
    assert page.rows == [
        ["name", "items", "value", "none"],
        ["x", "12", "55.0", "–"],
        ["y", "3", "0.125", "–"],
        ["z", "–", "5e-06", "–"],
    ]
    cells = [attributes["class"] for tag, attributes in page.tags if tag in ("td", "th")]
    assert cells == ["left", "right", "right", "left"] * 4
    lines = [attributes.get("class") for tag, attributes in page.tags if tag == "tr"]
    assert lines == [None, None, "highlight", None]
    assert "The caption" in page.strings


def test_numpy_numbers_are_plain_numbers():
    report = Report(title="a")
    report.table(["value"], [[np.float64(1.5)]])
    page = Page(report.html())
    assert page.rows[1] == ["1.5"]


def test_given_alignment_wins():
    report = Report(title="a")
    report.table(["a", "b"], [[1, "x"]], align=["center", "right"])
    cells = [attributes["class"] for tag, attributes in Page(report.html()).tags if tag == "td"]
    assert cells == ["center", "right"]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([["x"]], {}, "row 0 has 1 cells, the table has 2 headers"),
        ([["x", "y"]], {"align": ["left"]}, "for each of 2 columns"),
        ([["x", "y"]], {"align": ["left", "up"]}, "'up'"),
        ([["x", "y"]], {"highlight_row": 1}, "must be below 1, the number of rows, got 1"),
    ],
)
def test_table_rejects(rows, options, message):
    with pytest.raises(TextheadError, match=message):
        Report(title="a").table(["a", "b"], rows, **options)


# ---------------------------------------------------------------- pictures


def test_figures_are_embedded_at_their_size():
    report = Report(title="a")
    report.figures([(small_figure(), "left one"), (small_figure(), "right one")])
    page = Page(report.html())
    assert page.attributes("alt") == ["left one", "right one"]
    assert page.strings[-2:] == ["left one", "right one"]
    assert page.attributes("style") == ["width:580px"] * 2
    source = page.attributes("src")[0]
    assert source is not None
    kind, data = source.removeprefix("data:").split(";base64,")
    assert base64.b64decode(data, validate=True).startswith(b"<?xml" if kind == "image/svg+xml" else b"\x89PNG")


def test_the_smaller_format_is_taken():
    few = Figure(figsize=(5, 4))
    few.add_subplot().plot([0, 1])
    many = Figure(figsize=(5, 4))
    points = np.random.default_rng(0).normal(size=(2, 20_000))
    many.add_subplot().plot(*points, "o")
    vector, pixels = picture(few), picture(many)
    assert [vector[0], pixels[0]] == ["image/svg+xml", "image/png"]
    # Twice the 100 pixels an inch that the page shows.
    assert Image.open(io.BytesIO(pixels[1])).size == (1000, 800)


def test_photos_are_jpegs():
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.imshow(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    kind, data = picture(figure)
    assert kind == "image/jpeg"
    assert Image.open(io.BytesIO(data)).size == (600, 400)


def test_tiles_are_small_pictures_in_groups():
    file = io.BytesIO()
    Image.new("RGB", (9, 6)).save(file, "jpeg")
    report = Report(title="a")
    report.tiles([("kite", [("kite/0.mp4", file.getvalue()), ("kite/1.mp4", file.getvalue())]), ("bird", [])])
    html = report.html()
    page = Page(html)
    assert_self_contained(html, page)
    assert page.attributes("title") == page.attributes("alt") == ["kite/0.mp4", "kite/1.mp4"]
    assert page.strings[-2:] == ["kite", "bird"]
    data = str(page.attributes("src")[0]).removeprefix("data:image/jpeg;base64,")
    assert base64.b64decode(data, validate=True) == file.getvalue()


# ---------------------------------------------------------------- escaping


def test_every_string_is_escaped():
    report = Report(title=SCRIPT, subtitle=SCRIPT)
    for name in (SCRIPT, "b", "c"):
        report.section(name)
    report.text(SCRIPT)
    report.code(SCRIPT)
    report.numbers([(SCRIPT, SCRIPT, SCRIPT)])
    report.table([SCRIPT], [[SCRIPT]], caption=SCRIPT)
    report.figure(small_figure(), SCRIPT)
    report.tiles([(SCRIPT, [(SCRIPT, b"")])])
    html = report.html()
    page = Page(html)
    assert "<script" not in html
    assert_self_contained(html, page)
    # Title twice, subtitle, link, heading, text, code, three in the numbers, three in the table, caption, below the tile.
    assert page.strings.count(SCRIPT) == 15
    assert page.attributes("alt") == [SCRIPT, SCRIPT]
    assert page.attributes("title") == [SCRIPT]


# ---------------------------------------------------------------- files


def test_write_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    report = Report(title="Größe ✓")
    report.write(path)
    assert path.read_text(encoding="utf-8") == report.html()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_page(tmp_path, monkeypatch, broken):
    def fail(*_):
        raise OSError("disk full")

    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr("os.fsync" if broken == "fsync" else "pathlib.Path.replace", fail)
    with pytest.raises(TextheadError, match=r"report.html: cannot be written \(disk full\)"):
        Report(title="new").write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_name_that_is_no_unicode_can_be_written(tmp_path):
    report = Report(title="clip \udcff.mp4")  # as os.fsdecode gives it
    report.write(tmp_path / "report.html")
    assert "clip ?.mp4" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_write_names_the_missing_folder(tmp_path):
    with pytest.raises(TextheadError, match="there is no folder"):
        Report(title="a").write(str(tmp_path / "missing" / "report.html"))
