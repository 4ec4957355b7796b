"""Compare a second experiment, on cached features, with the first one, which encodes; the logits are equal to the bit.

    python -m benchmarks cached [--rounds 5]

An experiment trains a temporal transformer behind the frozen `mini` with the recipe `small` as it is (10 epochs, 128
pixels, twice 8 frames of each video) on drawn videos of 48 classes, and scores others. The second one has the
same cache, a new model and a new run folder. Both spend time on training; evaluation alone is measured too. The limit
is a loop of the same training steps over features in memory.
"""

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import texthead as th
from benchmarks.rounds import Costs, Row, Section, judge, milliseconds, now, own_peak_mb, ratios, since, table, timed
from texthead.apps.demo import drawn_videos
from texthead.evaluation import evaluate
from texthead.models.build import make_temporal_for
from texthead.recipes import Recipe

FRAMES = 32
TRAINED, SCORED = "train and evaluate", "evaluate only"
FIRST, SECOND = "first, encodes the videos", "second, reads the cache"
LOOP = "training steps alone"


class Experiment:
    """Train and evaluate with a folder of cached features.

    The encoder and the head's rows are made once and are random; other rows would take as long.
    """

    def __init__(self, data: th.Dataset, recipe: Recipe):
        self.train_set, self.test_set, self.recipe = data.split("train"), data.split("test"), recipe
        encoder = th.load_encoder("mini")
        self.visual, dim = encoder.visual, encoder.dim
        self.weight = torch.randn(len(data.classes), dim, generator=torch.Generator().manual_seed(0))
        self.names = data.classes
        self.pixels = self.visual.spec.pixels(recipe)

    def model(self) -> th.Recognizer:
        """Return the untrained model, always the same."""
        torch.manual_seed(0)
        temporal = make_temporal_for(self.recipe, self.visual)
        return th.Recognizer(self.visual, temporal, th.FrozenHead(self.weight, names=self.names, scale=30.0))

    def run(self, caches: Path, costs: Costs, which: str) -> dict[str, Tensor]:
        """Return the logits of the test items without and after training; add the costs to `costs`."""
        logits: dict[str, Tensor] = {}
        for task in (SCORED, TRAINED):
            # Each task has its own cache, so that both first experiments encode.
            start = now()
            cache = caches / task.replace(" ", "-")
            model = self.model()
            with tempfile.TemporaryDirectory() as out:
                if task == TRAINED:
                    th.fine_tune(model, self.train_set, None, self.recipe, out=out, reading=th.ReadOptions(cache=cache))
                scored = evaluate(
                    model, self.test_set, th.Protocol(self.recipe.frames, self.pixels), th.ReadOptions(cache=cache)
                )
            costs.setdefault(f"{task}: {which}", []).append(since(start))
            logits[task] = scored.scores
        return logits

    def loop(self) -> None:
        """Train and score on features in memory, random ones, without anything else."""
        recipe, generator = self.recipe, torch.Generator().manual_seed(0)
        train, test = (
            torch.randn(len(items), recipe.frames, self.visual.spec.dim, generator=generator)
            for items in (self.train_set.items, self.test_set.items)
        )
        labels = torch.arange(len(train)) % len(self.names)
        model = self.model()
        weights = [*model.temporal.parameters()]
        optimizer = torch.optim.AdamW(weights, recipe.lr_new, weight_decay=recipe.weight_decay, fused=True)
        for _ in range(recipe.epochs):
            for rows in torch.randperm(len(train), generator=generator).split(recipe.batch):
                F.cross_entropy(model.head(model.temporal(train[rows])), labels[rows]).backward()
                torch.nn.utils.clip_grad_norm_(weights, recipe.clip_norm)
                optimizer.step()
                optimizer.zero_grad()
        with torch.no_grad():
            model.head(model.temporal(test))


def measure(rounds: int, clips: int, frames: int = FRAMES, size: int = 224, recipe: Recipe | None = None) -> Section:
    """Measure each task first and second, and in how many rounds their logits are equal."""
    costs: Costs = {}
    equal = {TRAINED: 0, SCORED: 0}
    with tempfile.TemporaryDirectory() as name:
        drawn = drawn_videos.draw_videos(Path(name) / "videos", train=clips, test=clips, frames=frames, size=size)
        data = th.read_dataset(drawn)
        experiment = Experiment(data, recipe or th.recipes.small(tune="none"))
        for number in range(rounds):
            caches = Path(name) / f"kept-{number}"
            first, second = (experiment.run(caches, costs, which) for which in (FIRST, SECOND))
            costs.setdefault(LOOP, []).append(timed(experiment.loop)())
            for task in equal:
                equal[task] += torch.equal(first[task], second[task])
    rows, first_rows = [], []
    for task, same in equal.items():
        a, b = f"{task}: {FIRST}", f"{task}: {SECOND}"
        title = f"second experiment on cached features, {task}, {torch.get_num_threads()} threads"
        row = Row(title, "the first one, which encodes", ratios(costs, a, b), target=20)
        if task == TRAINED:
            row = row._replace(limit=ratios(costs, a, LOOP), limit_of=LOOP)
        first_rows.insert(0, row)
        verdicts = [judge(ratios(costs, a, b, clock), at_least=20) for clock in ("wall", "cpu")]
        equal_in = f"in {same} of {rounds} rounds"
        rows.append([a, *milliseconds(costs[a], 0), "", "", ""])
        rows.append([b, *milliseconds(costs[b], 0), *(f"{ratio} ({target})" for ratio, target in verdicts), equal_in])
    rows.append([LOOP, *milliseconds(costs[LOOP], 0), "", "", ""])
    headers = ["experiment", "ms", "CPU-ms", "speed-up, wall time", "speed-up, CPU time", "equal logits"]
    return Section(f"{len(data)} videos of {frames} frames.\n\n{table(headers, rows)}", first_rows)


def section(rounds: int, _: Path) -> Section:
    """Measure with one training clip and one test clip a class."""
    text, rows = measure(rounds, clips=1)
    about = (
        f"## A second experiment on cached features\n\n{torch.get_num_threads()} threads, frozen `mini`. Training the "
        "head takes equally long in both and dominates the second; evaluation alone has no such part."
    )
    return Section(f"{about}\n\n{text}\n\nPeak memory of the script: {own_peak_mb():.0f} MB.", rows)
