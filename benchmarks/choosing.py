"""Compare the default of `texthead compare` with scikit-learn's logistic regression on the same features.

    python -m benchmarks.choosing --data ../shared/data [--sets clothing airborne] [--k 1 2 4 8 16 all] [--draws 10]

Each draw takes K items a class from the training split, for each K that every class can supply. The whole test split is
scored and chooses nothing. Logistic regression: C = 10, features at the encoder's own size, centred on the mean of the
class means and scaled to length 1. Differences are paired by draw, with the 95 % t-interval of their mean over draws.
With all items there is one draw, and the interval is over test items, grouped.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.stats
from jaxtyping import Bool
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import normalize

import texthead as th
from texthead.data import splits
from texthead.data.dataset import Dataset
from texthead.evaluation.intervals import lead_interval
from texthead.features.frozen import FrozenItems
from texthead.transfer.closed_form import class_center
from texthead.transfer.comparison import load_task
from texthead.transfer.methods import Task, evaluation_of

SETS = {
    "clothing": "image/clothing/images.csv",
    "airborne": "video/airborne/clips.csv",
    "skate": "video/skate_tricks/clips.csv",
    "exercise": "video/exercise/clips.csv",
    "handdigits": "image/handdigits/images.csv",
    "objects": "image/objects/images.csv",
}
PEER = "scikit-learn"

Right = Bool[np.ndarray, " tests"]


def task_of(dataset: Dataset) -> Task:
    """Return what `texthead compare` prepares with its defaults."""
    return load_task(dataset, "mini")[0]


def items_of(task: Task, dataset: Dataset) -> FrozenItems:
    """Return the items with their features."""
    return task.frozen.items(dataset, task.labels)


def peer(items: FrozenItems, tests: FrozenItems) -> Right:
    """Return which test items scikit-learn's logistic regression classifies correctly."""
    center = class_center(items.features, items.targets)
    x, q = (normalize(each.features - center, dim=-1).numpy() for each in (items, tests))
    fit = LogisticRegression(C=10, max_iter=3000).fit(x, items.targets.numpy())
    return fit.predict(q) == tests.targets.numpy()


def one_draw(task: Task, items: FrozenItems, tests: FrozenItems) -> dict[str, Right]:
    """Return which test items each method classifies correctly."""
    right = {name: evaluation_of(task.fit(name, items), tests).right for name in task.methods}
    return {**right, PEER: peer(items, tests)}


def mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and half of its 95 % t-interval."""
    if len(values) < 2:
        return values[0], float("nan")
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return float(np.mean(values)), float(half)


def gap(first: list[Right], second: list[Right], tests: FrozenItems) -> tuple[float, float, float]:
    """Return the lead of the first in points, and its 95 % interval."""
    leads = [100 * (own.mean() - other.mean()) for own, other in zip(first, second, strict=True)]
    mean, half = mean_and_half(leads)
    if len(leads) == 1:
        return mean, *lead_interval(first[0] & ~second[0], second[0] & ~first[0], tests.groups)
    return mean, mean - half, mean + half


def main() -> None:
    """Print a line for each set and K, then the means over sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--k", nargs="+", default=["1", "2", "4", "8", "16", "all"])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    means: dict[str, dict[str, list[float]]] = {k: {} for k in options.k}
    print("| set | K | text-probe | lead over scikit-learn (95 % interval) | probe | zero-shot, centred |")
    print("|---|---|---|---|---|---|")
    for name in options.sets:
        dataset = th.read_dataset(options.data / SETS[name])
        task = task_of(dataset.split("train"))
        train, tests = items_of(task, dataset.split("train")), items_of(task, dataset.split("test"))
        begun = time.process_time()
        for k in options.k:
            if k != "all" and int(k) > int(train.targets.bincount().min()):
                continue
            draws = [None] if k == "all" else range(options.draws)
            samples = [
                train
                if seed is None
                else train.pick(splits.k_shot(train.data.labels, int(k), names=train.data.names, seed=seed))
                for seed in draws
            ]
            results = [one_draw(task, sample, tests) for sample in samples]
            top1 = {method: [100 * float(draw[method].mean()) for draw in results] for method in results[0]}
            lead, low, high = gap([draw["text-probe"] for draw in results], [draw[PEER] for draw in results], tests)
            mean, half = mean_and_half(top1["text-probe"])
            rest = " | ".join(f"{np.mean(top1[method]):.1f}" for method in ("probe", "zero-shot-centred"))
            spread = "" if np.isnan(half) else f" ±{half:.1f}"
            print(
                f"| {name} | {k} | {mean:.1f}{spread} | {lead:+.1f} ({low:+.1f} to {high:+.1f}) | {rest} |", flush=True
            )
            for method, values in top1.items():
                means[k].setdefault(method, []).append(float(np.mean(values)))
        print(f"<!-- {name}: {time.process_time() - begun:.0f} CPU-seconds after encoding -->")
    print("\n| mean of the sets | " + " | ".join(options.k) + " |\n" + "|---" * (len(options.k) + 1) + "|")
    for method in next(iter(means.values())):
        print(f"| {method} | " + " | ".join(f"{np.mean(means[k][method]):.1f}" for k in options.k) + " |")
    if options.out:
        options.out.write_text(json.dumps(means, indent=1))


if __name__ == "__main__":
    main()
