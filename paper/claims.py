"""The decision rule for claims: looks, confidence level, margin; fixed in paper/PLAN.md.

Differences are paired by seed. The t-interval of their mean is examined after 5, 10, 20 and 40 seeds (the looks), each
time at level 98.75 % (Bonferroni over four looks). To refute a claim with one of its m comparisons takes level
1 - 0.0125 / m, so a claim without a difference gets a false verdict in at most 5 % of such plans. Nothing corrects
across claims. `python -m paper simulate` measures these rates.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np

from paper.stats import interval, quantile

# Groups of claims, by number; each experiment tests one or more claims of a group.
CLAIMS: Mapping[int, str] = MappingProxyType(
    {
        1: "class names that share words have correlated text rows, others do not",
        2: "learned rows have similar class correlations",
        3: "text beats vision-only with any fraction of the labels, most with few",
        4: "text needs fewer training steps than vision-only",
        5: "text beats random rows by far",
        6: "a text-only encoder is as good as an aligned one",
        7: "LDA is close to text, and worse with less data",
        8: "temporal modules rank as in the paper, transformer first",
        9: "encoders without language gain from text too, aligned ones more",
        10: "templates: one beats the bare name, several are worse, a learned one is between",
        11: "more frames, pixels, views and stronger encoders help",
        12: "matching needs batch gather, which costs time; ours is at least as good",
        13: "few-shot video: text beats vision-only and zero-shot",
        14: "zero-shot video: a little training helps unseen classes, long training hurts them",
        15: "images: text beats vision-only; a little training helps unseen classes",
        16: "frozen text rows beat trained ones",
        17: "text beats vision-only when both are tuned",
    }
)

# The paper's own numbers for each group.
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
        13: "K400: 63.16, 67.50, 69.89 with 1, 3, 5 shots",
        14: "63.35 to 66.38 within K400, 63.01 to 74.67 on UCF-101",
        15: "71.50 against 4.71 at K = 1, 82.25 against 79.70 with all; 70.28 to 72.62 on unseen classes",
        16: "in the supplement, which was not available",
        17: "not in the paper",
    }
)

Answer = Literal["holds", "does not hold", "equivalent", "undecided"]
Finding = Literal["above", "below", "equal", "open"]

# Numbers of seeds at which claims are tested; no claim gets more seeds than the last.
LOOKS = (5, 10, 20, 40)

LEVEL = 1 - 0.05 / len(LOOKS)

# Dates of paper/PLAN.md's first and second edition.
EDITIONS = ("2026-11-27", "2026-11-29")

# Equivalence margin, in points of accuracy, percent of time, or steps.
MARGIN = 2.0


def finding(
    difference: Sequence[float], margin: float = MARGIN, comparisons: int = 1, *, new_items: bool = False
) -> Finding:
    """Classify the interval of a difference: above zero, below zero, equal (within the margin around zero), or open.

    With margin 2, 2.3 ±1.4 is above, 0.3 ±1.4 is equal, and 1.3 ±1.4 is open.

    Args:
        comparisons: number of comparisons of the claim. One below zero refutes it, so that is tested at a higher level.
        new_items: as in `interval`.
    """
    if len(difference) < 2:
        return "open"
    mean, half = interval(difference, level=LEVEL, new_items=new_items)
    if mean - half > 0:
        return "above"
    if mean + interval(difference, level=level_below(comparisons), new_items=new_items)[1] < 0:
        return "below"
    return "equal" if abs(mean) + half < margin else "open"


def level_below(comparisons: int) -> float:
    """Return the level at which one of a claim's comparisons must be below zero (Bonferroni over looks and them)."""
    return 1 - (1 - LEVEL) / comparisons


def answer(findings: Sequence[Finding]) -> Answer:
    """Return the verdict on a claim that a > b in every pair.

    The claim holds if all findings are above and does not hold if one is below. It is equivalent if none is open and
    at least one is equal. Otherwise it is undecided.
    """
    if not findings or "open" in findings:
        return "does not hold" if "below" in findings else "undecided"
    if "below" in findings:
        return "does not hold"
    return "equivalent" if "equal" in findings else "holds"


def seeds_needed(
    differences: Sequence[Sequence[float]], margin: float = MARGIN, comparisons: int | None = None
) -> int | None:
    """Estimate how many seeds would decide a claim if means and deviations stay the same; None if it was not run.

    Either every interval lies above zero or within the margin, or one lies below zero, whichever takes fewer seeds.
    """
    if min(map(len, differences), default=0) < 2:
        return None

    def seeds(difference: Sequence[float], level: float, target: float) -> float:
        if target <= 0:
            return math.inf
        return (quantile(level, 1000) * float(np.std(difference, ddof=1)) / target) ** 2 + 2

    means = [float(np.mean(difference)) for difference in differences]
    pairs = list(zip(differences, means, strict=True))
    below = level_below(comparisons or len(differences))
    settled = max(seeds(each, LEVEL, max(mean, margin - abs(mean))) for each, mean in pairs)
    needed = min(settled, *(seeds(each, below, -mean) for each, mean in pairs))
    return max(math.ceil(needed), min(map(len, differences)) + 1) if needed < math.inf else None


def next_look(seeds: int) -> int | None:
    """Return the number of seeds at the next look; None after the last."""
    return next((look for look in LOOKS if look > seeds), None)
