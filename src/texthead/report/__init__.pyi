"""The public names of the package, imported on first use."""

from .class_maps import correlation_limit as correlation_limit
from .class_maps import plot_confusion as plot_confusion
from .class_maps import plot_correlations as plot_correlations
from .figures import COLOURS as COLOURS
from .figures import short as short
from .html import render as render
from .html import write_html as write_html
from .mistakes import clip_of as clip_of
from .mistakes import item_strip as item_strip
from .mistakes import mistake_strips as mistake_strips
from .strips import overlay_heat as overlay_heat
