"""The demo tells the paper's story through the real pipeline."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from texthead.commands.demo_run import run_demo
from texthead.prediction.predict import predict
from texthead.runs.run import load_run


class Links(HTMLParser):
    """Every address that a page would load."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.mark.slow
def test_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = run_demo(tmp_path, seed=0, workers=1, device="cpu")
    text = rows["text, frozen"].mean(0)
    assert text[0] >= 54
    assert text[1] >= 60
    # Text rows are what names unseen combinations: far above chance (8.3) and above the other heads.
    assert text[1] > rows["orthogonal, frozen"].mean(0)[1] + 10
    assert text[1] > rows["vision-only, learned"].mean(0)[1] + 10
    said = capsys.readouterr().out
    assert "highest on seen classes" in said
    assert "the head's rows moved: 0" in said
    links = Links()
    links.feed((tmp_path / "report.html").read_text())
    assert all(link.startswith(("data:", "#")) for link in links.found)
    run = load_run(tmp_path / "runs" / "fine-tuned")
    file = next((tmp_path / "videos").rglob("*.mp4"))
    assert len(predict(run, [file])[0].top) == 5
    assert len(json.loads((tmp_path / "runs" / "fine-tuned" / "split.json").read_text())["train"]) == 288
