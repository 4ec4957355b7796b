"""Read 8 frames of a 10-second video, and make a training clip of JPEG frames, with each library, on one thread.

    python -m benchmarks reading [--rounds 5] [--data ../shared/data]

Videos of 340x256 pixels and 30 frames a second, with a key frame every 12 and every 250 frames: real clips joined, or,
if `--data` has none, drawn ones, which change little between key frames, so that a long GOP costs them less. Every
reader takes the same random frame of each of eight segments and returns RGB. Peers that do not import have no row.

The "published pipeline" makes a training clip as the published code does: list a folder of JPEG frames, decode eight,
apply `transforms.published_train`. The published lists of Kinetics-400 have frames with a short side of 320, so that
size is measured too (the same pictures enlarged); with 256 the resize does nothing. JPEG folders hold what Pillow
writes at quality 90, which halves colours; shards hold full colours at quality 85, which take longer to decode: the
limit is a bare loop that decodes a clip's frames into one array, without table, headers or digests.
"""

import json
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image

import texthead as th
from benchmarks import transforms, videos
from benchmarks.rounds import Row, Section, interleaved, timed
from texthead.data.prepare import ShardOptions, prepare
from texthead.data.sampling import random_in_segment
from texthead.data.transforms import augment
from texthead.media.paths import MediaPath
from texthead.parallel import keep_freed_memory

FRAMES, SECONDS = 8, 10
TIMES = 5  # A round reads JPEGs this often, since a clip takes only 2 ms.
GOPS = (12, 250)
SHORT_SIDES = (videos.HEIGHT, 320)
OURS, DECORD, TORCHCODEC = "texthead", "decord", "torchcodec"
SHARDS, CHAIN, LIMIT = "texthead shards, decoding only", "texthead shards, training clip", "decoder alone"
JPEGS, SAME_DECODER, PUBLISHED = (
    "JPEG folders, Pillow",
    "JPEG folders, simplejpeg",
    "JPEG folders, published pipeline, short side",
)
Wanted = Sequence[int]
Read = Callable[[Path, Wanted], object]


# --- readers of one clip


def texthead_frames(path: Path, wanted: Wanted) -> torch.Tensor:
    """texthead's reader."""
    with MediaPath(path).open() as media:
        return media.frames_at(wanted)


def decord_frames(path: Path, wanted: Wanted) -> object:
    """decord's VideoReader, as most code of the field uses it."""
    import decord  # pyright: ignore[reportMissingImports]

    return decord.VideoReader(str(path), num_threads=1).get_batch(list(wanted)).asnumpy()


def torchcodec_frames(path: Path, wanted: Wanted) -> object:
    """torchcodec with its default, exact seeking."""
    from torchcodec.decoders import VideoDecoder  # pyright: ignore

    return VideoDecoder(str(path), num_ffmpeg_threads=1).get_frames_at(list(wanted)).data


def jpeg_frames(folder: Path, wanted: Wanted) -> object:
    """JPEG files of a folder, names known."""
    return np.stack([np.asarray(Image.open(folder / f"img_{index + 1:05d}.jpg")) for index in wanted])


def decoded_frames(folder: Path, wanted: Wanted) -> object:
    """JPEG files of a folder, names known, by the decoder that reads frames of shards."""
    return np.stack([simplejpeg.decode_jpeg((folder / f"img_{index + 1:05d}.jpg").read_bytes()) for index in wanted])


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


def published_chain(folder: Path, wanted: Wanted, *, rng: np.random.Generator) -> torch.Tensor:
    """Make a training clip from JPEG files as the published code does: list, decode, transform."""
    names = sorted(path.name for path in folder.iterdir())
    return transforms.published_train([Image.open(folder / names[i]).convert("RGB") for i in wanted], rng)


def shards_chain(path: Path, wanted: Wanted, *, rng: np.random.Generator) -> torch.Tensor:
    """Make a training clip from shards as `texthead train` does."""
    return augment(texthead_frames(path, wanted), transforms.PIXELS, transforms.TRAIN, rng)


