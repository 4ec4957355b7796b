"""`python -m paper simulate`: how often the decision rule gives a false verdict where there is no difference."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from paper.claims import EDITIONS, LEVEL, LOOKS, answer, finding, level_below
from paper.stats import Outcomes, quantile

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


def verdict_rate(differences: Sequence[Sequence[float]], true: float, repeats: int = 2000) -> float:
    """Return the share of simulated plans in which a claim gets a verdict, for a true difference in each comparison.

    Seeds are drawn with replacement from those of the real differences, moved to the true mean; so they need not be
    normal. Verdicts are those of `finding` and `answer`, without a margin.
    """
    count = min(map(len, differences))
    real = np.array([list(each)[:count] for each in differences])
    # A sample deviates less from its own mean than from the true one.
    around = (real - real.mean(1, keepdims=True)) * math.sqrt(count / (count - 1)) + true
    drawn = around[:, np.random.default_rng(0).integers(count, size=(repeats, SEEDS))]
    decided = np.zeros(repeats, dtype=bool)
    for look in LOOKS:
        mean, error = drawn[..., :look].mean(-1), drawn[..., :look].std(-1, ddof=1) / math.sqrt(look)
        above = mean > quantile(LEVEL, look - 1) * error
        below = -mean > quantile(level_below(len(real)), look - 1) * error
        decided |= above.all(0) | below.any(0)
    return float(decided.mean())


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


def table(repeats: int, most: int = 9) -> Iterator[str]:
    """Yield the printed lines, each as soon as its rates are known."""
    error = 1.96 * math.sqrt(0.05 * 0.95 / repeats)
    looks = f"{', '.join(map(str, LOOKS[:-1]))} or {LOOKS[-1]}"
    yield f'False verdicts in %: a claim "holds" or "does not hold" after {looks} seeds, although all its'
    yield f'true differences are zero ("equivalent" would be right). {repeats} claims each, ±{100 * error:.1f} at 5 %.'
    yield "Shared row: all differences of a claim are from one row, such as text minus each of several baselines.\n"
    yield f"{'':>11}   {'independent comparisons':>32}   {'comparisons share a row':>32}"
    yield f"{'comparisons':>11}" + 2 * f"   {f'rule of {EDITIONS[0]}':>18} {'of PLAN.md':>13}"
    for comparisons in range(1, most + 1):
        cells = [
            f"{100 * false_rate(draw, comparisons, repeats, corrected=corrected):{width}.1f}"
            for draw in (independent, sharing)
            for corrected, width in ((False, 21), (True, 13))
        ]
        yield f"{comparisons:>11}{cells[0]} {cells[1]}{cells[2]} {cells[3]}"
    alone, both = missed_rates(repeats)
    yield (
        f"\nOne comparison on {ITEMS} test items, as if for other items of the same kind: the interval of the seeds "
        f"alone misses zero\nin {100 * alone:.1f} %, that of seeds and items in {100 * both:.1f} % "
        '(column "other items" of RESULTS.md).'
    )
