"""Quality of `texthead calibrate`: calibration error, coverage and size of prediction sets, false accepts.

    python -m benchmarks.calibration --data ../shared/data [--sets clothing airborne drawn] [--k 5 all] [--seeds 5]

Each seed draws K items per class from the training split and halves the other items, keeping groups whole: one half to
calibrate, one to test. Two heads on features that `mini` encodes once: zero-shot, centered on the K items, and the
text-probe, which `texthead train` fits. For "none of these" four classes (airborne two, drawn videos
sixteen) are removed at random. The training items of half of them set the threshold; it is tested on the other items
of these classes ("same") and on the items of the other half ("other").
Intervals are 95 % t-intervals over seeds, whose halves overlap.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import texthead as th
from benchmarks.choosing import SETS, experiment_of, items_of, mean_and_half
from texthead.apps.demo.drawn_videos import draw_videos
from texthead.data import splits
from texthead.data.dataset import Dataset
from texthead.evaluation import calibration
from texthead.evaluation.reliability import chance_error, expected_calibration_error
from texthead.evaluation.reliability import confidences as c_confidences
from texthead.features.frozen import FrozenItems
from texthead.transfer.experiment import Experiment
from texthead.transfer.linear_probes import class_center, text_probe_head

UNKNOWN = {"clothing": 4, "airborne": 2, "drawn": 16}
RATE, COVERAGE = 0.05, 0.9
Fit = Callable[[Tensor, FrozenItems, list[str]], nn.Module]


def zero_shot(rows: Tensor, items: FrozenItems, names: list[str]) -> nn.Module:
    """Return a head of text rows that centers features on the training items."""
    return th.FrozenHead(rows, names=names, scale=30.0, center=class_center(items.features, items.targets))


def text_probe(rows: Tensor, items: FrozenItems, names: list[str]) -> nn.Module:
    """Fit text rows and training items together."""
    return text_probe_head(rows, items.features, items.targets, names=names)


METHODS: dict[str, Fit] = {"text-probe": text_probe, "zero-shot": zero_shot}


def halves(items: FrozenItems, seed: int) -> tuple[FrozenItems, FrozenItems]:
    """Halve each class, groups kept whole: each group goes to the half that has fewer items of its class."""
    generator = np.random.default_rng(seed)
    positions: tuple[list[int], list[int]] = ([], [])
    for label in items.targets.unique().tolist():
        groups: dict[object, list[int]] = defaultdict(list)
        for position in (items.targets == label).nonzero()[:, 0].tolist():
            groups[items.groups[position]].append(position)
        sizes, first = [0, 0], int(generator.integers(2))
        for index in generator.permutation(len(groups)):
            group = list(groups.values())[index]
            half = first if sizes[0] == sizes[1] else int(sizes[0] > sizes[1])
            positions[half].extend(group)
            sizes[half] += len(group)
    return items.select(positions[0]), items.select(positions[1])


def with_labels(items: FrozenItems, labels: list[int]) -> FrozenItems:
    """Return the items of some labels, with targets renumbered from 0."""
    new_index = torch.full((int(items.targets.max()) + 1,), -1)
    new_index[torch.tensor(labels)] = torch.arange(len(labels))
    chosen = items.select((new_index[items.targets] >= 0).nonzero()[:, 0].tolist())
    return FrozenItems(chosen.data, chosen.features, new_index[chosen.targets])


def drawn(items: FrozenItems, k: int | None, seed: int) -> FrozenItems:
    """Return K items per class, or all."""
    if k is None:
        return items
    return items.select(splits.k_shot(items.data.label_sets, k, names=items.data.item_names, seed=seed))


@torch.inference_mode()
def scored(head: nn.Module, items: FrozenItems) -> Tensor:
    """Return the scores of the items' mean features."""
    return head.eval()(items.features)


