"""Accuracy by prompt: the bare name, two templates, and sentences, zero-shot and with a few labels.

    python -m benchmarks.prompts --data ../shared/data [--sets clothing airborne] [--k 2] [--draws 10]

Every prompt uses the same features and the same K items of each draw. Differences to the bare name have the 95 %
t-interval over draws; zero-shot is scored once, with the interval of the difference over test items, grouped. Sentences
exist for three sets: three a class in `benchmarks/sentences`, written before anything was measured with them, and the
shop's own texts of groceries (`descriptions.csv`), in which a class has one for each of its kinds.
"""

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import texthead as th
from benchmarks.choosing import SETS, Right, experiment_of, items_of, lead, mean_and_half
from texthead.data import splits
from texthead.features.frozen import FrozenItems
from texthead.transfer.experiment import Experiment

SENTENCES = Path(__file__).parent / "sentences"
TEMPLATES = ("{}", "a photo of a {}.", "a video of a person {}.")


def sentences_of(name: str, data: Path) -> Mapping[str, Sequence[str]]:
    """Return the sentences of each label of a set; nothing if there are none."""
    file, table = SENTENCES / f"{name}.json", (data / SETS[name]).with_name("descriptions.csv")
    if file.exists():
        return json.loads(file.read_text())
    found: dict[str, list[str]] = defaultdict(list)
    if table.exists():
        for row in csv.DictReader(table.open(encoding="utf-8")):
            found[row["label"]].append(row["description"])
    return found


def ways_of(experiment: Experiment, sentences: Mapping[str, Sequence[str]]) -> dict[str, Experiment]:
    """Return the experiment with other prompts of each class, by the way they are made."""
    ways = {each: experiment.changed(recipe=replace(experiment.recipe, template=each)) for each in TEMPLATES}
    if sentences:
        own = [sentences.get(label) for label in experiment.labels]
        ways["sentences"] = ways[TEMPLATES[0]].changed(sentences=own)
    return ways


def right_answers(experiment: Experiment, items: FrozenItems, k: int, draws: int) -> list[Right]:
    """Return for each draw which test items are classified correctly; with K = 0 zero-shot, once."""
    if not k:
        return [experiment.changed(items=items).evaluate("zero-shot").right]
    names, sets = items.data.item_names, items.data.label_sets
    drawn = (items.select(splits.k_shot(sets, k, names=names, seed=seed)) for seed in range(draws))
    return [experiment.changed(items=each).evaluate("text-probe").right for each in drawn]


def main() -> None:
    """Print a line for each set and K."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--k", type=int, nargs="+", default=[0, 2], help="items per class; 0: zero-shot")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    options = parser.parse_args()
    ways = (*TEMPLATES, "sentences")
    print(f"| set | K | `{'` | `'.join(TEMPLATES)}` | sentences |\n" + "|---" * 6 + "|")
    means: dict[tuple[int, str], list[float]] = defaultdict(list)
    for name in options.sets:
        dataset = th.read_dataset(options.data / SETS[name])
        experiment = experiment_of(dataset.split("train"))
        train, tests = (items_of(experiment, dataset.split(split)) for split in ("train", "test"))
        made = ways_of(experiment.changed(tests=tests), sentences_of(name, options.data))
        for k in options.k:
            right = {way: right_answers(own, train, k, options.draws) for way, own in made.items()}
            cells = []
            for way in ways:
                top1 = [100 * float(each.mean()) for each in right.get(way, [])]
                means[k, way] += [float(np.mean(top1))] if top1 else []
                gap = ""
                if top1 and way != TEMPLATES[0]:
                    mean, _, interval = lead(right[way], right[TEMPLATES[0]], tests)[1].partition(" (")
                    gap = f" ({mean}: {interval.strip(')').partition(';')[0]})"
                cells.append(f"{mean_and_half(top1)[0]:.1f}{gap}" if top1 else "-")
            print(f"| {name} | {k or 'none'} | {' | '.join(cells)} |", flush=True)
    for k in options.k:
        cells = [f"{np.mean(means[k, way]):.1f}" for way in TEMPLATES]
        print(f"| mean | {k or 'none'} | {' | '.join(cells)} | - |")


if __name__ == "__main__":
    main()
