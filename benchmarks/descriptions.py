"""Accuracy of sentences in place of class names, zero-shot and trained, on real sets.

    python -m benchmarks.descriptions --data ../shared/data [--sets clothing airborne] [--k 1 5 all] [--seeds 5]

The sentences are in `benchmarks/sentences`, three a class, written before anything was measured with them. A class's
row comes from its name, from its sentences (the mean of their rows), or from both (the mean of the two). All rows use
the same features and the same K items. Zero-shot and training on all items are scored once, with the interval of a
difference over test items, grouped; the others have the 95 % t-interval over seeds.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor, nn

import texthead as th
from benchmarks.calibration import drawn, scored, text_probe, zero_shot
from benchmarks.choosing import SETS, items_of, mean_and_half, task_of
from texthead.evaluation.intervals import standard_error
from texthead.features.frozen import FrozenItems
from texthead.models.head_rows import text_rows
from texthead.transfer.methods import Task

SENTENCES = Path(__file__).parent / "sentences"
Fit = Callable[[Tensor, FrozenItems, list[str]], nn.Module]


TRAINED: dict[str, Fit] = {
    "zero-shot, centred": zero_shot,
    "text + probe": text_probe,
}


def rows_of(task: Task, name: str) -> dict[str, Tensor]:
    """Return the rows of names, of sentences and of both."""
    sentences_json = json.loads((SENTENCES / f"{name}.json").read_text())
    sentences = [sentences_json[label] for label in task.labels]
    name_rows, described = text_rows(task.encoder, task.names), text_rows(task.encoder, sentences)
    return {"names": name_rows, "sentences": described, "both": nn.functional.normalize(name_rows + described, dim=-1)}


def right_answers(head: nn.Module, tests: FrozenItems) -> np.ndarray:
    """Return 1 for each item that is classified correctly, else 0."""
    return (scored(head, tests).argmax(1) == tests.targets).float().numpy()


def gaps(right: dict[str, list[np.ndarray]], interval: Callable[[list[np.ndarray]], tuple[float, float]]) -> str:
    """Return the cells of a line: top-1 with names, and the gains of the others over it."""
    cells = [f"{100 * np.mean(right['names']):.1f}"]
    for way in ("sentences", "both"):
        pairs = zip(right[way], right["names"], strict=True)
        mean, half = interval([own - names for own, names in pairs])
        cells.append(f"{100 * np.mean(right[way]):.1f} ({mean:+.1f} ±{half:.1f})")
    return " | ".join(cells)


def over_seeds(differences: list[np.ndarray]) -> tuple[float, float]:
    """Return mean and half of the t-interval over seeds, in points."""
    return mean_and_half([100 * float(each.mean()) for each in differences])


def over_items(tests: FrozenItems, differences: list[np.ndarray]) -> tuple[float, float]:
    """Return mean and half of the 95 % interval over test items, in points."""
    (only,) = differences
    return 100 * float(only.mean()), 196 * standard_error(only, tests.groups)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["clothing", "airborne"], choices=["clothing", "airborne"])
    parser.add_argument("--k", nargs="+", default=["1", "5", "all"])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    print("| set | K | method | names | sentences | both |\n" + "|---" * 6 + "|")
    for name in options.sets:
        dataset = th.read_dataset(options.data / SETS[name])
        task = task_of(dataset)
        train, tests = (items_of(task, dataset.split(split)) for split in ("train", "test"))
        every, labels = rows_of(task, name), list(task.names)
        heads = {
            way: th.FrozenHead(rows, names=labels, scale=30.0, center=task.encoder.center)
            for way, rows in every.items()
        }
        right = {way: [right_answers(head, tests)] for way, head in heads.items()}
        print(f"| {name} | none | zero-shot | {gaps(right, partial(over_items, tests))} |", flush=True)
        for k in (None if k == "all" else int(k) for k in options.k):
            # All items are one draw.
            seeds = range(options.seeds if k else 1)
            interval = over_seeds if k else partial(over_items, tests)
            for title, fit in TRAINED.items():
                right = {
                    way: [right_answers(fit(rows, drawn(train, k, seed), labels), tests) for seed in seeds]
                    for way, rows in every.items()
                }
                print(f"| {name} | {k or 'all'} | {title} | {gaps(right, interval)} |", flush=True)


if __name__ == "__main__":
    main()