def imports(read: Read, path: Path) -> bool:
    """Return whether a library reads a frame."""
    try:
        read(path, [0])
    except Exception:  # A library that finds no FFmpeg raises what it likes.
        return False
    return True


# --- what is read


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
    prepare(th.Dataset(tuple(th.Item(path, ("thing",)) for path in paths), "made"), folder / "shards", ShardOptions())


def ways(folder: Path, length: int) -> dict[str, Callable[[], object]]:
    """Return what reads all clips once, by title; shards are read at the corresponding frames."""
    rng = np.random.default_rng(0)
    shards = [item.path for item in th.read_dataset(folder / "shards").items]
    wanted = [random_in_segment(length, FRAMES, lambda n: int(rng.integers(n))) for _ in shards]
    stored = min(ShardOptions().frames, length)
    in_shards = [[stored * index // length for index in indices] for indices in wanted]

    def each(read: Read, paths: Sequence[Path], wanted: Sequence[Wanted]) -> Callable[[], object]:
        return lambda: [read(path, indices) for path, indices in zip(paths, wanted, strict=True)] and None

    readers: dict[str, Callable[[], object]] = {}
    for gop in GOPS:
        paths = sorted((folder / f"gop-{gop}").glob("*.mp4"))
        for title, read in ((OURS, texthead_frames), (DECORD, decord_frames), (TORCHCODEC, torchcodec_frames)):
            if imports(read, paths[0]):
                readers[f"{title}, GOP {gop}"] = each(read, paths, wanted)
    bare = partial(bare_frames, places={path: places_of(path) for path in shards})
    for title, read in ((SHARDS, texthead_frames), (LIMIT, bare), (CHAIN, partial(shards_chain, rng=rng))):
        readers[title] = each(read, shards, in_shards)
    for short in SHORT_SIDES:
        folders = sorted((folder / f"frames-{short}").iterdir())
        readers[f"{PUBLISHED} {short}"] = each(partial(published_chain, rng=rng), folders, wanted)
        if short == videos.HEIGHT:
            readers |= {JPEGS: each(jpeg_frames, folders, wanted), SAME_DECODER: each(decoded_frames, folders, wanted)}
    return readers


def measure(folder: Path, clips: Sequence[videos.Frames], rounds: int) -> Section:
    """Measure one set of clips."""
    make(folder, clips)
    timing = {}
    for title, run in ways(folder, len(clips[0])).items():
        times = 1 if "GOP" in title else TIMES
        timing[title] = timed(lambda run=run, times=times: [run() for _ in range(times)], len(clips) * times)
    costs = interleaved(timing, rounds)
    rows = []
    for gop in GOPS:
        task = f"read {FRAMES} frames of a video, key frame every {gop} frames"
        for peer, target in ((DECORD, 1.3), (TORCHCODEC, 1)):
            rows.append(Row(task, peer, f"{OURS}, GOP {gop}", f"{peer}, GOP {gop}", target))
    video = f"texthead on the videos, key frame every {GOPS[1]} frames"
    rows.append(Row(f"read {FRAMES} frames of a clip from shards", video, SHARDS, f"{OURS}, GOP {GOPS[1]}", 10))
    for short in SHORT_SIDES:
        title = f"{PUBLISHED} {short}"
        rows.append(Row("training clip from prepared shards", title, CHAIN, title, 3, LIMIT, LIMIT))
    task = f"decode {FRAMES} JPEG frames, no transforms"
    rows += [
        Row(task, title, SHARDS, title, at_least, LIMIT, LIMIT) for title, at_least in ((JPEGS, 1.3), (SAME_DECODER, 1))
    ]
    return Section(costs, [row for row in rows if row.theirs in costs])


def section(rounds: int, data: Path) -> Section:
    """Measure real clips or, if there are none, drawn ones."""
    torch.set_num_threads(1)
    keep_freed_memory()  # As the commands do. Page faults, which depend on what ran before, took up to half the time.
    draw = partial(videos.joined, data) if videos.has_real(data) else videos.drawn
    with tempfile.TemporaryDirectory() as name:
        return measure(Path(name), [draw(SECONDS, seed) for seed in range(6)], rounds)
