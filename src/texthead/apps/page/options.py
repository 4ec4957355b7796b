"""The limits of the page, which are options of its command."""

from dataclasses import dataclass
from typing import ClassVar

from texthead.cli import PositiveFloat, PositiveInt, option


@dataclass(frozen=True, kw_only=True)
class PageLimits:
    """The page refuses requests beyond these limits.

    Args:
        max_mb: size of the largest file, in MB
        max_seconds: length of the longest video, in seconds
        max_frames: largest number of frames in a video
        limit: time limit per answer, in seconds
        waiting: largest number of requests that wait for an answer
    """

    TITLE: ClassVar = "limits"

    max_mb: PositiveInt = option(200, "MB")
    max_seconds: PositiveFloat = option(300.0, "SECONDS")
    max_frames: PositiveInt = option(20_000, "FRAMES")
    limit: PositiveFloat = option(300.0, "SECONDS")
    waiting: PositiveInt = option(4, "N")
