"""How many labels each selection strategy needs to match 50 random ones.

    python -m benchmarks.labelling --data ../shared/data [--sets clothing objects] [--draws 10] [--labels 80]

Frozen `mini` at 224 pixels, four frames a clip. Each draw is four fifths of the training files, from which a strategy
takes five at a time, the first five from class names alone. After each five a head is fitted as in `texthead label`
(`class_probabilities`), and top-1 of the whole test split is taken. `labels needed`: labels to reach the mean top-1 of
50 random ones; more than all counts as all. `gain`: points over 50 random labels, with the paired 95 % t-interval over
draws.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor

import texthead as th
from benchmarks.choosing import SETS, mean_and_half
from texthead.apps.label.selection import Similarities, class_probabilities, margin_uncertainty
from texthead.features.reading import ReadOptions
from texthead.text.class_names import clean_names
from texthead.transfer import QUICK_FRAMES

STEP, RANDOM = 5, "random"

# The strategy and its constants were chosen on these.
CHOSEN_ON = ("clothing", "objects", "exercise", "handdigits")


@dataclass
class State:
    """Input of a strategy: features (files dim), current probabilities, labelled positions, a random generator."""

    features: Tensor
    probabilities: Tensor
    known: list[int]
    rng: np.random.Generator

    @property
    def units(self) -> np.ndarray:
        """Return features, centered, of length 1."""
        return F.normalize(self.features - self.features.mean(0), dim=-1).numpy()


def randomly(state: State) -> list[int]:
    """Return random files."""
    return [i for i in state.rng.permutation(len(state.features)).tolist() if i not in set(state.known)][:STEP]


def least_margin(state: State) -> list[int]:
    """Return the files with the smallest margin between their best two classes."""
    value = margin_uncertainty(state.probabilities)
    value[state.known] = -1
    return value.topk(STEP).indices.tolist()


def k_center(state: State) -> list[int]:
    """Return the files farthest from all labelled ones, one after another (Sener and Savarese 2018)."""
    x, chosen = state.units, list(state.known)
    for _ in range(STEP):
        away = 1 - (x @ x[chosen].T).max(1) if chosen else -np.square(x - x.mean(0)).sum(1)
        away[chosen] = -9
        chosen.append(int(away.argmax()))
    return chosen[len(state.known) :]


def typiclust(state: State) -> list[int]:
    """Return the most typical file of each of the largest clusters without a label (Hacohen et al. 2022)."""
    x, known = state.units, set(state.known)
    count = min(len(known) + STEP, len(x) - 1)
    clusters: Any = KMeans(count, n_init="auto", random_state=int(state.rng.integers(2**31)))
    cluster = clusters.fit_predict(x)
    covered = {cluster[i] for i in known}
    order = sorted(range(count), key=lambda c: (c in covered, -(cluster == c).sum()))
    chosen: list[int] = []
    for own in order:
        members = [i for i in np.flatnonzero(cluster == own).tolist() if i not in known]
        if members and len(chosen) < STEP:
            similar = np.sort(x[members] @ x[members].T, axis=1)[:, -20:].mean(1)
            chosen.append(members[int(similar.argmax())])
    return chosen


def badge(state: State) -> list[int]:
    """Return files by k-means++ on the gradients of the last layer (Ash et al. 2020)."""
    x, gradient = state.units, state.probabilities.numpy().copy()
    gradient[np.arange(len(x)), gradient.argmax(1)] -= 1
    length = (gradient**2).sum(1)
    far, chosen = length.astype(float), list[int]()
    for _ in range(STEP):
        far[[*state.known, *chosen]] = 0
        last = int(state.rng.choice(len(x), p=far / far.sum()))
        away = length + length[last] - 2 * (gradient @ gradient[last]) * (x @ x[last])
        far = np.maximum(away if not chosen else np.minimum(far, away), 0)
        chosen.append(last)
    return chosen


STRATEGIES: dict[str, Callable[[State], list[int]]] = {
    "texthead label": lambda s: Similarities(s.features, s.known).suggest(s.probabilities, s.known, STEP),
    "the same, without uncertainty": lambda s: Similarities(s.features, s.known).suggest(
        torch.full_like(s.probabilities, 0.5), s.known, STEP
    ),
    "TypiClust": typiclust,
    "k-center": k_center,
    "least margin": least_margin,
    "BADGE": badge,
    RANDOM: randomly,
}


@dataclass(frozen=True)
class World:
    """A data set: training and test features with labels, and text rows."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    rows: Tensor

    @staticmethod
    def read(source: Path) -> "World":
        """Return the features of a data set's training and test files."""
        encoder, data = th.load_encoder("mini"), th.read_dataset(source)
        splits = []
        for split in (data.split("train"), data.split("test")):
            protocol = encoder.visual.spec.protocol(frames=1 if split.only_images else QUICK_FRAMES)
            encoded = th.FrozenEncoder(encoder, protocol, ReadOptions(engine="auto")).files(split.paths)
            splits.append((encoded.features, split.targets(data.classes)))
        rows = th.text_weights(encoder, list(clean_names(data.classes)), template="{}")
        return World(splits[0], splits[1], rows)

    def curve(self, strategy: str, draw: int, labels: int) -> list[float]:
        """Return top-1 on the test files after 0, 5, 10, ... labels."""
        rng, (x, y), (tests, truth) = np.random.default_rng([draw, 7]), self.train, self.test
        sample = np.sort(rng.permutation(len(x))[: round(0.8 * len(x))])
        x, y, known, curve = x[sample], y[sample], list[int](), list[float]()
        every = torch.cat([x, tests])
        while True:
            probabilities = class_probabilities(self.rows, every, known, y[known], classes=len(self.rows))
            curve.append(100 * float((probabilities[len(x) :].argmax(1) == truth).float().mean()))
            if len(known) >= min(labels, len(x) - STEP):
                return curve
            known += STRATEGIES[strategy](State(x, probabilities[: len(x)], known, rng))


def needed(curve: list[float], level: float) -> float:
    """Return after how many labels a curve first reaches a level, interpolated between two measurements."""
    for index, value in enumerate(curve):
        if value >= level:
            before = curve[index - 1] if index else value
            return STEP * (index - (value - level) / (value - before) if value > before else index)
    return float(STEP * (len(curve) - 1))


def main() -> None:
    """Print a table for each set, and the mean ranks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(CHOSEN_ON), choices=list(SETS))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--labels", type=int, default=80)
    options = parser.parse_args()
    torch.set_num_threads(1)
    at = [n // STEP for n in (0, 10, 20, 50) if n <= options.labels]
    print(f"| set | strategy | {' | '.join(f'{STEP * n} labels' for n in at)} | labels needed | gain |")
    print("|---|---|" + "---|" * (len(at) + 2))
    for name in options.sets:
        world = World.read(options.data / SETS[name])
        curves = {s: [world.curve(s, draw, options.labels) for draw in range(options.draws)] for s in STRATEGIES}
        level = float(np.mean([curve[at[-1]] for curve in curves[RANDOM]]))
        labels = {s: [needed(curve, level) for curve in own] for s, own in curves.items()}
        for s, own in curves.items():
            means = " | ".join(f"{np.mean([curve[n] for curve in own]):.1f}" for n in at)
            gain = mean_and_half([a[at[-1]] - b[at[-1]] for a, b in zip(own, curves[RANDOM], strict=True)])
            many = mean_and_half(labels[s])
            print(
                f"| {name} | {s} | {means} | {many[0]:.0f} ±{many[1]:.0f} | {gain[0]:+.1f} ±{gain[1]:.1f} |", flush=True
            )


if __name__ == "__main__":
    main()
