"""`texthead prepare`: decodes every video once and says what came of it."""

from pathlib import Path
from typing import Any

from texthead.commands.console import bar, notes, read_data, results
from texthead.data import prepare as shards
from texthead.media.shard import INDEX


def prepare(options: Any) -> None:
    """Write the shards, and print how many clips, bytes and shards there are and which files are in none."""
    say, out = notes(), Path(options.out)
    wanted = shards.ShardOptions(options.frames, options.short_side, options.quality, options.clips)
    dataset = read_data(options, options.data)
    for line in dataset.notes:
        say.print(line)
    with bar("prepare", "clips") as progress:
        done = shards.prepare(
            dataset,
            out,
            wanted,
            workers=options.workers,
            skip_unreadable=options.skip_unreadable,
            progress=progress,
        )
    for path, problem in done.unreadable:
        say.print(f"not prepared: {path}: {problem}")
    there = f", {done.skipped} of them were finished before" if done.skipped else ""
    lost = f"; {len(done.unreadable)} files could not be read" if done.unreadable else ""
    results().print(
        f"{done.clips} clips, {done.bytes / 1e6:.1f} MB ({done.bytes / max(1, done.clips) / 1e3:.0f} kB a clip), "
        f"in {done.shards} shards{there}{lost}: {out / INDEX}"
    )
