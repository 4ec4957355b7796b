"""How many labels each selection strategy needs to match 50 random ones.

    python -m benchmarks.labelling --data ../shared/data [--sets clothing objects] [--draws 10] [--labels 80]
    python -m benchmarks.labelling --data ../shared/data --page

Frozen `mini` at 224 pixels, four frames a clip. Each draw is four fifths of the training files, from which a strategy
takes five at a time, the first five from class names alone. After each five a head is fitted as in `texthead label`
(`class_probabilities`), and top-1 of the whole test split is taken. `labels needed`: labels to reach the mean top-1 of
50 random ones; more than all counts as all. `gain`: points over 50 random labels, with the paired 95 % t-interval over
draws.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor

import texthead as th
from benchmarks.choosing import SETS, mean_and_half
from texthead.apps.label.labelling import Pool
from texthead.apps.label.learning_curve import learning_curve
from texthead.apps.label.selection import Similarities, class_probabilities, margin_uncertainty
from texthead.apps.label.session import LabelSession
from texthead.data.dataset import Dataset, Item
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


LABELS = (20, 40, 60)


def estimated_and_true(world: World, draw: int) -> list[tuple[float, ...]]:
    """Return the estimates of the page of `texthead label` and the true values, after each of some numbers of labels.

    (cross-validated top-1; top-1 of the files without a label, estimated and true)
    """
    rng, (x, y) = np.random.default_rng([draw, 7]), world.train
    sample = np.sort(rng.permutation(len(x))[: round(0.8 * len(x))])
    x, y, known, rows, classes = x[sample], y[sample], list[int](), world.rows, len(world.rows)
    coverage, points = Similarities(x), []
    for count in range(LABELS[-1] + 1):
        probabilities = class_probabilities(rows, x, known, y[known], classes=classes)
        if count in LABELS:
            curve = learning_curve(rows, x[known], y[known], classes=classes)
            assert curve is not None
            left = np.setdiff1d(np.arange(len(x)), known)
            others = 100 * float(curve.calibrated(probabilities[left]).amax(-1).mean())
            right = 100 * float((probabilities[left].argmax(1) == y[left]).float().mean())
            points.append((curve.top1, others, right))
        known += coverage.suggest(probabilities, known, 1)
    return points


def speed(files: int = 5000, dim: int = 512, classes: int = 20, labels: int = 300) -> dict[str, list[float]]:
    """Return seconds on a page of drawn clouds: to open, to write a label and to choose the next file; after every 20th
    label also to fit and to cross-validate.
    """
    rng = torch.Generator().manual_seed(0)
    means, own = torch.randn(classes, dim, generator=rng), torch.arange(files) % classes
    features, seconds = means[own] + 1.5 * torch.randn(files, dim, generator=rng), defaultdict[str, list[float]](list)

    def timed(name: str, does: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        answer = does()
        seconds[name].append(time.perf_counter() - begun)
        return answer

    with tempfile.TemporaryDirectory() as folder:
        labels_csv, names = Path(folder) / "labels.csv", [f"class {number}" for number in range(classes)]
        items = tuple(Item(Path(folder) / f"{number:05d}.png", ()) for number in range(files))
        known, rows = list[int](), lambda few: torch.stack([means[names.index(name)] for name in few])
        pool = Pool(Dataset(items, folder), features, tuple(names), encode=rows)
        session = timed("open", lambda: LabelSession(pool, labels_csv))
        file = session.next_file()
        for count in range(1, labels + 1):
            known.append(file.position)
            timed("write a label", lambda: session.label(known[-1], names[int(own[known[-1]])]))
            file = timed("choose the next file", lambda: session.next_file())
            if count % 20 == 0:
                y, picked = own[known], features[known]
                timed("fit", partial(class_probabilities, means, features, [*known], y, classes=classes))
                timed("cross-validate", partial(learning_curve, means, picked, y, classes=classes))
        session.close()
    return seconds


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
    parser.add_argument("--page", action="store_true", help="measure the page: its speed and its estimates of accuracy")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.page:
        for name, seconds in speed().items():
            print(f"{name}: median {np.median(seconds):.3f} s, at most {max(seconds):.3f} s, of {len(seconds)}")
        columns = ("set", "labels", "cross-validated", "others, estimate", "true")
        print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for name in options.sets:
            world = World.read(options.data / SETS[name])
            draws = np.array([estimated_and_true(world, draw) for draw in range(options.draws)], float).mean(0)
            for count, (own, estimate, true) in zip(LABELS, draws, strict=True):
                print(f"| {name} | {count} | {own:.1f} | {estimate:.1f} | {true:.1f} |", flush=True)
        return
    at = [n // STEP for n in (0, 10, 20, 50) if n <= options.labels]
    ranks: dict[str, list[int]] = {name: [] for name in STRATEGIES}
    print(f"| set | strategy | {' | '.join(f'{STEP * n} labels' for n in at)} | labels needed | gain |")
    print("|---|---|" + "---|" * (len(at) + 2))
    for name in options.sets:
        world = World.read(options.data / SETS[name])
        curves = {s: [world.curve(s, draw, options.labels) for draw in range(options.draws)] for s in STRATEGIES}
        level = float(np.mean([curve[at[-1]] for curve in curves[RANDOM]]))
        labels = {s: [needed(curve, level) for curve in own] for s, own in curves.items()}
        for rank, s in enumerate(sorted(STRATEGIES, key=lambda s: float(np.mean(labels[s])))):
            ranks[s].append(rank + 1)
        for s, own in curves.items():
            means = " | ".join(f"{np.mean([curve[n] for curve in own]):.1f}" for n in at)
            gain = mean_and_half([a[at[-1]] - b[at[-1]] for a, b in zip(own, curves[RANDOM], strict=True)])
            many = mean_and_half(labels[s])
            print(
                f"| {name} | {s} | {means} | {many[0]:.0f} ±{many[1]:.0f} | {gain[0]:+.1f} ±{gain[1]:.1f} |", flush=True
            )
    for s, own in sorted(ranks.items(), key=lambda entry: float(np.mean(entry[1]))):
        print(f"mean rank {np.mean(own):.1f}: {s} ({', '.join(map(str, own))})")


if __name__ == "__main__":
    main()
