"""How claims are decided: looks, level, margin, as paper/PLAN.md fixed them before the runs that decide.

Differences are paired by seed. After 5, 10, 20 and 40 seeds there is a look at their t-interval. Each look spends a
quarter of the 5 % by which an interval may miss its mean (Bonferroni), so all looks together miss it in at most 5 %.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from scipy.stats import t as student

from paper.stats import paired

# What the paper says of each claim, in its own numbers.
QUOTED: Mapping[int, str] = MappingProxyType(
    {
        1: "Fig. 1, no number",
        2: "Fig. 1, no number",
        3: "80.13 against 75.27 with all labels",
        4: "Fig. 4, no number",
        5: "text 81.52, random 59.30, orthogonal 59.44",
        6: "81.45 against 81.52",
        7: "80.77 against 81.52",
        8: "RN50 74.26, 71.20, 67.18; B/16 81.52, 80.42, 80.13",
        9: "CLIP 75.27 to 80.13, ImageNet 74.78 to 75.63",
        10: "name 81.37, one 81.52, several 80.88, learnable 81.22",
        11: "B/16: 8 frames 81.52, 16 frames 82.34, 4x3 views 82.65; L/14 84.82",
        12: "81.15, 80.73 with gather, 77.77, 76.13 without, ours 81.52; 6.7 against 3.3 V100-days",
        13: "K400: 63.16, 67.50, 69.89 of 1, 3, 5 shots",
        14: "63.35 to 66.38 within K400, 63.01 to 74.67 on UCF-101",
        15: "71.50 against 4.71 at K = 1, 82.25 against 79.70 with all; 70.28 to 72.62 on unseen classes",
        16: "in a supplement that was not available",
        17: "not in the paper",
    }
)

Answer = Literal["holds", "does not hold", "equivalent", "undecided"]
Finding = Literal["above", "below", "equal", "open"]

# Seeds after which there is a look; the last is the most that a claim gets.
LOOKS = (5, 10, 20, 40)

LEVEL = 1 - 0.05 / len(LOOKS)

# Smaller differences do not matter, in points of accuracy, percent of time, or steps.
MARGIN = 2.0


def finding(a: Sequence[float], b: Sequence[float], margin: float = MARGIN) -> Finding:
    """Return where the interval of a - b lies: above zero, below zero, within the margin around zero, or none of these.

    2.3 ±1.4 is above, 0.3 ±1.4 is equal within 2, and 1.3 ±1.4 is open.
    """
    if len(a) < 2 or len(a) != len(b):
        return "open"
    mean, half = paired(a, b, level=LEVEL)
    if mean - half > 0:
        return "above"
    if mean + half < 0:
        return "below"
    return "equal" if abs(mean) + half < margin else "open"


def answer(findings: Sequence[Finding]) -> Answer:
    """Return the answer to a claim that in every pair the first is above the second.

    It holds if all are above and does not hold if one is below. It is equivalent if none is open and at least one is
    equal: there the difference that the claim speaks of does not matter. Else it is undecided.
    """
    if not findings or "open" in findings:
        return "does not hold" if "below" in findings else "undecided"
    if "below" in findings:
        return "does not hold"
    return "equivalent" if "equal" in findings else "holds"


def seeds_needed(a: Sequence[float], b: Sequence[float], margin: float = MARGIN) -> int | None:
    """Return about how many seeds would decide a pair, if its mean and deviation stay; None where nothing was run.

    The interval has to leave zero on one side, or fit into the margin, whichever takes fewer seeds.
    """
    if len(a) < 2 or len(a) != len(b):
        return None
    mean, half = paired(a, b, level=LEVEL)
    deviation = half / student.ppf((1 + LEVEL) / 2, len(a) - 1) * math.sqrt(len(a))
    room = max(abs(mean), margin - abs(mean))
    return math.ceil((student.ppf((1 + LEVEL) / 2, 1000) * deviation / room) ** 2) + 2


def next_look(seeds: int) -> int | None:
    """Return the number of seeds of the next look; None after the last."""
    return next((look for look in LOOKS if look > seeds), None)
