"""Several labels per file: text-probe against scikit-learn's logistic regression, one class against the rest.

    python -m benchmarks.several --data ../shared/data [--draws 8] [--sets objects clothing videos]

Mosaics: two photos of different classes side by side, each 112 of 224 pixels wide, of videos the middle frame; 400 of
training items, 300 of test items. `objects 0-3`: three photos, of which none to three are of the classes and the others
from ImageNet. `videos`: the drawn videos of `texthead demo`, each with its object and its motion as labels. K positive
items per class are drawn so that no more items than needed are taken; 1-20: each class gets its own number, 1 to 20.
Test items choose nothing. The score is the mean average precision (mAP) over classes, in percent.

`OvR`: LogisticRegression(C=10, class_weight="balanced") a class on centered features of length 1; `CV`: C from 0.1 to
1000 by cross-validation for each class with two positive items. `text`: text rows alone. Leads are paired by draw, with
95 % t-intervals of their mean and the worst draw. F1: at the thresholds of the head, micro and macro, against OvR at 0.
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageOps
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor
from torch.nn.functional import normalize

import texthead as th
from benchmarks.choosing import SETS, mean_and_half
from texthead.apps.demo.drawn_videos import MOTIONS, OBJECTS, draw_videos
from texthead.encoders.encoder import Encoder
from texthead.features.frozen import FrozenEncoder
from texthead.media import MediaPath
from texthead.recipes import MethodName
from texthead.text.class_names import clean_names
from texthead.transfer.multilabel import fit_multilabel

SIDE, TRAIN, TESTS = 224, 400, 300
# Left, top, right and bottom of the parts of a mosaic.
BOXES = {
    2: [(0, 0, 112, 224), (112, 0, 224, 224)],
    3: [(0, 0, 112, 224), (112, 0, 224, 112), (112, 112, 224, 224)],
}
METHODS: tuple[MethodName, ...] = ("text-probe", "probe")


class Part(NamedTuple):
    """Items: their features and whether each has each class."""

    features: Float[Tensor, "items dim"]
    hot: Bool[Tensor, "items classes"]


class Task(NamedTuple):
    """A set: its class names, training items and test items."""

    names: list[str]
    train: Part
    tests: Part


def photo(path: Path) -> Image.Image:
    """Return an image, or the middle frame of a video."""
    with MediaPath(path).open() as media:
        return Image.fromarray(media.frames_at([media.num_frames // 2])[0].permute(1, 2, 0).numpy())


@torch.inference_mode()
def mosaics(
    encoder: Encoder, items: th.Dataset, names: Sequence[str], number: int, seed: int, others: Sequence[Path] = ()
) -> Part:
    """Return mosaics of two items of different classes; with others of three, of which some are others."""
    numbers, batches, hot = np.random.default_rng(seed), [], np.zeros((number, len(names)), bool)
    photos = [[photo(item.path) for item in items.items if item.label == name] for name in names]
    strangers = [photo(path) for path in others]
    for first in range(0, number, 16):
        pictures = []
        for mosaic in range(first, min(first + 16, number)):
            labels = numbers.choice(len(names), 3 if strangers else 2, replace=False)
            known = numbers.integers(4) if strangers else 2
            own = [photos[label][numbers.integers(len(photos[label]))] for label in labels[:known]]
            hot[mosaic, labels[:known]] = True
            own += [strangers[numbers.integers(len(strangers))] for _ in labels[known:]]
            picture = Image.new("RGB", (SIDE, SIDE))
            for (left, top, right, bottom), place in zip(BOXES[len(own)], numbers.permutation(len(own)), strict=True):
                part = ImageOps.fit(own[place], (right - left, bottom - top), Image.Resampling.BICUBIC)
                picture.paste(part, (left, top))
            pictures.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
        batches.append(encoder.visual.eval()(torch.stack(pictures)).float())
    return Part(torch.cat(batches), torch.from_numpy(hot))


def videos(encoder: Encoder) -> Task:
    """Return drawn videos with their object and motion."""
    names, parts = sorted([*OBJECTS, *MOTIONS]), []
    with tempfile.TemporaryDirectory() as folder:
        data = th.read_dataset(draw_videos(Path(folder) / "videos", train=8, test=8))
        frozen = FrozenEncoder(encoder, encoder.visual.spec.protocol(frames=4))
        for part in (data.split("train"), data.split("test")):
            own = [{value for column, value in item.extra if column in ("object", "motion")} for item in part.items]
            hot = torch.tensor([[name in labels for name in names] for labels in own])
            parts.append(Part(frozen.files([item.path for item in part.items]).features, hot))
    return Task(names, *parts)


def read_task(name: str, data: Path, encoder: Encoder) -> Task:
    """Return a set with its features."""
    if name == "videos":
        return videos(encoder)
    base, _, variant = name.partition(" ")
    items, strangers = th.read_dataset(data / SETS[base]), sorted((data / "image/imagenet_sample_1000").glob("*/*"))
    parts = (
        mosaics(encoder, part, items.classes, number, seed, strangers[seed::2] if variant else ())
        for seed, (part, number) in enumerate(((items.split("train"), TRAIN), (items.split("test"), TESTS)))
    )
    return Task(clean_names(items.classes), *parts)


def drawn(hot: Bool[np.ndarray, "items classes"], k: str, seed: int) -> list[int]:
    """Return positions of items with at least k positive ones per class, as few as needed; "1-20" differs by class."""
    numbers, classes = np.random.default_rng(seed), hot.shape[1]
    low, _, high = k.partition("-")
    wanted = numbers.permutation(np.geomspace(int(low), int(high or low), classes).round().astype(int))
    taken = np.zeros(len(hot), bool)
    for label in numbers.permutation(classes):
        free = numbers.permutation(np.flatnonzero(hot[:, label] & ~taken))
        if high:
            # First those whose other classes still need items.
            full = hot[taken].sum(0) >= wanted
            free = free[np.argsort(hot[free] @ full.astype(int), kind="stable")]
        taken[free[: max(0, wanted[label] - hot[taken, label].sum())]] = True
    return np.flatnonzero(taken).tolist()


def one_against_rest(
    fit: Callable[[int], LogisticRegression | LogisticRegressionCV],
    x: Float[np.ndarray, "items dim"],
    hot: Bool[np.ndarray, "items classes"],
    tests: Float[np.ndarray, "tests dim"],
) -> Float[np.ndarray, "tests classes"]:
    """Return the scores of a regression a class; `fit` gets the number of its positive or negative items, if fewer."""
    scores = np.zeros((len(tests), hot.shape[1]))
    for column, own in enumerate(hot.T):
        few = int(min(own.sum(), (~own).sum()))
        if few:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scores[:, column] = fit(few).fit(x, own).decision_function(tests)
    return scores


def search(few: int) -> LogisticRegression | LogisticRegressionCV:
    """Return a regression that cross-validates C if there are two positive and two negative items or more."""
    if few < 2:
        return LogisticRegression(C=10, max_iter=3000, class_weight="balanced")
    grid = {
        "Cs": [0.1, 1, 10, 100, 1000],
        "cv": min(5, few),
        "scoring": "average_precision",
        "use_legacy_attributes": False,
    }
    return LogisticRegressionCV(**grid, max_iter=3000, class_weight="balanced")


def one_draw(task: Task, encoder: Encoder, own: list[int]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Return the mAP of each method, and (micro, macro) F1 of those with thresholds."""
    features, hot = task.train.features[own], task.train.hot[own]
    truth, center = task.tests.hot.numpy(), features.mean(0)
    x, tests = (normalize(each - center, dim=-1).double().numpy() for each in (features, task.tests.features))
    text = encoder.text_rows(task.names).double().numpy()
    scores = {"text": tests @ text.T}
    plain = lambda _: LogisticRegression(C=10, max_iter=3000, class_weight="balanced")  # noqa: E731
    for name, fit in (("OvR", plain), ("CV", search)):
        scores[name] = one_against_rest(fit, x, hot.numpy(), tests)
    chosen = {"OvR": scores["OvR"] >= 0}
    for name in METHODS:
        head = fit_multilabel(name, encoder, task.names, task.names, features, hot, range(len(own)))
        with torch.inference_mode():
            own_scores = head(task.tests.features)
        scores[name], chosen[name] = own_scores.numpy(), head.chosen(own_scores).numpy()
    found = {name: 100 * float(average_precision_score(truth, each)) for name, each in scores.items()}
    f1 = lambda name, mean: 100 * float(f1_score(truth, chosen[name], average=mean))  # noqa: E731
    return found, {name: (f1(name, "micro"), f1(name, "macro")) for name in chosen}


