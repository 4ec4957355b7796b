"""The page of a run: its parts, text that follows the numbers, and names that cannot run as code in a browser."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from made import SPEC, noise, tiny_visual
from messages import prints
from pages import SCRIPT, Page, assert_self_contained
from run_folders import put
from texthead.data.dataset import Dataset
from texthead.data.division import Division
from texthead.evaluation.calibration import Level, Unknown, calibrate, measure
from texthead.evaluation.reliability import confidences, expected_calibration_error
from texthead.evaluation.results import Evaluation, MultiLabelEvaluation
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.prediction.load import load_run
from texthead.recipes import small
from texthead.report import run_page
from texthead.report.examples import Example, Thumbnails
from texthead.report.probabilities import ACCEPTED, COVERED, REJECTED, calibration_report
from texthead.report.run_page import run_html
from texthead.runs.scores import RunScores, Score
from texthead.transfer.baselines import ScoreTable

NAMES = ["archery", SCRIPT, "yoga"]
FRAMES = [np.zeros((6, 8, 3), dtype=np.uint8)] * 2
CONFUSION = np.array([[8, 2, 0], [1, 4, 5], [0, 0, 0]])
RECORDS: list[dict[str, object]] = [
    {"kind": "train", "epoch": 0, "step": 1, "loss": 2.5, "lr": 1e-4, "clips_per_second": 80.0},
    {"kind": "train", "epoch": 0, "step": 2, "loss": 1.25, "lr": 1e-4, "clips_per_second": 90.0},
    {"kind": "val", "epoch": 0, "step": 2, "top1": 55.0, "top5": 90.0, "count": 20},
]


HEADINGS = [
    *("Classes", "Most confident mistakes", "Most confident correct predictions", "Confusions", "Methods"),
    *("Training", "Recipe", "Edits", "Prompts", "Rows of the head"),
]


def scored(confusion: np.ndarray, names: list[str]) -> Evaluation:
    """Return an evaluation with this confusion matrix."""
    truth, answer = (
        torch.from_numpy(part) for part in np.indices(confusion.shape).reshape(2, -1).repeat(confusion.ravel(), 1)
    )
    scores = torch.nn.functional.one_hot(answer, len(names)).float()
    return Evaluation(tuple(names), [Path(f"{i}.png") for i in range(len(truth))], truth, scores)


def html_of(
    names: Sequence[str] = ("a", "b"), records: Sequence = (), scored: Evaluation | None = None, **parts
) -> str:
    """Return the report of a run with these parts, as HTML."""
    texts = dict.fromkeys(("name", "edited"), "run") | {"edited": ""}
    lists = dict.fromkeys(("summary", "recipe", "examples"), ())
    others = dict.fromkeys(("methods", "calibration_report", "answers")) | {"prompts": {}}
    return run_html(names, records, scored, np.eye(len(names)), **{**texts, **lists, **others, **parts})


def build_page(*options, **parts) -> Page:
    """Parse the report of a two-class run with these parts."""
    return Page(html_of(*options, **parts))


@pytest.fixture(scope="module")
def full_page() -> str:
    return html_of(
        NAMES,
        RECORDS,
        scored(CONFUSION, NAMES),
        name="runs/demo",
        recipe=[("seed", 7), ("optimiser.betas", (0.9, 0.98))],
        summary=["60 % of 20 test images are correct", f"archery is often predicted as {SCRIPT}"],
        methods=RunScores("test", (Score("zero-shot", 20, 60.0, 36.1, 80.9, (57.5, 34.2, 78.1), 100.0, 3.0),)),
        examples=[
            Example("clip.mp4", FRAMES, [("archery", 0.75)], ["archery"]),
            Example("other.mp4", FRAMES, [("archery", 0.75)], [SCRIPT], 9),
        ],
        thumbnails=Thumbnails({0: FRAMES[0], 1: FRAMES[1]}, {0: FRAMES[0], 8: FRAMES[1], 11: FRAMES[0]}),
        prompts={name: f"a video of a person {name}." for name in NAMES},
        edited=f"renamed 'a' to '{SCRIPT}'",
    )


def test_run_report_holds_everything_and_runs_nothing(full_page):
    page = Page(full_page)
    assert_self_contained(full_page, page)
    assert page.attributes("href") == [f"#section-{number}" for number in range(1, 11)]
    # The result, its pictures, numbers, how the run was made; the rows of the head last.
    assert page.strings[5:7] == ["60 % of 20 test images are correct", f"archery is often predicted as {SCRIPT}"]
    links = [string for string in page.strings if page.strings.count(string) == 2 and string in HEADINGS]
    assert links == HEADINGS * 2
    for line in ("60 %", "clip.mp4, 2 frames", "other.mp4, 2 frames", f"✗ wrong, true class ranked 9: {SCRIPT}"):
        assert line in page.strings
    prints(page.text, "85 clips/s")
    for row in (
        ["zero-shot", "60.0 (36 to 81)", "", "57.5 (34 to 78)", "20"],
        ["optimiser.betas", "(0.9, 0.98)"],
        [SCRIPT, f"a video of a person {SCRIPT}."],
    ):
        assert row in page.rows
    # Two classes have an item with a picture; two frames of each example; one curve; behind cells three.
    assert len(page.attributes("src")) == 2 + 4 + 1 + 3
    # The least recognised classes come first.
    index = page.rows.index(["archery", "10", "80.0 (44 to 97)", "9", "88.9 (52 to 100)", f"{SCRIPT} (2)"])
    assert [page.rows[index + step][:2] for step in (-1, 1)] == [[SCRIPT, "10"], ["yoga", "0"]]


def test_run_report_leaves_out_missing_parts():
    page = build_page()
    assert (len(page.all("h2")), page.strings[:3]) == (2, ["run", "run", "2 classes: a, b"])


def test_a_diverged_run_can_be_reported():
    records = [RECORDS[0], {**RECORDS[1], "loss": None}, {**RECORDS[2], "top1": None}]
    assert "Training" in build_page(records=records).strings
    broken = [{}, {"kind": "train", "step": 1, "clips_per_second": None}]
    assert "Training" not in build_page(records=broken).strings


def test_several_labels_have_the_average_precision_of_each_class():
    scores = torch.tensor([[2.0, -1, -1], [1, 2, -1], [3, -2, -1]])
    targets = torch.tensor([[True, True, False], [False, True, False], [True, False, False]])
    scored = MultiLabelEvaluation(("a", "b", "c"), [Path("1.png")] * 3, targets, scores)
    page = build_page(scored=scored, names=[*"abc"])
    header, *rows = page.rows
    assert header[-1] == "AP (%)"
    assert [(row[0], row[-1].split()[0]) for row in rows[:3]] == [("a", "100.0"), ("b", "100.0"), ("c", "–")]
    assert "Confusions" not in page.strings


def test_a_run_without_steps_lists_only_the_values_it_used():
    recipe = dict.fromkeys(vars(small()), 1) | {"size": None}
    about = {"encoder": {"source": "mini"}, "head": {"kind": "text"}, "command": {"k": None}, "recipe": recipe}
    plain = run_page.settings(about, trained=False)
    assert plain == {"encoder": "mini", "head": "text"} | dict.fromkeys(set(run_page.PROBE_VALUES) - {"size"}, 1)
    assert set(run_page.settings(about, trained=True)) == {"encoder", "head", *recipe} - {"size"}
    assert set(run_page.PROBE_VALUES) <= set(recipe)


def draw_answers(items: int = 60, seed: int = 0) -> Evaluation:
    """Return an evaluation of random items of three classes with overconfident scores."""
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(items, 3, generator=generator)
    targets = torch.multinomial(scores.softmax(1), 1, generator=generator)[:, 0]
    return Evaluation(("a", "b", "c"), [Path(f"{i}.png") for i in range(items)], targets, 3 * scores)


def test_page_without_calibration():
    result = draw_answers()
    report = calibration_report(result)
    page = build_page(names=["a", "b", "c"], calibration_report=report)
    assert len(page.attributes("src")) == 1
    assert report.raw.error == pytest.approx(result.calibration_error)
    measured = [f"{value:.1f}" for value in (report.raw.error, report.raw.low, report.raw.high)]
    prints(page.text, *measured)
    prints(page.text, "texthead calibrate RUN DATA --unknown OTHERS")
    assert page.rows[0] == ["setting", "value"]


def test_intervals_on_the_page_take_groups_into_account():
    own = draw_answers(seed=1)
    made = calibrate(own.scores, own.targets, unknown=Unknown(draw_answers(40, seed=2).scores), false_accept=0.1)
    # Each item appears four times, as takes of one scene.
    result = draw_answers(30)
    again = torch.arange(30).repeat(4)
    scenes = [str(scene) for scene in again.tolist()]
    result = replace(result, paths=result.paths * 4, targets=result.targets[again], scores=result.scores[again])
    alone, grouped = (calibration_report(replace(result, groups=groups), calibration=made) for groups in (None, scenes))
    for name in (REJECTED, COVERED):
        (low, high), (lower, higher) = alone.intervals[name], grouped.intervals[name]
        assert lower < low < high < higher
    low, high = grouped.intervals[COVERED]
    (row,) = (row for row in build_page(calibration_report=grouped).rows if row[0] == COVERED)
    assert f"({low:.0f} to {high:.0f})" in row[-1]


def test_a_level_decides_in_place_of_the_threshold_on_the_page_too():
    own = draw_answers(seed=1)
    made = calibrate(own.scores, own.targets, unknown=Unknown(draw_answers(40, seed=2).scores), false_accept=0.1)
    made = replace(made, measured=measure(made, own.scores, own.targets))
    report = calibration_report(draw_answers(30), calibration=replace(made, level=Level(0.9, 0.9, {})))
    made_rows = [row[0] for row in report.table()[1]]
    assert COVERED in made_rows
    assert not {ACCEPTED, REJECTED} & {*made_rows, *report.intervals}


def test_a_calibration_without_measurement_threshold_and_sets():
    own, result = draw_answers(seed=1), draw_answers()
    made = calibrate(own.scores, own.targets).temperature_only()
    page = build_page(calibration_report=calibration_report(result, calibration=made, lines=["edited."]))
    assert len(page.attributes("src")) == 2
    assert [len(row) for row in page.rows][:5] == [*[3] * 4, 2]
    error = expected_calibration_error(
        confidences(made.apply(result.scores)).numpy(), (result.scores.argmax(1) == result.targets).numpy()
    )
    assert page.rows[2][2].startswith(f"{error:.1f} (")
    assert "edited." in page.strings
    prints(page.text, f"temperature of {made.temperature:.3g}")


def test_a_run_of_one_class_has_a_page(tmp_path: Path):
    """Its rows have no pair to correlate."""
    model = Recognizer(tiny_visual(), MeanPool(), FrozenHead(noise(1, SPEC.dim), names=["red"]))
    run = load_run(put(tmp_path / "run", model))
    run.write_report(tmp_path / "page.html", ScoreTable(Division(Dataset(()), None, Dataset(()), "")))
    assert "red" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_cell_of_the_confusions_has_its_items(full_page):
    page = Page(full_page)
    cells = [attributes["data-items"] for attributes in page.all("button") if "data-items" in attributes]
    assert cells == ["items-0-0", "items-0-1", "items-1-0", "items-1-1", "items-1-2"]
    assert [attributes["id"] for attributes in page.all("template")] == cells
    shares = [attributes["style"] for attributes in page.all("td") if "style" in attributes][:3]
    assert shares == ["--share:0.8", "--share:0.2", "--share:0"]
    behind = page.strings[page.strings.index(f"{SCRIPT}, predicted as yoga: 5") :]
    assert behind[1:6] == [f"{index}.png" for index in (15, 16, 17, 18, 19)]


def test_many_classes_have_lists_in_place_of_square_tables():
    names = [f"class {index}" for index in range(41)]
    confusion = np.eye(41, dtype=int)
    confusion[3, 7] = 2
    page = build_page(names, scored=scored(confusion, names))
    assert ["class 3", "class 7", "2"] in page.rows
    assert [attributes["id"] for attributes in page.all("template")] == ["items-3-7"]
    assert len(page.all("tr")) == 1 + 41 + 1 + 1 + 1 + 1 + 30  # classes, the confusion, the recipe, similar rows


def test_the_most_similar_rows_are_listed_first():
    rows = np.eye(41)
    rows[[5, 9], [9, 5]] = 0.75
    pairs = run_page._similar(rows, [f"class {index}" for index in range(41)])
    assert (len(pairs), pairs[0]) == (30, ("class 5", "class 9", "0.75"))
    (first, *_) = run_page._similar(np.array([[1.0, 0.2], [0.2, 1.0]]), ["a", "b"])
    assert first == [("1.00", 0.0, ""), ("0.20", 1.0, "")]
