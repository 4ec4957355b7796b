"""What `texthead compare --choose` ends with, beside zero-shot and the probe; and the weight of text for few items.

    python -m benchmarks.choosing --data ../shared/data [--sets clothing airborne] [--k 1 3 5 all] [--seeds 5]
    python -m benchmarks.choosing --weigh

Each seed draws its own K items a class from the training split, its own folds and its own random rows; the test split
is scored whole, and nothing is chosen by it. Differences are paired by seed; the interval is the 95 % t-interval of
their mean over seeds (the test items are the same in all of them).

`--weigh` is how `frozen_fits.TEXT_WEIGHT` was set: three tasks on the demo's drawn videos (48 objects in motion, 8
objects, 6 motions), one and two items a class, ten draws. Of the weights that are not worse than the best by more than
the standard error of their difference it names the largest.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.stats
import torch

import texthead as th
from texthead.data import splits
from texthead.data.dataset import Dataset
from texthead.demo.drawn_videos import draw_videos
from texthead.models.build import pixels_for
from texthead.models.head_rows import text_rows
from texthead.transfer import methods
from texthead.transfer.closed_form import text_and_means
from texthead.transfer.comparison import Setting, encode_frozen, judged, make_ground
from texthead.transfer.methods import FrozenItems, Ground

SETS = {
    "clothing": "image/clothing/images.csv",
    "airborne": "video/airborne/clips.csv",
    "mixed6": "video/dev_mixed6.csv",
    "skate": "video/skate_tricks/clips.csv",
}
WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
CENTRED = f"{methods.ZERO_SHOT}, centred"


def ground_of(dataset: Dataset, seed: int) -> Ground:
    """What `texthead compare` makes of its defaults."""
    return make_ground(dataset, Setting("mini"), {"seed": seed})[0]


def items_of(ground: Ground, dataset: Dataset) -> FrozenItems:
    """The items with their frames' features."""
    pixels = pixels_for(ground.recipe, ground.encoder.visual.spec)
    return encode_frozen(ground, dataset, pixels, th.Reading(), "encode")[0]


def one_seed(dataset: Dataset, k: int | None, seed: int) -> dict[str, float | str]:
    """Test top-1 of each method for one draw, and of the one that is chosen."""
    train, test = dataset.split("train"), dataset.split("test")
    train = train if k is None else train.k_shot(k, seed=seed)
    ground = ground_of(train, seed)
    items, tests = items_of(ground, train), items_of(ground, test)
    every = methods.methods(ground)
    right, tested = judged(every, items, tests, methods.folds(items, seed=seed))
    first = methods.settled(every, items)
    chosen = methods.choice(first, right, items.groups) if right else first
    scores: dict[str, float | str] = {title: score.top1 for title, score in tested.items()}
    return {**scores, "chosen": scores[chosen], "which": chosen}


def mean_and_half(values: list[float]) -> tuple[float, float]:
    """The mean and half of its 95 % t-interval."""
    if len(values) < 2:
        return values[0], float("nan")
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return float(np.mean(values)), float(half)


def compare_all(options: argparse.Namespace) -> None:
    """Print a line a set and K, then the table of all methods."""
    against = (methods.ZERO_SHOT, CENTRED, methods.PROBE)
    print("| set | K | chosen | " + " | ".join(f"against {other}" for other in against) + " | which |")
    print("|---" * (len(against) + 4) + "|")
    kept: dict[str, list[dict[str, float | str]]] = {}
    for name in options.sets:
        dataset = th.read_dataset(options.data / SETS[name])
        for k in options.k:
            rows = [one_seed(dataset, None if k == "all" else int(k), seed) for seed in range(options.seeds)]
            kept[f"{name}, K = {k}"] = rows
            chosen, half = mean_and_half([float(row["chosen"]) for row in rows])
            gaps = [mean_and_half([float(row["chosen"]) - float(row[other]) for row in rows]) for other in against]
            which = sorted({str(row["which"]) for row in rows})
            cells = [f"{chosen:.1f} ±{half:.1f}", *(f"{gap:+.1f} ±{own:.1f}" for gap, own in gaps), "; ".join(which)]
            print(f"| {name} | {k} | " + " | ".join(cells) + " |", flush=True)
            if options.out:
                options.out.write_text(json.dumps(kept, indent=1))
    print("\n| method | " + " | ".join(kept) + " |")
    print("|---" * (len(kept) + 1) + "|")
    titles = dict.fromkeys(title for rows in kept.values() for title in rows[0] if title not in ("chosen", "which"))
    for title in titles:
        means = [[float(row[title]) for row in rows if title in row] for rows in kept.values()]
        print(f"| {title} | " + " | ".join(f"{np.mean(values):.1f}" if values else "-" for values in means) + " |")


def tasks(folder: Path) -> dict[str, Dataset]:
    """The drawn videos by what they are labelled with."""
    whole = th.read_dataset(draw_videos(folder))

    def by(label: Callable[[str], str]) -> Dataset:
        return replace(whole, items=tuple(replace(item, label=label(item.label)) for item in whole.items))

    return {
        "objects in motion": whole,
        "objects": by(lambda name: " ".join(name.split()[:2])),
        "motions": by(lambda name: " ".join(name.split()[2:])),
    }


def weigh(draws: int) -> None:
    """Print top-1 of each weight on each task, and which weight they speak for."""
    found: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    with tempfile.TemporaryDirectory() as folder:
        for name, dataset in tasks(Path(folder)).items():
            ground = ground_of(dataset, 0)
            train, tests = items_of(ground, dataset.split("train")), items_of(ground, dataset.split("test"))
            rows = text_rows(ground.encoder, ground.names)
            for k in (1, 2):
                scores = {
                    weight: [_drawn(train, tests, rows, k, i, weight) for i in range(draws)] for weight in WEIGHTS
                }
                print(f"{name}, K = {k}: " + "  ".join(f"{w}: {np.mean(v):.1f}" for w, v in scores.items()), flush=True)
                for weight, values in scores.items():
                    found[weight] += values
    best = max(WEIGHTS, key=lambda weight: np.mean(found[weight]))
    leads = {weight: np.array(found[best]) - np.array(found[weight]) for weight in WEIGHTS}
    equal = [w for w, lead in leads.items() if lead.mean() <= lead.std(ddof=1) / len(lead) ** 0.5]
    print("mean: " + "  ".join(f"{weight}: {np.mean(values):.2f}" for weight, values in found.items()))
    print(f"best {best}; the largest that is not worse by more than the standard error: {max(equal)}")


def _drawn(train: FrozenItems, tests: FrozenItems, rows: torch.Tensor, k: int, seed: int, weight: float) -> float:
    """Test top-1 of text rows with the means of K drawn items a class."""
    items = train.pick(splits.k_shot(train.data.labels, k, seed=seed))
    names = train.data.classes
    head = text_and_means(rows, items.features, items.targets, names=names, scale=30.0, text_weight=weight)
    return 100 * float((head(tests.features).argmax(1) == tests.targets).float().mean())


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--weigh", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--k", nargs="+", default=["1", "3", "5", "all"])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    if options.weigh:
        weigh(10)
        return
    if options.data is None:
        parser.error("--data names the folder of real labelled media")
    compare_all(options)


if __name__ == "__main__":
    main()
