"""Memory and time of manifests, indexes, orders and caches with 10^4, 10^5 and 10^6 items.

    python -m benchmarks.items [--videos DATA]

No clip is read: indexes, manifests and paths are made up. Every line is its own process; memory is the growth of its
resident set at the end, and at most in between. Times are CPU times: disks come on top. The last table is about single
files: the cost of preparing, finding and caching one of them.
"""

import argparse
import csv
import gc
import json
import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import texthead as th
from texthead.data.clips import EpochBatchSampler, TrainClips
from texthead.data.prepare import ShardOptions, prepare
from texthead.data.protocol import Pixels
from texthead.errors import MediaError
from texthead.features.cache import FeatureCache
from texthead.files import write_json
from texthead.media.paths import MediaPath, fingerprints
from texthead.media.shard import INDEX, SHARD_FORMAT, member
from texthead.recipes import Recipe

CLIPS, CLASSES = 256, 400  # Clips in a shard, as in `texthead prepare`.


class Cost(NamedTuple):
    """For all items: CPU-seconds, bytes of memory held and at most, bytes on the disk."""

    seconds: float
    held: int
    most: int
    disk: int = 0


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    import resource  # Windows lacks it.

    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def cost(make: Callable[[], object]) -> tuple[Cost, object]:
    """Call `make`; return its cost and its result."""
    import resource  # Windows lacks it.

    before = resident()
    started = time.process_time()
    made = make()
    seconds = time.process_time() - started
    most = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    held = max(0, resident() - before)
    return Cost(seconds, held, max(held, most)), made


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# ---- made-up inputs


def name(number: int) -> str:
    """Return a path as data sets have them."""
    return f"train/class {number % CLASSES}/video_{number:09d}.mp4"


def write_manifest(path: Path, count: int) -> None:
    """Write a CSV of `count` videos that do not exist."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        writer.writerows((name(number), f"class {number % CLASSES}", "train") for number in range(count))


def write_indices(root: Path, count: int, clips: int = CLIPS) -> list[Path]:
    """Write the indexes of shards of `count` clips, without the shards; return the paths of the clips."""
    paths, listed = [], []
    for shard, start in enumerate(range(0, count, clips)):
        tar = root / f"shard-{shard:06d}.tar"
        rows = [row(number, 4096 + (number - start) * 300_032) for number in range(start, min(count, start + clips))]
        write_json(tar.with_suffix(".json"), {"clips": rows})
        listed.append({"url": tar.name})
        paths += [tar / f"{clip['key']}.avi" for clip in rows]
    header = {"format": SHARD_FORMAT, "source": "made up", "frames": 32, "unreadable": 0}
    write_json(root / INDEX, {"shardlist": listed, "texthead": header})
    return paths


def row(number: int, offset: int) -> dict:
    """Return the entry of a clip in a shard's index."""
    entry = {"key": f"{number:09d}", "suffix": ".avi", "offset": offset, "size": 271_000, "table": 2900}
    digests = {"sha256": f"{number:064x}", "print": f"{number:032x}"}
    about = {"label": f"class {number % CLASSES}", "split": "train", "group": None, "extra": []}
    named = {"name": name(number), "source": f"/data/kinetics/{name(number)}"}
    return {**entry, **digests, "order": number, **about, **named}


# ---- costs that grow with the items


def manifest(folder: Path, count: int) -> Cost:
    """Measure `read_dataset` of a CSV."""
    path = folder / "clips.csv"
    write_manifest(path, count)
    result, _ = cost(lambda: th.read_dataset(path))
    return result._replace(disk=path.stat().st_size)


def index(folder: Path, count: int) -> Cost:
    """Measure `read_dataset` of shards."""
    write_indices(folder, count)
    result, _ = cost(lambda: th.read_dataset(folder))
    return result._replace(disk=size_of(folder))


def handed(folder: Path, count: int) -> Cost:
    """Measure what a loader worker needs for the items that are sent to it."""
    write_manifest(folder / "clips.csv", count)
    data = th.read_dataset(folder / "clips.csv")
    sent = pickle.dumps(TrainClips(data, th.recipes.small(), Pixels(224, 256, "bicubic")))
    reader, writer = os.pipe()
    if os.fork() == 0:
        gc.disable()
        before, started = private(), time.process_time()
        clips = pickle.loads(sent)
        os.write(writer, json.dumps([len(clips), time.process_time() - started, private() - before]).encode())
        os._exit(0)
    os.wait()
    result, seconds, grown = json.loads(os.read(reader, 256))
    assert result == count
    return Cost(seconds, grown, grown)


def private() -> int:
    """Return the bytes of memory that this process shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


def order(folder: Path, count: int) -> Cost:
    """Measure the order of an epoch, up to its first batch."""
    batches = EpochBatchSampler(count, 256, 256, seed=0)

    def begin() -> object:
        running = iter(batches)
        next(running)
        return running

    return cost(begin)[0]


def split(folder: Path, count: int) -> Cost:
    """Measure writing `split.json` of training items in shards: paths, labels, fingerprints."""
    paths = write_indices(folder, count)
    labels = [f"class {number % CLASSES}" for number in range(count)]
    out = folder / "run" / "split.json"

    def write() -> None:
        files = [str(MediaPath(path).resolved()) for path in paths]
        write_json(out, {"train": files, "train_labels": labels, "train_content": fingerprints(paths)})

    return cost(write)[0]._replace(disk=out.stat().st_size)


GROWING = {
    "a manifest, read": manifest,
    "an index of shards, read": index,
    "the same items, sent to each loader worker": handed,
    "the order of an epoch": order,
    "`split.json`, written (clips in shards)": split,
}


def measured(key: str, count: int) -> Cost:
    """Measure a cell of the table, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        return GROWING[key](Path(folder), count)


