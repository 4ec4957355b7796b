"""The public names of the package, imported on first use."""

from .class_maps import correlation_limit as correlation_limit
from .class_maps import plot_correlations as plot_correlations
from .figures import COLOURS as COLOURS
from .figures import short as short
from .html import render as render
from .html import write_html as write_html
from .mistakes import clip_of as clip_of
from .strips import overlay_heat as overlay_heat
