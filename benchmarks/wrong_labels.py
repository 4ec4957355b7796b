"""How many planted wrong labels `texthead.suspicious_labels` ranks first, and how often its list is right.

    python -m benchmarks.wrong_labels --data ../shared/data [--sets clothing objects] [--draws 5]

All items of a set, features as in `texthead doctor`. 5 % of the labels are replaced: `random` by any other class,
`similar` by one of the two classes whose mean features are nearest. Recall is the share of the planted labels among
the first 2 x planted of the ranking, mean (range) over draws. `listed` is what `doctor` reports; a listed label that
was not planted is a false alarm, even if it is a real error of the set. `clean`: length of the list before planting.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import texthead as th
from benchmarks.choosing import SETS
from texthead.apps.doctor import suspicious_labels
from texthead.transfer.linear_probes import class_center

ORDER = ("clothing", "objects", "grocery", "exercise", "handdigits", "thermal", "airborne")
KINDS, SHARE = ("random", "similar"), 0.05


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


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--sets", nargs="+", default=list(ORDER), choices=list(SETS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = "set | kind | items | planted | recall | listed | precision | recall of the list | clean"
    print(f"| {head} |\n|{'---|' * (head.count('|') + 1)}")
    for name in options.sets:
        data = th.read_dataset(options.data / SETS[name])
        features, y = encoded(data), data.targets(data.classes)
        near, rows = nearest(features, y), list[list[object]]()
        for kind in KINDS:
            recalls, listed, right, clean = [], [], 0, suspicious_labels(features, y, data.groups)
            for labels, wrong in (planted(near, y, kind, draw) for draw in range(options.draws)):
                judged = suspicious_labels(features, labels, data.groups)
                ranked = [label.item for label in judged.ranked]
                recalls.append(100 * len(wrong & {*ranked[: 2 * len(wrong)]}) / len(wrong))
                listed.append(len(judged.listed))
                right += len(wrong & {label.item for label in judged.listed})
            ranges = [f"{np.mean(v):.0f} ({min(v):.0f}-{max(v):.0f})" for v in (recalls, listed)]
            count = round(SHARE * len(y))
            shares = [f"{100 * right / of:.0f} %" if of else "-" for of in (sum(listed), count * options.draws)]
            rows.append([name, kind, len(y), count, *ranges, *shares, len(clean.listed)])
        print("\n".join(f"| {' | '.join(map(str, row))} |" for row in rows), flush=True)


if __name__ == "__main__":
    main()
