"""`texthead report`: the page of a run, made anew from its folder and labelled items."""

from pathlib import Path
from typing import Any

from texthead.commands.calibrate import scores_of
from texthead.commands.console import bar, notes, read_data, results
from texthead.commands.eval import calibrated
from texthead.commands.score_table import show_table
from texthead.data.dataset import Dataset
from texthead.data.division import Division
from texthead.data.protocol import Protocol
from texthead.encoders.encoder import as_visual
from texthead.errors import DataError
from texthead.evaluation import evaluate
from texthead.evaluation.frame_order import OrderTest, blind_to_order, order_test
from texthead.features.cache import FeatureCache, encoder_key
from texthead.features.reading import Reading
from texthead.media.fingerprints import fingerprints
from texthead.parallel.device import pick_device
from texthead.prediction.predict import calibration_for
from texthead.report.mistakes import strips
from texthead.report.probabilities import HowSure, how_sure
from texthead.report.run_page import write_report
from texthead.runs import run as runs
from texthead.runs.metrics import read_records
from texthead.runs.scored_items import choose_scored, held_out_items, unknown_items
from texthead.transfer.baselines import eval_baselines


def report(options: Any) -> None:
    """`texthead report`."""
    run, say = runs.load_run(options.run), notes()
    run.model.to(pick_device(options.device))
    out = run.folder / "report.html" if options.out is None else Path(options.out)
    # What makes a page impossible is said before the items are scored.
    if not out.parent.is_dir():
        raise DataError(f"--out {out}: there is no folder {out.parent}; make it first")
    records = read_records(run.folder)
    dataset = held_out_items(run) if options.data is None else read_data(options, options.data)
    for line in dataset.notes:
        say.print(f"note: {line}")
    check_unknown_is_used(run, options.unknown)
    others = None if options.unknown is None else unknown_items(run, read_data(options, options.unknown))
    chosen, split_name = choose_scored(run, dataset, options.split)
    say.print(f"scoring {len(chosen)} items ({split_name}) of {len(chosen.classes)} classes")
    protocol = run.protocol
    # Of the run's own encoder, so that the test of the frames' order and the next report encode nothing again.
    key = encoder_key(as_visual(run.model.visual), run.pixels)
    cache = FeatureCache(key, options.cache and Path(options.cache))
    reading = Reading(workers=options.workers, cache=cache, skip_unreadable=options.skip_unreadable)
    with bar("score", "files") as progress:
        result = evaluate.evaluate(run.model, chosen, protocol, reading, progress=progress)
    sure = _sure(run, result, protocol, others, options)
    folder = None if options.cache is None else Path(options.cache)
    parts = Division(chosen, None, chosen, split_name)
    table = eval_baselines(run, parts, options.baselines, folder, reading, bar)
    own, warmth, said = calibrated(run, protocol, result, chosen)
    table.add(f"this run ({run.model.head.kind} head){warmth}", own)
    table.lines += said
    show_table(table)
    order = _order(run, chosen, protocol, reading)
    with bar("look", "clips") as progress:
        shown = strips(
            result,
            protocol,
            mistakes=options.mistakes,
            hits=options.hits,
            lit=options.saliency,
            model=run.model,
            progress=progress,
        )
    write_report(out, run.folder, run.model, records, table, shown, order, sure)
    results().print(f"report: {out}")


def check_unknown_is_used(run: runs.Run, unknown: str | None) -> None:
    """Nothing, unless unknown items are given to a run whose threshold they cannot measure.

    Raises:
        DataError: the run has no threshold, or it does not hold for its classes as they are.
    """
    if unknown is None:
        return
    made, why = calibration_for(run, run.protocol)
    if made is None or made.threshold is None:
        told = why or "the run has none"
        raise DataError(
            f"--unknown {unknown} measures the threshold of a calibrated run, and {told}: texthead calibrate RUN DATA "
            "--unknown OTHERS sets it"
        )


def _sure(
    run: runs.Run, result: evaluate.Evaluation, protocol: Protocol, unknown: Dataset | None, options: Any
) -> HowSure:
    """How far the probabilities can be taken at their word; a threshold is measured by unknown items, where given."""
    made, why = calibration_for(run, protocol)
    lines, others = [f"{runs.CALIBRATION}: {why}."] if why else [], None
    if made is not None and unknown is not None:
        prints = fingerprints([item.path for item in unknown.items])
        fresh = unknown.pick([place for place, content in enumerate(prints) if content not in made.content])
        if not len(fresh):
            raise DataError(
                f"--unknown {options.unknown}: the threshold was set by all {len(unknown)} items: give others"
            )
        if len(fresh) < len(unknown):
            lines.append(
                f"{len(unknown) - len(fresh)} of the {len(unknown)} unknown items set the threshold and are left out."
            )
        others, _ = scores_of(run, protocol, options, fresh, "score unknown items")
    return how_sure(result, calibration=made, unknown=others, lines=lines)


def _order(run: runs.Run, chosen: Dataset, protocol: Protocol, reading: Reading) -> OrderTest | str:
    """The test of the frames' order, or why there is none."""
    blind = blind_to_order(run.model, protocol.frames)
    if blind:
        return blind
    with bar("other orders", "files") as progress:
        return order_test(run.model, chosen, protocol, reading, progress=progress)
