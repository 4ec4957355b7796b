"""Imported by the server of loader processes: a call in each of them never comes back and is deaf to Python."""

import itertools
from collections import deque

from texthead.media import open as media

media.MAX_SECONDS = 0.5
media.Video.frames_at = lambda *_: deque(itertools.repeat(None), maxlen=0)
