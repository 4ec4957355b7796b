"""Questions left open in the trackers of the published code: titles, options and inputs of the commands that answer.

`python -m paper QUESTION RUN --data DATA` answers one for a run of your own, such as one that `texthead import` made.
DATA is a data set of `paper.data`, such as FOLDER/ucf101-full, or any labelled data that texthead reads. Without RUN
and DATA, a stand-in shows how the command works.
"""

import argparse
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

import texthead as th
from paper import data, fit, worlds
from paper.data import Runtime
from paper.rows import Job, Row
from texthead.errors import DataError, RunError
from texthead.evaluation import grouped_interval, head_scores
from texthead.features import item_features, readable
from texthead.runs import is_run

# The title of each, and how many runs it takes.
TITLES = {
    "strings": ("zero-shot top-1 by class names, template, views and frames (UCF-101: 57.9 or 79.6)", 1),
    "branches": ("two branches, such as BIKE's, mixed with a weight that is not chosen on test scores", 2),
    "unknown": ("unknown classes by entropy and by softmax maximum, with and without our temperature", 1),
    "scene": ("top-1 of probes on backgrounds and on whole clips, beside top-1 on shuffled frames", 1),
}
FOLDS = 5
# Table 1's text row on moving drawings, and a linear head on the mean frame.
STAND_INS = (worlds.MOTION, replace(worlds.MOTION, head="linear").changed(temporal="mean"))


