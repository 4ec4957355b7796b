"""The demo: drawn videos through the real pipeline, and what came out, whichever method wins."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from texthead import recipes
from texthead.commands.console import bar, notes, results
from texthead.data import dataset as datasets
from texthead.data.dataset import Dataset
from texthead.data.protocol import Pixels, Protocol, Views
from texthead.data.reading import read_dataset
from texthead.data.sampling import evenly
from texthead.demo import drawn_videos
from texthead.encoders.encoder import Encoder
from texthead.encoders.load import load_encoder, zero_shot_note
from texthead.errors import MediaError
from texthead.evaluation import evaluate as evaluation
from texthead.features import frames as features
from texthead.features.cache import FeatureCache, encoder_key
from texthead.features.reading import Reading
from texthead.features.views import item_features
from texthead.models.build import as_head, make_head, make_temporal_for, pixels_for
from texthead.models.head_rows import RowInputs, class_correlation
from texthead.models.heads import text_head
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.parallel.device import pick_device
from texthead.prediction.predict import predict
from texthead.recipes import HeadKind, Recipe
from texthead.report.class_maps import plot_confusion, plot_correlations
from texthead.report.figures import plot_bars, plot_curves
from texthead.report.html import Cell, Report
from texthead.report.mistakes import strips
from texthead.report.strips import plot_strip
from texthead.runs import run
from texthead.training import train as training
from texthead.training.execution import Callbacks, Execution, RunInfo
from texthead.transfer.closed_form import logistic_probe

UNSEEN = 12

SEEDS = 3

HEADS: tuple[tuple[str, HeadKind], ...] = (
    ("text, frozen", "text"),
    ("orthogonal, frozen", "orthogonal"),
    ("vision-only, learned", "linear"),
)


@dataclass(frozen=True)
class Bench:
    """The demo's data and encoder, and how each method is scored."""

    encoder: Encoder
    recipe: Recipe
    pixels: Pixels
    cache: FeatureCache
    workers: int
    train: Dataset
    seen_test: Dataset
    unseen_test: Dataset
    every: tuple[str, ...]
    center: torch.Tensor

    @property
    def protocol(self) -> Protocol:
        """How clips are scored."""
        return Protocol(self.recipe.frames, self.pixels, Views(origin=self.recipe.origin))

    @property
    def seen(self) -> list[str]:
        """The classes that are trained."""
        return self.train.classes

    @property
    def unseen(self) -> list[str]:
        """The combinations that no training clip shows."""
        return self.unseen_test.classes

    def evaluate(self, model: Recognizer, dataset: Dataset, *, cached: bool = True) -> evaluation.Evaluation:
        """Exact counts; through the feature cache while the encoder is the pretrained one."""
        return evaluation.evaluate(
            model,
            dataset,
            self.protocol,
            Reading(workers=self.workers, cache=self.cache if cached else None),
        )

    def mean_features(self, model: Recognizer, paths: Sequence[Path]) -> torch.Tensor:
        """One feature a clip, from the cache."""
        entries = item_features(model, paths, self.protocol, Reading(cache=self.cache))
        return torch.stack([entry[0] for entry in entries if not isinstance(entry, MediaError)])

    def with_text(self, model: Recognizer, names: Sequence[str]) -> Recognizer:
        """The model behind text rows for other names: how it recognises what it never saw."""
        own = as_head(model.head).center
        center = self.center if own is None else own
        head = text_head(self.encoder, names, scale=self.recipe.scale, center=center)
        return model.with_head(head)

    def row(self, model: Recognizer, *, cached: bool = True) -> tuple[float, float, float]:
        """Top-1 of seen classes, of unseen combinations among themselves, and of those among all classes."""
        return (
            self.evaluate(model, self.seen_test, cached=cached).top1,
            self.evaluate(self.with_text(model, self.unseen), self.unseen_test, cached=cached).top1,
            self.evaluate(self.with_text(model, self.every), self.unseen_test, cached=cached).top1,
        )


