"""The public names of the package, imported on first use."""

from . import drawn_videos as drawn_videos
