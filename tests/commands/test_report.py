"""The page of a run can be made again: from its own items or others, after edits, and it stays one inert file."""

import json
import shutil
from pathlib import Path

import pytest

from made import COLOURS, write_broken, write_image, write_small_run, write_video
from pages import Page, assert_self_contained
from texthead import cli

HOSTILE = "<script>alert('x')</script>"


def trained(root: Path, write, *more: str) -> tuple[Path, Path]:
    """(class folders, a run on them with a frozen encoder)."""
    for colour in COLOURS:
        label = HOSTILE.replace("/", "_") if colour == "red" else colour
        for seed in range(6):
            write(root / "data" / label, colour, seed)
    typed = ["train", str(root / "data"), "--out", str(root / "run"), "--cache", str(root / "cache"), *more]
    options = "--size 32 --epochs 3 --workers 0 --freeze-encoder --baselines never --held-out 0.34"
    assert cli.main([*typed, *options.split()]) == 0
    return root / "data", root / "run"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "features"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("images")
    return trained(root, lambda folder, colour, seed: write_image(folder / f"{seed}.png", colour, seed), "--train-head")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("videos")
    options = "--temporal transformer --frames 3"
    return trained(
        root, lambda folder, colour, seed: write_video(folder / f"{seed}.mp4", colour, 6, seed), *options.split()
    )


@pytest.fixture
def run(images, tmp_path) -> Path:
    """A copy of the images' run, to be edited."""
    return Path(shutil.copytree(images[1], tmp_path / "run"))


def page_of(path: Path) -> tuple[str, Page]:
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert_self_contained(html, page)
    return html, page


def sections(page: Page) -> list[str]:
    return [name for name in page.strings if name in {"Order of frames", "Surest mistakes", "Surest hits", "Edits"}]


def test_a_report_of_the_items_that_the_run_held_out(run, say):
    before = (run / "report.html").read_text()
    (run / "report.html").unlink()
    code, out, err = say("report", run, "--workers", 0, "--baselines", "never")
    assert code == 0, err
    assert "scoring 6 items (the run's held-out) of 3 classes" in err
    assert f"report: {run / 'report.html'}" in out
    html, page = page_of(run / "report.html")
    assert "Clips have one frame, which has no order." in page.strings
    about = json.loads((run / "recipe.json").read_text())
    made = {"encoder": about["encoder"]["source"], "head": "text", "train_head": "True", "held_out": "0.34"}
    assert all([key, value] in page.rows for key, value in made.items())
    assert HOSTILE.replace("/", "_") in html.replace("&lt;", "<").replace("&gt;", ">").replace("&#x27;", "'")
    # Scores, curves and strings are those of the page that training wrote; saliency is new.
    first = Page(before)
    assert [row for row in first.rows if row not in page.rows] == []
    assert any("its brightest region covered" in text or "no region speaks for it" in text for text in page.strings)
    assert not any("its brightest region covered" in text for text in first.strings)


@pytest.mark.slow
def test_a_report_elsewhere_of_other_data(images, run, tmp_path, say):
    other = tmp_path / "more" / "green"
    for seed in range(20, 23):
        write_image(other / f"{seed}.png", "green", seed)
    out = tmp_path / "page.html"
    before = (run / "report.html").read_bytes()
    code, _, err = say("report", run, tmp_path / "more", "--out", out, "--workers", 0, "--saliency", 0, "--mistakes", 1)
    assert code == 0, err
    assert "scoring 3 items (all) of 1 classes" in err
    assert (run / "report.html").read_bytes() == before
    _, page = page_of(out)
    assert not any("its brightest region covered" in text for text in page.strings)


