"""Reading clips: 8 frames of a long video, as each library reads them, on one thread.

    python -m benchmarks.reading [--rounds 5] [--clips 12] [--seconds 10]

Videos of 340x256 pixels and 30 frames a second are drawn, with a key frame every 12 and every 250 frames. Every way
takes one random frame of each of eight segments, the same for all, and gives RGB. Rounds are interleaved in one
process; a figure is clips per CPU-second, the median over rounds with least and most. A library that is not installed
is left out and said (`pip install decord torchcodec opencv-python-headless`).

"The whole chain" is what a training clip costs in the manner of the published code, as reference: the folder of JPEG
frames is listed, eight are decoded, each whole frame is resized to a short side of 256 (bicubic), and a random resized
crop of 224 is taken; beside it stands the same out of shards.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

import texthead as th
from texthead import synthetic
from texthead.decoding import open_media
from texthead.sampling import random_in_segment
from texthead.shards import ShardOptions, prepare
from texthead.transforms import Augmentation, augment

WIDTH, HEIGHT, FPS, FRAMES = 340, 256, 30, 8
GOPS = (12, 250)
Way = Callable[[int, Sequence[int]], object]


def draw(path: Path, seconds: int, gop: int, seed: int) -> np.ndarray:
    """Write a video of a drawn thing that grows over a drawn background; its frames."""
    rng = np.random.default_rng(seed)
    sprite = Image.new("RGBA", (96, 96), (*rng.integers(0, 256, 3).tolist(), 255))
    clip = synthetic.animate(sprite, "growing", frames=seconds * FPS, size=WIDTH, rng=rng)[:, :HEIGHT]
    grain = rng.integers(-6, 7, (8, HEIGHT, WIDTH, 1))
    clip = np.stack([np.clip(frame + grain[i % 8], 0, 255).astype(np.uint8) for i, frame in enumerate(clip)])
    with av.open(str(path), "w") as container:
        options = {"crf": "23", "preset": "veryfast", "g": str(gop), "keyint_min": str(gop), "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return clip


def frames_of(folder: Path, clip: np.ndarray) -> Path:
    """Every frame as a JPEG in a folder, as frame folders are made."""
    folder.mkdir()
    for number, picture in enumerate(clip, start=1):
        Image.fromarray(picture).save(folder / f"img_{number:05d}.jpg", quality=90)
    return folder


def ours(paths: Sequence[Path], scale: float = 1.0) -> Way:
    """`texthead`'s reader; of prepared clips the same places among their frames."""

    def read(clip: int, wanted: Sequence[int]) -> object:
        with open_media(paths[clip]) as media:
            last = media.num_frames - 1
            return media.frames_at([min(last, int(index * scale)) for index in wanted])

    return read


def decode_all(paths: Sequence[Path]) -> Way:
    """PyAV from the front until the last wanted frame, those that are wanted kept."""

    def read(clip: int, wanted: Sequence[int]) -> object:
        chosen, last = set(wanted), max(wanted)
        found = []
        with av.open(str(paths[clip])) as container:
            container.streams.video[0].codec_context.thread_count = 1
            for index, frame in enumerate(container.decode(video=0)):
                if index in chosen:
                    found.append(frame.to_ndarray(format="rgb24"))
                if index == last:
                    break
        return np.stack(found)

    return read


def decord_way(paths: Sequence[Path]) -> Way:
    """decord's VideoReader, as most code of the field uses it."""
    import decord  # pyright: ignore[reportMissingImports]

    return lambda clip, wanted: decord.VideoReader(str(paths[clip]), num_threads=1).get_batch(list(wanted)).asnumpy()


def torchcodec_way(paths: Sequence[Path]) -> Way:
    """torchcodec with exact seeking."""
    from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]

    def read(clip: int, wanted: Sequence[int]) -> object:
        return VideoDecoder(str(paths[clip]), num_ffmpeg_threads=1).get_frames_at(list(wanted)).data

    return read


def opencv_way(paths: Sequence[Path]) -> Way:
    """opencv: set the position, read; the frames may be others than asked for."""
    import cv2  # pyright: ignore[reportMissingImports]

    cv2.setNumThreads(1)

    def read(clip: int, wanted: Sequence[int]) -> object:
        capture = cv2.VideoCapture(str(paths[clip]))
        found = []
        for index in wanted:
            capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            _, frame = capture.read()
            found.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        return np.stack(found)

    return read


def jpegs(folders: Sequence[Path]) -> Way:
    """Eight JPEG files of a folder, names known."""

    def read(clip: int, wanted: Sequence[int]) -> object:
        return np.stack([np.asarray(Image.open(folders[clip] / f"img_{index + 1:05d}.jpg")) for index in wanted])

    return read


