"""`texthead prepare`: decode every video once and write frames into shards."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from texthead.cli import console
from texthead.cli.options import common, default_workers
from texthead.cli.parser import option
from texthead.data.sources import check_source
from texthead.errors import NonNegativeInt, PositiveInt, plural
from texthead.files import unused


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Decode every video once and write some of its frames into tar shards, so that training reads faster.

    train, eval and predict take the shards as DATA. After an interruption, the same command continues with the next
    shard.

    Args:
        out: folder of shards to make or to continue
        frames: frames per clip, evenly placed
        short_side: short side, in pixels, that larger frames are scaled to
        quality: JPEG quality, 1-95
    """

    JSON: ClassVar = "shards, clips, bytes, num_shards, finished_before, unreadable [path, error]"

    data: str = common("data")
    out: str = option(metavar="SHARDS", writes="/")
    frames: PositiveInt = option(32, "N")
    short_side: PositiveInt = option(256, "N")
    quality: PositiveInt = option(85, "N")
    workers: NonNegativeInt | None = common("workers")
    skip_unreadable: bool = common("skip_unreadable")

    def check(self) -> None:
        """Raise DataError if DATA does not exist."""
        check_source(self.data)

    def __call__(self) -> None:
        console.status(f"reading {self.data}")
        from texthead.data import prepare as shards
        from texthead.data.reading import read_dataset
        from texthead.media.shard import INDEX

        out = Path(self.out)
        wanted = shards.ShardOptions(self.frames, self.short_side, self.quality)
        dataset = read_dataset(self.data)
        console.say_notes(*dataset.notes)
        workers = default_workers(wanted=self.workers)
        done = shards.prepare(
            dataset, out, wanted, workers=workers, skip_unreadable=self.skip_unreadable, reporter=console.reporter
        )
        for error in done.unreadable:
            console.problems().print(f"not prepared: {error}")
        before = f", {done.skipped} of them were finished before" if done.skipped else ""
        lost = f"; {plural(len(done.unreadable), 'file')} could not be read" if done.unreadable else ""
        kilobytes = done.bytes / max(1, done.clips) / 1e3
        console.results().print(
            f"{plural(done.clips, 'clip')}, {done.bytes / 1e6:.1f} MB ({kilobytes:.0f} kB a clip), "
            f"in {plural(done.shards, 'shard')}{before}{lost}: {out / INDEX}"
        )
        unreadable = [{"path": str(error.path), "error": error.problem} for error in done.unreadable]
        counts = {"clips": done.clips, "bytes": done.bytes, "num_shards": done.shards, "finished_before": done.skipped}
        console.show_json({"shards": out, **counts, "unreadable": unreadable})
        console.next_command("texthead", "train", self.out, "--out", unused(Path("run")))
