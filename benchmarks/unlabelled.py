"""What unlabelled files (the test items without labels) add to heads fitted to K items a class.

    python -m benchmarks.unlabelled --data ../shared/data [--sets clothing skate] [--k 1 4 all] [--draws 10]

Frozen `mini` at 224 pixels, 8 frames a clip. Each draw takes K items a class from the training split and fits a
logistic regression to their centred unit features (C = 10), alone and with the text rows as extra items, weighted by
how far zero-shot is above chance on the drawn items. Top-1 is of the whole test split. `batch`: the test items are the
unlabelled files. `alone`: the same without access to the labelled items, as in `texthead predict --unlabelled`.
`later`: every second test item is an unlabelled file, and the refined head scores the others. Gains are over the
fitted head, in points, with the 95 % t-interval over draws.
"""

import argparse
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import texthead as th
from benchmarks.choosing import SETS, mean_and_half
from texthead.data.dataset import label_indices
from texthead.models.heads import ProbeHead
from texthead.text.class_names import clean_names
from texthead.transfer.transductive import refine, refined_head

HEADS = ("logistic", "with text")


def encoded(source: Path) -> tuple[Tensor, np.ndarray, np.ndarray, Tensor]:
    """Return (features, labels, training mask, text rows); the first three for each item."""
    encoder, data = th.load_encoder("mini"), th.read_dataset(source)
    data = replace(data, items=tuple(item for item in data.items if item.split in ("train", "test")))
    recipe = th.recipes.small(size=224, frames=1 if data.only_images else 8)
    protocol = th.Protocol(recipe.frames, encoder.visual.spec.pixels(recipe), th.Views(origin="centre"))
    features = th.FrozenEncoder(encoder, protocol, th.Reading(cache=True)).items(data).features
    rows = th.text_weights(encoder, list(clean_names(data.classes)), template="{}")
    train = np.array([item.split == "train" for item in data.items])
    return features, np.array(label_indices(data, data.classes)), train, rows


def drawn(labels: np.ndarray, train: np.ndarray, k: int | None, seed: int) -> np.ndarray:
    """Return the positions of K training items of each class; of all if `k` is None."""
    numbers = np.random.default_rng(seed)
    every = [np.flatnonzero(train & (labels == label)) for label in np.unique(labels)]
    return np.concatenate([numbers.permutation(positions)[:k] for positions in every])


def fitted(features: Tensor, targets: Tensor, rows: Tensor, *, text: bool) -> ProbeHead:
    """Return a logistic regression, C = 10 on centred unit features; with text on 10 x features and rows."""
    center = torch.stack([features[targets == label].mean(0) for label in targets.unique()]).mean(0)
    classes = len(rows)
    x, y = F.normalize(features - center, dim=-1).numpy(), targets.numpy()
    t, weights, scale = F.normalize(rows, dim=-1).numpy(), np.ones(len(x)), 1.0
    if text:
        hits = float(((x @ t.T).argmax(1) == y).mean())
        error = np.sqrt(max(hits * (1 - hits), 1 / len(y)) / len(y))
        skill = max(0.0, (hits - 1 / classes - error) / (1 - 1 / classes))
        weights = np.concatenate([weights, np.full(classes, max(1e-6, 2 * skill))])
        x, y, scale = 10 * np.concatenate([x, t]), np.concatenate([y, np.arange(classes)]), 10.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = LogisticRegression(C=10, max_iter=3000).fit(x, y, sample_weight=weights)
    weight, bias = torch.from_numpy(scale * fit.coef_).float(), torch.from_numpy(fit.intercept_).float()
    if classes == 2:
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return ProbeHead(weight, bias=bias, center=center, names=[str(i) for i in range(classes)])


@torch.inference_mode()
def one_draw(features: Tensor, targets: Tensor, tests: Tensor, truth: Tensor, head: ProbeHead) -> dict[str, float]:
    """Return top-1 of the head on the test items, and the gains from unlabelled items."""

    def top1(scores: Tensor, rows: slice = slice(None)) -> float:
        return 100 * float((scores.argmax(1) == truth[rows]).float().mean())

    alone, x = top1(head(tests)), head.directions(tests)
    batch = refine(head(tests), x, head.directions(features), targets)
    gains = {"head": alone, "batch": top1(batch.scores) - alone, "alone": top1(refine(head(tests), x).scores) - alone}
    later = []
    for seen, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        refined = refined_head(head, tests[seen], features, targets)
        later.append(top1(refined(tests[other]), other) - top1(head(tests[other]), other))
    return {**gains, "later": float(np.mean(later))}


def cells(draws: list[dict[str, float]]) -> dict[str, str]:
    """Return the head's mean top-1 and each mean gain with its interval."""
    figures = {key: mean_and_half([draw[key] for draw in draws]) for key in draws[0]}
    gains = {k: f"{mean:+.1f}" + f" ±{half:.1f}" * (half == half) for k, (mean, half) in figures.items() if k != "head"}
    return {"head": f"{figures['head'][0]:.1f}", **gains}


def main() -> None:
    """Print a line for each head, set and K, and the mean over sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--k", nargs="+", default=["1", "2", "4", "8", "16", "all"])
    parser.add_argument("--draws", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| head | set | K | top-1 | batch | alone | later |\n|---|---|---|---|---|---|---|")
    every: dict[tuple[str, str], list[list[dict[str, float]]]] = {}
    for name in options.sets:
        features, labels, train, rows = encoded(options.data / SETS[name])
        tests, truth = features[~train], torch.from_numpy(labels[~train])
        for k in options.k:
            draws: dict[str, list[dict[str, float]]] = {title: [] for title in HEADS}
            for seed in range(1 if k == "all" else options.draws):
                train_items = drawn(labels, train, None if k == "all" else int(k), seed)
                items, targets = features[train_items], torch.from_numpy(labels[train_items])
                for title in HEADS:
                    head = fitted(items, targets, rows, text=title != HEADS[0])
                    draws[title].append(one_draw(items, targets, tests, truth, head))
            for title in HEADS:
                print(f"| {title} | {name} | {k} | {' | '.join(cells(draws[title]).values())} |", flush=True)
                every.setdefault((title, k), []).append(draws[title])
    for (title, k), sets in every.items():
        means = [
            {key: float(np.mean([draw[key] for draw in same])) for key in same[0]} for same in zip(*sets, strict=True)
        ]
        print(f"| {title} | mean of {len(sets)} | {k} | {' | '.join(cells(means).values())} |", flush=True)


if __name__ == "__main__":
    main()
