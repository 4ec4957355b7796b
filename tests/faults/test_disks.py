"""Disks that are full or read-only, and folders that others hold: one line, and what was there before stays."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from made import PIXELS, disk_of, held_by_another, tiny_visual, write_small_run
from texthead.data.dataset import Dataset
from texthead.data.prepare import ShardOptions, prepare
from texthead.errors import RunError, TextheadError
from texthead.features.cache import FeatureCache, encoder_key
from texthead.prediction.predict import predict
from texthead.runs.run import load_run
from texthead.training.train import train
from training_runs import RECIPE, make_model, timeless


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """A file system that nobody can write to for a while, root neither."""
    for how in ("ro", "rw"):
        subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)
        if how == "ro":
            yield


# --- full


def test_checkpoints_on_a_full_disk(data: Dataset, tmp_path: Path) -> None:
    """A real one: a checkpoint fits, the next beside it does not."""
    recipe = replace(RECIPE, epochs=2)
    expected = train(make_model(), data, None, recipe, out=tmp_path / "whole")
    size = sum(path.stat().st_size for path in (tmp_path / "whole" / "state").rglob("*") if path.is_file())
    with disk_of(tmp_path / "disk", kilobytes=int(1.6 * size / 1024)) as disk:
        with pytest.raises(RunError, match=r"step-6: cannot be written .*No space left.*what was there before is kept"):
            train(make_model(), data, None, recipe, out=disk / "run")
        assert sorted(path.name for path in (disk / "run" / "state").iterdir()) == ["last.json", "step-3"]
        shutil.copytree(disk / "run", tmp_path / "larger")
    found = train(make_model(), data, None, recipe, out=tmp_path / "larger", resume=True)
    assert timeless(found) == timeless(expected)


def test_shards_on_a_full_disk(data: Dataset, tmp_path: Path) -> None:
    """Those that fitted stay, and the same command goes on on a larger disk."""
    options = ShardOptions(clips=4)
    prepare(data, tmp_path / "whole", options)
    size = sum(path.stat().st_size for path in (tmp_path / "whole").iterdir())
    with disk_of(tmp_path / "disk", kilobytes=int(0.7 * size / 1024)) as disk:
        with pytest.raises(RunError, match=r"shard-00000\d\.\w+: cannot be written .*No space left") as caught:
            prepare(data, disk / "shards", options)
        assert "\n" not in str(caught.value)
        assert not (disk / "shards" / "shards.json").exists()
        assert not list((disk / "shards").glob(".shard-*"))
        shutil.copytree(disk / "shards", tmp_path / "larger")
    assert prepare(data, tmp_path / "larger", options).skipped >= 1
    for name in ("shard-000000.tar", "shard-000001.tar", "shard-000002.tar"):
        assert (tmp_path / "larger" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_cache_on_a_full_disk(tmp_path: Path) -> None:
    with disk_of(tmp_path / "disk", kilobytes=512) as disk:
        cache, kept = FeatureCache("key", disk), 0
        with pytest.raises(TextheadError, match=r"key\.sqlite: feature cache cannot be used .*free the disk") as caught:
            for kept in range(1000):
                cache.put(str(kept), 16, range(16), torch.full((16, 256), float(kept)))
        assert "\n" not in str(caught.value)
        assert kept > 5
        cache.close()
        again = FeatureCache("key", disk)
        for number in range(kept):
            assert torch.equal(again.get(str(number), range(16)), torch.full((16, 256), float(number)))
        assert again.length(str(kept)) is None, "half of a file's rows is never kept"
        again.close()


# --- read-only


def test_a_run_folder_that_is_read_only(data: Dataset, tmp_path: Path, wrong: Callable[..., str]) -> None:
    """It predicts and scores; what would write to it says so in a line and leaves it as it is."""
    with disk_of(tmp_path / "disk", kilobytes=4096) as disk:
        run = write_small_run(disk / "run")
        train(make_model(), data, None, replace(RECIPE, epochs=1, warmup=0.5), out=disk / "begun")
        before = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
        with read_only(disk):
            assert len(predict(load_run(run), [data.items[0].path])) == 1
            for out in (disk / "begun", disk / "new"):
                with pytest.raises(RunError, match=r"cannot be written \(Read-only file system\)"):
                    train(make_model(), data, None, replace(RECIPE, epochs=2), out=out, resume=out.exists())
            assert "cannot be written (Read-only file system" in wrong(
                "classes", run, "rename", "a", "c", "--out", disk / "c"
            )
            with pytest.raises(RunError, match="Read-only file system"):
                prepare(data, disk / "shards")
            with pytest.raises(TextheadError, match=r"feature cache cannot be used .*--cache or TEXTHEAD_CACHE"):
                FeatureCache(encoder_key(tiny_visual(), PIXELS), disk / "cache")
        assert {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()} == before


# --- held by another


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "resume", "prepare"])
def test_a_folder_that_another_process_holds(
    folder: Path, data: Dataset, tmp_path: Path, wrong: Callable[..., str], command: str
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    quick = ("--encoder", "mini", "--size", 32, "--workers", 0, "--baselines", "never", "--cache", tmp_path / "cache")
    words = {
        "train": ("train", folder, "--out", out, *quick),
        "resume": ("train", folder, "--out", out, "--resume"),
        "prepare": ("prepare", folder, "--out", out),
    }[command]
    if command == "resume":
        from texthead.cli import main

        assert main([*map(str, ("train", folder, "--out", out, *quick, "--epochs", 1, "--warmup", 0))]) == 0
    before = sorted(path.name for path in out.iterdir())
    with held_by_another(out):
        assert "in use by another process" in wrong(*words)
    assert sorted(path.name for path in out.iterdir() if path.name != ".lock") == [n for n in before if n != ".lock"]
