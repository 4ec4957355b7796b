"""Full disks, read-only disks and locked folders: a one-line error, and existing files stay."""

import shutil
from dataclasses import replace
from pathlib import Path

from made import disk_of
from messages import refuses
from texthead.data.dataset import Dataset
from texthead.data.prepare import ShardOptions, prepare
from texthead.errors import RunError
from texthead.training.train import fine_tune
from training_runs import RECIPE, counts_of, make_model, timeless


def test_checkpoints_on_a_full_disk(data: Dataset, tmp_path: Path) -> None:
    """A real disk on which one checkpoint fits and a second does not."""
    recipe = replace(RECIPE, epochs=2)
    expected = fine_tune(make_model(), data, None, recipe, out=tmp_path / "whole")
    size = sum(path.stat().st_size for path in (tmp_path / "whole" / "state").rglob("*") if path.is_file())
    with disk_of(tmp_path / "disk", kilobytes=int(1.6 * size / 1024)) as disk:
        with refuses(RunError, disk / "run" / "state" / "last.safetensors", "No space left"):
            fine_tune(make_model(), data, None, recipe, out=disk / "run")
        assert [path.name for path in (disk / "run" / "state").iterdir()] == ["last.safetensors"]
        assert counts_of(disk / "run")["step"] == 3
        shutil.copytree(disk / "run", tmp_path / "larger")
    result = fine_tune(make_model(), data, None, recipe, out=tmp_path / "larger", resume=True)
    assert timeless(result) == timeless(expected)


def test_shards_on_a_full_disk(data: Dataset, tmp_path: Path) -> None:
    """Finished shards stay, and the same command continues on a larger disk."""
    options = ShardOptions(clips=4)
    prepare(data, tmp_path / "whole", options)
    size = sum(path.stat().st_size for path in (tmp_path / "whole").iterdir())
    with disk_of(tmp_path / "disk", kilobytes=int(0.7 * size / 1024)) as disk:
        with refuses(RunError, disk / "shards" / "shard-00000", "No space left"):
            prepare(data, disk / "shards", options)
        assert not (disk / "shards" / "shards.json").exists()
        assert not list((disk / "shards").glob(".shard-*"))
        shutil.copytree(disk / "shards", tmp_path / "larger")
    assert prepare(data, tmp_path / "larger", options).skipped >= 1
    for name in (f"shard-00000{number}" for number in range(3)):
        assert (tmp_path / "larger" / f"{name}.tar").read_bytes() == (tmp_path / "whole" / f"{name}.tar").read_bytes()