def demo_recipe(seed: int) -> Recipe:
    """Some 250 steps of 32 clips on frame features of the frozen encoder.

    Command: texthead demo
    Expected: see the table it prints; LOG.md keeps a dated one with its machine.
    """
    return recipes.small(
        epochs=28, batch=32, warmup=3.0, precision="bf16", scale=30.0, clip_norm=0.0, freeze_encoder=True, seed=seed
    )


def run_demo(out: Path, *, seed: int, workers: int, device: str) -> dict[str, np.ndarray]:
    """Top-1 of each method (seeds x seen, unseen, unseen among all), after drawing, training, predicting, reporting."""
    started = time.perf_counter()
    show = results()
    bench = _prepare(out, seed, workers, device)
    show.print(
        f"{len(bench.every)} classes (object x motion), {len(bench.seen)} seen in training, "
        f"{len(bench.unseen)} combinations never; "
        f"{len(bench.train)} training clips, {len(bench.seen_test)} + {len(bench.unseen_test)} test clips"
    )
    rows = _simple_rows(bench)
    models, records = {}, {}
    for title, kind in HEADS:
        outcomes = []
        for offset in range(SEEDS):
            model, log = _train_head(bench, kind, seed + offset, out / "runs" / f"{kind}-{seed + offset}")
            outcomes.append(bench.row(model))
            if offset == 0:
                models[title], records[title] = model, log
        rows.append((title, np.array(outcomes)))
        show.print(f"trained: {title}, {SEEDS} seeds")
    tuned, moved, log = _fine_tune(bench, models[HEADS[0][0]], seed, out / "runs" / "fine-tuned")
    records["text, fine-tuned"] = log
    rows.append(("text, encoder fine-tuned", np.array([bench.row(tuned, cached=False)])))
    _print_table(bench, rows)
    show.print(
        f"Eq. 3: fine-tuning moved {moved[0]:,} of {moved[1]:,} encoder parameters; the head's rows moved: {moved[2]}"
    )
    note = zero_shot_note(bench.encoder.source)
    show.print(note or "")
    file = bench.unseen_test.items[0]
    best = _predict_one(bench, tuned, file)
    _report(out, bench, rows, records, tuned, best)
    show.print(f"videos: {out / 'videos'}   run: {out / 'runs' / 'fine-tuned'}   report: {out / 'report.html'}")
    show.print(drawn_videos.CREDIT)
    show.print(f"done in {time.perf_counter() - started:.0f} s")
    return dict(rows)


def _prepare(out: Path, seed: int, workers: int, device: str) -> Bench:
    """The drawn videos, the encoder, and its features of the training clips."""
    say = notes()
    with bar("draw videos", "clips") as progress:
        manifest = drawn_videos.draw_videos(out, seed=seed, progress=progress)
    if (out / "runs").exists():
        say.print(f"note: the runs of an earlier demo in {out / 'runs'} are replaced")
        shutil.rmtree(out / "runs")
    data = read_dataset(manifest)
    unseen = set(drawn_videos.unseen_combinations(UNSEEN, seed=seed))
    seen = [name for name in data.classes if name not in unseen]
    encoder = load_encoder("mini")
    encoder.visual.to(pick_device(device))
    recipe = demo_recipe(seed)
    pixels = pixels_for(recipe, encoder.visual.spec)
    cache = FeatureCache(encoder_key(encoder.visual, pixels))
    train_set, test = data.split("train").with_classes(seen), data.split("test")
    with bar("encode frames once", "clips") as progress:
        paths = [item.path for item in (*train_set.items, *test.items)]
        entries = features.frame_features(
            encoder.visual,
            paths,
            partial(evenly, most=2 * recipe.frames),
            pixels,
            Reading(workers=workers, cache=cache),
            progress,
        )
    features.readable(entries, skip=False)
    frames = [entry.features.mean(0) for entry in entries[: len(train_set)] if not isinstance(entry, MediaError)]
    return Bench(
        encoder,
        recipe,
        pixels,
        cache,
        workers,
        train_set,
        test.with_classes(seen),
        test.with_classes(sorted(unseen)),
        tuple(data.classes),
        torch.stack(frames).mean(0),
    )


Row = tuple[str, np.ndarray]


