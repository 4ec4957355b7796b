"""`texthead report`: the page of a run, made anew from its folder and labelled items."""

from pathlib import Path
from typing import Any

from texthead import evaluation, features, runs
from texthead.calibrate_job import scores_of, unknown_items
from texthead.checkpoints import read_records
from texthead.class_edits import followed_split
from texthead.comparison import Division, write_report
from texthead.datasets import Dataset, Item
from texthead.errors import DataError
from texthead.eval_job import calibrated, choose_scored, eval_baselines, follow_edits
from texthead.files import fingerprints
from texthead.frame_order import OrderTest, blind_to_order, order_test
from texthead.how_sure import HowSure, how_sure
from texthead.mistakes import strips
from texthead.prediction import Look, calibration_for, look_of
from texthead.shard_files import is_there
from texthead.terminal import bar, notes, pick_device, read_data, results
from texthead.towers import as_visual


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
    chosen, lines = follow_edits(run, chosen)
    for line in lines:
        say.print(f"note: {line}")
    say.print(f"scoring {len(chosen)} items ({split_name}) of {len(chosen.classes)} classes")
    _, look = look_of(run)
    # Of the run's own encoder, so that the test of the frames' order and the next report encode nothing again.
    key = features.encoder_key(as_visual(run.model.visual), run.pixels)
    cache = features.FeatureCache(key, options.cache and Path(options.cache))
    with bar("score", "files") as progress:
        result = evaluation.evaluate(
            run.model,
            chosen,
            frames=look.frames,
            pixels=look.pixels,
            views=look.views,
            pooling=look.pooling,
            cache=cache,
            skip_unreadable=options.skip_unreadable,
            workers=options.workers,
            progress=progress,
        )
    sure = _sure(run, result, look, others, options)
    table = eval_baselines(run, Division(chosen, None, chosen, split_name), options)
    own, warmth, said = calibrated(run, look, result, chosen)
    table.add(f"this run ({run.model.head.kind} head){warmth}", own)
    table.lines += said
    table.show()
    order = _order(run, chosen, look, cache, options)
    with bar("look", "clips") as progress:
        shown = strips(
            result,
            look,
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
    made, why = calibration_for(run, look_of(run)[1])
    if made is None or made.threshold is None:
        told = why or "the run has none"
        raise DataError(
            f"--unknown {unknown} measures the threshold of a calibrated run, and {told}: texthead calibrate RUN DATA "
            "--unknown OTHERS sets it"
        )


def _sure(run: runs.Run, result: evaluation.Evaluation, look: Look, unknown: Dataset | None, options: Any) -> HowSure:
    """How far the probabilities can be taken at their word; a threshold is measured by unknown items, where given."""
    made, why = calibration_for(run, look)
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
        others, _ = scores_of(run, look, options, fresh, "score unknown items")
    return how_sure(result, calibration=made, unknown=others, lines=lines)


def held_out_items(run: runs.Run) -> Dataset:
    """The items that a run held out, under the labels that its classes have after their edits.

    Raises:
        DataError: it held out none, or some are gone from where they were.
    """
    assert run.classes is not None
    split = followed_split(run.folder, run.classes.get("history", []))
    paths, labels = split["held_out"], split["held_out_labels"]
    groups = split.get("held_out_groups") or [None] * len(paths)
    every = zip(paths, labels, groups, strict=True)
    items = tuple(Item(Path(path), label, group=group) for path, label, group in every if label is not None)
    if not items:
        raise DataError(f"{run.folder}: holds no held-out item of its classes; name labelled data: report RUN DATA")
    gone = [item.path for item in items if not is_there(item.path)]
    if gone:
        raise DataError(
            f"{len(gone)} of {len(items)} items that {run.folder} held out are gone (the first: {gone[0]}): name where "
            "they are now: report RUN DATA"
        )
    removed = len(paths) - len(items)
    said = (
        (f"{removed} held-out items are of classes that were removed from the run and not scored",) if removed else ()
    )
    return Dataset(items, split["source"], said)


def _order(run: runs.Run, chosen: Dataset, look: Look, cache: features.FeatureCache, options: Any) -> OrderTest | str:
    """The test of the frames' order, or why there is none."""
    blind = blind_to_order(run.model, look.frames)
    if blind:
        return blind
    with bar("other orders", "files") as progress:
        return order_test(
            run.model,
            chosen,
            frames=look.frames,
            pixels=look.pixels,
            views=look.views,
            cache=cache,
            skip_unreadable=options.skip_unreadable,
            workers=options.workers,
            progress=progress,
        )
