"""A run of an earlier version can be loaded and gives the same predictions."""

import json
from pathlib import Path

import pytest

from golden.make import draw
from texthead.prediction.predict import predict
from texthead.runs.run import load_run

GOLDEN = Path(__file__).parent / "golden"


def test_the_golden_run_predicts_what_it_did_when_it_was_made(tmp_path: Path) -> None:
    expected = json.loads((GOLDEN / "made.json").read_text())["scores"]
    tops = {p.path.name: dict(p.top) for p in predict(load_run(GOLDEN / "run"), draw(tmp_path), top=3)}
    assert tops.keys() == expected.keys() == {"picture.png", "clip.mkv"}
    for name, scores in expected.items():
        assert tops[name] == pytest.approx(scores, abs=1e-5)
        assert max(scores.values()) < 0.95, "no score is at its limit, where nothing could move it"


def test_the_golden_run_is_small() -> None:
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 2 * 10**6