def calibration_figures(head: nn.Module, fitting: FrozenItems, tests: FrozenItems) -> dict[str, float]:
    """Calibrate on `fitting`; return the errors on `tests` before and after, and coverage and size of the sets."""
    made = calibration.calibrate(scored(head, fitting), fitting.targets, coverage=COVERAGE)
    raw = scored(head, tests).double()
    right = (raw.argmax(1) == tests.targets).numpy()
    sure = {"before": raw, "after": made.apply(raw)}
    confidences = {when: c_confidences(scores).numpy() for when, scores in sure.items()}
    errors = {when: expected_calibration_error(each, right) for when, each in confidences.items()}
    sets = made.prediction_sets(raw)
    return {
        "temperature": made.temperature,
        **{f"ECE {when}": error for when, error in errors.items()},
        "ECE gain": errors["before"] - errors["after"],
        "ECE by chance": chance_error(confidences["after"]),
        "coverage": 100 * float(sets.gather(1, tests.targets[:, None]).float().mean()),
        "size": float(sets.sum(1).float().mean()),
    }


def none_of_these(rows: Tensor, fit: Fit, train: FrozenItems, rest: FrozenItems, k: int | None, seed: int, out: int):
    """Return the rates of accepted unknown and rejected known items, in percent, with `out` classes unknown."""
    order = np.random.default_rng([seed, out]).permutation(len(rows)).tolist()
    setting, other, known = order[: out // 2], order[out // 2 : out], sorted(order[out:])
    fitting, tests = halves(with_labels(rest, known), seed)
    head = fit(rows[known], drawn(with_labels(train, known), k, seed), [str(index) for index in known])
    made = calibration.calibrate(
        scored(head, fitting),
        fitting.targets,
        unknown=calibration.Unknown(scored(head, with_labels(train, setting))),
        false_accept=RATE,
        coverage=None,
    )
    return {
        "same": 100 * float(made.accepts(scored(head, with_labels(rest, setting))).float().mean()),
        "other": 100 * float(made.accepts(scored(head, with_labels(rest, other))).float().mean()),
        "rejected": 100 * float((~made.accepts(scored(head, tests))).float().mean()),
    }


def prepared(name: str, data: Path, folder: Path) -> tuple[Experiment, FrozenItems, FrozenItems]:
    """Return (encoder and names, training items, all other items) of a set."""
    dataset: Dataset = th.read_dataset(draw_videos(folder, test=16) if name == "drawn" else data / SETS[name])
    experiment = experiment_of(dataset)
    train = items_of(experiment, dataset.split("train"))
    rest = dataset.select([i for i, item in enumerate(dataset.items) if item.split != "train"])
    return experiment, train, items_of(experiment, rest)


def row(values: list[dict[str, float]], *keys: str) -> str:
    """Return the cells of some numbers: mean and half of the interval over seeds."""
    cells = [mean_and_half([each[key] for each in values]) for key in keys]
    return " | ".join(
        f"{mean:.2f} ±{half:.2f}" if abs(mean) < 10 else f"{mean:.1f} ±{half:.1f}" for mean, half in cells
    )


SURE = ("temperature", "ECE before", "ECE after", "ECE gain", "ECE by chance", "coverage", "size")
NONE = ("same", "other", "rejected")


def main() -> None:
    """Print each line as it is known, then both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(UNKNOWN), choices=list(UNKNOWN))
    parser.add_argument("--k", nargs="+", default=["5", "all"])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    sure: dict[str, list[dict[str, float]]] = {}
    none: dict[str, list[dict[str, float]]] = {}
    for name in options.sets:
        with tempfile.TemporaryDirectory() as folder:
            experiment, train, rest = prepared(name, options.data, Path(folder) / "drawn")
        rows = experiment.encoder.text_rows(experiment.names)
        for k in (None if k == "all" else int(k) for k in options.k):
            for title, fit in METHODS.items():
                key = f"{name} | {k or 'all'} | {title}"
                figures = []
                for seed in range(options.seeds):
                    head = fit(rows, drawn(train, k, seed), list(experiment.names))
                    figures.append(calibration_figures(head, *halves(rest, seed)))
                sure[key] = figures
                print(f"| {key} | {row(figures, *SURE)} |", flush=True)
                out = UNKNOWN[name]
                none[key] = [none_of_these(rows, fit, train, rest, k, seed, out) for seed in range(options.seeds)]
                print(f"| {key} | {row(none[key], *NONE)} |", flush=True)
    for titles, table in ((SURE, sure), (NONE, none)):
        print("\n| set | K | method | " + " | ".join(titles) + " |\n" + "|---" * (len(titles) + 3) + "|")
        for key, values in table.items():
            print(f"| {key} | {row(values, *titles)} |")


if __name__ == "__main__":
    main()
