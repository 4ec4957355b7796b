"""Read 8 frames of a 10-second video with each library, on one thread.

    python -m benchmarks reading [--rounds 5] [--data ../shared/data]

Videos of 340x256 pixels and 30 frames a second, with a key frame every 12 and every 250 frames: real clips joined, or,
if `--data` has none, drawn ones, which change little between key frames, so that a long GOP costs them less. Every
reader takes the same random frame of each of eight segments and returns RGB. A library that is missing or fails to
import has a row with the reason.

The "published pipeline" makes a training clip as the published code does: list a folder of JPEG frames, decode eight,
resize each whole frame to a short side of 256 (bicubic), take a random resized crop of 224, make normalised floats. The
published lists of Kinetics-400 have frames with a short side of 320, so that size is measured too (the same pictures
enlarged, which are easier to decode than true ones); with 256 the resize does nothing. It is compared with the pipeline
from shards. `texthead train` makes floats on the device, so there is a row without and one with floats; and one for
shards with `--short-side 224`.
"""

import importlib
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import simplejpeg
import torch
from PIL import Image

import texthead as th
from benchmarks import ffmpeg, transforms, videos
from benchmarks.rounds import Costs, Row, Section, interleaved, judge, peak_mb, ratios, spread, table, timed
from texthead.data.prepare import ShardOptions, prepare
from texthead.data.sampling import random_in_segment
from texthead.data.transforms import augment
from texthead.media.paths import MediaPath
from texthead.parallel import keep_freed_memory

FRAMES = 8
TIMES = 5  # A round reads JPEGs this often, since a clip takes only 2 ms.
GOPS = (12, 250)
SHORT_SIDES = (videos.HEIGHT, 320)
PACKETS, DECORD, TORCHCODEC, BOUND = "texthead on video", "decord", "torchcodec", "ffmpeg -f null (every frame)"
SHARDS, JPEGS = "texthead shards, decoding only", "JPEG folders, decoding only, Pillow"
SAME_DECODER = "JPEG folders, decoding only, simplejpeg"
LIMIT = "limit: simplejpeg on the frames of shards, their places known"
CHAIN, PUBLISHED = "texthead shards, full pipeline", "JPEG folders, published pipeline"
SMALLER = ShardOptions(short_side=224)
SMALL_CHAIN = f"texthead shards (short side {SMALLER.short_side}, quality {SMALLER.quality}), full pipeline"
ABOUT = """## Reading clips

One thread; {frames} frames from videos of {seconds} s. GOP is the number of frames between key frames. `ffmpeg -f
null` decodes every frame and converts none. The published pipeline (list, decode, resize, crop, normalise) does not
resize frames with a short side of 256; most of the time on both sides is then JPEG decoding. JPEG folders hold what
Pillow writes at quality 90, which halves colours; shards hold full colours at quality 85, which take longer to
decode: the limit is a bare loop that decodes a clip's frames into one array, without table, headers or digests.
malloc keeps freed memory for all readers."""
Wanted = Sequence[int]
Read = Callable[[Path, Wanted], object]


# --- readers of one clip


def texthead_frames(path: Path, wanted: Wanted) -> torch.Tensor:
    """texthead's reader."""
    with MediaPath(path).open() as media:
        return media.frames_at(wanted)


def pyav_frames(path: Path, wanted: Wanted) -> object:
    """PyAV from the front until the last wanted frame, those that are wanted kept."""
    chosen, last = set(wanted), max(wanted)
    pictures = []
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for index, frame in enumerate(container.decode(video=0)):
            if index in chosen:
                pictures.append(frame.to_ndarray(format="rgb24"))
            if index == last:
                break
    return np.stack(pictures)


def decord_frames(path: Path, wanted: Wanted) -> object:
    """decord's VideoReader, as most code of the field uses it."""
    import decord  # pyright: ignore[reportMissingImports]

    return decord.VideoReader(str(path), num_threads=1).get_batch(list(wanted)).asnumpy()


