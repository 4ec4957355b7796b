"""Top-1 with K items per class: zero-shot, probe, vision-only and text heads on one budget, several seeds.

    python -m benchmarks.fewshot --data ../shared/data [--seeds 5] [--out fewshot.json]

Each seed draws its own K items per class from the training split; the whole test split is scored. All fine-tuned rows
use the recipe `small` at its own 128 pixels, 4 frames a clip, mean pooling and at least 40 steps. Vision-only is Eq. 1
with its head at the encoder's rate, and at 30 times that rate. The interval is the 95 % t-interval of the mean over
seeds.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.stats
import torch

import texthead as th
from texthead.evaluation import evaluate
from texthead.models.build import make_head
from texthead.models.head_rows import RowInputs
from texthead.models.temporal import MeanPool
from texthead.training.adapt_recipe import adapt_recipe
from texthead.transfer.linear_probes import logistic_head

SETS = {"airborne": "video/airborne/clips.csv", "clothing": "image/clothing/images.csv"}
TUNED: tuple[tuple[str, str, float], ...] = (
    ("vision-only, head at the encoder's rate", "linear", 1.0),
    ("vision-only, head at 30x", "linear", 30.0),
    ("text", "text", 1.0),
)


def one_seed(data: th.Dataset, k: int, seed: int) -> dict[str, float]:
    """Return top-1 of every method for one draw of K items per class."""
    train_set, test = data.split("train").k_shot(k, seed=seed), data.split("test")
    labels = train_set.classes
    encoder = th.load_encoder("mini")
    recipe, _ = adapt_recipe(
        th.recipes.small, {"frames": 4, "temporal": "mean", "seed": seed}, train_set, encoder.visual.spec
    )
    protocol = encoder.visual.spec.protocol(recipe)
    frozen = th.FrozenEncoder(encoder, protocol, th.ReadOptions(cache=True))
    train, tests = (frozen.items(dataset, labels) for dataset in (train_set, test))
    features, targets = train.features, train.targets

    def top1(scores: torch.Tensor) -> float:
        return 100 * (scores.argmax(1) == tests.targets).float().mean().item()

    with torch.inference_mode():
        rows = {
            "zero-shot, uncentered": top1(th.text_head(encoder, labels)(tests.features)),
            "zero-shot, centered on the K items": top1(
                th.text_head(encoder, labels, center=features.mean(0))(tests.features)
            ),
        }
    rows["logistic probe"] = top1(logistic_head(features, targets, names=labels)(tests.features))
    for title, kind, factor in TUNED:
        encoder = th.load_encoder("mini")
        head_recipe = replace(recipe, lr_new=recipe.lr * factor)
        inputs = RowInputs(encoder, labels, head_recipe, features=features, targets=targets)
        head = make_head(kind, inputs)
        model = th.Recognizer(encoder.visual, MeanPool(), head)
        with tempfile.TemporaryDirectory() as folder:
            th.fine_tune(model, train_set, None, head_recipe, out=folder, reading=th.ReadOptions(workers=1))
        rows[title] = evaluate(model, test, protocol, th.ReadOptions(workers=1)).top1
    return rows


def main() -> None:
    """Print the table, one line for each set, K and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--k", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    scores: dict[str, dict[str, list[float]]] = {}
    for name in options.sets:
        data = th.read_dataset(options.data / SETS[name])
        for k in options.k:
            seeds = [one_seed(data, k, seed) for seed in range(options.seeds)]
            scores[f"{name}, K = {k}"] = {method: [row[method] for row in seeds] for method in seeds[0]}
            for method, values in scores[f"{name}, K = {k}"].items():
                half = scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
                each = " ".join(f"{value:.1f}" for value in values)
                print(f"| {name} | {k} | {method} | {np.mean(values):.1f} ±{half:.1f} | {each} |", flush=True)
    if options.out:
        options.out.write_text(json.dumps(scores, indent=1))


if __name__ == "__main__":
    main()
