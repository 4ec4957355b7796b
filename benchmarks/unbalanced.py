"""Few labels in half of the classes and many in the other half: text-probe and balanced logistic regression.

    python -m benchmarks.unbalanced --data ../shared/data [--draws 15] [--sets objects clothing handdigits]

Frozen `mini`; each draw chooses the classes with many labels. Equal tests: the mean over classes of the share of
correct test items. Unbalanced tests: classes weigh as many labels as they have. `equal` and `labels` are text-probe
with these class_shares. scikit-learn's regressions are balanced: C = 10 and C by cross-validation on centered features
of length 1, and LogisticRegression() on the features as they are. Leads are paired by draw, with 95 % t-intervals.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from benchmarks.choosing import PLAIN, SETS, mean_and_half, plain_scores, read_sets
from texthead.features.frozen import FrozenItems
from texthead.transfer.experiment import Experiment

ROWS = ((1, 5), (2, 20))


def drawn(targets: Int[np.ndarray, " items"], few: int, many: int, seed: int) -> list[int]:
    """Return positions of `few` items of half of the classes, and `many` of the others."""
    numbers = np.random.default_rng(seed)
    classes = int(targets.max()) + 1
    rich = set(numbers.permutation(classes)[: classes // 2].tolist())
    every = (numbers.permutation(np.flatnonzero(targets == label)) for label in range(classes))
    return [int(i) for label, own in enumerate(every) for i in own[: many if label in rich else few]]


def recalls(
    scores: Float[np.ndarray, "tests classes"], targets: Int[np.ndarray, " tests"]
) -> Float[np.ndarray, " classes"]:
    """Return the percentage of each class's items that are correct."""
    right = scores.argmax(1) == targets
    return np.array([100 * right[targets == label].mean() for label in range(scores.shape[1])])


def one_draw(experiment: Experiment, items: FrozenItems, tests: FrozenItems) -> dict[str, tuple[float, float]]:
    """Return the score of each method on equal and on unbalanced tests."""
    truth, counts = tests.targets.numpy(), items.targets.bincount().numpy()
    rates = {}
    for shares in ("equal", "labels"):
        recipe = replace(experiment.recipe, class_shares=shares)
        own = experiment.changed(recipe=recipe, items=items, tests=tests)
        rates[shares] = recalls(own.evaluate("text-probe").scores.numpy(), truth)
    for name, scores in plain_scores(items.features, items.targets, tests.features, balanced=True):
        rates[name] = recalls(scores, truth)
    return {name: (float(each.mean()), float(np.average(each, weights=counts))) for name, each in rates.items()}


def main() -> None:
    """Print a line for each set and pair of numbers, then the mean and the worst lead."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=15)
    parser.add_argument("--sets", nargs="+", default=["objects", "clothing", "handdigits"], choices=list(SETS))
    options = parser.parse_args()
    header = ["set", "few/many", "equal tests: equal", *PLAIN, "lead over C = 10", "unbalanced tests: equal", "labels"]
    print(f"| {' | '.join(header)} | C = 10 |\n{'|---' * (len(header) + 1)}|")
    leads: list[float] = []
    for name, experiment, train, tests in read_sets(options.sets, options.data):
        if name not in SETS:
            continue
        for few, many in ROWS:
            targets = train.targets.numpy()
            picked = [train.select(drawn(targets, few, many, seed)) for seed in range(options.draws)]
            draws = [one_draw(experiment, items, tests) for items in picked]
            equal, uneven = ({method: [draw[method][test] for draw in draws] for method in draws[0]} for test in (0, 1))
            lead, half = mean_and_half(np.subtract(equal["equal"], equal["C = 10"]).tolist())
            leads.append(lead)
            shown = [f"{np.mean(equal[each]):.1f}" if each in equal else "-" for each in ("equal", *PLAIN)]
            shown.append(f"{lead:+.1f} ({lead - half:+.1f} to {lead + half:+.1f})")
            shown += [f"{np.mean(uneven[each]):.1f}" for each in ("equal", "labels", "C = 10")]
            print(f"| {name} | {few}/{many} | {' | '.join(shown)} |", flush=True)
    print(f"\nEqual tests, unbalanced labels: {np.mean(leads):+.1f} on average, {min(leads):+.1f} in the worst row.")


if __name__ == "__main__":
    main()
