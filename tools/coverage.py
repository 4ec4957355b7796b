"""How often 95 % intervals hold the true value, by simulation.

    python -m tools.coverage [--draws 1000]

Writes tools/coverage.json and, from it, docs/reference/intervals.md. Each kind of interval is simulated in several
settings; the page has the lowest and the mean coverage over these.
"""

import argparse
import itertools
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from texthead.evaluation.intervals import grouped_interval, lead_interval
from texthead.evaluation.results import MultiLabelEvaluation

FILE = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "reference" / "intervals.md"

# No setting may be below this.
MIN_COVERAGE = 0.93

TEXT = """# Intervals

How many of 100 intervals of 95 % hold the true value, by simulation. `python -m tools.coverage` writes this page
and `tools/coverage.json`; {draws} draws a setting, so that 95 is exact to ±{error}.

| interval | settings | mean | lowest | where |
|---|---|---|---|---|
{rows}

- **Rates** are Clopper and Pearson's: never below 95, and wider than needed for few items.
- **Groups** (column `group`, or parts of one file) count as fewer independent items, by the correlation within them. A
  single group gives 0 to 100.
- **Means over classes** add the uncertainty of each class, so one rare item widens them.
- **Leads** are of two methods on the same items. If no item differs, the interval still has a width.
- **AP, mAP, F1** are at most as sure as the number of items that have the class: one positive gives 2.5 to 100.
"""

# Returns (low, high, value): an interval, and a value whose mean over draws is the true one.
Draw = Callable[[np.random.Generator], tuple[float, float, float]]


def rates(items: int, rate: float) -> Draw:
    """Return a draw of independent items."""
    return lambda rng: (*grouped_interval(rng.random(items) < rate, None), 100 * rate)


def class_means(few: int, rare: float, frequent: float) -> Draw:
    """Return a draw of a mean over ten classes, half of which have few items and the others 20."""
    sizes = np.repeat([few, 20], 5)
    chance, weights = (np.repeat(each, sizes) for each in (np.repeat([rare, frequent], 5), 1 / sizes))
    return lambda rng: (*grouped_interval(rng.random(len(chance)) < chance, None, weights), 50 * (rare + frequent))


def sizes_of(kind: str, groups: int) -> np.ndarray:
    """Return the number of items of each group."""
    if kind == "one large":
        return np.array([100, *[3] * (groups - 1)])
    return np.full(groups, 10) if kind == "equal" else np.geomspace(1, 40, groups).round().astype(int)


def grouped_rates(kind: str, groups: int, rate: float, share: float) -> Draw:
    """Return a draw of items in groups; `share` (0-1) is the correlation of two items of a group."""
    own = np.repeat(np.arange(groups), sizes_of(kind, groups))
    right_shape, wrong_shape = rate * (1 / share - 1), (1 - rate) * (1 / share - 1)

    def draw(rng: np.random.Generator) -> tuple[float, float, float]:
        right = rng.random(len(own)) < rng.beta(right_shape, wrong_shape, groups)[own]
        return *grouped_interval(right, own.tolist()), 100 * rate

    return draw


def leads(items: int, groups: int, first: float, second: float) -> Draw:
    """Return a draw of two methods; groups lean to one of them if there are fewer than items."""
    own = np.arange(items) % groups

    def draw(rng: np.random.Generator) -> tuple[float, float, float]:
        lean = rng.beta(0.5, 0.5, groups)[own] if groups < items else 0.5
        chance = rng.random(items)
        ahead, behind = chance < 2 * first * lean, chance > 1 - 2 * second * (1 - lean)
        return *lead_interval(ahead, behind, own.tolist()), 100 * (first - second)

    return draw


def precisions(items: int, classes: int, share: float, signal: float) -> Draw:
    """Return a draw of (m)AP; the true value is the mean over tests of this size."""

    def draw(rng: np.random.Generator) -> tuple[float, float, float]:
        targets = rng.random((items, classes)) < share
        targets[0, 0] = True
        scores = torch.tensor(signal * targets + rng.normal(size=targets.shape))
        names, paths = tuple(map(str, range(classes))), [Path("x")] * items
        value, low, high = MultiLabelEvaluation(names, paths, torch.tensor(targets), scores).rate
        return low, high, value

    return draw


