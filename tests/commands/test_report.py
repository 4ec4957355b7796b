"""A run's report can be written again, from its own items or others and after edits, and stays one inert file."""

import json
import shutil
from html import unescape
from pathlib import Path

import pytest

from made import COLOURS, with_bridge, write_image, write_small_run
from messages import prints
from pages import Page, assert_self_contained
from texthead import Calibration, load_run, read_dataset
from texthead.cli import main as cli
from texthead.report import run_page
from texthead.runs.folder import rows_digest

HOSTILE = "<script>alert('x')<_script>"
LABELS = [HOSTILE if colour == "red" else colour for colour in COLOURS]
QUICK = ("--workers", 0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TEXTHEAD_CACHE", str(with_bridge(tmp_path / "features")))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Class folders, and a run on them."""
    root = tmp_path_factory.mktemp("images")
    for label, colour in zip(LABELS, COLOURS, strict=True):
        for seed in range(6):
            write_image(root / "data" / label / f"{seed}.png", colour, seed=seed)
    typed = ["train", str(root / "data"), "--out", str(root / "run"), "--tune", "all", "--held-out", "0.34"]
    assert cli.main([*typed, "--workers", "0", "--set", "size=32", "--set", "epochs=3"]) == 0
    return root / "data", root / "run"


@pytest.fixture
def run(images, tmp_path) -> Path:
    """A copy of the images' run that a test may edit."""
    return Path(shutil.copytree(images[1], tmp_path / "run"))


def page_of(path: Path) -> tuple[str, Page]:
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert_self_contained(html, page)
    return html, page


def test_a_report_of_the_items_that_the_run_held_out(run, works):
    before = (run / "report.html").read_text()
    (run / "report.html").unlink()
    out, _ = works("report", run, *QUICK)
    prints(out, 6, "held-out images are correct")
    assert str(run / "report.html") in out
    html, page = page_of(run / "report.html")
    assert out.splitlines()[0] in page.strings
    about = json.loads((run / "recipe.json").read_text())
    made = {"encoder": about["encoder"]["source"], "head": "text", "held_out": "0.34"}
    assert all([key, value] in page.rows for key, value in made.items())
    assert HOSTILE in unescape(html)
    # Scores, curves and strings are those of the report that training wrote.
    first = Page(before)
    assert [row for row in first.rows if row not in page.rows] == []


def test_examples_have_the_probabilities_of_predict(tmp_path, monkeypatch):
    run, shown = load_run(write_small_run(tmp_path / "run")), []
    made = Calibration(4.0, 10, classes=rows_digest(run.head.weight), protocol=run.protocol.to_json())
    run = run.with_calibration(made)
    for seed in range(20, 23):
        write_image(tmp_path / "more" / "a" / f"{seed}.png", "green", seed)
    monkeypatch.setattr(run_page, "run_html", lambda *_, **values: shown.extend(values["examples"]) or "")
    run.report(read_dataset(tmp_path / "more"), out=tmp_path / "page.html")
    assert len(shown) >= 2
    for each in shown:
        (predicted,) = run.predict(tmp_path / "more" / each.name)
        top = dict(each.top)
        assert {name: p for name, p in predicted.top if name in top} == pytest.approx(top, abs=1e-6)


def test_report_of_other_data_without_curves(tmp_path, refused, works):
    """Like an imported run, this one has no items of its own: a report needs data."""
    run, out = write_small_run(tmp_path / "run"), tmp_path / "page.html"
    refused((run, "report"), "report", run, "--workers", 0)
    refused((tmp_path, "texthead train DATA --out run` makes one"), "report", tmp_path)
    for seed in range(20, 23):
        write_image(tmp_path / "more" / "a" / f"{seed}.png", "green", seed)
    _, err = works("report", run, tmp_path / "more", "--out", out, "--workers", 0, "--verbose")
    prints(err, 3, "1 class")
    assert not (run / "report.html").exists()
    _, page = page_of(out)
    assert "Training" not in page.strings


def test_what_cannot_be_reported_is_one_line(images, run, tmp_path, refused):
    split = json.loads((run / "split.json").read_text())
    gone = tmp_path / "gone.png"
    split["held_out"][0] = str(gone)
    (run / "split.json").write_text(json.dumps(split))
    refused(("1 of 6", run, gone), "report", run)
    (run / "metrics.jsonl").write_text('{"kind": "note"}\n[\n')
    (run / "split.json").write_text((images[1] / "split.json").read_text())
    refused(("metrics.jsonl", "log of training"), "report", run, "--workers", 0)
