"""train --tensorboard: what TensorBoard's own reader finds is what metrics.jsonl says."""

import json
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from worlds import World, world  # noqa: F401


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every scalar."""
    read = EventAccumulator(str(folder))
    read.Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def wanted(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The same from metrics.jsonl."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for key, value in record.items():
            if isinstance(value, int | float) and key not in ("step", "epoch"):
                found.setdefault(f"{record['kind']}/{key}", []).append((record["step"], value))
    return found


def rounded(values: dict[str, list[tuple[int, float]]]) -> dict[str, list[tuple[int, float]]]:
    """Events hold 32 bits a number."""
    return {tag: [(step, float(f"{value:.5g}")) for step, value in rows] for tag, rows in sorted(values.items())}


def test_the_scalars_are_those_of_the_metrics(world: World, say, tmp_path):  # noqa: F811
    run = tmp_path / "run"
    code, _, err = say("train", world.manifest, *world.fast(run), "--baselines", "never", "--tensorboard")
    assert code == 0, err
    found = scalars(run / "tensorboard")
    assert {"train/loss", "val/top1"} <= set(found)
    assert rounded(found) == rounded(wanted(run))


@pytest.mark.slow
def test_a_resumed_run_has_every_scalar_once(world: World, say, tmp_path):  # noqa: F811
    run, typed = tmp_path / "run", ["train", world.manifest]
    assert say(*typed, *world.fast(run), "--baselines", "never", "--tensorboard")[0] == 0
    whole = wanted(run)
    assert say(*typed, "--out", run, "--resume", "--tensorboard", *world.run_options())[0] == 0
    assert rounded(scalars(run / "tensorboard")) == rounded(wanted(run))
    assert set(whole) == set(wanted(run))


def test_without_it_there_is_no_folder(world: World):  # noqa: F811
    assert not (world.run / "tensorboard").exists()


def test_where_tensorboard_is_missing_the_remedy_is_named(world: World, wrong, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    line = wrong("train", world.images, *world.fast(tmp_path / "run"), "--tensorboard")
    assert "pip install 'texthead[tensorboard]'" in line
    assert not (tmp_path / "run").exists()
