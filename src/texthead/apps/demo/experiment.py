"""The demo's experiment: compare heads on a frozen encoder, and write a report."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from texthead import (
    Dataset,
    Encoder,
    FrozenEncoder,
    MeanPool,
    Protocol,
    Reading,
    Recognizer,
    Reporter,
    fine_tune,
    load_encoder,
    read_dataset,
    recipes,
    text_head,
)
from texthead.apps.demo import drawn_videos
from texthead.data import Division, evenly
from texthead.encoders import zero_shot_note
from texthead.errors import MediaError
from texthead.evaluation import Evaluation, evaluate
from texthead.features import encode, readable
from texthead.models import RowInputs, as_head, make_head, make_temporal_for
from texthead.parallel import pick_device
from texthead.recipes import Recipe
from texthead.report import item_strip, mistake_strips, plot_confusion, render, write_html
from texthead.training import RunInfo
from texthead.transfer import Experiment

UNSEEN, SEED = 12, 0

# Of the logits.
HEAD_SCALE = 30.0

CAPTION = "Top-1 in percent, of one seed."

# Top-1 in percent: seen classes; unseen classes among themselves; unseen classes among all. None: no score.
Row = tuple[float, float | None, float | None]

DEMO_HEADS = {
    "text, frozen": "text",
    "vision-only, learned": "linear",
}


@dataclass(frozen=True)
class Bench:
    """The demo's data and encoder, with methods that train and score a model.

    `center` is the mean feature of the training frames.
    """

    out: Path
    encoder: Encoder
    recipe: Recipe
    protocol: Protocol
    reading: Reading
    train: Dataset
    seen_test: Dataset
    unseen_test: Dataset
    classes: list[str]
    center: torch.Tensor
    reporter: Reporter

    def evaluate(self, model: Recognizer, dataset: Dataset) -> Evaluation:
        """Score a model."""
        return evaluate(model, dataset, self.protocol, self.reading)

    def with_text(self, model: Recognizer, names: Sequence[str]) -> Recognizer:
        """Return the model with text rows for `names`, which may be classes without training clips."""
        head_center = as_head(model.head).center
        center = self.center if head_center is None else head_center
        return model.with_head(text_head(self.encoder, names, scale=HEAD_SCALE, center=center))

    def row(self, model: Recognizer) -> Row:
        """Return top-1 in percent: seen classes; unseen classes among themselves; unseen classes among all classes."""
        return (
            self.evaluate(model, self.seen_test).top1,
            self.evaluate(self.with_text(model, self.unseen_test.classes), self.unseen_test).top1,
            self.evaluate(self.with_text(model, self.classes), self.unseen_test).top1,
        )


@dataclass(frozen=True)
class Outcome:
    """The demo's results.

    Attributes:
        columns: headings of the table.
        rows: top-1 in percent of each method, of one seed; None where a method has no score.
        note: why zero-shot may be poor with this encoder; None if there is no reason.
        run: the folder of the run behind `seen` and `unseen`.
        seen: its answers to the test clips of seen classes.
        unseen: its answers to the test clips of unseen classes, among all classes.
    """

    columns: list[str]
    rows: dict[str, Row]
    note: str | None
    run: Path
    seen: Evaluation
    unseen: Evaluation

    @property
    def examples(self) -> dict[str, Evaluation]:
        """The answers whose first clip is shown, whether right or wrong, by the kind of its class."""
        return {"a seen class": self.seen, "a class without training clips": self.unseen}

    def summary(self) -> list[str]:
        """Return the result in sentences, and one on each example."""
        learned, probe, names = (self.rows[title] for title in ("vision-only, learned", "probe", "zero-shot-centred"))
        truth = [self.unseen.names[index].split(" ", 2) for index in self.unseen.targets.tolist()]
        called = [self.unseen.names[index].split(" ", 2) for index in self.unseen.predicted.tolist()]
        pairs = [(true, said) for true, said in zip(truth, called, strict=True) if true != said]
        same = sum(true[1] == said[1] for true, said in pairs)
        return [
            f"{_rate(self.seen)} of {len(self.seen.names)} seen classes are right; "
            f"learned rows {learned[0]:.0f} %, labels alone {probe[0]:.0f} %",
            f"{_rate(self.unseen)} of {len({*map(tuple, truth)})} classes without training clips are right, among all "
            f"{len(self.unseen.names)}; trained with learned rows {learned[2]:.0f} %, names alone {names[2]:.0f} %",
            f"hard: {same} of the {len(pairs)} wrong ones have the right object and another motion",
            *(f"the first test clip of {kind} is {_answer(result)}" for kind, result in self.examples.items()),
        ]


def _rate(result: Evaluation) -> str:
    low, high = result.interval
    return f"{result.top1:.0f} % (95 %: {low:.0f} to {high:.0f}) of {result.count} test clips"


def _answer(result: Evaluation) -> str:
    """Return whether the first item is right, its class, the answer and its probability."""
    truth, chances = result.names[int(result.targets[0])], result.scores[0].softmax(-1)
    chance, name = f"{100 * float(chances.max()):.0f} %", result.names[int(chances.argmax())]
    return f"right: {truth}, {chance}" if name == truth else f"wrong: {truth}, called {name}, {chance}"


def demo_recipe() -> Recipe:
    """Return a recipe of about 250 steps of 32 clips on frame features of the frozen encoder.

    Command: texthead demo
    Expected: see the table it prints; LOG.md keeps a dated one with its machine.
    """
    return recipes.small(
        size=128,
        epochs=28,
        batch=32,
        warmup=3.0,
        scale=HEAD_SCALE,
        clip_norm=0.0,
        tune="none",
        seed=SEED,
    )


def run_demo(
    out: Path,
    *,
    workers: int = 0,
    reporter: Reporter = Reporter(),
    status: Callable[[str], object] = str,
) -> Outcome:
    """Draw videos, train and score each method, and write the runs and `report.html`.

    Args:
        reporter: gets progress, and a message about each step that is done.
        status: called with the step that begins.
    """
    bench = _prepare(out, workers, reporter, status)
    reporter.say(
        f"{len(bench.classes)} classes (object x motion), {len(bench.train.classes)} seen in training, "
        f"{len(bench.unseen_test.classes)} unseen; "
        f"{len(bench.train)} training clips, {len(bench.seen_test)} + {len(bench.unseen_test)} test clips"
    )
    status("scoring zero-shot and the probe")
    rows = _simple_rows(bench)
    status("scoring the heads")
    # The heads and their temporal module are small: more threads would only wait for each other.
    threads, models = torch.get_num_threads(), {}
    torch.set_num_threads(1)
    for title, kind in DEMO_HEADS.items():
        models[title] = _train_head(bench, kind)
        rows[title] = bench.row(models[title])
        reporter.say(f"trained: {title}")
    torch.set_num_threads(threads)
    text = models["text, frozen"]
    status("writing the report")
    outcome = Outcome(
        _columns(bench),
        rows,
        note=zero_shot_note(bench.encoder.source, bench.classes),
        run=bench.out / "runs" / "text",
        seen=bench.evaluate(text, bench.seen_test),
        unseen=bench.evaluate(bench.with_text(text, bench.classes), bench.unseen_test),
    )
    _report(bench, outcome)
    return outcome


def _prepare(out: Path, workers: int, reporter: Reporter, status: Callable[[str], object]) -> Bench:
    """Draw the videos, load the encoder, and encode the clips."""
    data = read_dataset(drawn_videos.draw_videos(out, seed=SEED, reporter=reporter))
    shutil.rmtree(out / "runs", ignore_errors=True)
    unseen = drawn_videos.unseen_combinations(UNSEEN, seed=SEED)
    seen = [name for name in data.classes if name not in unseen]
    status("loading the encoder")
    encoder = load_encoder("mini")
    encoder.visual.to(pick_device("auto"))
    text_head(encoder, data.classes)  # All names at once: the text encoder is loaded for each call.
    recipe = demo_recipe()
    protocol = encoder.visual.spec.protocol(recipe)
    train_set, test = data.split("train").with_classes(seen), data.split("test")
    paths = [item.path for item in (*train_set.items, *test.items)]
    choose, reading = partial(evenly, most=2 * recipe.frames), Reading(workers, cache=True, engine="auto")
    entries = [*encode(encoder.visual, paths, protocol, reading, reporter, choose=choose)]
    readable(entries, skip=False)
    frames = [entry[0].mean(0) for entry in entries[: len(train_set)] if not isinstance(entry, MediaError)]
    sets, center = (train_set, test.with_classes(seen), test.with_classes(sorted(unseen))), torch.stack(frames).mean(0)
    return Bench(out, encoder, recipe, protocol, reading, *sets, data.classes, center, reporter)


def _simple_rows(bench: Bench) -> dict[str, Row]:
    """Score zero-shot and a logistic probe on frozen features; the probe cannot score unseen classes."""
    seen = bench.train.classes
    head = text_head(bench.encoder, seen, scale=HEAD_SCALE, center=bench.center)
    plain = Recognizer(bench.encoder.visual, MeanPool(), head)
    frozen = FrozenEncoder(bench.encoder, bench.protocol, bench.reading, Reporter())
    division = Division(bench.train, None, bench.seen_test, "test")
    experiment = Experiment(division, frozen, tuple(seen), seen, [None] * len(seen), bench.recipe)
    return {
        "zero-shot-centred": bench.row(plain),
        "probe": (experiment.evaluate("probe").top1, None, None),
    }


def _train_head(bench: Bench, kind: str) -> Recognizer:
    """Train one head and a temporal transformer on the frozen encoder's features."""
    recipe = bench.recipe
    inputs = RowInputs(encoder=bench.encoder, labels=bench.train.classes, recipe=recipe, features=bench.center[None])
    temporal = make_temporal_for(recipe, bench.encoder.visual)
    model = Recognizer(bench.encoder.visual, temporal, make_head(kind, inputs))
    model.to(next(bench.encoder.visual.parameters()).device)
    info, reading = RunInfo(held_out=bench.seen_test), Reading(cache=bench.reading.cache)
    out = bench.out / "runs" / kind
    with bench.reporter.bar(f"train: {kind} head", "clips") as progress:
        own = Reporter().counting(progress, "train")
        fine_tune(model, bench.train, None, recipe, out=out, reading=reading, info=info, reporter=own)
    return model


