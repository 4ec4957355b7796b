"""Self-contained HTML pages from Jinja templates.

A page embeds its style and pictures, and its content security policy forbids loading anything, so it can be mailed.
The templates escape every value: class names never become markup.
"""

import base64
import io
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from texthead.errors import listed, printable
from texthead.files import replacing

if TYPE_CHECKING:
    import matplotlib.figure


DPI = 200  # twice the 100 pixels per inch that figures.py assumes, for high-resolution screens
SMALL_SVG = 2**16  # bytes up to which a figure is not drawn as PNG for comparison

PHOTO_QUALITY = 85  # JPEG quality of figures with photos


def render(template: str, *, package: str = "texthead.report", **values: object) -> str:
    """Render a template from the folder `templates` of a package; `blocks.html` shows a list of (kind, content)."""
    return _environment(package).get_template(template).render(**{"sections": [], "summary": (), **values})


@cache
def _environment(package: str) -> Environment:
    """Return the Jinja environment for the templates of a package, which can extend those of `report`.

    Values are escaped; undefined names raise.
    """
    templates = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("texthead.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,  # Markup stays as it is.
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"data_url": data_url, "listed": listed}
    return templates


def write_html(path: str | Path, html: str) -> None:
    """Write a page to `path` atomically.

    Raises:
        RunError: the page cannot be written.
    """
    # errors="replace", because file names may contain bytes that are not valid Unicode.
    with replacing(Path(path)) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace", newline="\n")


def data_url(content: "matplotlib.figure.Figure | tuple[str, bytes]") -> str:
    """Return a figure, or (media type, bytes), as a data URL."""
    kind, data = content if isinstance(content, tuple) else picture(content)
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def picture(figure: "matplotlib.figure.Figure") -> tuple[str, bytes]:
    """Return (media type, bytes): JPEG if the figure has photos, else SVG, or PNG if it is smaller than a large SVG."""
    arrays = [image.get_array() for axes in figure.axes for image in axes.images]
    with warnings.catch_warnings():
        # The page lists the names with missing glyphs.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        if any(array is not None and array.ndim == 3 for array in arrays):
            options = {"quality": PHOTO_QUALITY, "optimize": True}
            return "image/jpeg", _saved(figure, "jpeg", dpi=DPI, pil_kwargs=options)
        # Without a date, so that the same figure always has the same size in bytes.
        vector = _saved(figure, "svg", metadata={"Date": None})
        if len(vector) > SMALL_SVG and len(pixels := _saved(figure, "png", dpi=DPI)) < len(vector):
            return "image/png", pixels
        return "image/svg+xml", vector


def _saved(figure: "matplotlib.figure.Figure", kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, **options)
    return file.getvalue()
