"""The public names of the package, imported on first use."""

from .examples import clip_of as clip_of
from .examples import overlay_heat as overlay_heat
from .figures import COLOURS as COLOURS
from .html import STYLE as STYLE
from .html import render as render
from .html import write_html as write_html
