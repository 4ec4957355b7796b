"""The page of a run: every part that is given, in words that follow the numbers, and inert whatever the names say."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pages import SCRIPT, Page, assert_self_contained
from texthead.calibration import calibrate, measure
from texthead.confusions import Relation, class_rows
from texthead.evaluation import Evaluation
from texthead.frame_order import OrderTest, Reordered
from texthead.how_sure import HowSure, how_sure
from texthead.reliability import confidences, expected_calibration_error
from texthead.report import Report
from texthead.run_report import Edit, Strip, relation_text, run_report

NAMES = ["archery", SCRIPT, "yoga"]
FRAMES = np.zeros((2, 6, 8, 3), dtype=np.uint8)
CONFUSION = np.array([[8, 2, 0], [1, 4, 5], [0, 0, 0]])
RECORDS: list[dict[str, object]] = [
    {"kind": "train", "epoch": 0, "step": 1, "loss": 2.5, "lr": 1e-4, "clips_per_second": 80.0},
    {"kind": "train", "epoch": 0, "step": 2, "loss": 1.25, "lr": 1e-4, "clips_per_second": 90.0},
    {"kind": "val", "epoch": 0, "step": 2, "top1": 55.0, "top5": 90.0, "count": 20},
]


def full_report() -> Report:
    return run_report(
        run_folder_name="runs/demo",
        recipe={"seed": 7, "optimiser": {"lr": 5e-06, "betas": (0.9, 0.98)}},
        records=RECORDS,
        confusion=CONFUSION,
        correlation=np.eye(3, dtype=np.float32),
        names=NAMES,
        classes=class_rows(*np.indices((3, 3)).reshape(2, -1).repeat(CONFUSION.ravel(), 1), NAMES),
        comparisons=[("zero-shot", "61.2 ± 3.1"), ("this run", "82.5 ± 2.2")],
        strips=[
            Strip("clip.mp4", FRAMES, [("archery", 0.75)], "archery"),
            Strip("other.mp4", FRAMES, [("archery", 0.75)], SCRIPT, 9, {f"said: {SCRIPT}": np.ones((2, 7, 7))}, SCRIPT),
        ],
        strings={name: f"a video of a person {name}." for name in NAMES},
        order=OrderTest(20, 60.0, (0, 1), (Reordered("reversed", 20.0, 40.0, 15.5, 60.25, 50.0),)),
        edits=[Edit("2026-11-25", "rename", f"old: a; new: {SCRIPT}")],
    )


def test_run_report_holds_everything_and_runs_nothing(tmp_path):
    path = tmp_path / "report.html"
    full_report().write(path)
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert_self_contained(html, page)
    headings = [
        *("Comparison", "Training", "Classes", "Order of frames", "Surest mistakes", "Surest hits", "Recipe", "Edits"),
        "Prompts",
    ]
    assert [string for string in page.strings if string in headings] == headings * 2
    for expected in (
        "60.0%",
        "12 of 20 items; 95% interval 38.7 to 78.1",
        "33.3%",
        "55.0%",
        "85 clips/s",
        "1.25",
    ):
        assert expected in page.strings
    for row in (
        ["zero-shot", "61.2 ± 3.1"],
        ["archery", "10", "80.0 (49 to 94)", "9", "88.9 (57 to 98)", f"{SCRIPT} (2)"],
        [SCRIPT, "yoga", "5 of 10", "0.00", "1 of 3"],
        ["optimiser.lr", "5e-06"],
        ["optimiser.betas", "(0.9, 0.98)"],
        [SCRIPT, f"a video of a person {SCRIPT}."],
    ):
        assert row in page.rows
    assert len(page.attributes("src")) == 6
    assert {"clip.mp4", "other.mp4"} <= set(page.strings)


def test_classes_are_listed_the_least_recognised_first():
    rows = Page(full_report().html()).rows
    start = rows.index(["class", "items", "recall (%)", "said", "precision (%)", "most often taken for"])
    assert [row[0] for row in rows[start + 1 : start + 4]] == [SCRIPT, "archery", "yoga"]


def test_run_report_leaves_out_what_is_not_given():
    report = run_report("run", {}, [], None, None, ["a", "b"], [], [], {})
    page = Page(report.html())
    assert "h2" not in [tag for tag, _ in page.tags]
    assert page.strings == ["run", "run", "2 classes: a, b", "chance", "50%", "1 of 2 classes"]


def test_a_diverged_run_can_be_reported():
    records = [dict(RECORDS[0]), {**RECORDS[1], "loss": None}, {**RECORDS[2], "top1": None}]
    page = Page(run_report("run", {}, records, None, None, ["a"], [], [], {}).html())
    assert "step 1; at the start 2.5" in page.strings


def text_of(**parts) -> str:
    """The text of a report of two classes with these parts."""
    given = {
        "confusion": None,
        "correlation": None,
        "names": ["a", "b"],
        "comparisons": [],
        "strips": [],
        "strings": {},
    }
    return " ".join(Page(run_report("run", {}, [], **{**given, **parts}).html()).strings)


def answers(items: int = 60, seed: int = 0) -> Evaluation:
    """Items of three classes and scores that are too sure of themselves."""
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(items, 3, generator=generator)
    targets = torch.multinomial(scores.softmax(1), 1, generator=generator)[:, 0]
    return Evaluation(("a", "b", "c"), [Path(f"{i}.png") for i in range(items)], targets, 3 * scores)


def rows_of(sure: HowSure) -> tuple[str, dict[str, list[str]], int]:
    """(the text of a page, the rows of its table by their first cell, its pictures)."""
    page = Page(run_report("run", {}, [], None, None, ["a", "b", "c"], [], [], {}, sure=sure).html())
    return " ".join(page.strings), {row[0]: row[1:] for row in page.rows if row}, len(page.attributes("src"))


def test_a_page_without_calibration_shows_raw_probabilities_and_what_to_run():
    result = answers()
    sure = how_sure(result)
    text, rows, pictures = rows_of(sure)
    assert pictures == 1
    error = sure.raw.bins.error
    assert error == pytest.approx(result.calibration_error)
    assert f"Expected calibration error in points: {error:.1f} ({sure.raw.low:.1f} to {sure.raw.high:.1f}); by" in text
    assert "The run is not calibrated" in text
    assert "`texthead calibrate RUN DATA --unknown OTHERS`" in text
    assert not rows


def test_what_is_measured_on_the_page_takes_groups_into_account():
    own = answers(seed=1)
    made = calibrate(own.scores, own.targets, unknown=answers(40, seed=2).scores, false_accept=0.1)
    # Each item four times: takes of one scene.
    result = answers(30)
    again = torch.arange(30).repeat(4)
    scenes = [str(scene) for scene in again.tolist()]
    result = replace(result, paths=result.paths * 4, targets=result.targets[again], scores=result.scores[again])
    alone, grouped = (how_sure(replace(result, groups=groups), calibration=made) for groups in (None, scenes))
    for name in ("turned_away", "held"):
        (low, high), (lower, higher) = alone.intervals[name], grouped.intervals[name]
        assert lower < low < high < higher
    low, high = grouped.intervals["held"]
    assert f"({low:.0f} to {high:.0f})" in rows_of(grouped)[1]["sets that hold the label"][-1]


def test_a_calibrated_page_states_and_measures():
    own, result, unknown = answers(seed=1), answers(), answers(40, seed=2).scores
    made = calibrate(own.scores, own.targets, unknown=unknown, false_accept=0.1, source="clips (val)")
    made = replace(made, measured=measure(made, own.scores, own.targets, unknown=unknown))
    others = answers(30, seed=3).scores
    sure = how_sure(result, calibration=made, unknown=others)
    text, rows, pictures = rows_of(sure)
    assert pictures == 2
    assert f"a temperature of {made.temperature:.3g}: the run was too sure of itself" in text
    assert f"is not above {made.threshold.probability:.3f}, the answer is none of these; 40 unknown items" in text
    assert rows[""] == ["stated", "calibration, 60 items", "here, 60 items"]
    named = int(made.is_known(others).sum())
    stated, kept, here = rows["unknown items that get a name"]
    assert (stated, kept) == ("10 % at most", "3 of 40: 7.5 %")
    assert here.startswith(f"{named} of 30: {100 * named / 30:.1f} % (")
    held = int(made.sets(result.scores).gather(1, result.targets[:, None]).sum())
    stated, kept, here = rows["sets that hold the label"]
    assert (stated, kept) == ("90 % at least", "91.7 %")
    assert here.startswith(f"{100 * held / 60:.1f} % (")
    after = expected_calibration_error(
        confidences(made.apply(result.scores)).numpy(), (result.scores.argmax(1) == result.targets).numpy()
    )
    assert rows["calibration error after, points"][2].startswith(f"{after:.1f} (")
    # Without what was measured, and without threshold and sets: what there is.
    text, rows, _ = rows_of(how_sure(result, calibration=made.without_promises(), lines=["edited."]))
    assert rows[""] == ["stated", "here, 60 items"]
    assert "unknown items that get a name" not in rows
    assert "edited." in text


@pytest.mark.parametrize(
    ("low", "told"),
    [(0.5, "Time matters here: reversed frames cost 12.5 points."), (-0.5, "No need for time is shown")],
)
def test_the_sentence_on_order_follows_the_interval(low, told):
    text = text_of(order=OrderTest(40, 60.0, (0,), (Reordered("reversed", 47.5, 12.5, low, 24.0, 30.0),)))
    assert told in text
    assert "the seeds 0." in text
    assert "mean over frames" in text_of(order="The mean over frames is blind to their order")


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (0.2, 0.6, "Language foretold what was confused: over the pairs of 12 classes"),
        (-0.6, -0.2, "Language foretold what was not confused"),
        (-0.1, 0.6, "Language may or may not have foretold what was confused, since the interval holds 0"),
    ],
)
def test_the_sentence_on_language_follows_the_interval(low, high, told):
    text = relation_text(Relation(12, (low + high) / 2, low, high, 0.25), rows_are_text=True)
    assert text.startswith(told)
    assert f"(95% interval over classes {low:.2f} to {high:.2f}; as high by chance: p = 0.250)" in text


def test_rows_that_are_not_text_are_not_called_language():
    assert relation_text(Relation(12, 0.4, 0.2, 0.6, 0.01), rows_are_text=False).startswith(
        "The head's rows, which are"
    )
    assert relation_text(None, rows_are_text=True).startswith("Too little was confused, or of too few classes (5 ")


def test_a_page_of_noisy_frames_can_still_be_sent():
    """Noise is what compresses worst; a page holds 24 strips at most, so 18 MB."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (8, 128, 128, 3), dtype=np.uint8)
    heats = {"said: a": rng.random((8, 7, 7)), "true: b": rng.random((8, 7, 7))}
    strip = Strip("x.mp4", frames, [("a", 0.6), ("b", 0.4)], "b", 2, heats)
    report = run_report("run", {}, [], None, None, ["a", "b"], [], [strip], {})
    assert len(report.html()) < 750_000


def test_names_in_letters_that_the_font_lacks_are_told_on_the_page_alone(tmp_path):
    names = ["a cat", "鳥", "yoga"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = run_report("run", {}, [], CONFUSION, np.eye(3, dtype=np.float32), names, [], [], {})
        report.write(tmp_path / "report.html")
    strings = Page((tmp_path / "report.html").read_text(encoding="utf-8")).strings
    assert "The font of the pictures has no letters for 鳥: boxes stand there." in strings
    assert not any("no letters" in string for string in Page(full_report().html()).strings)
