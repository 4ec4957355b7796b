"""Score a run on labelled items, with its own classes or others, beside baselines."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from texthead.data.dataset import Dataset, Split, splits_of
from texthead.data.division import Division, shared_groups, unscored
from texthead.data.protocol import Protocol
from texthead.encoders.load import zero_shot_note
from texthead.errors import Share
from texthead.evaluation.broader_names import Answers
from texthead.evaluation.calibration import Calibration
from texthead.evaluation.evaluate import evaluate
from texthead.evaluation.intervals import rate_text
from texthead.evaluation.results import Evaluation, SeveralEvaluation
from texthead.features.reading import Reading, engines_text
from texthead.files import write_csv
from texthead.media.paths import MediaPath, fingerprints
from texthead.parallel.progress import Reporter
from texthead.prediction.predict import answering, usual_level
from texthead.runs.mixture import mixed
from texthead.runs.run import CALIBRATION, Run
from texthead.runs.scored_items import choose_scored, held_out_items, training_items
from texthead.text.prompts import class_prompts, labelled_classes
from texthead.transfer.baselines import ScoreTable, When, before_training, eval_baselines


class EvaluationPlan(NamedTuple):
    """What is scored.

    Attributes:
        run: the run.
        items: the items to score.
        split: name of the items.
        other: the run with a new text head; None to score its own head.
        names, prompts: class names and prompts of the new head.
    """

    run: Run
    items: Dataset
    split: str
    other: Run | None = None
    names: Sequence[str] = ()
    prompts: Sequence[str | tuple[str, ...]] = ()

    @property
    def scored(self) -> Run:
        """The run that is scored: the one with the new head, if there is one."""
        return self.other or self.run


class RunEvaluation(NamedTuple):
    """Scores of a run beside baselines.

    Attributes:
        result: the evaluation of the run, at its temperature.
        raw: the same without the temperature.
        table: the scores of all methods, the run's last.
        engine: names of the engines that encoded the items.
        notes: training items that are scored or left out, items that share a group with training items, labels that
            are not scored, and why only the temperature of the calibration is valid.
        answers: the run's answers with broader names; None without a tree.
    """

    result: Evaluation
    raw: Evaluation
    table: ScoreTable
    engine: str
    notes: list[str]
    answers: Answers | None = None

    def __repr__(self) -> str:
        return f"RunEvaluation({self.result}, {self.table})"


def evaluate_run(
    run: Run,
    dataset: Dataset | None = None,
    protocol: Protocol | None = None,
    reading: Reading = Reading(),
    *,
    split: Split | None = None,
    classes: str | None = None,
    mix: Share = 1.0,
    at_least: float | None = None,
    baselines: When = "auto",
    cache: str | Path | bool = False,
    reporter: Reporter = Reporter(),
) -> RunEvaluation:
    """Score a run on labelled items that it was not trained on, at its temperature and beside baselines.

    Args:
        dataset: labelled items; None for those that the run held out.
        protocol: frames, views and sizes; None for the run's own.
        split: split of the data to score; None for test, else val, else the items that the run held out, else all.
        classes: class names of a new text head: names with commas, or a file.
        mix: share of the run's encoder weights; the rest comes from the pretrained encoder.
        at_least: probability that an answer must reach, as in `predictions`; None for the calibration's level, or for
            a run with a tree and no level 0.9.
        baselines: when to score zero-shot and a probe (with a new head: zero-shot) too.
        cache: folder for the features of the baselines, as in `Reading`.
        reporter: gets progress, messages, and as an event the `EvaluationPlan`, before that takes time.

    Raises:
        DataError: no such split, the run was trained on items of another split than train, or a label has no class.
        MediaError: an item cannot be read and `reading` does not skip such items.
        RunError: `mix` is given for an imported run.
    """
    run, protocol = run if mix == 1 else mixed(run, mix), protocol or run.protocol
    dataset = held_out_items(run) if dataset is None else dataset
    items, name = choose_scored(run, dataset, split)
    plan = EvaluationPlan(run, items, name)
    if classes is not None:
        made = labelled_classes(items.classes, items.source, classes)
        other = run.with_classes(made.labels, names=made.names, prompts=made.sentences)
        other.model.to(run.model.device)
        prompts = class_prompts(run.recipe.template, made.names, made.sentences)
        plan = plan._replace(other=other, names=made.names, prompts=prompts)
    level = usual_level(plan.scored, protocol) if at_least is None else at_least
    calibration = answering(plan.scored, protocol, level)
    reporter.event(plan)
    near = shared_groups(training_items(run), items, name) if split != "train" else []
    trained = _trained_notes(run, dataset, items, split)
    lost = unscored(items, name, run.labels) if items.several and plan.other is None else []
    items = items.with_classes(run.labels) if lost else items
    engines = set[str]()
    raw = evaluate(plan.scored.model, items, protocol, reading, reporter=replace(reporter, used=engines.add))
    result, title, lines, notes = raw, "this run, new text head", [], []
    temperature, engine = "", engines_text(engines)
    cached, left = replace(reading, cache=cache), training_items(run) if plan.other is None else items.pick([])
    division = Division(left, None, items, name)
    if plan.other is None:
        result, temperature, lines, notes = _calibrated(run, protocol, raw, calibration)
        title, table = f"this run ({run.head.title})", eval_baselines(run, division, baselines, cached, reporter)
    else:
        table = before_training(run, plan.other.model, division, baselines, cached, reporter)
        lines += filter(None, [zero_shot_note(run.spec.source, plan.names)])
    suffix, views = _views(protocol, run, mix)
    table.rows = [(f"{method}{suffix}", score) for method, score in table.rows]
    table.rows.append((f"{title}{views}{temperature}{_changes(protocol, run.protocol)}", result))
    table.lines += lines
    new = _not_fitted(raw, calibration) if calibration else None
    answers = calibration.answered(new.scores, new.targets, new.groups) if calibration and new else None
    return RunEvaluation(result, raw, table, engine, [*trained, *near, *lost, *notes], answers)


def _trained_notes(run: Run, dataset: Dataset, items: Dataset, split: Split | None) -> list[str]:
    """Return a note on training items that are among the scored ones, or that are left out of data without splits."""
    if split != "train" and (splits_of(dataset) or len(items) == len(dataset)):
        return []  # `choose_scored` refuses training items in any other split.
    among, effect = (items, "scored") if split == "train" else (dataset, "not scored")
    trained = sum(run.was_trained_on(item.path) for item in among.items)
    return [f"the run was trained on {trained} of these {len(among)} items: they are {effect}"] if trained else []


def _views(protocol: Protocol, run: Run, mix: float) -> tuple[str, str]:
    """Return how the baselines, and how the run looks at the items, to append to the titles of their results."""
    frames, suffix, views = run.recipe.frames, "", f", mix {mix:g}" if mix != 1 else ""
    if protocol.frames != frames:
        suffix, views = f", {frames} frames", f", {protocol.frames} frames{views}"
    if protocol.views.count > 1:
        suffix, views = f", 1 view{suffix}", f", {protocol.views} views, mean of {protocol.pooling}{views}"
    return suffix, views


def _changes(protocol: Protocol, before: Protocol) -> str:
    """Return origin, stride, crops and short side that differ from the run's, to append to the title of a result."""
    pairs = (
        ("origin", protocol.views.origin, before.views.origin),
        ("stride", protocol.views.stride, before.views.stride),
        ("crops along", protocol.views.along, before.views.along),
        ("short side", protocol.sizes.resize, before.sizes.resize),
        ("decode", protocol.sizes.decode, before.sizes.decode),
    )
    return "".join(f", {name} {value}" for name, value, old in pairs if value != old)