def _simple_rows(bench: Bench) -> list[Row]:
    """Zero-shot before any training, and the logistic probe on frozen features (which has no row for unseen)."""
    visual = bench.encoder.visual
    plain = Recognizer(
        visual, MeanPool(), text_head(bench.encoder, bench.seen, scale=bench.recipe.scale, center=bench.center)
    )
    zero = np.array([bench.row(plain)])
    paths = [[item.path for item in part.items] for part in (bench.train, bench.seen_test)]
    train, test = (bench.mean_features(plain, part) for part in paths)
    targets, truth = (torch.tensor(datasets.label_indices(d, bench.seen)) for d in (bench.train, bench.seen_test))
    scores = logistic_probe(train, targets, test, classes=len(bench.seen))
    probe = evaluation.Evaluation(tuple(bench.seen), paths[1], truth, scores).top1
    return [
        ("zero-shot, before training", zero),
        ("logistic probe, frozen features", np.array([[probe, np.nan, np.nan]])),
    ]


def _train_head(bench: Bench, kind: HeadKind, seed: int, out: Path) -> tuple[Recognizer, list[dict]]:
    """One head and a temporal transformer on the frozen encoder's features."""
    recipe = replace(bench.recipe, seed=seed)
    inputs = RowInputs(bench.encoder, bench.seen, recipe, features=bench.center[None])
    head = make_head(kind, inputs)
    model = Recognizer(bench.encoder.visual, make_temporal_for(recipe, bench.encoder.visual), head)
    model.to(next(bench.encoder.visual.parameters()).device)
    with bar(f"train: {kind} head", "clips") as progress:
        log = training.train(
            model,
            bench.train,
            None,
            recipe,
            out=out,
            execution=Execution(cache=bench.cache),
            info=RunInfo(held_out=bench.seen_test),
            callbacks=Callbacks(progress),
        )
    return model, log


