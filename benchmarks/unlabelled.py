"""What unlabelled files (test items without labels) add to heads fitted to K items per class.

    python -m benchmarks.unlabelled --data ../shared/data [--sets clothing skate] [--k 1 4 all] [--draws 10]
    python -m benchmarks.unlabelled --data ../shared/data --present 2 5 10 all [--files 20 60] [--k 1 2] [--draws 20]

The heads are those of `texthead compare`: text-probe and probe, fitted to K items per class of the training split, and
zero-shot, which has no K. Gains are over the head alone, in points, with the 95 % t-interval over draws.

Without --present the whole test split is scored. `batch`: the test items are the unlabelled files. `alone`: the same
without access to the labelled items, as in `texthead predict --unlabelled`. `later`: every second test item is an
unlabelled file, and the refined head scores the others.

With --present each draw takes so many of the classes and so many of their test items as the batch, as in
`texthead predict --unlabelled`; the smallest gain of a draw is in brackets.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

import texthead as th
from benchmarks.choosing import SETS, experiment_of, items_of, mean_and_half
from texthead.features.frozen import FrozenItems
from texthead.models.heads import Head, ProbeHead
from texthead.recipes import MethodName
from texthead.transfer.experiment import Experiment
from texthead.transfer.transductive import refine, refined_head

METHODS: tuple[MethodName, ...] = ("text-probe", "probe", "zero-shot")


class Fitted(NamedTuple):
    """A head and the labelled items that it was fitted to."""

    head: Head
    items: FrozenItems


def fitted(
    experiment: Experiment, items: FrozenItems, ks: list[str], draws: int
) -> Iterator[tuple[str, str, list[Fitted]]]:
    """Yield each method and K ("-" without labelled items) with the heads of its draws."""
    labels = items.targets.numpy()
    every = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for method in METHODS:
        for k in ["-"] if method == "zero-shot" else ks:
            few, heads = int(k) if k.isdigit() else None, []
            for seed in range(1 if few is None else draws):
                numbers = np.random.default_rng(seed)
                own = items.select(np.concatenate([numbers.permutation(each)[:few] for each in every]).tolist())
                heads.append(Fitted(experiment.changed(items=own).fit(method).eval(), own))
            yield method, k, heads


def top1(scores: Tensor, truth: Tensor) -> float:
    """Return top-1 in percent."""
    return 100 * float((scores.argmax(1) == truth).float().mean())


def gain(head: Head, features: Tensor, truth: Tensor) -> float:
    """Return what `predict --unlabelled` gains on a batch."""
    scores = head(features)
    return top1(refine(scores, head.directions(features), head.weight).scores, truth) - top1(scores, truth)


def gains(drawn: Fitted, tests: FrozenItems) -> dict[str, float]:
    """Return top-1 of the head on the test items, and the gains from unlabelled items."""
    head, features, truth = drawn.head, tests.features, tests.targets
    result = {"head": top1(head(features), truth), "alone": gain(head, features, truth)}
    if not isinstance(head, ProbeHead):
        return result
    items, targets, later = drawn.items.features, drawn.items.targets, []
    for seen, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        refined, x, y = refined_head(head, features[seen], items, targets), features[other], truth[other]
        later.append(top1(refined(x), y) - top1(head(x), y))
    batch = refine(head(features), head.directions(features), head.weight, head.directions(items), targets)
    return {**result, "batch": top1(batch.scores, truth) - result["head"], "later": float(np.mean(later))}


def batch_of(truth: Int[np.ndarray, " tests"], present: int, files: int, seed: int) -> Int[np.ndarray, " files"] | None:
    """Return a draw of so many test items of so many classes, or all of theirs; None if that is less than half."""
    numbers = np.random.default_rng(seed)
    classes = numbers.permutation(np.unique(truth))[:present]
    own = numbers.permutation(np.flatnonzero(np.isin(truth, classes)))[:files]
    return own if 2 * len(own) >= files else None


def cell(values: list[float], *, signed: bool = True, worst: bool = False) -> str:
    """Return the mean with its interval; with `worst`, also the smallest."""
    mean, half = mean_and_half(values)
    text = f"{mean:{'+' if signed else ''}.1f}" + f" ±{half:.1f}" * (half == half)
    return text + f" ({min(values):+.0f})" * worst


def print_by_k(sets: dict[str, tuple[Experiment, FrozenItems, FrozenItems]], ks: list[str], draws: int) -> None:
    """Print a line for each head, set and K, and the mean over sets."""
    columns = ("head", "batch", "alone", "later")
    print("| head | set | K | top-1 | batch | alone | later |\n|---|---|---|---|---|---|---|")
    every: dict[tuple[str, str], list[list[dict[str, float]]]] = {}

    def line(method: str, name: str, k: str, found: list[dict[str, float]]) -> None:
        cells = [cell([f[c] for f in found], signed=c != "head") if c in found[0] else "" for c in columns]
        print(f"| {method} | {name} | {k} | {' | '.join(cells)} |", flush=True)

    for name, (experiment, items, tests) in sets.items():
        for method, k, drawn in fitted(experiment, items, ks, draws):
            found = [gains(each, tests) for each in drawn]
            line(method, name, k, found)
            every.setdefault((method, k), []).append(found)
    for (method, k), found in every.items():
        same = [{c: float(np.mean([f[c] for f in each])) for c in each[0]} for each in zip(*found, strict=True)]
        line(method, f"mean of {len(found)}", k, same)


def print_by_present(
    sets: dict[str, tuple[Experiment, FrozenItems, FrozenItems]],
    ks: list[str],
    draws: int,
    present: list[str],
    files: list[int],
) -> None:
    """Print a line for each head, set, K and number of classes present."""
    print(f"| head | set | K | classes present | {' | '.join(f'{number} files' for number in files)} |")
    print("|---|---|---|---|" + "---|" * len(files))
    for name, (experiment, items, tests) in sets.items():
        truth, classes = tests.targets.numpy(), len(experiment.labels)
        counts = sorted(
            {classes if each == "all" else int(each) for each in present if each == "all" or int(each) < classes}
        )
        for method, k, drawn in fitted(experiment, items, ks, draws):
            for count in counts:
                cells: dict[int, list[float]] = {number: [] for number in files}
                for seed in range(draws):
                    for number in files:
                        own = batch_of(truth, count, number, seed)
                        if own is not None:
                            features, targets = tests.features[own], tests.targets[own]
                            cells[number].append(gain(drawn[seed % len(drawn)].head, features, targets))
                texts = [cell(values, worst=True) if 2 * len(values) >= draws else "" for values in cells.values()]
                print(f"| {method} | {name} | {k} | {count} of {classes} | {' | '.join(texts)} |", flush=True)


@torch.inference_mode()
def main() -> None:
    """Print the table by K, or with --present the table by number of classes present."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--k", nargs="+", default=["1", "2", "4", "8", "16", "all"])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--present", nargs="+", help="numbers of classes in the batch, or all")
    parser.add_argument("--files", nargs="+", type=int, default=[20, 60, 200], help="sizes of the batch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = {}
    for name in options.sets:
        data = th.read_dataset(options.data / SETS[name])
        experiment = experiment_of(data.split("train"))
        sets[name] = (experiment, items_of(experiment, data.split("train")), items_of(experiment, data.split("test")))
    if options.present:
        print_by_present(sets, options.k, options.draws, options.present, options.files)
    else:
        print_by_k(sets, options.k, options.draws)


if __name__ == "__main__":
    main()
