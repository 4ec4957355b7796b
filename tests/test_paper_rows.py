"""Rows, their addresses, kept results, plans: what decides which numbers stand in the report."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from paper import data, head_rate, section, worlds
from paper.__main__ import main
from paper.data import Place
from paper.experiments import NAMES, module
from paper.results import Results, Store
from paper.rows import Job, Row
from paper.running import Setting, follow, outline
from texthead.errors import DataError

PLACE = Place("smoke")
ROOT = Path(__file__).parents[1]


def setting(**digests: str) -> Setting:
    return Setting(PLACE, (0, 1, 2, 3, 4), digests=digests)


# ---- addresses


def test_an_address_depends_on_everything_that_decides_the_numbers():
    job = Job("text", 0, Row("emoji", changes={"frames": 8}))
    others = [
        job._replace(seed=1),
        job._replace(row=replace(job.row, head="normal")),
        job._replace(row=job.row.changed(frames=4)),
        job._replace(row=replace(job.row, data="shapes")),
        job._replace(row=replace(job.row, k=1)),
    ]
    keys = {
        job.key("mini", "abc"),
        job.key("full", "abc"),
        job.key("mini", "abd"),
        *(o.key("mini", "abc") for o in others),
    }
    assert len(keys) == 3 + len(others)


def test_an_address_does_not_depend_on_the_title_or_on_the_order_of_changes():
    row = Row("emoji", changes={"frames": 8, "batch": 4})
    same = Row("emoji", changes={"batch": 4, "frames": 8})
    assert Job("a", 0, row).key("mini", "x") == Job("b", 0, same).key("mini", "x")


def test_defaults_are_not_in_the_address_so_that_new_fields_leave_old_results_alone():
    assert Row("emoji").to_json() == {"data": "emoji", "changes": {}}


# ---- what is kept


RESULT = {"top1": 50.0, "top5": 90.0, "views": {"1x1": {"top1": 50.0}}}


def test_a_finished_row_is_read_back_in_a_new_process(tmp_path):
    job = Job("text", 3, Row("emoji", changes={"area": (0.5, 1.0)}))
    Store(tmp_path, "mini").add("table1", job, "k1", RESULT, 1.25)
    store = Store(tmp_path, "mini")
    assert store.results([(job, "k1")]).values("text") == [50.0]
    assert store.about(["k1"])[2] == 1.2
    assert not Store(tmp_path, "full").lines
    line = json.loads((tmp_path / "mini" / "table1.jsonl").read_text())
    assert line["commit"]
    assert line["row"]["changes"] == {"area": [0.5, 1.0]}


def test_results_come_by_ascending_seed_and_views():
    found = Results({("a", seed): {"top1": float(seed), "views": {"4x3": {"top1": 10.0 * seed}}} for seed in (2, 0, 1)})
    assert found.values("a") == [0.0, 1.0, 2.0]
    assert found.values("a", views="4x3") == [0.0, 10.0, 20.0]
    assert found.values("b") == []


def test_follow_finds_a_row_under_two_titles_once():
    asked = []

    def plan():
        row = Row("emoji")
        found = yield [Job("one", 0, row), Job("two", 0, row)]
        asked.append(found)
        return section.Section("x", "X")

    store = Store(Path("nowhere"), "smoke")
    here = setting(emoji="d")
    key = here.key(Job("one", 0, Row("emoji")))
    store.lines[key] = {"result": RESULT}
    batches = []
    follow(plan(), here, store, batches.append)
    assert [list(batch) for batch in batches] == [[key]]
    assert asked[0].values("one") == asked[0].values("two") == [50.0]


def test_rows_without_their_data_are_left_out():
    rows = {"a": Row("emoji"), "b": Row("clothing"), "c": Row("emoji", after="clothing")}
    assert {job.title for job in setting(emoji="d").jobs(rows)} == {"a"}


# ---- the rate of the vision-only head


def drive(plan, answer):
    jobs = next(plan)
    try:
        plan.send(Results({(job.title, job.seed): answer(job) for job in jobs}))
    except StopIteration as stop:
        return jobs, stop.value
    raise AssertionError("asked twice")


def test_the_head_rate_is_the_best_on_held_out_training_items():
    plan = head_rate.chosen_rate(setting(clothing="d"), worlds.CLOTHING, "x", draws=2)
    jobs, rate = drive(plan, lambda job: {"top1": 70.0 if job.row.head_rate == 30 else 60.0})
    assert rate == 30
    assert {job.row.score for job in jobs} == {"held-out"}
    assert {job.row.head_rate for job in jobs} == set(head_rate.RATES)
    assert len(head_rate.RATES) >= 5
    assert {job.row.head for job in jobs} == {"linear"}
    assert {job.seed for job in jobs} == {0, 1}


def test_of_equal_head_rates_the_lowest_is_taken():
    plan = head_rate.chosen_rate(setting(clothing="d"), worlds.CLOTHING, "x")
    assert drive(plan, lambda job: {"top1": 60.0})[1] == min(head_rate.RATES)


# ---- verdicts


@pytest.mark.parametrize(
    ("a", "b", "answer"),
    [
        ([5.0, 6.0, 7.0], [1.0, 2.0, 3.1], "holds"),
        ([1.0, 2.0, 3.1], [5.0, 6.0, 7.0], "does not hold"),
        ([1.0, 9.0, 4.0], [4.0, 2.0, 5.0], "cannot be seen here"),
        ([], [], "cannot be seen here"),
        ([5.0], [1.0], "cannot be seen here"),
    ],
)
def test_a_verdict_follows_the_paired_interval(a, b, answer):
    assert section.judged(3, "x", [("pair", a, b)]).answer == answer


def test_one_unclear_pair_leaves_a_claim_unseen_and_one_opposite_refutes_it():
    up, flat, down = ([5.0, 6.0, 7.0], [0.0, 1.0, 2.5]), ([1.0, 9.0], [4.0, 2.0]), ([0.0, 1.0, 2.5], [5.0, 6.0, 7.0])
    assert section.judged(3, "x", [("a", *up), ("b", *flat)]).answer == "cannot be seen here"
    assert section.judged(3, "x", [("a", *up), ("b", *down)]).answer == "does not hold"


def test_cells_show_mean_and_interval():
    assert section.cell([1.0, 2.0, 3.0]) == "2.0 ±2.5"
    assert section.cell([1.25]) == "1.2"
    assert section.cell([]) == "-"
    assert section.gap([2.0, 3.0], [1.0, 1.0]) == "+1.5 ±6.4"


# ---- experiments


@pytest.mark.parametrize("scale", ["mini", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_says_what_it_would_run(name, scale):
    jobs = outline(module(name).plan, Setting(Place(scale), (0,)))
    assert jobs
    for job in jobs:
        assert job.row.to_json()
        assert job.row.recipe == ("paper" if scale == "full" else "small")


def test_full_scale_rows_are_the_paper_s_own():
    def rows(name):
        return {job.title: job.row for job in outline(module(name).plan, Setting(Place("full"), (0,)))}

    from paper.fit import recipe_for

    text = recipe_for(rows("table1")["K400: text"], 240_000, 0)
    assert (text.epochs, text.batch, text.lr, text.frames, text.temporal) == (30, 128, 5e-6, 8, "transformer")
    assert text.warmup == 5
    shot = recipe_for(rows("table8")["UCF-101, K = 3"], 303, 0)
    assert (shot.epochs, shot.temporal) == (200, "mean")
    image = recipe_for(rows("table12")["ViT-L/14, 336"], 1_281_167, 0)
    assert (image.epochs, image.frames) == (10, 1)
    assert rows("table12")["ViT-L/14, 336"].encoder == "openclip:ViT-L-14-336/openai"
    assert rows("table9")["K400 -> UCF: 1 epoch"].scored == "ucf101"
    assert len([title for title in rows("table5") if title.startswith("ViT-L/14, 336")]) == 3


# ---- the command


@pytest.mark.parametrize(
    "words", [("--workers", "0"), ("--workers", "-1"), ("--accumulate", "0"), ("--emulate-per-process-draw", "-1")]
)
def test_numbers_below_the_least_are_refused(words, capsys):
    assert main(["run", "table7", "--scale", "smoke", *words]) == 2
    error = capsys.readouterr().err
    assert words[0] in error
    assert words[1] in error
    assert "at least" in error


def test_a_result_that_a_stop_has_cut_is_said_with_its_line(tmp_path, capsys):
    Store(tmp_path, "mini").add("table1", Job("text", 0, Row("emoji")), "k1", RESULT, 1.0)
    file = tmp_path / "mini" / "table1.jsonl"
    file.write_text(file.read_text() + '{"key": "k2", "tit')
    assert main(["report", "--results", str(tmp_path)]) == 2
    assert f"{file}:2" in capsys.readouterr().err


def test_without_the_defect_s_rows_table_8_has_no_table_of_them(tmp_path):
    from paper import table8

    captions = []
    for processes in (0, 8):
        here = Setting(PLACE, (0,), digests={}, processes_drawing=processes)
        found, _ = follow(table8.plan(here), here, Store(tmp_path, "smoke"), lambda _: None)
        captions.append(" ".join(table.caption for table in found.tables))
    assert "published draw" not in captions[0]
    assert "published draw on 8 processes" in captions[1]


@pytest.mark.slow
def test_a_list_whose_reader_has_gone_ends_without_a_word():
    command = [sys.executable, "-m", "paper", "list"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert listing.stderr.read() == ""
        assert listing.wait() == 141


def test_an_unknown_experiment_is_one_line_and_exit_2(capsys):
    assert main(["run", "table99", "--scale", "smoke"]) == 2
    error = capsys.readouterr().err
    assert "table99" in error
    assert "table12" in error
    assert error.count("\n") == 1


def test_a_report_of_nothing_is_refused(tmp_path, capsys):
    assert main(["report", "--results", str(tmp_path)]) == 2
    assert "run all" in capsys.readouterr().err


def test_a_folder_of_data_that_is_not_there_is_refused(tmp_path, capsys):
    assert main(["run", "table10", "--data", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("seeds", ["0", "-1"])
def test_seeds_below_one_are_refused(seeds, capsys):
    assert main(["run", "table7", "--scale", "smoke", "--seeds", seeds]) == 2
    assert "at least 1" in capsys.readouterr().err


def test_an_unknown_data_set_names_those_that_are_known():
    with pytest.raises(DataError, match="clothing"):
        data.read("imagenett", Place("mini", Path()))