@pytest.mark.slow
def test_a_report_after_edits_has_the_new_names(run, say):
    assert say("classes", run, "rename", "green", "grass")[0] == 0
    assert say("classes", run, "remove", "blue")[0] == 0
    code, _, err = say("report", run, "--workers", 0, "--baselines", "never")
    assert code == 0, err
    assert "2 held-out items are of classes that were removed from the run and not scored" in err
    assert "scoring 4 items (the run's held-out) of 2 classes" in err
    _, page = page_of(run / "report.html")
    edits = [row[1:] for row in page.rows if row[1:2] in (["rename"], ["remove"])]
    assert edits == [["rename", "old: green; new: grass"], ["remove", "labels: blue"]]
    assert any(row[0] == "grass" and row[1] == "2" for row in page.rows)
    assert not any(row[0] == "blue" for row in page.rows)


@pytest.mark.slow
def test_videos_get_a_test_of_their_order_at_once_and_again(videos, tmp_path, say):
    """With a frozen encoder the frames are encoded already; the page made again holds the same numbers."""
    _, first = page_of(videos[1] / "report.html")
    out = tmp_path / "again.html"
    code, _, err = say("report", videos[1], "--out", out, "--workers", 0, "--baselines", "never", "--saliency", 1)
    assert code == 0, err
    _, again = page_of(out)
    for page in (first, again):
        assert [row[0] for row in page.rows if row[0] in {"as they are", "reversed", "shuffled"}] == [
            "as they are",
            "reversed",
            "shuffled",
        ]
    assert [row for row in first.rows if row[0] == "reversed"] == [row for row in again.rows if row[0] == "reversed"]
    assert "Order of frames" in sections(again)


@pytest.mark.slow
def test_a_run_without_curves_or_items(tmp_path, wrong, say):
    """As an imported one: a page of data that is given, none without."""
    run = write_small_run(tmp_path / "run")
    line = wrong("report", run, "--workers", 0)
    assert "holds no held-out item of its classes; name labelled data: report RUN DATA" in line
    for label in ("a", "b"):
        write_image(tmp_path / "data" / label / "x.png", "red")
        write_image(tmp_path / "data" / label / "y.png", "blue")
    code, _, err = say("report", run, tmp_path / "data", "--workers", 0, "--baselines", "never")
    assert code == 0, err
    _, page = page_of(run / "report.html")
    assert "Training" not in page.strings


@pytest.mark.slow
def test_what_cannot_be_reported_is_said_in_a_line(images, run, tmp_path, wrong, say):
    split = json.loads((run / "split.json").read_text())
    gone = tmp_path / "gone.png"
    split["held_out"][0] = str(gone)
    (run / "split.json").write_text(json.dumps(split))
    assert f"1 of 6 items that {run} held out are gone (the first: {gone}): name where they are now" in wrong(
        "report", run
    )
    code, _, err = say("report", images[1], "--workers", 0, "--out", tmp_path / "no" / "page.html", "--saliency", 0)
    assert code == 2
    assert "there is no folder" in err
    assert "scoring" not in err
    (run / "metrics.jsonl").write_text('{"kind": "note"}\n[]\n')
    (run / "split.json").write_text((images[1] / "split.json").read_text())
    assert "metrics.jsonl: line 2 is no JSON object" in wrong("report", run, "--workers", 0, "--saliency", 0)
    assert "--mistakes" in wrong("report", run, "--mistakes", 13)


def test_an_unreadable_item_is_left_out_when_that_is_asked(videos, tmp_path, wrong, say):
    data = tmp_path / "data"
    write_video(data / "green" / "a.mp4", "green", 6, 50)
    write_broken(data / "green" / "b.mp4")
    given = (
        "report",
        videos[1],
        data,
        "--workers",
        0,
        "--out",
        tmp_path / "page.html",
        "--baselines",
        "never",
        "--saliency",
        0,
    )
    assert "b.mp4" in wrong(*given)
    code, out, err = say(*given, "--skip-unreadable")
    assert code == 0, err
    assert "1 items could not be read and are not counted" in out
    assert "The same 1 items" in " ".join(page_of(tmp_path / "page.html")[1].strings)
