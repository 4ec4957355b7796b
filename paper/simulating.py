"""`python -m paper simulate`: how often the decision rule gives a false verdict where there is no difference."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from paper.claims import LOOKS, answer, finding
from paper.stats import Outcomes

SEEDS = LOOKS[-1]
ITEMS = 200


def independent(rng: np.random.Generator, comparisons: int) -> np.ndarray:
    """Return differences (comparisons, seeds) that have nothing in common."""
    return rng.normal(size=(comparisons, SEEDS))


def sharing(rng: np.random.Generator, comparisons: int) -> np.ndarray:
    """Return differences (comparisons, seeds) of one row from the others."""
    return rng.normal(size=(1, SEEDS)) - rng.normal(size=(comparisons, SEEDS))


def false_rate(
    draw: Callable[[np.random.Generator, int], np.ndarray], comparisons: int, repeats: int, *, corrected: bool = True
) -> float:
    """Return the share of claims that hold or do not hold at some look, although every true difference is zero.

    Args:
        corrected: False for the first edition of the rule, where any comparison below zero at the level of a look
            refuted a claim.
    """
    rng, false = np.random.default_rng(0), 0
    for _ in range(repeats):
        differences = draw(rng, comparisons).tolist()
        # Without a margin no claim is equivalent, which would only end it before a false verdict.
        false += any(
            answer([finding(each[:look], 0.0, comparisons if corrected else 1) for each in differences]) != "undecided"
            for look in LOOKS
        )
    return false / repeats


def missed_rates(repeats: int) -> tuple[float, float]:
    """Return how often some look's interval of (seeds alone, seeds and items) misses a true difference of zero.

    Two rows are equally good on average over all items, but each is better on some items, with every seed.
    """
    rng, missed = np.random.default_rng(0), np.zeros(2)
    for _ in range(repeats):
        ease, preference = rng.normal(scale=1.5, size=ITEMS), rng.normal(scale=0.3, size=ITEMS)
        noise = rng.normal(size=(2, SEEDS, ITEMS)) + rng.normal(scale=0.1, size=(2, SEEDS, 1))
        one, other = 100.0 * (ease + preference + noise[0] > 0), 100.0 * (ease - preference + noise[1] > 0)
        difference = Outcomes((one - other).mean(1), one - other)
        looks = [Outcomes(difference[:look], difference.items[:look]) for look in LOOKS]
        missed += [any(finding(each, 0.0, new_items=new) != "open" for each in looks) for new in (False, True)]
    return missed[0] / repeats, missed[1] / repeats


def table(repeats: int, most: int = 9) -> Sequence[str]:
    """Return the printed lines."""
    error = 1.96 * math.sqrt(0.05 * 0.95 / repeats)
    lines = [
        f"False verdicts in % where there is no difference, over looks at {', '.join(map(str, LOOKS))} seeds; "
        f"{repeats} claims a cell, ±{100 * error:.1f} at 5 %.",
        "",
        f"{'':>11}   {'independent comparisons':>25}   {'comparisons share a row':>25}",
        f"{'comparisons':>11}" + 2 * f"   {'first edition':>14} {'corrected':>10}",
    ]
    for comparisons in range(1, most + 1):
        cells = [
            f"{100 * false_rate(draw, comparisons, repeats, corrected=corrected):{width}.1f}"
            for draw in (independent, sharing)
            for corrected, width in ((False, 17), (True, 10))
        ]
        lines.append(f"{comparisons:>11}{cells[0]} {cells[1]}{cells[2]} {cells[3]}")
    alone, both = missed_rates(repeats)
    return [
        *lines,
        "",
        f"One comparison on {ITEMS} test items, judged for other items of the same kind: {100 * alone:.1f} % by the "
        f"interval of the seeds alone, {100 * both:.1f} % by that of seeds and items.",
    ]