def write_items(path: Path, result: Evaluation) -> None:
    """Write one CSV line per item: path, label, the best class, its probability; with several labels, all chosen."""
    several = isinstance(result, SeveralEvaluation)
    values = (result.scores.sigmoid() if several else result.scores.softmax(-1)).tolist()
    true, said = (
        [np.flatnonzero(row).tolist() if several else [int(row)] for row in each]
        for each in (result.targets.numpy(), result.predicted)
    )
    rows = []
    for file, own, best, p in zip(result.paths, true, said, values, strict=True):
        label, predicted = ("; ".join(result.names[index] for index in each) for each in (own, best))
        rows.append((MediaPath(file).original, label, predicted, "; ".join(f"{p[index]:.4f}" for index in best)))
    write_csv(path, ("path", "label", "predicted", "probability"), rows)


def _calibrated(
    run: Run, protocol: Protocol, result: Evaluation, calibration: Calibration | None
) -> tuple[Evaluation, str, list[str], list[str]]:
    """Return (the result at the run's temperature, a suffix for its title, lines on threshold and sets, notes)."""
    own, why = run.calibration_for(protocol)
    if own is None or calibration is None:
        return result, "", [], []
    after = replace(result, scores=calibration.apply(result.scores))
    notes = [f"{run.folder / CALIBRATION}: {why}"] if why else []
    suffix = f", temperature {calibration.temperature:.3g}" if calibration.temperature != 1 else ""
    return after, suffix, _promises(calibration, result), notes


def _not_fitted(result: Evaluation, calibration: Calibration) -> Evaluation | None:
    """Return the scores of items that the calibration was not fitted to: the result itself if it was to none."""
    new = [index for index, each in enumerate(fingerprints(result.paths)) if each not in calibration.content]
    return result if len(new) == result.count else result.pick(new) if new else None


def _promises(calibration: Calibration, result: Evaluation) -> list[str]:
    """Return lines on what threshold and sets do to the items that were not used for the calibration."""
    lines, new = list[str](), _not_fitted(result, calibration)
    if new is not result:
        left = new.count if new else 0
        rest = (
            f"rates of threshold, sets and answers are those of the other {left}" if new else "give others to test it"
        )
        seen = f"{result.count - left} of these {result.count} items"
        lines.append(f"the calibration was fitted to {seen}, for which its ECE is too low: {rest}")
    if not new:
        return lines
    result = new
    if calibration.threshold and not calibration.level:
        rejected = ~calibration.is_known(result.scores)
        right = int((rejected & (result.scores.argmax(1) == result.targets)).sum())
        lines.append(
            f"none of these: the threshold rejects {rate_text(rejected, result.groups)} of the items (best probability "
            f"not above {calibration.threshold.probability:.3f}); the best name of {right} of them is correct"
        )
    if calibration.coverage:
        sets, held = calibration.sets(result.scores), calibration.holds(result.scores, result.targets)
        lines.append(
            f"prediction sets: {rate_text(held, result.groups)} hold the label "
            f"({100 * calibration.coverage.level:g} % promised), "
            f"{float(sets.sum(1).float().mean()):.2f} labels on average"
        )
    return lines
