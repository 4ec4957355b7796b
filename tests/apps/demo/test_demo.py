"""The demo reproduces the paper's comparison through the real pipeline."""

from pathlib import Path

import pytest
import torch

from pages import Page
from texthead.apps.demo import experiment
from texthead.apps.demo.command import Demo
from texthead.evaluation.results import Evaluation
from texthead.prediction.load import load_run


@pytest.mark.nightly("src/texthead/apps/demo")
def test_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    outcomes, run_demo = [], experiment.run_demo
    monkeypatch.setattr(
        experiment, "run_demo", lambda *args, **options: outcomes.append(run_demo(*args, **options)) or outcomes[0]
    )
    Demo(out=str(tmp_path))()
    rows = outcomes[0].rows
    text = rows["text, frozen"]
    assert text[0] >= 54
    assert text[1] >= 60
    # Text rows classify unseen combinations far above chance (8.3) and better than learned ones.
    assert text[1] > rows["vision-only, learned"][1] + 10
    out = capsys.readouterr().out.splitlines()
    summary = outcomes[0].summary()
    assert out[: len(summary)] == summary
    assert len(out) <= 8
    page = Page((tmp_path / "report.html").read_text())
    assert all(link.startswith(("data:", "#")) for link in page.attributes("src") + page.attributes("href"))
    run, file = load_run(tmp_path / "runs" / "text"), next((tmp_path / "videos").rglob("*.mp4"))
    assert len(run.predict([file])[0].top) == 5
    assert len(run.split.trained_on) == 288


def test_the_demo_says_what_is_hard_and_shows_clips():
    """The shown clips are the first ones, not those that are right."""
    names, paths = ("a cat spinning", "a cat jumping", "an umbrella spinning"), [Path(f"{i}.mp4") for i in range(4)]
    seen = Evaluation(names[1:], paths[:2], torch.tensor([0, 1]), torch.tensor([[3.0, 0], [0, 3]]))
    scores = torch.tensor([[0.0, 0, 3], [0, 3, 0], [0, 3, 0], [3, 0, 0]])
    unseen = Evaluation(names, paths, torch.zeros(4, dtype=torch.long), scores)
    rows: dict[str, experiment.Row] = dict.fromkeys(
        ("zero-shot-centered", "probe", "vision-only, learned"), (50.0, 40.0, 30.0)
    )
    outcome = experiment.Outcome(rows, Path("run"), seen, unseen)
    first, second, hard, right, wrong = outcome.summary()
    assert first.startswith("100 % (95 % CI 16 to 100) of 2 test clips of 2 seen classes are correct")
    assert second.startswith("25 % (95 % CI 1 to 81) of 4 test clips of 1 classes without training clips are correct")
    assert hard == "hard: 2 of the 3 errors have the correct object and another motion"
    assert right == "the first test clip of a seen class is correct: a cat jumping, 95 %"
    assert wrong.endswith("is wrong: a cat spinning, predicted as an umbrella spinning, 91 %")
