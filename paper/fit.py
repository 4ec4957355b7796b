"""Train and evaluate one row with one seed, with the library's own functions."""

import copy
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import texthead as th
from paper import data, tinyclip
from paper.average_precision import mean_average_precision
from paper.class_draws import fraction, half_classes, k_shot_per_process, unseen_classes
from paper.data import Runtime
from paper.heads import TemplatesHead
from paper.matching import Matching
from paper.prompt_head import PromptHead
from paper.rows import Job, Row
from paper.worlds import smoke
from texthead import Dataset, Protocol, ReadOptions, Views, recipes
from texthead.data import Pixels, evenly
from texthead.encoders import minilm_folder
from texthead.errors import DataError, RunError
from texthead.evaluation import Evaluation, evaluate
from texthead.features import encode
from texthead.models import RowInputs, as_head, make_head, make_temporal_for
from texthead.text import class_prompts
from texthead.training import with_margin

# Changes of a row that are options of the heads in paper/, not of a recipe.
OF_HEADS = ("template_use", "context")
HELD_OUT = 0.2
HALVES = 10
# Frames per forward pass in evaluation.
FRAMES_TOGETHER = 64


def fit(job: Job, runtime: Runtime) -> dict[str, Any]:
    """Train and evaluate a job; return its metrics for each kind of views and facts about the training."""
    row = smoke(job.row) if runtime.scale == "smoke" else job.row
    bench = prepare(row, job.seed, runtime)
    before = None
    if row.after:
        first = prepare(
            replace(row, data=row.after, k=None, fraction=None, after=None, zero_shot=(), head="text"),
            job.seed,
            runtime,
        )
        before = first.model()
        train(first, before)
    model = bench.model(before)
    rows_before = weight_of(model).clone()
    watch = Watch(row.watch, lambda: bench.top1(model, bench.val)) if row.watch else None
    started = time.perf_counter()
    records = [] if row.k == 0 else train(bench, model, watch)
    seconds = time.perf_counter() - started
    scores = bench.scores(model)
    steps = [record for record in records if record["kind"] == "train"]
    return {
        **scores[row.views[0]],
        "views": scores,
        "items": len(bench.train),
        "different_items_a_class": different_items(bench.train),
        "steps": len(steps),
        "epochs": bench.recipe.epochs if steps else 0,
        "train_seconds": round(seconds - (watch.seconds if watch else 0), 2),
        "rows_moved": bool((weight_of(model) != rows_before).any()),
        "scale": as_head(model.head).scale,
        **({"curve": curve_of(steps), "watched": watch.seen} if watch else {}),
        **({"zero_shot": bench.zero_shot(model)} if row.zero_shot else {}),
        **({"map": correlation_map(model, row.maps)} if row.maps else {}),
    }


