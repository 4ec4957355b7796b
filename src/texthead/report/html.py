"""Self-contained HTML pages: Jinja templates and values -> one file to look at, send on or print.

A page loads nothing: style and pictures are inside it, and its content policy forbids everything else, so
it can be opened from a mail. The templates escape every value; nobody's class name becomes markup.
"""

import base64
import io
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from texthead.errors import TextheadError, listed, printable
from texthead.files import replacing

if TYPE_CHECKING:
    import matplotlib.figure


Cell = str | int | float | None

PIXELS_PER_INCH = 100  # the scale that figures.py draws for

PNG_SCALE = 2  # twice as many: sharp on dense screens

PHOTO_QUALITY = 85  # of JPEG, for figures that hold pictures


def render(template: str, **values: object) -> str:
    """Return the page that a template of `report/templates` makes of the values."""
    return environment("texthead.report").get_template(template).render(sections=[], **values)


@cache
def environment(package: str) -> Environment:
    """Return the environment of a package's templates: it escapes every value, and a missing name is an error."""
    made = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_readable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"data_url": data_url, "listed": listed}
    return made


def _readable(value: object) -> object:
    """Return a name as it can be read, and anything else as it is."""
    return printable(value) if type(value) is str else value


def write_html(path: str | Path, html: str) -> None:
    """Put a page at `path`, whole or not at all: whoever reads meanwhile sees the old page.

    Raises:
        TextheadError: the folder is missing, or the page cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise TextheadError(f"{path}: there is no folder {path.parent}; make it first")
    # Replace: the name of a file may hold bytes that are no Unicode.
    with replacing(path) as beside, beside.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write(html)


class Report:
    """A page without a template of its own, which grows from top to bottom: one call a block."""

    def __init__(self, title: str, subtitle: str = ""):
        self.title = title
        self.subtitle = subtitle
        self._blocks: list[tuple[str, object]] = []

    def section(self, title: str) -> None:
        """Start a section; pages of three sections or more link to them at the top."""
        self._blocks.append(("section", title))

    def text(self, paragraph: str) -> None:
        """Add a paragraph of plain text."""
        self._blocks.append(("text", paragraph))

    def code(self, lines: str) -> None:
        """Add text in which every space and line break counts, such as a command."""
        self._blocks.append(("code", lines))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str | None = None) -> None:
        """Add a table; None is a dash. Long tables scroll under their headers."""
        self._blocks.append(("table", (headers, rows, "", caption)))

    def figure(self, figure: "matplotlib.figure.Figure", caption: str) -> None:
        """Add a figure and the sentence below it."""
        self._blocks.append(("figure", (figure, caption)))

    def html(self) -> str:
        """Return the whole page."""
        return render("blocks.html", title=self.title, subtitle=self.subtitle, blocks=self._blocks)

    def write(self, path: str | Path) -> None:
        """Put the page at `path`, as `write_html` does."""
        write_html(path, self.html())


def data_url(image: "matplotlib.figure.Figure | bytes") -> str:
    """Return a figure, or the bytes of a JPEG, as the address that an image of a page has."""
    kind, data = ("image/jpeg", image) if isinstance(image, bytes) else picture(image)
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def picture(figure: "matplotlib.figure.Figure") -> tuple[str, bytes]:
    """Return (media type, bytes) of a figure: an SVG, or a PNG of 200 pixels an inch if smaller; a JPEG of photos."""
    with warnings.catch_warnings():
        # The page says which names have none.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        return _drawn(figure)


def _drawn(figure: "matplotlib.figure.Figure") -> tuple[str, bytes]:
    vector, pixels = io.BytesIO(), io.BytesIO()
    drawn = [image.get_array() for axes in figure.axes for image in axes.images]
    if any(array is not None and array.ndim == 3 for array in drawn):
        options = {"quality": PHOTO_QUALITY, "optimize": True}
        figure.savefig(pixels, format="jpeg", dpi=PIXELS_PER_INCH * PNG_SCALE, pil_kwargs=options)
        return "image/jpeg", pixels.getvalue()
    # Without a date, the same figure takes the same room whenever it is drawn.
    figure.savefig(vector, format="svg", metadata={"Date": None})
    figure.savefig(pixels, format="png", dpi=PIXELS_PER_INCH * PNG_SCALE)
    if len(vector.getvalue()) <= len(pixels.getvalue()):
        return "image/svg+xml", vector.getvalue()
    return "image/png", pixels.getvalue()