def grouped_precisions(groups: int, items: int, classes: int, share: float, shared: float) -> Draw:
    """Return a draw of (m)AP where the items of a group tend to have the same classes and alike scores.

    Args:
        items: of each group.
        shared: correlation of a class's labels in a group, and standard deviation of what its scores have in common.
    """
    own = np.repeat(np.arange(groups), items)
    has_shape, lacks_shape = share * (1 / shared - 1), (1 - share) * (1 / shared - 1)

    def draw(rng: np.random.Generator) -> tuple[float, float, float]:
        chance = rng.beta(has_shape, lacks_shape, (groups, classes))[own]
        targets = rng.random(chance.shape) < chance
        targets[0, 0] = True
        common = shared * rng.normal(size=(groups, classes))[own]
        scores = torch.tensor(targets + common + rng.normal(size=targets.shape))
        names, paths = tuple(map(str, range(classes))), [Path("x")] * len(own)
        found = MultiLabelEvaluation(names, paths, torch.tensor(targets), scores, groups=list(map(str, own)))
        value, low, high = found.rate
        return low, high, value

    return draw


def settings() -> Iterator[tuple[str, str, Draw]]:
    """Yield (kind of interval, setting, draw)."""
    for items, rate in itertools.product((5, 10, 30, 100), (0.5, 0.8, 0.95, 0.98)):
        yield "rate", f"{items} items, true rate {rate}", rates(items, rate)
    for few, pair in itertools.product((1, 2, 5), ((0.5, 0.95), (0.9, 0.9), (0.3, 0.99), (0.9, 0.6))):
        yield "mean over classes", f"classes with {few} items, rates {pair}", class_means(few, *pair)
    for kind, groups, rate, share in itertools.product(
        ("equal", "one large", "uneven"), (3, 6, 10, 30), (0.5, 0.8, 0.95), (0.2, 0.5)
    ):
        name = f"{groups} groups ({kind}), rate {rate}, correlation {share}"
        yield "rate of groups", name, grouped_rates(kind, groups, rate, share)
    for items, pair in itertools.product((10, 30, 100), ((0.05, 0.05), (0.2, 0.02), (0.02, 0.0))):
        yield "lead", f"{items} items, only one right {pair}", leads(items, items, *pair)
    for groups, chance in itertools.product((2, 4, 8, 30), (0.05, 0.2)):
        yield "lead of groups", f"{groups} groups of 10, {chance}", leads(10 * groups, groups, chance, chance)
    for items, share, signal in itertools.product((10, 50, 200), (0.1, 0.3), (1.0, 2.0, 4.0)):
        yield "AP", f"{items} items, {share} of the class, signal {signal}", precisions(items, 1, share, signal)
        yield "mAP of 5 classes", f"{items} items, {share} each, signal {signal}", precisions(items, 5, share, signal)
    for groups, items, classes, shared in itertools.product((2, 4, 10, 30), (5, 20), (1, 5), (0.3, 0.9)):
        name = f"{groups} groups of {items}, {classes} classes, correlation {shared}"
        yield "(m)AP of groups", name, grouped_precisions(groups, items, classes, 0.3, shared)


def coverage(name: str, draw: Draw, draws: int) -> float:
    """Return the share of intervals (0-1) that hold the mean of the true values."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    low, high, true = np.array([draw(rng) for _ in range(draws)]).T
    return float(np.mean((low <= true.mean() + 1e-9) & (true.mean() - 1e-9 <= high)))


def measure(draws: int) -> dict[str, dict[str, float]]:
    """Return the coverage of each setting, by kind of interval."""
    result: dict[str, dict[str, float]] = {}
    for kind, name, draw in settings():
        result.setdefault(kind, {})[name] = round(coverage(kind + name, draw, draws), 4)
    return result


def page(measured: dict[str, dict[str, float]], draws: int) -> str:
    """Return the page of the docs."""
    rows = []
    for kind, shares in measured.items():
        worst = min(shares, key=lambda name: shares[name])
        mean = 100 * sum(shares.values()) / len(shares)
        rows.append(f"| {kind} | {len(shares)} | {mean:.1f} | {100 * shares[worst]:.1f} | {worst} |")
    error = 196 * (0.05 * 0.95 / draws) ** 0.5
    return TEXT.format(draws=draws, error=f"{error:.1f}", rows="\n".join(rows))


def main() -> None:
    """Simulate, and write the result file and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="simulated intervals a setting")
    draws = parser.parse_args().draws
    measured = measure(draws)
    FILE.write_text(json.dumps({"draws": draws, "coverage": measured}, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(measured, draws), encoding="utf-8")


if __name__ == "__main__":
    main()