def torchcodec_frames(path: Path, wanted: Wanted) -> object:
    """torchcodec with its default, exact seeking."""
    from torchcodec.decoders import VideoDecoder  # pyright: ignore

    return VideoDecoder(str(path), num_ffmpeg_threads=1).get_frames_at(list(wanted)).data


def opencv_frames(path: Path, wanted: Wanted) -> object:
    """opencv: set the position, read; the frames may be others than asked for."""
    import cv2  # pyright: ignore[reportMissingImports]

    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(str(path))
    pictures = []
    for index in wanted:
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        pictures.append(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB))
    return np.stack(pictures)


def jpeg_frames(folder: Path, wanted: Wanted) -> object:
    """JPEG files of a folder, names known."""
    return np.stack([np.asarray(Image.open(folder / f"img_{index + 1:05d}.jpg")) for index in wanted])


def decoded_frames(folder: Path, wanted: Wanted) -> object:
    """JPEG files of a folder, names known, by the decoder that reads frames of shards."""
    pictures = []
    for index in wanted:
        data = (folder / f"img_{index + 1:05d}.jpg").read_bytes()
        pictures.append(simplejpeg.decode_jpeg(data))
    return np.stack(pictures)


def bare_frames(path: Path, wanted: Wanted, *, places: Mapping[Path, Sequence[tuple[int, int]]]) -> object:
    """Decode frames of a shard at known (offset, size) into one array, checking nothing."""
    out = np.empty((len(wanted), videos.HEIGHT, videos.WIDTH, 3), np.uint8)
    with path.parent.open("rb", buffering=0) as tar:
        for picture, index in zip(out, wanted, strict=True):
            offset, size = places[path][index]
            tar.seek(offset)
            simplejpeg.decode_jpeg(tar.read(size), buffer=picture)
    return out


def places_of(path: Path) -> list[tuple[int, int]]:
    """Return the (offset, size) of each frame of a clip in its shard."""
    with tarfile.open(path.parent) as tar:
        table = tar.extractfile(f"{path.stem}.frames.json")
        assert table is not None
        clip = tar.getmember(path.name).offset_data
        return [(clip + offset, size) for offset, size, _ in json.load(table)["frames"]]


def published_chain(folder: Path, wanted: Wanted, rng: np.random.Generator) -> torch.Tensor:
    """Make a training clip from JPEG files as the published code does: list, decode, transform."""
    names = sorted(path.name for path in folder.iterdir())
    return transforms.published_train([Image.open(folder / names[i]).convert("RGB") for i in wanted], rng)


def shards_chain(path: Path, wanted: Wanted, rng: np.random.Generator, *, floats: bool) -> torch.Tensor:
    """Make a training clip from shards as `texthead train` does; with `floats` also normalise it."""
    clip = augment(texthead_frames(path, wanted), transforms.PIXELS, transforms.TRAIN, rng)
    return transforms.normalised(clip) if floats else clip


def null(paths: Sequence[Path]) -> None:
    """Decode all frames of all files with `ffmpeg -f null` on one thread."""
    listing = paths[0].parent / f"{paths[0].stem}.txt"
    listing.write_text("".join(f"file '{path.name}'\n" for path in paths))
    options = ["-v", "error", "-threads", "1", "-f", "concat", "-i", str(listing), "-f", "null", "-"]
    subprocess.run([ffmpeg.binary(), *options], check=True)


# What reads a video, and the module without which it cannot.
READERS: Mapping[str, tuple[Read, str]] = {
    PACKETS: (texthead_frames, "texthead"),
    DECORD: (decord_frames, "decord"),
    TORCHCODEC: (torchcodec_frames, "torchcodec.decoders"),
    "PyAV, sequential decoding": (pyav_frames, "av"),
    "opencv, seek and read": (opencv_frames, "cv2"),
}