@dataclass(frozen=True)
class Inputs:
    """The inputs of a question: runs, labelled items of all splits, and items of none of the classes."""

    runs: tuple[th.Run, ...]
    data: th.Dataset
    reading: th.ReadOptions
    unknown: th.Dataset | None = None

    @property
    def where(self) -> str:
        """Where the scored items come from: the test split, else the validation split, else all."""
        splits = {item.split for item in self.data.items}
        return next((f"split {name} of DATA" for name in ("test", "val") if name in splits), "all of DATA")

    @property
    def scored(self) -> th.Dataset:
        """The items that `where` names.

        Raises:
            RunError: a run was trained on one.
        """
        items = self.data if self.where == "all of DATA" else data.test_items(self.data)
        for run in self.runs:
            if seen := [item.path for item in items.items if run.split.was_trained_on(item.path)]:
                raise RunError(f"{run.folder} was trained on {len(seen)} of these items ({seen[0]}); give others")
        return items

    def known(self, dataset: th.Dataset) -> th.Dataset:
        """Return the items of the first run's classes.

        Raises:
            DataError: there are none.
        """
        items, folder = dataset.with_classes(self.runs[0].labels), self.runs[0].folder
        if not len(items):
            raise DataError(f"{dataset.source}: none of {len(dataset)} items has a class of {folder}; give others")
        return items

    @property
    def training(self) -> th.Dataset:
        """The training items of the first run's classes; none if they are scored."""
        keep = [i for i, item in enumerate(self.data.items) if item.split == "train" and self.where != "all of DATA"]
        return self.data.select(keep).with_classes(self.runs[0].labels)

    def folded(self, train: th.Dataset) -> tuple[th.Dataset, torch.Tensor, str]:
        """Return (training items, then scored items; the fold of each, 0 if not scored; what the others are, in words).

        What is fitted for a fold comes from all others. Without training items there are five, of whole groups.

        Raises:
            DataError: no item is left to fit anything on.
        """
        scored = self.known(self.scored)
        if not len(train) and len(set(scored.groups)) == 1:
            raise DataError(f"{scored.source}: all items are of one group; give training items or more groups")
        fold = np.ones(len(scored), int) if len(train) else 1 + folds(scored.groups, FOLDS)
        text = (
            f"{len(train)} training items"
            if len(train)
            else f"the other {FOLDS - 1} of {FOLDS} folds of the scored items"
        )
        fold = torch.from_numpy(np.concatenate([np.zeros(len(train), int), fold]))
        return replace(scored, items=(*train.items, *scored.items)), fold, text

    def features(self, model: th.Recognizer, items: th.Dataset, protocol: th.Protocol) -> torch.Tensor:
        """Return the features (item, view, dim) after the temporal module.

        Raises:
            MediaError: an item cannot be read.
        """
        batch = max(1, fit.FRAMES_TOGETHER // (protocol.frames * protocol.views.count))
        paths, reading = [item.path for item in items.items], replace(self.reading, batch=batch)
        entries = [*item_features(model, paths, protocol, reading)]
        readable(entries, skip=False)
        return torch.stack([entry for entry in entries if isinstance(entry, torch.Tensor)])

    def scores(self, run: th.Run, items: th.Dataset) -> torch.Tensor:
        """Return the scores (item, class) of a run's own test settings."""
        return head_scores(run.model, self.features(run.model, items, run.protocol), pooling=run.protocol.pooling)


def question(name: str) -> ModuleType:
    """Import a question's module, which has a descriptive docstring and `answer`."""
    return import_module(f"paper.{name}")


def add_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the options of a question's command."""
    runs = f"run folder; the command takes {TITLES[name][1]}, or none for a stand-in"
    parser.add_argument("runs", nargs="*", metavar="RUN", help=runs)
    parser.add_argument("--data", type=Path, help="labelled items, or FOLDER/NAME for a data set of paper.data")
    if name == "unknown":
        parser.add_argument("--unknown", type=Path, metavar="DATA2", help="items of none of the classes of RUN")
    parser.add_argument("--scale", choices=("mini", "smoke"), default="mini", help="of the stand-in; default: mini")
    parser.add_argument("--kept", type=Path, help="cache for features and stand-ins; default: ~/.cache/texthead/paper")
    parser.add_argument("--workers", type=int, default=2, help="number of processes that decode files; default: 2")


def inputs(options: argparse.Namespace) -> Inputs:
    """Load the runs and the data that the options name, or the stand-ins.

    Raises:
        RunError: another number of runs, or runs without data, or the other way round.
    """
    runtime, count = Runtime(options.scale, cache_folder=options.kept), TITLES[options.command][1]
    if bool(options.runs) != (options.data is not None) or len(options.runs) not in (0, count):
        what = f"{options.command} takes {count} RUN and --data DATA"
        raise RunError(f"{what}, got {len(options.runs)} RUN and DATA {options.data}; leave out both for a stand-in")
    source = read(options.data) if options.data else data.read("emoji", runtime)
    runs = options.runs or [stand_in(row, runtime) for row in STAND_INS[:count]]
    loaded = tuple(map(th.load_run, runs))
    for run in loaded:
        run.model.to(fit.device())
    unknown = getattr(options, "unknown", None)
    reading = th.ReadOptions(options.workers, cache=fit.feature_folder(runtime))
    return Inputs(loaded, source, reading, unknown and read(unknown))


def read(source: Path) -> th.Dataset:
    """Read a data set of `paper.data`, or any labelled data."""
    if source.name in data.TESTED or (source.name in data.LISTS and (source / "labels.csv").is_file()):
        return data.read(source.name, Runtime("full", source.parent))
    return th.read_dataset(source)


def stand_in(row: Row, runtime: Runtime) -> Path:
    """Return the folder of a run that is trained like a row, once per cache folder, without a quarter of the classes.

    These are all motions of two things: a motion of a known thing that is left out has fewer rivals than a known class,
    so that a model is surer of it.
    """
    row = worlds.smoke(row).changed(frames=data.SMOKE["frames"]) if runtime.scale == "smoke" else row
    # The recipe's fields too, since a run with other fields cannot be loaded.
    key = Job("", 0, row).key(runtime.scale, f"{data.digest(row.data, runtime)} {fit.recipe_for(row, 1, 0)}")
    out = runtime.folder / "stand-ins" / key / f"{row.head}-head"
    if not is_run(out):
        bench = fit.prepare(row, 0, runtime)
        known = bench.train.classes[len(bench.train.classes) // 4 :]
        keep = [index for index, label in enumerate(bench.train.labels) if label in known]
        train, features = bench.train.select(keep), None if bench.features is None else bench.features[keep]
        bench = replace(bench, train=train, features=features, targets=train.targets(known))
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            made, reading = Path(folder) / out.name, th.ReadOptions(cache=bench.cache)
            th.fine_tune(bench.model(), bench.train, None, bench.recipe, out=made, reading=reading, checkpoint_every=0)
            made.replace(out)
    return out


def folds(groups: Sequence[str], count: int, seed: int = 0) -> np.ndarray:
    """Return a fold, from 0, for each item; a group has one."""
    names, numbers = np.unique(groups, return_inverse=True)
    return np.random.default_rng(seed).permutation(len(names))[numbers] % count


def percent(value: float, low: float, high: float) -> str:
    """Format a value in percent with its interval: "80.0 (49.0-94.3)"."""
    return f"{value:.1f} ({low:.1f}-{high:.1f})"


def rate(right: np.ndarray, groups: Sequence[str]) -> str:
    """Format a share in percent with its 95 % interval over groups."""
    return percent(100 * float(right.mean()), *grouped_interval(right, groups))


def lead(points: float, low: float, high: float) -> str:
    """Format a difference in points with its 95 % interval: "+3.1 (+1.0 to +5.2)"; 0 has no sign."""
    first, *rest = (re.sub(r"^[+-](0\.0)$", r"\1", f"{each:+.1f}") for each in (points, low, high))
    return f"{first} ({' to '.join(rest)})"
