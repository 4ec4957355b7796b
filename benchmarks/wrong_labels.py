"""How many planted wrong labels `texthead.suspicious_labels` ranks first, and how often its list is right.

    python -m benchmarks.wrong_labels --data ../shared/data [--sets clothing objects] [--draws 5] [--page]

All items of a set, features as in `texthead doctor`. 5 % of the labels are replaced: `random` by any other class,
`similar` by one of the two classes whose mean features are nearest. Recall is the share of the planted labels among
the first 2 x planted of the ranking, mean (range) over draws. `listed` is what `doctor` reports; a listed label that
was not planted is a false alarm, even if it is a real error of the set. `clean`: length of the list before planting.
`--page`: what the review view of `texthead label` asks about after 40, 100 and 200 training files are labelled, chosen
as the page chooses them before it has a model; figures are sums over draws.
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
from benchmarks.choosing import SETS as CHOOSING_SETS
from texthead.apps.doctor import suspicious_labels
from texthead.apps.label.labelling import Pool
from texthead.apps.label.selection import Similarities
from texthead.apps.label.session import LabelSession
from texthead.files import write_csv
from texthead.transfer.linear_probes import class_center

SETS = {**CHOOSING_SETS, "grocery": "image/grocery/images.csv", "thermal": "video/thermal/clips.csv"}
GOAL = ("clothing", "objects", "grocery", "exercise")
KINDS, SHARE, DEPTHS = ("random", "similar"), 0.05, (0.5, 1, 1.5, 2, 3, 4)


def encoded(dataset: th.Dataset) -> Tensor:
    """Return the features of a dataset, as in `doctor`."""
    encoder = th.load_encoder("mini")
    pixels = encoder.visual.spec.pixels(th.recipes.small())
    protocol = th.Protocol(1 if dataset.only_images else 4, pixels)
    reading = th.ReadOptions(engine="auto", cache=True)
    return th.FrozenEncoder(encoder, protocol, reading).files([item.path for item in dataset.items]).features


def nearest(features: Tensor, targets: Tensor) -> Tensor:
    """Return, for each class, the others by the cosine of their mean features, the nearest first."""
    x = F.normalize(features - class_center(features, targets), dim=-1)
    means = F.normalize(torch.stack([x[targets == label].mean(0) for label in targets.unique()]), dim=-1)
    return (means @ means.T).fill_diagonal_(2).argsort(dim=1, descending=True)[:, 1:]


def planted(near: Tensor, targets: Tensor, kind: str, draw: int) -> tuple[Tensor, set[int]]:
    """Return the labels with 5 % of them replaced, and the positions of those."""
    rng, labels = np.random.default_rng([draw, KINDS.index(kind)]), targets.clone()
    chosen = rng.permutation(len(labels))[: max(1, round(SHARE * len(labels)))].tolist()
    for item in chosen:
        others = near[int(targets[item])]
        labels[item] = int(rng.choice((others[:2] if kind == "similar" else others).numpy()))
    return labels, {*chosen}


def asked(dataset: th.Dataset, features: Tensor, some: list[int], labels: Tensor) -> set[int]:
    """Return which of some labelled files the review view asks about."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [[str(dataset.items[i].path), dataset.classes[int(y)]] for i, y in zip(some, labels, strict=True)]
        write_csv(Path(folder) / "labels.csv", ["path", "label"], rows)
        session = LabelSession(Pool(dataset, features, tuple(dataset.classes)), Path(folder) / "labels.csv")
        while not session.is_fitted:
            time.sleep(0.02)
        questions = set[int]()
        while (file := session.review()) is not None:
            questions.add(some.index(file.position))
            session.keep(file.position)
        session.close()
    return questions


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--sets", nargs="+", default=[*GOAL, "handdigits", "thermal", "airborne"], choices=list(SETS))
    parser.add_argument("--page", action="store_true", help="measure the review view of `texthead label`")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = "set | kind | items | planted | recall | listed | precision | recall of the list | clean"
    head = "set | labels | kind | planted | asked | wrong" if options.page else head
    print(f"| {head} |\n|{'---|' * (head.count('|') + 1)}")
    curves: dict[tuple[str, str], np.ndarray] = {}
    for name in options.sets:
        data = th.read_dataset(options.data / SETS[name])
        data = data.split("train") if options.page else data
        features, y = encoded(data), data.targets(data.classes)
        near, rows = nearest(features, y), list[list[object]]()
        if options.page:
            order = Similarities(features).suggest(torch.full((len(y), 2), 0.5), [], 200)
            for some in (order[:count] for count in (40, 100, 200)):
                rows.append([name, len(some), "clean", 0, len(asked(data, features, some, y[some])), 0])
                for kind in KINDS:
                    draws = [planted(near, y[some], kind, draw) for draw in range(options.draws)]
                    found = [(asked(data, features, some, labels), wrong) for labels, wrong in draws]
                    sums = np.array([[len(wrong), len(own), len(own & wrong)] for own, wrong in found]).sum(0)
                    rows.append([name, len(some), kind, *sums])
        for kind in () if options.page else KINDS:
            recalls, listed, right, clean = [], [], 0, suspicious_labels(features, y, data.groups)
            for labels, wrong in (planted(near, y, kind, draw) for draw in range(options.draws)):
                judged = suspicious_labels(features, labels, data.groups)
                ranked = [label.item for label in judged.ranked]
                recalls.append([100 * len(wrong & {*ranked[: round(d * len(wrong))]}) / len(wrong) for d in DEPTHS])
                listed.append(len(judged.listed))
                right += len(wrong & {label.item for label in judged.listed})
            curves[name, kind] = np.array(recalls)
            ranges = [f"{np.mean(v):.0f} ({min(v):.0f}-{max(v):.0f})" for v in (curves[name, kind][:, 3], listed)]
            count = round(SHARE * len(y))
            shares = [f"{100 * right / of:.0f} %" if of else "-" for of in (sum(listed), count * options.draws)]
            rows.append([name, kind, len(y), count, *ranges, *shares, len(clean.listed)])
        print("\n".join(f"| {' | '.join(map(str, row))} |" for row in rows), flush=True)
    if curves:
        print(f"\n| recall, precision in the first | {' | '.join(f'{d} x planted' for d in DEPTHS)} |")
        print("|---|" + "---|" * len(DEPTHS))
        for key, recall in curves.items():
            cells = (f"{r:.0f}, {min(r / d, 100):.0f}" for r, d in zip(recall.mean(0), DEPTHS, strict=True))
            print(f"| {', '.join(key)} | {' | '.join(cells)} |")
        goal = [recall[:, 3].mean() for key, recall in curves.items() if key[0] in GOAL]
        print(f"\nRecall of {', '.join(GOAL)}: mean {np.mean(goal or [0]):.1f} %, lowest {min(goal, default=0):.0f} %.")


if __name__ == "__main__":
    main()