def row_text(row: Row) -> list[str]:
    """Return the cells of a row; "-" for no score."""
    return ["-" if value is None else f"{value:.1f}" for value in row]


def _columns(bench: Bench) -> list[str]:
    splits = {"seen": bench.train.classes, "unseen": bench.unseen_test.classes}
    ways = [(split, len(names)) for split, names in splits.items()] + [("unseen", len(bench.classes))]
    return ["method", *(f"{split}, {ways}-way (chance {100 / ways:.1f})" for split, ways in ways)]


def _report(bench: Bench, outcome: Outcome) -> None:
    """Write `report.html`."""
    examples = [(item_strip(result, 0, bench.protocol), kind) for kind, result in outcome.examples.items()]
    mistakes = mistake_strips(outcome.unseen, bench.protocol, hits=0)
    seen, path = outcome.seen, outcome.unseen.paths[0]
    new_names = f'texthead predict {outcome.run} {path} --classes "{path.parent.name.replace("-", " ")}, a dog running"'
    blocks: list[tuple[str, object]] = [
        ("section", "Examples"),
        *(("figure", (each.picture(), f"The first test clip of {kind}: {each.name}.")) for each, kind in examples),
        ("section", "Most confident mistakes on unseen classes"),
        *(("figure", (each.picture(), f"{each.name}.")) for each in mistakes),
        ("section", "Confusions"),
        ("figure", (plot_confusion(seen.confusion(), seen.names), "Seen classes: rows are true.")),
        ("section", "Methods"),
        (
            "text",
            f"{len(bench.classes)} classes, each an object in a motion. "
            f"{len(bench.unseen_test.classes)} of them have no training clips, so their rows come from text alone. "
            "All heads were trained on the same features for as many steps, with the same temporal module.",
        ),
        ("table", (outcome.columns, [[title, *row_text(row)] for title, row in outcome.rows.items()], "", CAPTION)),
        *([("text", outcome.note)] if outcome.note else []),
        ("section", "How to use it"),
        ("code", f"texthead predict {outcome.run} {path}\n{new_names}"),
        ("section", "Credit"),
        ("text", drawn_videos.CREDIT),
    ]
    subtitle, summary = "Frozen text rows as the classifier, on generated videos", outcome.summary()
    page = render("blocks.html", title="texthead demo", subtitle=subtitle, summary=summary, blocks=blocks)
    write_html(bench.out / "report.html", page)
