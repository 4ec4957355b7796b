"""The public names of the package, imported on first use."""

from .figures import COLOURS as COLOURS
from .html import STYLE as STYLE
from .html import render as render
from .html import write_html as write_html