def paired(first: Sequence[float], second: Sequence[float]) -> str:
    """Return the mean lead with its 95 % interval and worst draw."""
    leads = np.subtract(first, second).tolist()
    mean, half = mean_and_half(leads)
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f}; worst {min(leads):+.1f})"


def main() -> None:
    """Print a line for each set and K."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--k", nargs="+", default=["1", "2", "4", "8", "1-20"])
    sets = ["objects", "objects 0-3", "clothing", "grocery", "handdigits", "exercise", "airborne", "thermal", "videos"]
    parser.add_argument("--sets", nargs="+", default=sets, choices=sets)
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder = th.load_encoder("mini")
    methods = ("OvR", "CV", "text", "probe", "text-probe")
    header = ["set", "K", "items", *methods, "lead over OvR", "lead over CV", "F1 of OvR", "F1 of text-probe"]
    print(f"| {' | '.join(header)} |\n{'|---' * len(header)}|")
    for name in options.sets:
        task = read_task(name, options.data, encoder)
        for k in options.k:
            picks = [drawn(task.train.hot.numpy(), k, seed) for seed in range(options.draws)]
            draws, marks = zip(*(one_draw(task, encoder, own) for own in picks), strict=True)
            mAP = {method: [draw[method] for draw in draws] for method in methods}
            cells = [f"{np.mean(mAP[method]):.1f}" for method in methods]
            cells[-1] += f" ({min(mAP['text-probe']):.1f}-{max(mAP['text-probe']):.1f})"
            cells += [paired(mAP["text-probe"], mAP[other]) for other in ("OvR", "CV")]
            for method in ("OvR", "text-probe"):
                cells.append(", ".join(f"{value:.1f}" for value in np.mean([mark[method] for mark in marks], axis=0)))
            print(f"| {name} | {k} | {np.mean([len(own) for own in picks]):.0f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
