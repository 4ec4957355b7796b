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
from benchmarks.rounds import Costs, Row, Section, timed
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

    def run(self, cache: Path, *, train: bool) -> Tensor:
        """Return the logits of the test items with a folder of cached features, after training if asked."""
        model, reading = self.model(), th.ReadOptions(cache=cache)
        with tempfile.TemporaryDirectory() as out:
            if train:
                th.fine_tune(model, self.train_set, None, self.recipe, out=out, reading=reading)
            return evaluate(model, self.test_set, th.Protocol(self.recipe.frames, self.pixels), reading).scores

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


def section(rounds: int, _: Path, frames: int = FRAMES, size: int = 224, recipe: Recipe | None = None) -> Section:
    """Measure each task first and second.

    Raises:
        ValueError: the second experiment gives other logits.
    """
    costs: Costs = {LOOP: []}
    with tempfile.TemporaryDirectory() as name:
        drawn = drawn_videos.draw_videos(Path(name) / "videos", train=1, test=1, frames=frames, size=size)
        experiment = Experiment(th.read_dataset(drawn), recipe or th.recipes.small(tune="none"))
        for number in range(max(1, rounds)):
            for task in (SCORED, TRAINED):
                # Each task has its own cache, so that both first experiments encode.
                cache, logits = Path(name) / f"{number} {task}", []
                for which in (FIRST, SECOND):
                    way = timed(
                        lambda task=task, cache=cache, logits=logits: logits.append(
                            experiment.run(cache, train=task == TRAINED)
                        )
                    )
                    costs.setdefault(f"{task}: {which}", []).append(way())
                if not torch.equal(*logits):
                    raise ValueError(f"{task}: the second experiment gives other logits")
            costs[LOOP].append(timed(experiment.loop)())
    rows = []
    for task in (SCORED, TRAINED):
        title = f"second experiment on cached features, {task}, {torch.get_num_threads()} threads"
        limit = (LOOP, LOOP) if task == TRAINED else ("", "")
        rows.append(Row(title, "the first one, which encodes", f"{task}: {SECOND}", f"{task}: {FIRST}", 20, *limit))
    return Section(costs, rows)
