"""Compare text-probe, the default, with plain logistic regression of scikit-learn on the same features.

    python -m benchmarks.choosing --data ../shared/data [--sets clothing airborne] [--k 1 2 4 8 16 all] [--draws 20]

Each draw takes K items per class from the training split, for each K that all classes can supply. The test split is
scored and chooses nothing. `C = 10`: logistic regression on centered features of length 1. `plain`:
LogisticRegression() on the features as they are. `CV`: C from 1 to 1000 by cross-validation on centered features, from
two items per class on. `no names`: the lead of text-probe over the probe, which has no names. Leads are paired by draw,
with the 95 % t-interval of their mean over draws, and the worst draw. With all items there is one draw, and the
interval is over test items, grouped.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from torch import Tensor
from torch.nn.functional import normalize

import texthead as th
from texthead.data import splits
from texthead.data.dataset import Dataset
from texthead.data.division import Division
from texthead.encoders.load import EncoderOptions
from texthead.evaluation.intervals import lead_interval
from texthead.features.frozen import FrozenItems
from texthead.recipes import MethodName
from texthead.transfer.experiment import Experiment, load_experiment
from texthead.transfer.linear_probes import class_center

SETS = {
    "clothing": "image/clothing/images.csv",
    "airborne": "video/airborne/clips.csv",
    "skate": "video/skate_tricks/clips.csv",
    "exercise": "video/exercise/clips.csv",
    "handdigits": "image/handdigits/images.csv",
    "objects": "image/objects/images.csv",
    "grocery": "image/grocery/images.csv",
    "thermal": "video/thermal/clips.csv",
}

# Names of the classes of clothing that the text encoder of `mini` hardly knows, in the order of the labels.
SPANISH = (
    "vestido, sombrero, camiseta de manga larga, abrigo, pantalón, camisa, zapatos, pantalones cortos, falda, camiseta"
)
GERMAN = "Kleid, Hut, Langarmshirt, Jacke, Hose, Hemd, Schuhe, kurze Hose, Rock, T-Shirt"
NAMES = {"Spanish": SPANISH.split(", "), "German": GERMAN.split(", ")}

PLAIN = ("C = 10", "plain", "CV")
METHODS: tuple[MethodName, ...] = ("text-probe", "probe")

Right = Bool[np.ndarray, " tests"]


def experiment_of(dataset: Dataset) -> Experiment:
    """Return what `texthead compare` prepares with its defaults."""
    return load_experiment(Division(dataset, None, dataset.select([]), ""), EncoderOptions())


def items_of(experiment: Experiment, dataset: Dataset) -> FrozenItems:
    """Return the items with their features."""
    return experiment.frozen.items(dataset, experiment.labels)


def plain_scores(
    features: Tensor, targets: Tensor, tests: Tensor, *, balanced: bool = False
) -> Iterator[tuple[str, Float[np.ndarray, "tests classes"]]]:
    """Yield the scores of each of scikit-learn's regressions; CV only from two items per class on."""
    center, y = class_center(features, targets), targets.numpy()
    x, q = (normalize(each - center, dim=-1).numpy() for each in (features, tests))
    options = {"max_iter": 3000, "class_weight": "balanced" if balanced else None}
    folds = min(5, int(np.bincount(y).min()))
    fits: list[tuple[str, Callable[[], object], bool]] = [
        ("C = 10", lambda: LogisticRegression(C=10, **options).fit(x, y), True),
        ("plain", lambda: LogisticRegression(**options).fit(features.numpy(), y), False),
    ]
    if folds >= 2:
        grid = {"Cs": [1, 10, 100, 1000], "cv": folds, "scoring": "balanced_accuracy", "use_legacy_attributes": False}
        fits.append(("CV", lambda: LogisticRegressionCV(**grid, **options).fit(x, y), True))
    for name, fit, centered in fits:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = fit().decision_function(q if centered else tests.numpy())  # pyright: ignore[reportAttributeAccessIssue]
        yield name, scores if scores.ndim > 1 else np.stack([-scores, scores], 1)


def one_draw(experiment: Experiment, items: FrozenItems, tests: FrozenItems) -> dict[str, Right]:
    """Return which test items each method classifies correctly."""
    own = experiment.changed(items=items, tests=tests)
    right = {name: own.evaluate(name).right for name in METHODS}
    truth = tests.targets.numpy()
    for name, scores in plain_scores(items.features, items.targets, tests.features):
        right[name] = scores.argmax(1) == truth
    return right


def mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and half of its 95 % t-interval."""
    if len(values) < 2:
        return values[0], float("nan")
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return float(np.mean(values)), float(half)


def lead(first: list[Right], second: list[Right], tests: FrozenItems) -> tuple[float, str]:
    """Return the mean lead of the first in points, and as text with its 95 % interval and worst draw."""
    leads = [100 * (own.mean() - other.mean()) for own, other in zip(first, second, strict=True)]
    mean, half = mean_and_half(leads)
    low, high, worst = mean - half, mean + half, f"; worst {min(leads):+.1f}"
    if len(leads) == 1:
        (low, high), worst = lead_interval(first[0] & ~second[0], second[0] & ~first[0], tests.groups), ""
    return mean, f"{mean:+.1f} ({low:+.1f} to {high:+.1f}{worst})"


def read_sets(names: Sequence[str], data: Path) -> Iterator[tuple[str, Experiment, FrozenItems, FrozenItems]]:
    """Yield (name, experiment, training items, test items) of each set; after clothing its other names."""
    for name in names:
        dataset = th.read_dataset(data / SETS[name])
        experiment = experiment_of(dataset.split("train"))
        items = (items_of(experiment, dataset.split("train")), items_of(experiment, dataset.split("test")))
        yield name, experiment, *items
        if name == "clothing":
            for language, words in NAMES.items():
                yield f"clothing, {language} names", experiment.changed(names=words), *items


def main() -> None:
    """Print a line for each set and K, then the means over sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--k", nargs="+", default=["1", "2", "4", "8", "16", "all"])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    options = parser.parse_args()
    means: dict[tuple[str, str], list[float]] = {}
    leads: dict[tuple[str, str], list[float]] = {}
    print("| set | K | text-probe | C = 10 | plain | CV | lead over C = 10 | lead over the best plain one | no names |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, experiment, train, tests in read_sets(options.sets, options.data):
        for k in options.k:
            if k != "all" and int(k) > int(train.targets.bincount().min()):
                continue
            draws: list[dict[str, Right]] = []
            for seed in range(1 if k == "all" else options.draws):
                names = train.data.item_names
                picked = (
                    range(len(names))
                    if k == "all"
                    else splits.k_shot(train.data.label_sets, int(k), names=names, seed=seed)
                )
                draws.append(one_draw(experiment, train.select(list(picked)), tests))
            top1 = {method: float(np.mean([100 * draw[method].mean() for draw in draws])) for method in draws[0]}
            half = mean_and_half([100 * float(draw["text-probe"].mean()) for draw in draws])[1]
            best = max((method for method in PLAIN if method in top1), key=top1.__getitem__)
            text = [draw["text-probe"] for draw in draws]
            gaps = [lead(text, [draw[other] for draw in draws], tests) for other in ("C = 10", best, "probe")]
            cells = [f"{top1[method]:.1f}" if method in top1 else "-" for method in PLAIN]
            shown = f"{top1['text-probe']:.1f}" + ("" if np.isnan(half) else f" ±{half:.1f}")
            print(f"| {name} | {k} | {' | '.join([shown, *cells, *(text for _, text in gaps)])} |", flush=True)
            if name in SETS:
                for method, value in top1.items():
                    means.setdefault((method, k), []).append(value)
                for title, (mean, _) in zip(("C = 10", "the best plain one", "no names"), gaps, strict=True):
                    leads.setdefault((title, k), []).append(mean)
    print("\n| mean of the sets | " + " | ".join(options.k) + " |\n" + "|---" * (len(options.k) + 1) + "|")
    for method in (*METHODS, *PLAIN):
        cells = [f"{np.mean(means[method, k]):.1f}" if (method, k) in means else "-" for k in options.k]
        print(f"| {method} | {' | '.join(cells)} |")
    for title in ("C = 10", "the best plain one", "no names"):
        cells = [
            f"{np.mean(own):+.1f} ({min(own):+.1f} to {max(own):+.1f})" for own in (leads[title, k] for k in options.k)
        ]
        print(f"| lead over {title}: mean (worst to best set) | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
