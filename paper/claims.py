"""How claims are decided: looks, level, margin, as paper/PLAN.md fixed them before the runs that decide.

Differences are paired by seed. After 5, 10, 20 and 40 seeds there is a look at their t-interval. Each look spends a
quarter of the 5 % by which an interval may miss its mean (Bonferroni), so all looks together miss it in at most 5 %.
"""

import math
from collections.abc import Sequence
from typing import Literal

from scipy.stats import t as student

from paper.stats import paired

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