def growth(sizes: Sequence[int]) -> str:
    """Return the table of costs that grow with the items."""
    spawn = get_context("spawn")
    lines = ["| | items | CPU µs per item | bytes per item: afterwards | peak | on disk |", "|---|---|---|---|---|---|"]
    for key in GROWING:
        for count in sizes:
            with spawn.Pool(1) as pool:
                result = pool.apply(measured, (key, count))
            each = " | ".join(f"{value / count:.0f}" for value in (result.held, result.most, result.disk))
            lines.append(f"| {key} | {count:,} | {1e6 * result.seconds / count:.1f} | {each} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


# ---- single files


def preparing(source: Path, folder: Path) -> dict[str, float]:
    """Prepare the videos of a source and read them for training, in one process."""
    data = th.read_dataset(source)
    started = time.process_time()
    prepared = prepare(data, folder / "shards", ShardOptions())
    rate = len(data) / (time.process_time() - started)
    return {
        f"prepare, clips a CPU-second, of the {len(data)} of {source.name}": rate,
        "an original, kB": sum(item.path.stat().st_size for item in data.items) / len(data) / 1e3,
        "the same as a prepared clip, kB": prepared.bytes / len(data) / 1e3,
        "8 frames for training out of originals, clips a CPU-second": reading(data),
        "the same out of shards": reading(th.read_dataset(folder / "shards")),
    }


def reading(data: th.Dataset, epochs: int = 5) -> float:
    """Return training clips per CPU-second: 8 frames, random resized crop of 224 pixels, median over passes."""
    recipe = Recipe("benchmark", crop="resized", flip=0.5)
    clips = TrainClips(data, recipe, Pixels(224, 256, "bicubic"))
    rates = []
    for epoch in range(epochs):
        started = time.process_time()
        for position in range(len(clips)):
            entry = clips[epoch, position][0]
            if isinstance(entry, MediaError):
                raise entry
        rates.append(len(clips) / (time.process_time() - started))
    return statistics.median(rates)


def looking_up(folder: Path, clips: int) -> dict[str, float]:
    """Measure finding a clip with its shard's index in memory, and not in memory."""
    first, *_, last = write_indices(folder, clips, clips)
    times = []
    for path in (first, last):
        started = time.process_time()
        member(path)
        times.append(time.process_time() - started)
    return {
        f"a clip's place, its shard's index of {clips} not in memory, CPU ms": 1e3 * times[0],
        f"the same, in memory, CPU ms ({clips} in a shard)": 1e3 * times[1],
    }


def remembering(folder: Path, clips: int, frames: int = 16, dim: int = 512) -> dict[str, float]:
    """Measure the feature cache: put and get one clip at a time, as `encode` does."""
    cache = FeatureCache("made-up", folder)
    features, units = torch.randn(frames, dim), [[frame] for frame in range(frames)]
    times = [frame / 30 for frame in range(300)]
    started = time.process_time()
    for number in range(clips):
        cache.put(f"{number:064x}", times, units, features)
    put = time.process_time() - started
    started = time.process_time()
    for number in np.random.default_rng(0).permutation(clips).tolist():
        cache.get(f"{number:064x}", units)
    got = time.process_time() - started
    cache.close()
    return {
        f"feature cache of {clips:,} clips ({frames} x {dim}): put, CPU ms a clip": 1e3 * put / clips,
        "got, CPU ms a clip": 1e3 * got / clips,
        "on disk, kB per clip": size_of(folder) / clips / 1e3,
    }


def fingerprinting(folder: Path, files: int = 2000) -> dict[str, float]:
    """Measure fingerprints of files of 300 kB that are in the page cache."""
    paths = [folder / f"{number}.mp4" for number in range(files)]
    for path in paths:
        path.write_bytes(os.urandom(300_000))
    started = time.process_time()
    fingerprints(paths)
    return {"fingerprint of a file, CPU ms": 1e3 * (time.process_time() - started) / files}


def singles(cached: Sequence[int], videos: Path | None) -> str:
    """Return the table of single files."""
    results: dict[str, float] = {}
    jobs: list[Callable[[Path], dict[str, float]]] = [fingerprinting]
    jobs += [partial(preparing, videos)] if videos else []
    jobs += [lambda folder, n=n: looking_up(folder, n) for n in (CLIPS, 16 * CLIPS)]
    jobs += [lambda folder, n=n: remembering(folder, n) for n in cached]
    lines = ["| single files | |", "|---|---|"]
    for job in jobs:
        with tempfile.TemporaryDirectory() as folder:
            results = job(Path(folder))
        lines += [f"| {key} | {value:.3g} |" for key, value in results.items()]
        print("\n".join(lines[-len(results) :]), flush=True)
    return "\n".join(lines)


def main() -> None:
    """Print each line as it is known, then both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000", help="numbers of items")
    parser.add_argument("--cached", default="2000,20000", help="clips in the feature cache")
    parser.add_argument("--videos", type=Path, help="data set whose videos are prepared and read")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes, cached = ([int(n) for n in text.split(",")] for text in (options.sizes, options.cached))
    tables = [growth(sizes), singles(cached, options.videos)]
    print("\n" + "\n\n".join(tables))


if __name__ == "__main__":
    main()
