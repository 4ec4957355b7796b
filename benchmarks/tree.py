"""Broader names against "none of these": known files with a right answer, at 5 % of the unknown files.

    python -m benchmarks.tree --data ../shared/data [--sets clothing] [--k 5 all] [--draws 20]

Each draw makes four classes of clothing unknown (objects six, grocery twelve), fits a text-probe to K training items of
each other class, and calibrates on half of the other items, groups whole. The training items of half of the unknown
classes are the unknown items of the calibration; tested are the other half of the known items, the other items of these
unknown classes ("same") and the items of the other unknown classes ("other").

threshold: the best class above the threshold for "none of these". tree: `calibrate` with a tree; a name above the
class of an unknown file is right for it. tree, strict: the same, where any name is wrong for an unknown file. fitted:
the best class where a logistic regression of the scores, fitted to tell the unknown items of the calibration from known
ones and cross-fitted in five folds, accepts the file; not in the library, since it accepts other kinds of files.

Rates are percentages, means over draws with 95 % t-intervals.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import texthead as th
from benchmarks.calibration import drawn, halves, scored, with_labels
from benchmarks.choosing import SETS, experiment_of, items_of, mean_and_half
from texthead.evaluation import calibration
from texthead.evaluation.broader_names import Broader, members, steps_up
from texthead.features.frozen import FrozenItems
from texthead.text.class_tree import ClassTree
from texthead.transfer.experiment import Experiment
from texthead.transfer.linear_probes import text_probe_head

UNKNOWN = {"clothing": 4, "objects": 6, "grocery": 12}
RATE = 0.05

# A path of broader names: its classes.
TREES = {
    "clothing": {
        "garment/top half/top": "long_sleeve_top, shirt, t-shirt",
        "garment/top half": "outerwear",
        "garment/bottom half/with legs": "pants, shorts",
        "garment/bottom half": "skirt",
        "garment": "dress",
        "accessory": "hat, shoes",
    },
    "objects": {
        "plant/tree": "bonsai, joshua tree",
        "plant/flower": "lotus, sunflower",
        "artefact/furniture/seat": "chair, windsor chair, wheelchair",
        "artefact/furniture/light": "chandelier, lamp, menorah",
        "artefact/instrument": "electric guitar, euphonium, grand piano",
        "artefact/ship/sailing ship": "ketch, schooner",
        "artefact/ship": "ferry",
        "artefact/vessel": "cup, ewer",
        "artefact": "buddha statue, umbrella",
    },
    "grocery": {
        "fruit/citrus": "lemon, lime, orange, red_grapefruit, satsumas",
        "fruit/pome": "apple, pear",
        "fruit/stone fruit": "nectarine, peach, plum",
        "fruit/tropical": "avocado, banana, kiwi, mango, papaya, passion_fruit, pineapple, pomegranate",
        "fruit": "melon",
        "vegetable/root": "carrots, ginger, potato, red_beet",
        "vegetable/allium": "garlic, leek, onion",
        "vegetable": "asparagus, aubergine, cabbage, cucumber, mushroom, pepper, tomato, zucchini",
        "carton/milks": "milk, oat_milk, soy_milk, sour_milk",
        "carton/yoghurts": "yoghurt, oatghurt, soyghurt, sour_cream",
        "carton": "juice",
    },
}

Rates = dict[str, float]


def tree_of(name: str) -> ClassTree:
    """Return the tree of a set."""
    pairs = [(label, above) for above, labels in TREES[name].items() for label in labels.split(", ")]
    return ClassTree({label: tuple(above.split("/")) for label, above in pairs})


def percent(values: Tensor) -> float:
    """Return the share of true values, in percent."""
    return 100 * float(values.double().mean())


def right_names(tree: ClassTree, labels: list[str], known: int, broader: Broader) -> Tensor:
    """Return which names are above each label."""
    return torch.tensor([[*[False] * known, *(name in tree.ancestors(label) for name in broader)] for label in labels])


class Draw:
    """Scores of one draw: `known` and `unknown` of the calibration, `tests`, `same` and `other` to test."""

    def __init__(
        self, tree: ClassTree, labels: list[str], rows: Tensor, parts: dict[str, FrozenItems], known: list[int]
    ):
        head = text_probe_head(
            rows[known], parts["train"].features, parts["train"].targets, names=[labels[i] for i in known]
        )
        self.parts, self.tree, self.classes = parts, tree, len(known)
        self.scores = {name: scored(head, items) for name, items in parts.items()}
        self.broader = tree.broader([labels[index] for index in known])
        self.steps = steps_up(members(self.broader, self.classes))
        self.right = {
            name: right_names(tree, items.data.labels, len(known), self.broader) for name, items in parts.items()
        }

    def calibrated(self, *, strict: bool = False, threshold: bool = False) -> calibration.Calibration:
        """Calibrate on the draw's items: with a tree, or only with a threshold."""
        known = self.scores["known"], self.parts["known"].targets
        unknown = calibration.Unknown(self.scores["unknown"], None, self.right["unknown"])
        made = calibration.calibrate(*known, unknown=unknown, false_accept=RATE, coverage=None)
        if threshold:
            return made
        return calibration.with_level(made, *known, self.broader, unknown=None if strict else unknown)

    def rates(self, answers: dict[str, Tensor]) -> Rates:
        """Return the rates of answers to `tests`, `same` and `other`; -1 is none of these."""
        given, targets = answers["tests"], self.parts["tests"].targets.long()
        right = members(self.broader, self.classes)[given, targets] & (given >= 0)
        rates = {
            "right": percent(right),
            "class": percent(right & (given < self.classes)),
            "1 step": percent(right & (self.steps[given] == 1)),
            "wrong": percent((given >= 0) & ~right),
        }
        for name in ("same", "other"):
            given = answers[name]
            fine = self.right[name].gather(1, given.clamp(min=0)[:, None])[:, 0]
            rates |= {f"{name}, wrong": percent((given >= 0) & ~fine), f"{name}, any": percent(given >= 0)}
        return rates

    def best(self, accepted: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the best class of accepted items, else -1."""
        return {name: self.scores[name].argmax(1).masked_fill(~accepted[name], -1) for name in accepted}

    def results(self) -> Iterator[tuple[str, Rates]]:
        """Yield each method and its rates."""
        made, tests = self.calibrated(threshold=True), ("tests", "same", "other")
        yield "threshold", self.rates(self.best({name: made.accepts(self.scores[name]) for name in tests}))
        for title, strict in (("tree", False), ("tree, strict", True)):
            made = self.calibrated(strict=strict)
            yield title, self.rates({name: made.answers(self.scores[name]) for name in tests})
        yield "fitted", self.rates(self.best(self.fitted(made.temperature)))

    def fitted(self, temperature: float) -> dict[str, Tensor]:
        """Return which items the logistic regression accepts."""
        known, unknown = (features_of(self.scores[name] / temperature) for name in ("known", "unknown"))

        def fit(known: np.ndarray, unknown: np.ndarray):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000))
            return model.fit(np.concatenate([known, unknown]), [1] * len(known) + [0] * len(unknown)).decision_function

        folds = [np.random.default_rng(0).permutation(len(each)) % 5 for each in (known, unknown)]
        cross = np.zeros(len(unknown))
        for fold in range(5):
            cross[folds[1] == fold] = fit(known[folds[0] != fold], unknown[folds[1] != fold])(unknown[folds[1] == fold])
        limit, accept = np.sort(cross)[int(np.ceil((len(cross) + 1) * (1 - RATE) - 1e-9)) - 1], fit(known, unknown)
        tests = ("tests", "same", "other")
        return {name: torch.from_numpy(accept(features_of(self.scores[name] / temperature)) > limit) for name in tests}


def features_of(scores: Tensor) -> np.ndarray:
    """Return the features of the logistic regression: the scores, and how sure the best class is in several ways."""
    scores = scores.double()
    best, second = scores.topk(2, 1).values.T
    probabilities = scores.softmax(1)
    sure = probabilities.amax(1).clamp(1e-9, 1 - 1e-9).logit()
    entropy = -(probabilities * scores.log_softmax(1)).sum(1)
    columns = [sure, scores.logsumexp(1), best, best - second, entropy]
    return torch.cat([torch.stack(columns, 1), scores], 1).numpy()


def draws(
    name: str, experiment: Experiment, train: FrozenItems, rest: FrozenItems, k: int | None, count: int
) -> Iterator[Draw]:
    """Yield draws."""
    labels, rows = list(experiment.labels), experiment.encoder.text_rows(experiment.names)
    out, tree = UNKNOWN[name], tree_of(name)
    for seed in range(count):
        order = np.random.default_rng([seed, out]).permutation(len(labels)).tolist()
        setting, other, known = order[: out // 2], order[out // 2 : out], sorted(order[out:])
        fit, (first, second) = drawn(with_labels(train, known), k, seed), halves(with_labels(rest, known), seed)
        unknown, same, others = with_labels(train, setting), with_labels(rest, setting), with_labels(rest, other)
        parts = {"train": fit, "known": first, "tests": second, "unknown": unknown, "same": same, "other": others}
        yield Draw(tree, labels, rows, parts, known)


def cells(values: list[Rates]) -> str:
    """Return the mean and half of the interval of each rate."""
    pairs = (mean_and_half([each[key] for each in values]) for key in values[0])
    return " | ".join(f"{mean:.1f} ±{half:.1f}" for mean, half in pairs)


def ratio(values: list[Rates], base: list[Rates]) -> str:
    """Return how many times as many known files get a right answer, with the jackknife's 95 % interval over draws."""
    own, other = (np.array([each["right"] for each in rates]) for rates in (values, base))
    whole, left_out = own.sum() / other.sum(), (own.sum() - own) / (other.sum() - other)
    count = len(own)
    half = 2.09 * np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum())
    return f"{whole:.2f} ({whole - half:.2f}-{whole + half:.2f})"


def main() -> None:
    """Print the table, one line for each set, K and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(UNKNOWN), choices=list(UNKNOWN))
    parser.add_argument("--k", nargs="+", default=["5", "all"])
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    columns = (
        "set",
        "K",
        "method",
        "times threshold",
        "right",
        "class",
        "1 step",
        "wrong",
        "same, wrong",
        "same, any",
        "other, wrong",
        "other, any",
    )
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    for name in options.sets:
        dataset = th.read_dataset(options.data / SETS[name])
        experiment = experiment_of(dataset)
        train = items_of(experiment, dataset.split("train"))
        rest = dataset.select([index for index, item in enumerate(dataset.items) if item.split != "train"])
        for k in (None if k == "all" else int(k) for k in options.k):
            results: dict[str, list[Rates]] = {}
            for draw in draws(name, experiment, train, items_of(experiment, rest), k, options.draws):
                for title, rates in draw.results():
                    results.setdefault(title, []).append(rates)
            for title, values in results.items():
                times = ratio(values, results["threshold"])
                print(f"| {name} | {k or 'all'} | {title} | {times} | {cells(values)} |", flush=True)


if __name__ == "__main__":
    main()
