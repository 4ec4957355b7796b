"""`texthead eval`: a run's score on labelled data, with its own classes or others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from texthead.commands.console import (
    bar,
    changed_by,
    check_template_fills,
    check_template_is_used,
    given_template,
    notes,
    protocol_with,
    read_data,
    results,
    say_names,
    say_other_classes,
    say_prompts,
)
from texthead.commands.score_table import show_table
from texthead.data.dataset import Dataset
from texthead.data.division import Division
from texthead.data.protocol import Protocol
from texthead.encoders.load import zero_shot_note
from texthead.errors import DataError
from texthead.evaluation import confusions
from texthead.evaluation import evaluate as evaluation
from texthead.evaluation.calibration import Calibration
from texthead.evaluation.intervals import share
from texthead.features.reading import Reading
from texthead.files import write_csv
from texthead.media.fingerprints import fingerprint
from texthead.parallel.device import pick_device
from texthead.parallel.distributed import rank
from texthead.prediction.predict import calibration_for
from texthead.runs import run as runs
from texthead.runs.scored_items import choose_scored
from texthead.text import prompts
from texthead.text.class_names import clean_names
from texthead.transfer.baselines import before_training, eval_baselines


def check_order(command: str, options: Any) -> None:
    """Nothing, unless DATA and RUN have changed places.

    Raises:
        DataError: they have.
    """
    if runs.is_run(options.data) and not runs.is_run(options.run):
        raise DataError(f"RUN comes before DATA: texthead {command} {options.data} {options.run}")


def evaluate(options: Any) -> None:
    """`texthead eval`."""
    if options.classes is not None and options.zero_shot:
        raise DataError("--classes and --zero-shot both name the classes: give one")
    other = options.classes is not None or options.zero_shot
    check_template_is_used(options, other, "--classes or --zero-shot")
    check_order("eval", options)
    template = given_template(options)
    run = runs.load_run(options.run)
    protocol = protocol_with(options, run.protocol)
    device, reading = (
        pick_device(options.device),
        Reading(workers=options.workers, skip_unreadable=options.skip_unreadable),
    )
    run.model.to(device)
    dataset, say = read_data(options, options.data), notes()
    for line in dataset.notes:
        say.print(f"note: {line}")
    chosen, split_name = choose_scored(run, dataset, options.split)
    model, labels, names, sentences = run.model, list(run.labels), [], []
    if other:
        labels, names, sentences = _other_classes(options, chosen)
    # Of any other split `choose_scored` has refused them.
    trained = sum(run.was_trained_on(item.path) for item in chosen.items) if options.split == "train" else 0
    if trained:
        say.print(f"note: {trained} of these {len(chosen)} items were trained on")
    among = f" among the {len(labels)} of the head" if len(labels) > len(chosen.classes) else ""
    say.print(f"scoring {len(chosen)} items ({split_name}) of {len(chosen.classes)} classes{among}")
    if other:
        say_names(labels, names, None)
        say_other_classes(run, prompts.class_prompts(template or run.recipe.template, names, sentences))
        model = run.with_classes(labels, names=names, template=template, prompts=sentences).model.to(device)
        say_prompts(labels, model.head.prompts)  # pyright: ignore
    with bar("score", "files") as progress:
        result = evaluation.evaluate(model, chosen, protocol, reading, progress=progress)
    warmth, said = "", []
    if not other:
        result, warmth, said = calibrated(run, protocol, result, chosen)
    parts = Division(chosen, None, chosen, split_name)
    cache = None if options.cache is None else Path(options.cache)
    if other:
        table = before_training(run, model, parts, labels, options.baselines, cache, reading, bar)
    else:
        table = eval_baselines(run, parts, options.baselines, cache, reading, bar)
    frames, beside, own = run.recipe.frames, "", ""
    if protocol.views.count > 1:
        beside, own = ", 1 view", f", {options.views} views, mean of {protocol.pooling}"
    if options.frames not in (None, frames):
        beside, own = f"{beside}, {frames} frames", f"{own}, {options.frames} frames"
    own += warmth + "".join(f", {name} {value}" for name, value in changed_by(options, run.protocol))
    table.rows = [(f"{method}{beside}", found) for method, found in table.rows]
    title = "this run, new text head" if other else f"this run ({run.model.head.kind} head)"
    table.add(f"{title}{own}", result)
    note = zero_shot_note(run.spec.source) if other else None
    table.lines += [*said, *([note] if note else [])]
    show_table(table)
    if options.per_class:
        _show_classes(result)
    if options.out and rank() == 0:
        _write_items(Path(options.out), result)
        results().print(f"items: {options.out}")


def _other_classes(options: Any, chosen: Dataset) -> prompts.LabelledClasses:
    """The classes of a new head: the data's own, or given ones under the data's labels."""
    clean = options.names == "clean"
    if options.zero_shot:
        labels = chosen.classes
        names = clean_names(labels) if clean else labels
        return prompts.LabelledClasses(labels, names, [None] * len(labels))
    classes = prompts.read_classes(options.classes)
    check_template_fills(options.template, classes)
    return prompts.classes_for(classes, chosen.classes, chosen.source, clean=clean)


def calibrated(
    run: runs.Run, protocol: Protocol, result: evaluation.Evaluation, chosen: Dataset
) -> tuple[evaluation.Evaluation, str, list[str]]:
    """(the result after the run's temperature, what to add to its title, what to say of threshold and sets)."""
    calibration, why = calibration_for(run, protocol)
    if calibration is None:
        return result, "", []
    if why:
        notes().print(f"note: {run.folder / runs.CALIBRATION}: {why}")
    after = replace(result, scores=calibration.apply(result.scores))
    return after, f", temperature {calibration.temperature:.3g}", _promises(calibration, result, chosen)


def _promises(calibration: Calibration, result: evaluation.Evaluation, chosen: Dataset) -> list[str]:
    """What threshold and sets do to these items; a note where the calibration was learned from them."""
    lines: list[str] = []
    seen = sum(fingerprint(item.path) in calibration.content for item in chosen.items)
    if seen:
        lines.append(
            f"{seen} of these {len(chosen)} items are those that the calibration was learned from: its numbers (ECE, "
            "threshold, sets) flatter it here; report them on others"
        )
    if calibration.threshold:
        away = ~calibration.is_known(result.scores)
        right = int((away & (result.scores.argmax(1) == result.targets)).sum())
        lines.append(
            f"none of these: {share(away, result.groups)} of the items are turned away (best probability not above "
            f"{calibration.threshold.probability:.3f}), {right} of which are named rightly without it"
        )
    if calibration.coverage:
        sets, held = calibration.sets(result.scores), calibration.holds(result.scores, result.targets)
        lines.append(
            f"label sets: {share(held, result.groups)} hold the label "
            f"({100 * calibration.coverage.level:g} % promised), "
            f"{float(sets.sum(1).float().mean()):.2f} labels on average"
        )
    return lines


def _show_classes(result: evaluation.Evaluation, most: int = 10) -> None:
    """Print precision and recall of each class, and which classes are taken for which: the most frequent pairs."""
    confusion = result.confusion()
    table = Table("class", "items", "recall", "named so", "precision", title="each class, in percent (95 % interval)")
    for row in result.classes:
        recall, precision = (
            "{:.1f} ({:.1f}-{:.1f})".format(*rate) if rate else "-" for rate in (row.recall, row.precision)
        )
        table.add_row(row.name, str(row.items), recall, str(row.said), precision)
    results().print(table)
    pairs = confusions.wrong_pairs(confusion)
    for truth, said, count in pairs[:most]:
        whole = int(confusion[truth].sum())
        results().print(f"{result.names[truth]} taken for {result.names[said]}: {count} of {whole}")
    if len(pairs) > most:
        more = len(pairs) - most
        results().print(f"and {more} more pair{'s' * (more > 1)} (--out FILE writes what each item is taken for)")


def _write_items(path: Path, result: evaluation.Evaluation) -> None:
    """One line an item: path, label, the best name, its probability."""
    best = result.scores.softmax(-1).max(-1)
    found = zip(result.paths, result.targets.tolist(), best.indices.tolist(), best.values.tolist(), strict=True)
    rows = ((item, result.names[target], result.names[place], f"{value:.4f}") for item, target, place, value in found)
    write_csv(path, ("path", "label", "predicted", "probability"), rows)