def _fine_tune(
    bench: Bench, start: Recognizer, seed: int, out: Path
) -> tuple[Recognizer, tuple[int, int, int], list[dict]]:
    """The text head's model with the encoder trained too, for an epoch; and how many parameters moved.

    Source: Eq. 3.
    """
    model = start.frozen_copy().requires_grad_(True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recipe = replace(
        bench.recipe,
        freeze_encoder=False,
        epochs=1,
        batch=16,
        warmup=0.2,
        lr=1e-4,
        lr_new=1e-4,
        clip_norm=1.0,
        flip=0.0,
        area=(0.8, 1.0),
        seed=seed,
    )
    with bar("fine-tune the encoder", "clips") as progress:
        log = training.train(
            model,
            bench.train,
            None,
            recipe,
            out=out,
            execution=Execution(bench.workers),
            info=RunInfo(held_out=bench.seen_test),
            callbacks=Callbacks(progress),
        )
    visual = dict(model.visual.named_parameters(prefix="visual"))
    moved = sum(int((value.detach() != before[name]).sum()) for name, value in visual.items())
    rows = int((model.state_dict()["head.weight"] != before["head.weight"]).sum())
    return model, (moved, sum(value.numel() for value in visual.values()), rows), log


def _text(values: np.ndarray) -> list[str]:
    """Mean over seeds, with the deviation where there are several."""
    if np.isnan(values).any():
        return ["-" if np.isnan(v) else f"{v:.1f}" for v in values.mean(0)]
    spread = values.std(0, ddof=1) if len(values) > 1 else None
    return [f"{m:.1f}" if spread is None else f"{m:.1f} ±{spread[i]:.1f}" for i, m in enumerate(values.mean(0))]


def _headers(bench: Bench) -> list[str]:
    seen, unseen, every = len(bench.seen), len(bench.unseen), len(bench.every)
    return [
        "method",
        f"seen, {seen}-way (chance {100 / seen:.1f})",
        f"unseen, {unseen}-way (chance {100 / unseen:.1f})",
        f"unseen, {every}-way (chance {100 / every:.1f})",
    ]


def _print_table(bench: Bench, rows: Sequence[Row]) -> None:
    from rich.table import Table

    table = Table(*_headers(bench), title=f"top-1 in percent; ± is the deviation over {SEEDS} seeds")
    for title, values in rows:
        table.add_row(title, *_text(values))
    results().print(table)
    seen = {title: values[:, 0].mean() for title, values in rows}
    winner = max(seen, key=lambda title: seen[title])
    results().print(f"highest on seen classes: {winner} ({seen[winner]:.1f})")
    results().print("unseen combinations are named by text rows, whichever head the model was trained with")


def _predict_one(bench: Bench, model: Recognizer, item: datasets.Item) -> list[tuple[str, float]]:
    """One file of a combination that no training clip showed, among all classes."""
    protocol = Protocol(bench.recipe.frames, bench.pixels, Views(origin="centre"))
    found = predict(bench.with_text(model, bench.every), [item.path], protocol, top=3)
    show = results()
    show.print(f"predict {item.path.parent.name}/{item.path.name} (never seen in training: {item.label!r})")
    for name, value in found[0].top:
        show.print(f"  {100 * value:5.1f} %  {name}")
    return list(found[0].top)


def _report(
    out: Path,
    bench: Bench,
    rows: Sequence[Row],
    records: dict[str, list[dict]],
    model: Recognizer,
    best: list[tuple[str, float]],
) -> None:
    """`report.html`."""
    report = Report("texthead demo", "Frozen text rows as the classifier, on videos drawn on the spot")
    report.text(
        f"{len(bench.every)} classes, each an object in a motion. "
        f"{len(bench.unseen)} combinations were kept out of training: "
        "their rows are text alone. All heads had the same budget, features and temporal module."
    )
    report.section("Results")
    cells: list[list[Cell]] = [[title, *_text(values)] for title, values in rows]
    report.table(_headers(bench), cells, caption=f"Top-1 in percent; ± is the standard deviation over {SEEDS} seeds.")
    bars = [(title, float(values[:, 0].mean()), None) for title, values in rows]
    report.figure(plot_bars(bars, chance=100 / len(bench.seen), title="seen classes"), "Seen classes, test clips.")
    note = zero_shot_note(bench.encoder.source)
    if note:
        report.text(note)
    report.section("Training")
    report.figure(
        plot_curves(records, keys=["loss"]),
        "Training loss. A scaled cosine and a plain linear head have losses on different scales.",
    )
    report.section("Classes")
    scored = bench.evaluate(model, bench.seen_test, cached=False)
    report.figure(plot_confusion(scored.confusion(), scored.names), "Seen classes, encoder fine-tuned: rows are true.")
    text = text_head(bench.encoder, bench.every).weight
    learned = run.load_run(out / "runs" / f"linear-{bench.recipe.seed}").head.weight
    report.figure(
        plot_correlations({"text rows": class_correlation(text).numpy()}, bench.every),
        "How alike the text rows are (Fig. 1, left): same object, same motion.",
    )
    report.figure(
        plot_correlations({"learned rows": class_correlation(learned.detach()).numpy()}, bench.seen),
        "How alike the rows of the learned head are (Fig. 1, right).",
    )
    report.section("Predictions")
    unseen = bench.evaluate(bench.with_text(model, bench.every), bench.unseen_test, cached=False)
    item = bench.unseen_test.items[0]
    report.figure(
        plot_strip(_frames_of(item.path), best, truth=item.label), f"{item.path.parent.name}/{item.path.name}"
    )
    protocol = Protocol(bench.recipe.frames, bench.pixels, Views(origin=bench.recipe.origin))
    for strip in strips(unseen, protocol):
        figure = plot_strip(strip.frames, strip.top, truth=strip.truth, place=strip.place)
        report.figure(figure, f"never seen in training: {strip.truth}")
    report.section("How to use it")
    report.code(
        f"texthead predict {out / 'runs' / 'fine-tuned'} {item.path}\n"
        f'texthead predict {out / "runs" / "fine-tuned"} {item.path} --classes "{item.label}, a dog running"'
    )
    report.section("Credit")
    report.text(drawn_videos.CREDIT)
    report.write(out / "report.html")


def _frames_of(path: Path) -> np.ndarray:
    from texthead.media.open import open_media

    with open_media(path) as media:
        return media.frames_at(range(media.num_frames)).permute(0, 2, 3, 1).numpy()
