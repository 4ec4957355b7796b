"""The public names of the package, imported on first use."""

from .drawn_videos import MOTIONS as MOTIONS
from .drawn_videos import Placement as Placement
from .drawn_videos import animate as animate
from .drawn_videos import cut_out as cut_out
from .drawn_videos import draw_set as draw_set
from .drawn_videos import draw_still as draw_still
from .drawn_videos import draw_videos as draw_videos
