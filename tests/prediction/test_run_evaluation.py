"""`Run.evaluate` does in one call what `texthead eval` prints."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import texthead as th
from made import calibrate_run, write_colour_run, write_image
from texthead.evaluation.calibration import Level
from texthead.features.reading import ReadOptions
from texthead.media.paths import fingerprints

READING = ReadOptions(engine="auto")


def test_the_held_out_items(world, works):
    run = th.load_run(world.run)
    scores = run.evaluate(reading=READING)
    printed = json.loads(works("eval", world.run, *world.run_options(), "--json")[0])
    assert [method for method, _ in scores.rows] == [row["method"] for row in printed["methods"]]
    assert [result.top1 for _, result in scores.rows] == [row["top1"] for row in printed["methods"]]
    assert (scores.engine, scores.notes) == (printed["engine"], [])
    chosen = run.eval_items()
    assert (chosen.scored_name, len(chosen.scored)) == ("held-out", scores.result.count)


@pytest.mark.parametrize("fitted", [0, 3, 9])
def test_threshold_sets_and_answers_are_rated_on_items_that_did_not_fit_them(fitted: int, tmp_path: Path) -> None:
    run = th.load_run(calibrate_run(write_colour_run(tmp_path / "run"), temperature=2.0, threshold=0.1))
    for number in range(9):
        colour = run.labels[number % 3]
        write_image(tmp_path / "photos" / colour / f"{number}.png", colour, number)
    data = th.read_dataset(tmp_path / "photos")
    content = frozenset(fingerprints([item.path for item in data.items])[:fitted])
    assert run.calibration is not None
    run = replace(run, calibration=replace(run.calibration, content=content, level=Level(0.5, 0.9, {}, wrong=0.05)))
    scores = run.evaluate(data, reading=ReadOptions())
    rows = scores.answers.rows if scores.answers else []
    assert sum(row.items for row in rows if row.answer in ("class", "none of these")) == 9 - fitted
    assert scores.result.count == 9
    assert bool(fitted) == any(f"fitted to {fitted} of these 9 items" in line for line in scores.lines)


def test_the_command_scores_other_classes(world, works):
    options = ("--classes", "blue, red, green", "--verbose", *world.run_options())
    out, err = works("eval", world.run, world.images, *options)
    assert "this run, new text head" in out
    assert "prompt: 'blue' and 2 more" in err
