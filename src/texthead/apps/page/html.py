"""Answers as HTML, from templates/. All text is escaped; pictures are embedded."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from texthead.apps.page.answers import About, TopClasses, VideoEvents
from texthead.apps.serving import Uploads
from texthead.evaluation import NONE
from texthead.media import MediaPath
from texthead.report import COLOURS, render

# Maximum number of steps in a curve; each is the maximum of its interval.
STEPS = 600


def _render(name: str, **values: object) -> str:
    return render(f"{name}.html", package="texthead.apps.page", **values)


def page_html(about: About, suffixes: Sequence[str]) -> str:
    """Return the page without an answer.

    Args:
        suffixes: suffixes of the files that can be read.
    """
    accept = ",".join(["image/*", "video/*", *suffixes])
    return _render("page", about=about, accept=accept, megabytes=Uploads.MEGABYTES)


def top_classes_html(answer: TopClasses) -> str:
    """Return the top classes of a file as bars."""
    path = answer.prediction.path
    return _render("top_classes", answer=answer, path=path, is_image=MediaPath(path).is_image, none_of_these=NONE)


def timeline_html(timeline: VideoEvents) -> str:
    """Return a lane per class with its probability and events over time, and a table of the events."""
    ends = timeline.ends
    # A curve is the area under the scores as an SVG path in a box of 1000 by 100. Worked example, ends 1 and 2 s,
    # scores 0.5 and 1: M0,100 V50.0 H500.0 V0.0 H1000.0 V100 Z.
    chunks = np.array_split(np.arange(len(ends)), min(len(ends), STEPS))
    curves = []
    for scores in timeline.scores.T:
        steps = (f"V{100 - 100 * scores[chunk].max():.1f} H{1000 * ends[chunk[-1]] / ends[-1]:.1f}" for chunk in chunks)
        curves.append(f"M0,100 {' '.join(steps)} V100 Z")
    lanes = [*zip(timeline.names, itertools.cycle(COLOURS), curves, strict=False)]
    row, column = np.unravel_index(timeline.scores.argmax(), timeline.scores.shape)
    best = timeline.names[column], float(timeline.scores[row, column]), ends[row - 1] if row else 0.0
    ticks = MaxNLocator(nbins=9, steps=[1, 2, 5, 10]).tick_values(0, ends[-1])  # Up to ten round times.
    ticks = [tick for tick in ticks if 0 <= tick <= ends[-1]]
    about = {"lanes": lanes, "ticks": ticks, "events": timeline.events, "best": best}
    return _render("timeline", seconds=float(ends[-1]), **about)
