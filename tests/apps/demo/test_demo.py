"""The demo reproduces the paper's comparison through the real pipeline."""

import json
import re
from pathlib import Path

import pytest

from pages import Page
from texthead.apps.demo import experiment
from texthead.apps.demo.command import Demo
from texthead.prediction.predict import predict
from texthead.runs.run import load_run


@pytest.mark.nightly("src/texthead/apps/demo")
def test_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    outcomes, run_demo = [], experiment.run_demo
    monkeypatch.setattr(
        experiment, "run_demo", lambda *args, **options: outcomes.append(run_demo(*args, **options)) or outcomes[0]
    )
    monkeypatch.setattr(experiment, "DEMO_SEEDS", 1)
    Demo(out=str(tmp_path), workers=1, device="cpu")()
    rows = outcomes[0].rows
    text = rows["text, frozen"].mean(0)
    assert text[0] >= 54
    assert text[1] >= 60
    # Text rows classify unseen combinations far above chance (8.3) and better than the other heads.
    assert text[1] > rows["orthogonal, frozen"].mean(0)[1] + 10
    assert text[1] > rows["vision-only, learned"].mean(0)[1] + 10
    out = capsys.readouterr().out
    seen = {title: values[:, 0].mean() for title, values in rows.items()}
    winner = max(seen, key=lambda title: seen[title])
    assert f"{winner} ({seen[winner]:.1f})" in out
    assert re.search(r"encoder parameters and 0 of the head", " ".join(out.split()))
    assert outcomes[0].changed.encoder > 0
    page = Page((tmp_path / "report.html").read_text())
    assert all(link.startswith(("data:", "#")) for link in page.attributes("src") + page.attributes("href"))
    run = load_run(tmp_path / "runs" / "fine-tuned")
    file = next((tmp_path / "videos").rglob("*.mp4"))
    assert len(predict(run, [file])[0].top) == 5
    assert len(json.loads((tmp_path / "runs" / "fine-tuned" / "split.json").read_text())["train"]) == 288
