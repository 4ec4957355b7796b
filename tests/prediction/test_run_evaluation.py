"""`evaluate_run` does in one call what `texthead eval` prints."""

import json

import texthead as th
from texthead.features.reading import Reading
from texthead.prediction.run_evaluation import EvaluationPlan, evaluate_run

READING = Reading(engine="auto")


def test_the_held_out_items(world, works):
    run = th.load_run(world.run)
    plans: list[EvaluationPlan] = []
    scores = evaluate_run(run, reading=READING, reporter=th.Reporter(event=plans.append))
    printed = json.loads(works("eval", world.run, *world.run_options(), "--json")[0])
    assert [method for method, _ in scores.table.rows] == [row["method"] for row in printed["methods"]]
    assert [result.top1 for _, result in scores.table.rows] == [row["top1"] for row in printed["methods"]]
    assert repr(scores) == f"RunEvaluation({scores.result}, {scores.table})"
    assert (scores.engine, scores.notes) == (printed["engine"], [])
    (plan,) = plans
    assert (plan.split, len(plan.items), plan.other) == ("held-out", scores.result.count, None)


def test_other_classes(world, works):
    run, data = th.load_run(world.run), th.read_dataset(world.images)
    plans: list[EvaluationPlan] = []
    report = th.Reporter(event=plans.append)
    scores = evaluate_run(run, data, None, READING, classes="blue, red, green", baselines="never", reporter=report)
    ((method, result),) = scores.table.rows
    assert method == "this run, new text head"
    (plan,) = plans
    assert list(plan.prompts) == plan.names == ["blue", "red", "green"]
    assert len(result.names) == 3


def test_the_command_scores_other_classes(world, works):
    options = ("--classes", "blue, red, green", "--verbose", *world.run_options())
    out, err = works("eval", world.run, world.images, *options)
    assert all(text in out for text in ("this run, new text head", "zero-shot, before training", "names alone (before"))
    assert "prompt: 'blue' and 2 more" in err
