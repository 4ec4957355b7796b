"""Self-contained HTML pages from Jinja templates.

A page embeds its style, its script and its pictures, and its content security policy forbids loading anything and any
other script, so it can be mailed. The templates escape every value: class names never become markup.
"""

import base64
import hashlib
import io
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from texthead.errors import listed, printable
from texthead.files import replacing

if TYPE_CHECKING:
    import matplotlib.figure


DPI = 200  # twice the 100 pixels per inch that figures.py assumes, for high-resolution screens
# The stylesheet of all pages.
STYLE = Path(__file__).parent / "templates" / "style.css"

PHOTO_QUALITY = 85  # of JPEGs


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
    templates.filters |= {"data_url": data_url, "listed": listed, "percent": percent, "position": _position}
    script = files("texthead.report").joinpath("templates", "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    templates.globals |= {"script": Markup(script), "script_digest": digest}
    return templates


def _position(name: str, names: Sequence[str]) -> int:
    return list(names).index(name)


def percent(probability: float) -> str:
    """Return a probability 0..1 as a percentage, never rounded to 0 or 100: "<0.1 %", "12.3 %", ">99.9 %"."""
    if 0 < probability < 0.0005:
        return "<0.1 %"
    return ">99.9 %" if 0.9995 <= probability < 1 else f"{100 * probability:.1f} %"


def write_html(path: str | Path, html: str) -> None:
    """Write a page to `path` atomically.

    Raises:
        RunError: the page cannot be written.
    """
    # errors="replace", because file names may contain bytes that are not valid Unicode.
    with replacing(Path(path)) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace", newline="\n")


def data_url(content: "matplotlib.figure.Figure | UInt8[np.ndarray, 'height width 3']") -> str:
    """Return a data URL: a picture as JPEG, a figure as PNG."""
    file = io.BytesIO()
    if isinstance(content, np.ndarray):
        kind = "jpeg"
        Image.fromarray(content).save(file, "JPEG", quality=PHOTO_QUALITY)
    else:
        kind = "png"
        content.savefig(file, dpi=DPI)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