def whole_chain(folders: Sequence[Path], rng: np.random.Generator) -> Way:
    """List, decode, resize the whole frame, random resized crop: in the published code's manner."""

    def read(clip: int, wanted: Sequence[int]) -> object:
        names = sorted(path.name for path in folders[clip].iterdir())
        scale = 256 / min(WIDTH, HEIGHT)
        pictures = [Image.open(folders[clip] / names[index]).convert("RGB") for index in wanted]
        size = round(WIDTH * scale), round(HEIGHT * scale)
        pictures = [picture.resize(size, Image.Resampling.BICUBIC) for picture in pictures]
        side = int(np.sqrt(rng.uniform(0.08, 1.0)) * min(size))
        left, top = (int(rng.integers(0, total - side + 1)) for total in size)
        box = (left, top, left + side, top + side)
        cut = [picture.resize((224, 224), Image.Resampling.BILINEAR, box=box) for picture in pictures]
        return torch.from_numpy(np.stack([np.asarray(picture) for picture in cut])).permute(0, 3, 1, 2).float() / 255

    return read


def shards_chain(read: Way, rng: np.random.Generator) -> Way:
    """A training clip out of shards, as `texthead train` takes it: decode, random resized crop."""
    spec = Augmentation(size=224, resize=256, crop="resized", area=(0.08, 1.0), flip=0.0)
    return lambda clip, wanted: augment(read(clip, wanted), spec, rng)  # pyright: ignore[reportArgumentType]


def null_seconds(path: Path) -> float | None:
    """CPU-seconds of `ffmpeg -f null` for the whole file on one thread: the bound of everything that decodes it all."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(path), "-f", "null", "-"]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        return None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), options.rounds, options.clips, options.seconds)


def measure(folder: Path, rounds: int, clips: int, seconds: int) -> None:
    """Draw, time every way in turn, print the table."""
    ways: dict[str, Way] = {}
    sizes: dict[str, float] = {}
    for gop in GOPS:
        paths, pictures = [], []
        for clip in range(clips):
            paths.append(folder / f"{gop}-{clip}.mp4")
            drawn = draw(paths[-1], seconds, gop, clip)
            if gop == GOPS[0]:
                pictures.append(frames_of(folder / f"frames-{clip}", drawn))
        made = {
            "texthead, packets": ours,
            "decord": decord_way,
            "torchcodec": torchcodec_way,
            "PyAV, decode all": decode_all,
            "opencv": opencv_way,
        }
        for title, make in made.items():
            try:
                ways[f"{title}, GOP {gop}"] = make(paths)
            except (ImportError, RuntimeError, OSError) as error:
                print(f"left out: {title}, GOP {gop} ({str(error).strip().splitlines()[0]})")
        sizes[f"originals, GOP {gop}"] = sum(path.stat().st_size for path in paths) / clips
        if gop == GOPS[0]:
            data = th.Dataset(tuple(th.Item(path, "thing") for path in paths), "drawn")
            prepare(data, folder / "shards", ShardOptions())
            stored = [item.path for item in th.read_dataset(folder / "shards").items]
            shards = ours(stored, 32 / (seconds * FPS))
            ways |= {"texthead, shards": shards, "JPEG folders, bare": jpegs(pictures)}
            ways["shards, whole chain"] = shards_chain(shards, np.random.default_rng(1))
            ways["JPEG folders, whole chain"] = whole_chain(pictures, np.random.default_rng(1))
            sizes["shards"] = (folder / "shards" / "shard-000000.tar").stat().st_size / clips
            sizes["JPEG folders"] = sum(f.stat().st_size for p in pictures for f in p.iterdir()) / clips
    rng = np.random.default_rng(0)
    rates: dict[str, list[float]] = {title: [] for title in ways}
    for number in range(rounds + 1):
        wanted = [random_in_segment(seconds * FPS, FRAMES, lambda n: int(rng.integers(n))) for _ in range(clips)]
        for title, read in ways.items():
            started = time.process_time()
            for clip in range(clips):
                read(clip, wanted[clip])
            if number:  # The first round warms up.
                rates[title].append(clips / (time.process_time() - started))
    print(f"| way of reading {FRAMES} frames | clips a CPU-second (least-most) |\n|---|---|")
    for title, found in sorted(rates.items(), key=lambda pair: -statistics.median(pair[1])):
        print(f"| {title} | {statistics.median(found):.1f} ({min(found):.1f}-{max(found):.1f}) |")
    for gop in GOPS:
        bound = null_seconds(folder / f"{gop}-0.mp4")
        told = f"{1 / bound:.1f} clips a CPU-second" if bound else "not installed"
        print(f"bound, ffmpeg -f null, GOP {gop}: {told}")
    print(", ".join(f"{title}: {size / 1e3:.0f} kB a clip" for title, size in sizes.items()))
    pairs = [
        ("texthead, shards", f"texthead, packets, GOP {GOPS[1]}"),
        ("texthead, shards", "JPEG folders, bare"),
        ("shards, whole chain", "JPEG folders, whole chain"),
        *((f"texthead, packets, GOP {gop}", f"decord, GOP {gop}") for gop in GOPS),
    ]
    for first, second in pairs:
        if first in rates and second in rates:
            ratios = [a / b for a, b in zip(rates[first], rates[second], strict=True)]
            print(f"{first} / {second}: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
