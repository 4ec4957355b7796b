"""The demo's experiment: compare heads on a frozen encoder."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from texthead import (
    Dataset,
    FrozenEncoder,
    MeanPool,
    ReadOptions,
    Recognizer,
    Reporter,
    fine_tune,
    load_encoder,
    load_run,
    read_dataset,
    recipes,
    text_head,
)
from texthead.apps.demo import drawn_videos
from texthead.data import Division
from texthead.evaluation import Evaluation, evaluate
from texthead.models import RowInputs, as_head, make_head, make_temporal_for
from texthead.parallel import pick_device
from texthead.training import RunInfo
from texthead.transfer import Experiment

UNSEEN, SEED = 12, 0

# Of the logits.
HEAD_SCALE = 30.0

# Top-1 in percent: seen classes; unseen classes among themselves; unseen classes among all. None: no score.
Row = tuple[float, float | None, float | None]

DEMO_HEADS = {"text, frozen": "text", "vision-only, learned": "linear"}


@dataclass(frozen=True)
class Outcome:
    """The demo's results.

    Attributes:
        rows: top-1 in percent of each method, of one seed; None where a method has no score.
        run: the folder of the run behind `seen` and `unseen`.
        seen: its answers to the test clips of seen classes.
        unseen: its answers to the test clips of unseen classes, among all classes.
    """

    rows: dict[str, Row]
    run: Path
    seen: Evaluation
    unseen: Evaluation

    def summary(self) -> list[str]:
        """Return the result in sentences, and one on each example."""
        learned, probe, names = (self.rows[title] for title in ("vision-only, learned", "probe", "zero-shot-centered"))
        truth = [self.unseen.names[index].split(" ", 2) for index in self.unseen.targets.tolist()]
        answers = [self.unseen.names[index].split(" ", 2) for index in self.unseen.predicted.tolist()]
        pairs = [(true, said) for true, said in zip(truth, answers, strict=True) if true != said]
        same = sum(true[1] == said[1] for true, said in pairs)
        kinds = {"a seen class": self.seen, "a class without training clips": self.unseen}
        return [
            f"{_rate(self.seen)} of {len(self.seen.names)} seen classes are correct; "
            f"learned rows {learned[0]:.0f} %, linear probe {probe[0]:.0f} %",
            f"{_rate(self.unseen)} of {len({*map(tuple, truth)})} classes without training clips are correct, among "
            f"all {len(self.unseen.names)}; trained with learned rows {learned[2]:.0f} %, zero-shot {names[2]:.0f} %",
            f"hard: {same} of the {len(pairs)} errors have the correct object and another motion",
            *(f"the first test clip of {kind} is {_answer(result)}" for kind, result in kinds.items()),
        ]


def _rate(result: Evaluation) -> str:
    low, high = result.interval
    return f"{result.top1:.0f} % (95 % CI {low:.0f} to {high:.0f}) of {result.count} test clips"


def _answer(result: Evaluation) -> str:
    """Return whether the first item is right, its class, the answer and its probability."""
    truth, chances = result.names[int(result.targets[0])], result.scores[0].softmax(-1)
    chance, name = f"{100 * float(chances.max()):.0f} %", result.names[int(chances.argmax())]
    return f"correct: {truth}, {chance}" if name == truth else f"wrong: {truth}, predicted as {name}, {chance}"


def run_demo(
    out: Path,
    *,
    workers: int = 0,
    reporter: Reporter = Reporter(),
    status: Callable[[str], object] = str,
) -> Outcome:
    """Draw videos, train and score each method, and write the runs and the report of the one with text rows.

    Args:
        reporter: gets progress, and a message about each step that is done.
        status: called with the step that begins.
    """
    data = read_dataset(drawn_videos.draw_videos(out, seed=SEED, reporter=reporter))
    shutil.rmtree(out / "runs", ignore_errors=True)
    status("loading the encoder")
    unseen = drawn_videos.unseen_combinations(UNSEEN, seed=SEED)
    seen = tuple(name for name in data.classes if name not in unseen)
    encoder, test = load_encoder("mini"), data.split("test")
    # About 250 steps of 32 clips.
    sizes = {"size": 128, "epochs": 28, "batch": 32, "warmup": 3.0}
    recipe = recipes.small(**sizes, scale=HEAD_SCALE, clip_norm=0.0, tune="none", seed=SEED)
    encoder.visual.to(pick_device("auto"))
    text_head(encoder, data.classes)  # All names at once: the text encoder is loaded for each call.
    reading = ReadOptions(workers, cache=True, engine="auto")
    frozen = FrozenEncoder(encoder, encoder.visual.spec.protocol(recipe), reading, reporter)
    seen_test, unseen_test = test.with_classes(seen), test.with_classes(unseen)
    division = Division(data.split("train").with_classes(seen), None, seen_test, "test")
    experiment = Experiment(division, frozen, seen, seen, [None] * len(seen), recipe)
    reporter.say(
        f"{len(data.classes)} classes (object x motion), {len(seen)} seen in training, {len(unseen)} unseen; "
        f"{len(division.train)} training clips, {len(seen_test)} + {len(unseen_test)} test clips"
    )

    def score(model: Recognizer, clips: Dataset, names: Sequence[str] | None = None) -> Evaluation:
        """Score a model, with text rows for `names`, which may be classes without training clips."""
        if names is not None:
            own = as_head(model.head).center
            center = experiment.items.features.mean(0) if own is None else own
            model = model.with_head(text_head(encoder, names, scale=HEAD_SCALE, center=center))
        return evaluate(model, clips, frozen.protocol, reading)

    def row(model: Recognizer) -> Row:
        alone, among = (score(model, unseen_test, names).top1 for names in (unseen_test.classes, data.classes))
        return score(model, seen_test).top1, alone, among

    status("scoring zero-shot and the probe")
    plain = Recognizer(encoder.visual, MeanPool(), experiment.fit("zero-shot-centered"))
    # The probe cannot score unseen classes.
    rows = {"zero-shot-centered": row(plain), "probe": (experiment.evaluate("probe").top1, None, None)}
    status("scoring the heads")
    # The heads and their temporal module are small: more threads would only wait for each other.
    threads, models = torch.get_num_threads(), {}
    torch.set_num_threads(1)
    for title, kind in DEMO_HEADS.items():
        models[title] = _train_head(experiment, kind, out / "runs" / kind)
        rows[title] = row(models[title])
        reporter.say(f"trained: {title}")
    torch.set_num_threads(threads)
    text = models["text, frozen"]
    status("writing the report")
    run = load_run(out / "runs" / "text")
    run.write_report(out / "report.html", run.evaluate(reading=reading, reporter=reporter))
    return Outcome(rows, run.folder, score(text, seen_test), score(text, unseen_test, data.classes))


def _train_head(experiment: Experiment, kind: str, out: Path) -> Recognizer:
    """Train one head and a temporal transformer on the frozen encoder's features."""
    recipe, encoder, frozen = experiment.recipe, experiment.encoder, experiment.frozen
    inputs = RowInputs(encoder, experiment.labels, recipe, features=experiment.items.features)
    temporal = make_temporal_for(recipe, encoder.visual)
    model = Recognizer(encoder.visual, temporal, make_head(kind, inputs))
    model.to(next(encoder.visual.parameters()).device)
    info, reading = RunInfo(held_out=experiment.division.scored), ReadOptions(cache=frozen.reading.cache)
    with frozen.reporter.bar(f"train: {kind} head", "clips") as progress:
        own = Reporter().counting(progress, "train")
        fine_tune(model, experiment.division.train, None, recipe, out=out, reading=reading, info=info, reporter=own)
    return model