def missing(module: str) -> str | None:
    """Return why the module cannot be used, in a line; None if it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # A library that finds no FFmpeg raises what it likes.
        return " ".join(str(error).split())[:90]
    return None


# --- what is read


class Files(NamedTuple):
    """The same clips in each form, in one order; JPEG folders by the short side of their frames."""

    videos: dict[int, list[Path]]
    folders: dict[int, list[Path]]
    shards: list[Path]
    smaller: list[Path]

    @staticmethod
    def from_folder(folder: Path) -> "Files":
        """Return the files that `make` has put into the folder."""
        originals = {gop: sorted((folder / f"gop-{gop}").glob("*.mp4")) for gop in GOPS}
        shards, smaller = (
            [item.path for item in th.read_dataset(folder / name).items] for name in ("shards", "smaller")
        )
        folders = {short: sorted((folder / f"frames-{short}").iterdir()) for short in SHORT_SIDES}
        return Files(originals, folders, shards, smaller)

    def kilobytes(self) -> str:
        """Return the size of a clip in each form."""
        totals = {f"as video with GOP {gop}": paths for gop, paths in self.videos.items()}
        for short, folders in self.folders.items():
            totals[f"as JPEG files with short side {short}"] = [path for each in folders for path in each.iterdir()]
        totals["in shards"] = sorted({path.parent for path in self.shards})
        totals[f"in shards with short side {SMALLER.short_side}"] = sorted({path.parent for path in self.smaller})
        each = {form: sum(path.stat().st_size for path in paths) / len(self.shards) for form, paths in totals.items()}
        return ", ".join(f"{size / 1e3:.0f} kB {form}" for form, size in each.items())

    def kilobytes_read(self, length: int) -> str:
        """Return how many bytes are read from a clip in shards, by number of frames."""
        stored = min(ShardOptions().frames, length)
        read = {}
        for count in (1, FRAMES, stored):
            before = read_so_far()
            for path in self.shards:
                texthead_frames(path, range(0, stored, stored // count))
            read[count] = (read_so_far() - before) / len(self.shards)
        each = ", ".join(f"{size / 1e3:.0f} kB for {count}" for count, size in read.items())
        return f"bytes read from a clip in shards, by the number of its {stored} frames: {each}"


def make(folder: Path, clips: Sequence[videos.Frames]) -> None:
    """Write every clip into the folder in each form; JPEG files and shards are made from the videos."""
    for name in (*(f"gop-{gop}" for gop in GOPS), *(f"frames-{short}" for short in SHORT_SIDES)):
        (folder / name).mkdir(parents=True)
    for number, frames in enumerate(clips):
        for gop in GOPS:
            videos.encode(folder / f"gop-{gop}" / f"{number:03d}.mp4", frames, gop)
        decoded = videos.whole(folder / f"gop-{GOPS[0]}" / f"{number:03d}.mp4")
        for short in SHORT_SIDES:
            videos.write_frames(folder / f"frames-{short}" / f"{number:03d}", decoded, short)
    paths = sorted((folder / f"gop-{GOPS[0]}").glob("*.mp4"))
    dataset = th.Dataset(tuple(th.Item(path, ("thing",)) for path in paths), "made")
    for name, options in (("shards", ShardOptions()), ("smaller", SMALLER)):
        prepare(dataset, folder / name, options)


def ways(files: Files, length: int) -> dict[str, Callable[[], object] | str]:
    """Return what reads all clips once, or why it cannot, by title; shards are read at the corresponding frames."""
    rng = np.random.default_rng(0)
    wanted = [random_in_segment(length, FRAMES, lambda n: int(rng.integers(n))) for _ in files.shards]
    stored = ShardOptions().frames
    stored_indices = [[min(stored, length) * index // length for index in indices] for indices in wanted]
    readers: dict[str, Callable[[], object] | str] = {}
    for gop, paths in files.videos.items():
        for title, (read, module) in READERS.items():
            readers[f"{title}, GOP {gop}"] = missing(module) or partial(_each, read, paths, wanted)
        try:
            ffmpeg.binary()
            readers[f"{BOUND}, GOP {gop}"] = partial(null, paths)
        except ImportError as error:
            readers[f"{BOUND}, GOP {gop}"] = str(error)
    readers[SHARDS] = partial(_each, texthead_frames, files.shards, stored_indices)
    bare = partial(bare_frames, places={path: places_of(path) for path in files.shards})
    readers[LIMIT] = partial(_each, bare, files.shards, stored_indices)
    for title, read in ((JPEGS, jpeg_frames), (SAME_DECODER, decoded_frames)):
        readers[title] = partial(_each, read, files.folders[videos.HEIGHT], wanted)
    for title, floats in ((CHAIN, False), (f"{CHAIN}, normalised floats", True)):
        readers[title] = partial(_each, partial(shards_chain, rng=rng, floats=floats), files.shards, stored_indices)
    readers[SMALL_CHAIN] = partial(_each, partial(shards_chain, rng=rng, floats=False), files.smaller, stored_indices)
    for short, folders in files.folders.items():
        readers[f"{PUBLISHED}, short side {short}"] = partial(_each, partial(published_chain, rng=rng), folders, wanted)
    return readers


def read_so_far() -> int:
    """Return the bytes that this process has read from files, also through the page cache."""
    return int(Path("/proc/self/io").read_text().partition("rchar:")[2].split()[0])


def _each(read: Read, paths: Sequence[Path], wanted: Sequence[Wanted]) -> None:
    for path, indices in zip(paths, wanted, strict=True):
        read(path, indices)


# --- the table


def measure(folder: Path, clips: Sequence[videos.Frames], rounds: int, *, memory: bool) -> Section:
    """Measure one set of clips; `memory` starts a new process for each reader."""
    make(folder, clips)
    files, length = Files.from_folder(folder), len(clips[0])
    all_ways = ways(files, length)
    runs = {title: run for title, run in all_ways.items() if not isinstance(run, str)}
    counts = {title: 1 if "GOP" in title else TIMES for title in runs}
    repeats = {title: transforms.repeated(run, counts[title]) for title, run in runs.items()}
    costs = interleaved({title: timed(run, len(clips) * counts[title]) for title, run in repeats.items()}, rounds)
    large = [PACKETS, DECORD, TORCHCODEC, CHAIN, f"{PUBLISHED}, short side {SHORT_SIDES[0]}"]
    measured = [t for t in runs if t.replace(f", GOP {GOPS[0]}", "") in large]
    peaks = memory_above_imports(folder, length, measured) if memory else {}
    rows = [_row(title, costs, peaks) for title in sorted(runs, key=lambda title: min(c.cpu for c in costs[title]))]
    rows += [[title, f"missing: {reason}", "-", "-"] for title, reason in all_ways.items() if isinstance(reason, str)]
    headers = [f"reader, {FRAMES} frames a clip", "clips per CPU-second", "clips per second", "MB above imports"]
    sizes = f"{len(clips)} clips: {files.kilobytes()}; {files.kilobytes_read(length)}."
    against = table(["clips per CPU-second, ratio", "median (min-max)", "target"], compared(costs))
    return Section(f"{sizes}\n\n{table(headers, rows)}\n\n{against}", compared_first(costs))


def _row(title: str, costs: Costs, peaks: Mapping[str, float]) -> list[str]:
    rates = [spread([1 / getattr(cost, clock) for cost in costs[title]], 1) for clock in ("cpu", "wall")]
    return [title, *rates, f"{peaks[title]:.0f}" if title in peaks else "-"]


def memory_above_imports(folder: Path, length: int, titles: Sequence[str]) -> dict[str, float]:
    """Return the peak memory in MB of a process that runs a reader once above one that only imports."""
    idle = peak_mb(read_once, folder, length, None)
    return {title: peak_mb(read_once, folder, length, title) - idle for title in titles}


def compared(costs: Costs) -> list[list[str]]:
    """Return the rows of ratios: the first reader's rate over the second one's, with the target if there is one."""
    pairs: list[tuple[str, str, float | None]] = [
        (SHARDS, f"{PACKETS}, GOP {GOPS[1]}", 10),
        *((CHAIN, f"{PUBLISHED}, short side {short}", 3) for short in SHORT_SIDES),
        *((f"{CHAIN}, normalised floats", f"{PUBLISHED}, short side {short}", None) for short in SHORT_SIDES),
        (SMALL_CHAIN, f"{PUBLISHED}, short side {videos.HEIGHT}", 3),
        (SHARDS, JPEGS, 1.3),
        (SHARDS, SAME_DECODER, 1),
        (LIMIT, JPEGS, None),
        (LIMIT, SAME_DECODER, None),
        (SHARDS, LIMIT, None),
    ]
    for gop in GOPS:
        pairs.append((f"{PACKETS}, GOP {gop}", f"{DECORD}, GOP {gop}", 1.3))
        pairs += [(f"{PACKETS}, GOP {gop}", f"{peer}, GOP {gop}", None) for peer in (TORCHCODEC, BOUND)]
    measured = [pair for pair in pairs if pair[0] in costs and pair[1] in costs]
    # Rates are inverse costs.
    return [[f"{a} / {b}", *judge(ratios(costs, b, a), at_least=least)] for a, b, least in measured]


def compared_first(costs: Costs) -> list[Row]:
    """Return the rows of the first table."""
    tasks: dict[str, list[tuple[str, str, str, float]]] = {
        f"read {FRAMES} frames of a video, key frame every {gop} frames": [
            (f"{PACKETS}, GOP {gop}", f"{peer}, GOP {gop}", peer, least)
            for peer, least in ((DECORD, 1.3), (TORCHCODEC, 1))
        ]
        for gop in GOPS
    }
    tasks["training clip from prepared shards"] = [
        (CHAIN, f"{PUBLISHED}, short side {short}", f"JPEG folders, published pipeline, short side {short}", 3)
        for short in SHORT_SIDES
    ]
    tasks[f"decode {FRAMES} JPEG frames, no transforms"] = [
        (SHARDS, other, other.replace(", decoding only", ""), least)
        for other, least in ((JPEGS, 1.3), (SAME_DECODER, 1))
    ]
    return [
        Row(
            task,
            title,
            ratios(costs, other, ours),
            limit=ratios(costs, other, LIMIT) if "shards" in ours else (),
            limit_of="decoder alone",
            target=least,
        )
        for task, peers in tasks.items()
        for ours, other, title, least in peers
        if other in costs
    ]


def read_once(folder: Path, length: int, title: str | None) -> None:
    """Run one reader once, or only its imports."""
    torch.set_num_threads(1)
    readers = ways(Files.from_folder(folder), length)
    if title is not None:
        run = readers[title]
        assert not isinstance(run, str)
        run()


def section(rounds: int, data: Path, clips: int = 6, seconds: int = 10) -> Section:
    """Measure real clips or, if there are none, drawn ones."""
    torch.set_num_threads(1)
    keep_freed_memory()  # As the commands do. Page faults, which depend on what ran before, took up to half the time.
    real = videos.has_real(data)
    frames = [videos.joined(data, seconds, i) if real else videos.drawn(seconds, i) for i in range(clips)]
    with tempfile.TemporaryDirectory() as name:
        text, rows = measure(Path(name), frames, rounds, memory=True)
    about = "Real clips, joined." if real else f"Drawn videos, since {data.name} has no real clips."
    return Section(f"{ABOUT.format(frames=FRAMES, seconds=seconds)} {about}\n\n{text}", rows)
