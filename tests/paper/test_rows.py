"""Rows, addresses, stored results and plans, which decide the numbers in the report."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from messages import prints
from paper import head_rate, section, worlds
from paper.__main__ import main
from paper.data import Runtime
from paper.experiments import NAMES, module
from paper.results import Results, Store
from paper.rows import Job, Row
from paper.running import Setting, follow, outline
from texthead.encoders.load import spec_of

RUNTIME = Runtime("smoke")


def setting(**digests: str) -> Setting:
    return Setting(RUNTIME, (0, 1, 2, 3, 4), digests=digests)


def test_address_of_job():
    job = Job("text", 0, Row("emoji", changes={"frames": 8, "batch": 4}))
    rows = [replace(job.row, **{key: value}) for key, value in (("head", "normal"), ("data", "shapes"), ("k", 1))]
    others = [job._replace(seed=1), *(job._replace(row=row) for row in (*rows, job.row.changed(frames=4)))]
    keys = {job.key("full", "abc"), job.key("mini", "abd"), *(each.key("mini", "abc") for each in (job, *others))}
    assert len(keys) == 3 + len(others)
    same = Job("another title", 0, Row("emoji", changes={"batch": 4, "frames": 8}))
    assert same.key("mini", "abc") == job.key("mini", "abc")
    # Defaults are omitted, so that new fields do not change the addresses of old results.
    assert Row("emoji").to_json() == {"data": "emoji", "changes": {}}


RESULT = {"top1": 50.0, "top5": 90.0, "views": {"1x1": {"top1": 50.0}}}


def test_a_finished_row_is_read_back_in_a_new_process(tmp_path):
    job = Job("text", 0, Row("emoji", changes={"area": (0.5, 1.0)}))
    Store(tmp_path, "mini").add("table1", job, "k1", RESULT, 1.25)
    store = Store(tmp_path, "mini")
    assert store.results([(job, "k1")]).values("text") == [50.0]
    assert store.about(["k1"])[2] == 1.2
    assert not Store(tmp_path, "full").lines
    line = json.loads((tmp_path / "mini" / "table1.jsonl").read_text())
    assert line["commit"]
    assert line["row"]["changes"] == {"area": [0.5, 1.0]}


def test_follow_finds_a_row_under_two_titles_once():
    jobs, results, batches = [Job(title, 0, Row("emoji")) for title in ("one", "two")], [], []

    def plan():
        results.append((yield jobs))
        return section.Section("x", "X")

    store, here = Store(Path("nowhere"), "smoke"), setting(emoji="d")
    key = here.key(jobs[0])
    store.lines[key] = {"result": RESULT}
    follow(plan(), here, store, batches.append)
    assert [list(batch) for batch in batches] == [[key]]
    assert results[0].values("one") == results[0].values("two") == [50.0]
    # Results come by seed, up to the first missing one.
    some = Results({("a", seed): {"top1": float(seed), "views": {"4x3": {"top1": 10.0}}} for seed in (2, 0, 4, 1)})
    assert (some.values("a"), some.values("a", views="4x3"), some.values("b")) == ([0.0, 1.0, 2.0], 3 * [10.0], [])


def drive(plan, answer):
    jobs = next(plan)
    try:
        plan.send(Results({(job.title, job.seed): answer(job) for job in jobs}))
    except StopIteration as stop:
        return jobs, stop.value
    raise AssertionError("the plan has a second batch of jobs")


def test_the_head_rate_is_the_best_on_held_out_training_items():
    plan = head_rate.chosen_rate(setting(clothing="d"), worlds.CLOTHING, "x", draws=2)
    jobs, rate = drive(plan, lambda job: {"top1": 70.0 if job.row.head_rate == 30 else 60.0})
    assert rate == 30
    each = {(job.row.score, job.row.head, job.row.head_rate, job.seed) for job in jobs}
    assert each == {("held-out", "linear", rate, seed) for rate in head_rate.RATES for seed in (0, 1)}
    # Ties take the lowest rate.
    plan = head_rate.chosen_rate(setting(clothing="d"), worlds.CLOTHING, "x")
    assert drive(plan, lambda job: {"top1": 60.0})[1] == min(head_rate.RATES)


@pytest.fixture
def uncounted(monkeypatch):
    """Replace the counting of multiply-adds, which takes seconds; the slow tests count them."""
    counts = SimpleNamespace(multiply_adds=1, parameters=1, paper_multiply_adds=1, paper_parameters=1)
    for name in ("table7", "table12"):
        monkeypatch.setattr(module(name), "costs", lambda encoder, **_: spec_of(encoder) and counts)


@pytest.mark.usefixtures("uncounted")
@pytest.mark.parametrize("scale", ["mini", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_lists_what_it_would_run(name, scale):
    jobs = outline(module(name).plan, Setting(Runtime(scale), (0,)))
    recipes = {"paper" if scale == "full" else "small"} if (name, scale) != ("k600", "mini") else set()
    assert {job.row.recipe for job in jobs} == recipes, "Kinetics-600 has no stand-in"
    assert all(job.row.to_json() for job in jobs)


def test_rows_that_no_experiment_asks_for_or_cut_ones_are_no_report(tmp_path, capsys):
    Store(tmp_path, "mini").add("table1", Job("text", 0, Row("emoji")), "k1", RESULT, 1.0)
    assert main(["report", "--results", str(tmp_path)]) == 2
    prints(capsys.readouterr().err, f"{tmp_path / 'mini'}", "unused")
    file = tmp_path / "mini" / "table1.jsonl"
    file.write_text(file.read_text() + '{"key": "k2", "tit')
    assert main(["report", "--results", str(tmp_path)]) == 2
    prints(capsys.readouterr().err, f"{file}:2")
