"""How many planted wrong labels `texthead.suspicious_labels` finds, and how often its list is right.

    python -m benchmarks.wrong_labels --data ../shared/data [--sets clothing objects] [--draws 5] [--page]

All items of a set, features as in `texthead doctor`. 5 % of the labels are replaced, in five draws: `random` by any
other class, `similar` by one of the two classes whose mean features are nearest. Recall is the share of the planted
labels among the first 2 x planted of the ranking. `listed` is what `doctor` reports; every listed label that was not
planted counts as a false alarm, real errors of the set included. `clean` is the length of the list before planting.
`--page` does the same for the review view of `texthead label`: training files in the order in which the page asks for
them without a model, with 40, 100 and 200 labels; `before` is its old rule, a cross-validated fit that disagrees.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import texthead as th
from benchmarks.choosing import SETS as FEW_SETS
from texthead.apps.label.labelling import Pool
from texthead.apps.label.learning_curve import learning_curve
from texthead.apps.label.selection import Similarities
from texthead.apps.label.session import LabelSession
from texthead.data.dataset import label_indices
from texthead.files import write_csv
from texthead.text.class_names import clean_names
from texthead.transfer.closed_form import class_center

SETS = {**FEW_SETS, "grocery": "image/grocery/images.csv", "thermal": "video/thermal/clips.csv"}
GOAL, BESIDE = ("clothing", "objects", "grocery", "exercise"), ("handdigits", "thermal", "airborne")
KINDS, SHARE, DEPTHS = ("random", "similar"), 0.05, (0.5, 1, 1.5, 2, 3, 4)


def encoded(dataset: th.Dataset) -> Tensor:
    """Return the features of a dataset, as in `doctor`."""
    encoder = th.load_encoder("mini")
    spec = encoder.visual.spec
    protocol = th.Protocol(1 if dataset.only_images else 4, spec.pixels(th.recipes.small()))
    paths = [item.path for item in dataset.items]
    return th.FrozenEncoder(encoder, protocol, th.Reading(engine="auto", cache=True)).files(paths).features


def nearest(features: Tensor, targets: Tensor) -> Tensor:
    """Return, for each class, the others by the cosine of their mean features, the nearest first."""
    x = F.normalize(features - class_center(features, targets), dim=-1)
    means = F.normalize(torch.stack([x[targets == label].mean(0) for label in targets.unique()]), dim=-1)
    return (means @ means.T).fill_diagonal_(2).argsort(dim=1, descending=True)[:, 1:]


def planted(near: Tensor, targets: Tensor, kind: str, draw: int) -> tuple[Tensor, list[int]]:
    """Return the labels with 5 % of them replaced, and the positions of those."""
    rng, labels = np.random.default_rng([draw, KINDS.index(kind)]), targets.clone()
    chosen = rng.permutation(len(labels))[: max(1, round(SHARE * len(labels)))].tolist()
    for item in chosen:
        others = near[int(targets[item])]
        labels[item] = int(rng.choice((others[:2] if kind == "similar" else others).numpy()))
    return labels, chosen


def spread(values: list[float]) -> str:
    """Return the mean, and the range in brackets."""
    return f"{np.mean(values):.0f} ({min(values):.0f}-{max(values):.0f})" if values else "-"


def share(hits: int, listed: int) -> str:
    """Return a percentage; a dash without findings."""
    return f"{100 * hits / listed:.0f} %" if listed else "-"


def doctor_rows(
    name: str, features: Tensor, targets: Tensor, groups: list[str], draws: int
) -> tuple[list[str], dict[str, list[float]]]:
    """Return a row for each kind, and the recall of each kind and depth."""
    rows, curves = [], {}
    clean, near = th.suspicious_labels(features, targets, groups), nearest(features, targets)
    for kind in KINDS:
        found, listed, hits, planted_labels, agreement = [], list[int](), 0, 0, list[float]()
        for draw in range(draws):
            labels, wrong = planted(near, targets, kind, draw)
            judged = th.suspicious_labels(features, labels, groups)
            order = [label.item for label in judged.ranked]
            found.append([100 * len({*order[: round(d * len(wrong))]} & {*wrong}) / len(wrong) for d in DEPTHS])
            listed.append(len(judged.listed))
            hits += len({label.item for label in judged.listed} & {*wrong})
            planted_labels += len(wrong)
            agreement.append(100 * judged.agreement)
        curves[kind] = np.mean(found, axis=0).tolist()
        cells = [name, kind, f"{len(targets):,}", str(planted_labels // draws), f"{np.mean(agreement):.0f} %"]
        cells += [spread([own[DEPTHS.index(2)] for own in found]), spread([float(count) for count in listed])]
        rows.append([*cells, share(hits, sum(listed)), share(hits, planted_labels), str(len(clean.listed))])
    return rows, curves


def page_rows(name: str, train: th.Dataset, features: Tensor, targets: Tensor, draws: int) -> list[list[str]]:
    """Return a row for each number of labels: what the review view asks about, and what its old rule did."""
    rows_of_text = th.text_weights(th.load_encoder("mini"), list(clean_names(train.classes)), template="{}")
    near, counts = nearest(features, targets), {}
    picked = Similarities(features).next(torch.full((len(features), 2), 0.5), [], min(200, len(features)))
    for labels, kind, draw in [(n, k, d) for n in (40, 100, 200) for k in ("clean", *KINDS) for d in range(draws)]:
        if labels > len(picked) or (kind == "clean" and draw):
            continue
        some = picked[:labels]
        own, wrong = (targets[some], []) if kind == "clean" else planted(near, targets[some], kind, draw)
        curve = learning_curve(rows_of_text, features[some], own, classes=len(train.classes))
        assert curve is not None
        old = np.flatnonzero((curve.probabilities.argmax(1) != own).numpy()).tolist()
        with tempfile.TemporaryDirectory() as folder:
            labels_csv = Path(folder) / "labels.csv"
            names = [[str(train.items[item].path), train.classes[int(y)]] for item, y in zip(some, own, strict=True)]
            write_csv(labels_csv, ["path", "label"], names)
            session = LabelSession(Pool(train, features), train.classes, None, labels_csv)
            while not session.is_fitted:
                time.sleep(0.02)
            asked = []
            while (file := session.review("a")) is not None:
                asked.append(some.index(file.position))
                session.keep("a", file.position)
            session.close()
        entry = counts.setdefault((labels, kind), np.zeros(5, int))
        entry += [len(wrong), len(asked), len({*asked} & {*wrong}), len(old), len({*old} & {*wrong})]
    table = []
    for (labels, kind), (plant, asked, right, old, old_right) in counts.items():
        new, before = (f"{right} of {asked}", f"{old_right} of {old}")
        table.append([name, str(labels), kind, str(plant), new, share(right, asked), before, share(old_right, old)])
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--sets", nargs="+", default=[*GOAL, *BESIDE], choices=list(SETS))
    parser.add_argument("--page", action="store_true", help="measure the review view of `texthead label`")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = ["set", "kind", "items", "planted", "agreement", "recall, first 2 x planted", "listed", "precision"]
    head = (
        ["set", "labels", "kind", "planted", "wrong of asked", "precision", "before", "precision"]
        if options.page
        else ([*head, "recall of the list", "clean"])
    )
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    curves: dict[str, dict[str, list[float]]] = {}
    for name in options.sets:
        dataset = th.read_dataset(options.data / SETS[name])
        dataset = dataset.split("train") if options.page else dataset
        features, targets = encoded(dataset), torch.tensor(label_indices(dataset, dataset.classes))
        if options.page:
            rows = page_rows(name, dataset, features, targets, options.draws)
        else:
            rows, curves[name] = doctor_rows(name, features, targets, dataset.groups, options.draws)
        print("\n".join(f"| {' | '.join(row)} |" for row in rows), flush=True)
    if curves:
        print(f"\n| recall (precision) in the first | {' | '.join(f'{d} x planted' for d in DEPTHS)} |")
        print("|---|" + "---|" * len(DEPTHS))
        for name, own in curves.items():
            for kind, recall in own.items():
                cells = [f"{value:.0f} ({value / d:.0f})" for value, d in zip(recall, DEPTHS, strict=True)]
                print(f"| {name}, {kind} | {' | '.join(cells)} |")
        goal = [own[kind][DEPTHS.index(2)] for name, own in curves.items() if name in GOAL for kind in KINDS]
        if goal:
            print(f"\nMean of the goal's sets and kinds: {np.mean(goal):.1f} %, lowest {min(goal):.0f} %.")


if __name__ == "__main__":
    main()
