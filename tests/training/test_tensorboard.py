"""train --tensorboard: TensorBoard's own reader finds the values of metrics.jsonl."""

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training_runs import on_disk
from worlds import World

Scalars = dict[str, list[tuple[int, float]]]  # tag -> (step, value)


def read_scalars(folder: Path) -> Scalars:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, rounded(e.value)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def read_metrics(run: Path) -> Scalars:
    scalars: Scalars = {}
    for record in on_disk(run):
        for key, value in record.items():
            if isinstance(value, int | float) and key not in ("step", "epoch"):
                scalars.setdefault(f"{record['kind']}/{key}", []).append((record["step"], rounded(value)))
    return scalars


def rounded(value: float) -> float:
    """Round a value, because events store 32-bit floats."""
    return float(f"{value:.5g}")


@pytest.mark.slow
def test_scalars_equal_the_metrics_also_after_a_resume(world: World, say, tmp_path):
    run, typed = tmp_path / "run", ["train", world.manifest]
    code, _, err = say(*typed, *world.fast(run), "--tensorboard")
    assert code == 0, err
    whole = read_scalars(run / "tensorboard")
    assert {"train/loss", "val/top1"} <= set(whole)
    assert whole == read_metrics(run)
    assert not (world.run / "tensorboard").exists(), "there without the option"
    assert say(*typed, "--out", run, "--resume", "--tensorboard", *world.run_options())[0] == 0
    assert read_scalars(run / "tensorboard") == read_metrics(run)
    assert set(read_metrics(run)) == set(whole)


def test_where_tensorboard_is_missing_the_remedy_is_named(world: World, wrong, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    line = wrong("train", world.images, *world.fast(tmp_path / "run"), "--tensorboard")
    assert "texthead[tensorboard]" in line
    assert not (tmp_path / "run").exists()