@dataclass(frozen=True)
class Bench:
    """Data, encoder and recipe of a row, and pretrained features if its head needs them."""

    row: Row
    encoder: th.Encoder
    recipe: th.Recipe
    pixels: Pixels
    cache: Path
    train: Dataset
    val: Dataset
    test: Dataset
    features: torch.Tensor | None
    targets: torch.Tensor
    others: dict[str, Dataset]

    def model(self, start: th.Recognizer | None = None) -> th.Recognizer:
        """Build the untrained model around a copy of the pretrained encoder, or around the encoder of `start`."""
        visual = copy.deepcopy(self.encoder.visual) if start is None else start.visual_encoder
        temporal = make_temporal_for(self.recipe, visual) if start is None else start.temporal
        return th.Recognizer(visual, temporal, self.head()).to(device())

    def head(self) -> nn.Module:
        """Make the untrained head; a zero-shot one uses no training items but the encoder's own center."""
        if self.row.k == 0 and self.row.head == "text":
            return th.text_head(self.encoder, self.train.classes, template=self.recipe.template)
        own = {"features": self.features, "targets": self.targets}
        inputs = RowInputs(self.encoder, self.train.classes, self.recipe, **own)
        if self.row.head == "lda":
            assert self.features is not None
            shrinkage = "auto" if self.row.lda_shrinkage is None else self.row.lda_shrinkage
            rows = th.lda_weights(self.features, self.targets, shrinkage=shrinkage, centered=self.row.lda_centered)
            make = th.TrainableHead if self.row.train_head else th.FrozenHead
            return make(rows, kind="lda", **inputs.options)
        if self.row.head == "prompt":
            return PromptHead.from_inputs(inputs, context=int(self.row.changes.get("context", 0)))  # pyright: ignore[reportArgumentType]
        if self.row.changes.get("template_use") == "drawn":
            return TemplatesHead.from_inputs(inputs)
        return make_head(self.row.head, inputs, trainable=self.row.train_head)

    def scores(self, model: th.Recognizer) -> dict[str, dict[str, Any]]:
        """Evaluate the model on the test items with each kind of views."""
        if "unseen" in self.row.score or self.row.scored:
            model = model.with_head(self.text_head(model, self.test.classes))
        return {views: numbers(self.evaluate(model, self.test, views)) for views in self.row.views}

    def zero_shot(self, model: th.Recognizer) -> dict[str, dict[str, Any]]:
        """Evaluate the model on the row's other data sets, each with text rows of its classes."""
        results = {}
        for name, dataset in self.others.items():
            other = model.with_head(self.text_head(model, dataset.classes))
            results[name] = {**numbers(self.evaluate(other, dataset)), "classes": len(dataset.classes)}
        return results

    def text_head(self, model: th.Recognizer, names: list[str]) -> nn.Module:
        """Make a head with text rows for other names and the center and scale of the trained head."""
        return as_head(model.head).with_names(self.encoder, names, prompts=class_prompts(self.recipe.template, names))

    def evaluate(self, model: th.Recognizer, dataset: Dataset, views: str = "1x1") -> Evaluation:
        """Evaluate the model; use the feature cache if the encoder is frozen."""
        return evaluate(
            model,
            dataset,
            Protocol(
                self.recipe.frames,
                self.pixels,
                Views.parse(views, Views(origin=self.recipe.origin, along=self.recipe.crops_along)),
                self.recipe.pooling,
            ),
            ReadOptions(
                batch=max(1, FRAMES_TOGETHER // (self.recipe.frames * Views.parse(views).count)),
                cache=self.cache if self.recipe.frozen else False,
            ),
        )

    def top1(self, model: th.Recognizer, dataset: Dataset) -> float:
        """Measure single-view top-1 during training and restore every module's training mode."""
        modes = [(module, module.training) for module in model.modules()]
        try:
            return self.evaluate(model, dataset).top1
        finally:
            for module, training in modes:
                module.training = training


def prepare(row: Row, seed: int, runtime: Runtime) -> Bench:
    """Load data, encoder and recipe of a row."""
    train, val, test = chosen(row, data.read(row.data, runtime), seed)
    if row.scored:
        test = data.test_items(data.read(row.scored, runtime))
    others = {name: data.test_items(data.read(name, runtime)) for name in row.zero_shot}
    for name, dataset in others.items():
        if shared := sorted({*dataset.classes} & {*train.classes}):
            raise DataError(
                f"{name}: {len(shared)} of its {len(dataset.classes)} classes are classes of {row.data} too, such as "
                f"{shared[0]!r}; zero-shot evaluation needs other classes: use the published lists"
            )
    names = train.classes
    recipe = replace(recipe_for(row, len(train), seed), accumulate=share(row, runtime))
    if runtime.scale == "smoke":
        recipe = replace(recipe, batch=math.ceil(len(train) / 2), epochs=1, warmup=0.1)
    prompted = tuple(sorted({*names, *test.classes}.union(*(dataset.classes for dataset in others.values()))))
    encoder = load(row.encoder, row.text, runtime, prompted, recipe.template)
    recipe = with_margin(recipe, encoder.visual.spec)
    pixels = encoder.visual.spec.pixels(recipe)
    cache = feature_folder(runtime)
    features, encoded = None, train
    if row.head == "lda":  # It needs features of these items only.
        encoded = train.at_most(row.lda_items, seed=seed)
    targets = encoded.targets(names)
    if row.head == "lda" or recipe.center:
        encoder.visual.to(device())
        protocol = Protocol(recipe.frames, pixels, Views(origin=recipe.origin))
        features = th.FrozenEncoder(encoder, protocol, ReadOptions(cache=cache)).items(encoded, names).features
    if row.full_length:
        # As the published few-shot code, which repeats a class's K items until an epoch is as long as with all data.
        times = len(data.read(row.data, runtime).split("train")) // len(train)
        train = replace(train, items=train.items * max(1, times))
    return Bench(row, encoder, recipe, pixels, cache, train, val, test, features, targets, others)


def chosen(row: Row, dataset: Dataset, seed: int) -> tuple[Dataset, Dataset, Dataset]:
    """Return the training, validation and test items of a row."""
    train, test = dataset.split("train"), data.test_items(dataset)
    if row.unseen:
        seen, left_out = unseen_classes(dataset.classes, round(row.unseen * len(dataset.classes)), seed=seed)
        train = train.with_classes(seen)
        scored = dataset if row.score == "all unseen" else test
        test = scored.with_classes(left_out if "unseen" in row.score else seen)
    if row.k and row.drawing_processes:
        train = k_shot_per_process(train, row.k, processes=row.drawing_processes, seed=seed)
    elif row.k:
        train = train.k_shot(row.k, seed=seed)
    if row.fraction is not None:
        train = fraction(train, row.fraction, seed=seed)
    if row.score == "held-out":
        train = train.with_drawn_split(HELD_OUT, seed=seed)
        train, test = train.split("train"), train.split("val")
    val = dataset.select([i for i, item in enumerate(dataset.items) if item.split == "val"]).with_classes(train.classes)
    return train, val if len(val) else test, test


def recipe_for(row: Row, items: int, seed: int) -> th.Recipe:
    """Build the row's recipe; `row.steps` sets the epochs, given the number of training items."""
    make: Callable[..., th.Recipe] = getattr(recipes, row.recipe)
    # The paper's loss, also with the recipe `small`.
    own = {key: value for key, value in row.changes.items() if key not in OF_HEADS}
    # Finished rows keep the names of values under which they were measured.
    if own.pop("freeze_encoder", False):
        own["tune"] = "none"
    if own.pop("ratio", None):
        own["crop"] = "square"
    changes: dict[str, Any] = {"class_shares": "labels", **own, "seed": seed}
    epochs = changes.pop("epochs", None)
    recipe = make(**changes)
    if row.steps is not None:
        recipe = recipe.with_epochs(math.ceil(row.steps / math.ceil(items / recipe.batch)))
    elif epochs is not None:
        # The recipe's five warm-up epochs do not fit into five epochs or fewer: scale them down (our choice).
        recipe = make(**changes, epochs=epochs) if epochs > recipe.warmup else recipe.with_epochs(epochs)
    if row.head_rate is not None:
        recipe = replace(recipe, lr_new=recipe.lr * row.head_rate)
    return recipe


def train(bench: Bench, model: th.Recognizer, watch: "Watch | None" = None) -> list[dict]:
    """Train the model in place and return the records of its metrics log."""
    row = bench.row
    objective = None
    if row.matching:
        text = bench.encoder.text if row.online else None
        objective = Matching(text, targets=row.matching, gather=row.gather)
    with tempfile.TemporaryDirectory() as folder:
        return th.fine_tune(
            model,
            bench.train,
            None,
            bench.recipe,
            out=Path(folder) / "run",
            objective=objective,
            # The run folder is temporary and never resumed.
            reading=th.ReadOptions(cache=bench.cache),
            checkpoint_every=0,
            reporter=th.Reporter().counting(watch, "train") if watch else th.Reporter(),
        )


class Watch:
    """Progress callback that measures validation top-1 every `every` steps."""

    def __init__(self, every: int, measure: Callable[[], float]):
        self.every = every
        self.measure = measure
        self.steps = 0
        self.seconds = 0.0
        self.seen: list[tuple[int, float]] = []

    def __call__(self, done: int, total: int) -> None:
        self.steps += 1
        if self.steps % self.every == 0 or done == total:
            started = time.perf_counter()
            self.seen.append((self.steps, round(self.measure(), 2)))
            self.seconds += time.perf_counter() - started


def numbers(result: Evaluation) -> dict[str, Any]:
    """Return top-1, top-5, top-1 on ten random halves of the classes, mean average precision and the right items.

    "hits" is a hexadecimal number with one bit per item; the first item is the highest bit.
    """
    return {
        "top1": result.top1,
        "top5": result.top5,
        "count": result.count,
        "hits": hits(result),
        "halves": half_scores(result),
        "map_single": mean_average_precision(result.scores.softmax(-1), result.targets),
        "map_double": mean_average_precision(result.scores.softmax(-1), result.targets, double_softmax=True),
    }


def hits(result: Evaluation) -> str:
    """Return which items have the right top-1 class, as a hexadecimal number; the first item is the highest bit."""
    right = (result.scores.argmax(1) == result.targets).tolist()
    return f"{int(''.join('01'[one] for one in right), 2):x}"


def half_scores(result: Evaluation) -> list[float]:
    """Return top-1 in percent on each of ten random halves of the classes, with only their names as candidates.

    Source: the published code's zero-shot protocol, with the same halves.
    """
    scores = []
    for seed in range(HALVES):
        classes = torch.tensor(half_classes(len(result.names), seed))
        rows = torch.isin(result.targets, classes)
        if not rows.any():
            continue
        # As published, a class without items is not a candidate.
        half = result.targets[rows].unique()
        best = half[result.scores[rows][:, half].argmax(1)]
        scores.append(100 * (best == result.targets[rows]).double().mean().item())
    return scores


def different_items(train: Dataset) -> tuple[int, int]:
    """Return the minimum and maximum number of distinct training items per class, to audit a K-shot draw."""
    counts = Counter(label for _, label in {(item.path, item.label) for item in train.items})
    return min(counts.values()), max(counts.values())


def curve_of(steps: list[dict]) -> list[tuple[int, float, float | None]]:
    """Return (step, loss, training top-1) of every step."""
    return [(record["step"], round(record["loss"], 4), record.get("train_top1")) for record in steps]


def weight_of(model: th.Recognizer) -> torch.Tensor:
    """Return the head's weight rows."""
    weight = model.head.weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach()


def correlation_map(model: th.Recognizer, names: tuple[str, ...]) -> list[list[float]]:
    """Return the correlation matrix of the head's rows for these names, in this order."""
    indices = [model.names.index(name) for name in names]
    correlations = torch.corrcoef(weight_of(model).cpu()[indices].double())
    return [[round(value, 4) for value in line] for line in correlations.tolist()]


def device() -> torch.device:
    """Return the first CUDA device, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def load(
    encoder: str, text: str | None, runtime: Runtime, names: tuple[str, ...], template: str | tuple[str, ...]
) -> th.Encoder:
    """Load an encoder once per process; rows train copies of it."""
    source = f"openclip:local-dir:{tiny_folder(encoder, runtime)}" if encoder.startswith("tinyclip-") else encoder
    if text == "minilm":
        text = f"text:{minilm_folder()}"
    templates = [template] if isinstance(template, str) else template
    prompts = [each.replace("{}", name) for each in templates for name in names]
    return th.load_encoder(source, text=text, prompts=prompts)


def feature_folder(runtime: Runtime) -> Path:
    """Return the folder of the pretrained encoder's frame features."""
    return runtime.folder / "features"


def share(row: Row, runtime: Runtime) -> int:
    """Return the number of gradient accumulation passes per step.

    Matching without gather compares the clips of one process only. At full scale such a row accumulates over as many
    passes as give each pass the clips of one of the row's processes, on any number of GPUs.

    Raises:
        RunError: the number of processes does not divide the row's.
    """
    if runtime.scale != "full" or row.matching is None or row.gather or row.processes == 1:
        return runtime.accumulate
    if row.processes % runtime.processes:
        raise RunError(
            f"processes={runtime.processes}: this row matches without gather over {row.processes} processes; use a "
            f"number of processes that divides {row.processes}"
        )
    return row.processes // runtime.processes


def encode_share(row: Row, runtime: Runtime, share: int, shares: int) -> None:
    """Cache the frame features that training and evaluation need, for every `shares`-th item from `share` on."""
    row = smoke(row) if runtime.scale == "smoke" else row
    dataset = data.read(row.data, runtime)
    recipe = recipe_for(row, len(dataset), 0)
    encoder = load(row.encoder, None, runtime, tuple(dataset.classes), recipe.template)
    protocol = encoder.visual.spec.protocol(recipe)
    paths = [item.path for item in dataset.items][share::shares]
    sampling, reading = partial(evenly, most=2 * recipe.frames), ReadOptions(cache=feature_folder(runtime))
    for _ in encode(encoder.visual, paths, protocol, reading, choose=sampling):
        pass


def tiny_folder(name: Any, runtime: Runtime) -> Path:
    """Return the folder of a small CLIP, training it if needed; "tinyclip-vit@48" is the ViT at 48 pixels."""
    tower, _, size = name.removeprefix("tinyclip-").partition("@")
    folder = tinyclip.cached_tower(tower, runtime.folder, steps=data.TINY_STEPS[runtime.scale])
    if not size:
        return folder
    resized = folder.with_name(f"{folder.name}-{size}")
    return resized if (resized / "open_clip_config.json").is_file() else tinyclip.at_size(folder, int(size), resized)
