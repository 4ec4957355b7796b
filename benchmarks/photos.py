"""Photos as phones make them, 12 megapixels and about 3 MB, to classes: what `predict` takes, and a script by hand.

    python -m benchmarks photos [--rounds 5] [--data ../shared/data]

Each photo is a real one of clothing, enlarged to 12 megapixels, with a sensor's grain so that it takes the bytes of a
phone's photo, as JPEG of quality 90; every second one is stored lying and turned by EXIF, as phones do. Whole commands
read 96 of them, eight copies of each, without workers, whose CPU time would not be counted; encoding alone is in one
process. `mini` at 224 pixels, one thread. By hand: Pillow decodes and resizes, onnxruntime runs the graph in batches of
eight. Limits: the same script with simplejpeg, which decodes at a reduced size; decoder and encoder alone.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image

import texthead as th
from benchmarks.peers import ALONE, TEXTHEAD, mini_ways
from benchmarks.rounds import Costs, Row, Section, interleaved, timed
from benchmarks.startup import started, write_models

DISTINCT, COPIES, GRAIN, ORIENTATION = 12, 8, 4.0, 0x0112
PREDICT, HAND = "`predict RUN PHOTOS`", "Pillow and onnxruntime by hand"
SCRIPT, PARTS = "the same script, simplejpeg at a reduced size", "decoder and encoder alone"
# The graph, the rows, the folder of photos, the mean and the standard deviation of one colour, the decoder.
BY_HAND = """
import sys
import numpy as np
import onnxruntime
import simplejpeg
from pathlib import Path
from PIL import Image, ImageOps

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
rows, mean, std = np.load(sys.argv[2]), float(sys.argv[4]), float(sys.argv[5])

def opened(path):
    image = Image.open(path)
    if sys.argv[6] == "Pillow":
        return image.convert("RGB")
    small = Image.fromarray(simplejpeg.decode_jpeg(path.read_bytes(), min_height=512, min_width=512))
    small.info["exif"] = image.info.get("exif", b"")
    return small

def pixels(path):
    image = opened(path)
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    image = ImageOps.exif_transpose(image)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    crop = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
    return (crop.transpose(2, 0, 1) / 255 - mean) / std

paths = sorted(Path(sys.argv[3]).iterdir())
for start in range(0, len(paths), 8):
    chunk = paths[start : start + 8]
    (features,) = session.run(None, {"x": np.stack([pixels(path) for path in chunk])})
    for path, score in zip(chunk, features @ rows.T):
        print(path, score.argmax(), score.max())
"""


def enlarged(source: Path, out: Path, number: int) -> None:
    """Write a photo of 12 megapixels."""
    image = Image.open(source).convert("RGB")
    scale = (12e6 / (image.width * image.height)) ** 0.5
    # Whole blocks, as sensors have.
    width, height = (16 * round(side * scale / 16) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    rng, exif = np.random.default_rng(number), Image.Exif()
    shape = (image.height, image.width, 1)
    pixels = np.asarray(image, np.float32) + GRAIN * rng.standard_normal(shape, np.float32)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if number % 2:
        exif[ORIENTATION] = 6
        image = image.transpose(Image.Transpose.ROTATE_90)
    image.save(out, quality=90, exif=exif)


def write_photos(data: Path, folder: Path, count: int) -> list[Path]:
    """Write photos of a set that come from each class in turn."""
    folder.mkdir()
    sources = [item.path for item in th.read_dataset(data / "image" / "clothing" / "images.csv").items]
    paths = [folder / f"{number:03d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        enlarged(sources[number * len(sources) // count], path, number)
    return paths


def commands(folder: Path, photos: Sequence[Path], rounds: int) -> Costs:
    """Return the costs of a photo in whole commands."""
    many = folder / "many"
    many.mkdir()
    for copy in range(COPIES):
        for path in photos:
            os.link(path, many / f"{copy}-{path.name}")
    write_models(folder)
    np.save(folder / "rows.npy", np.random.default_rng(0).standard_normal((3, 1280), np.float32))
    script = ["-c", BY_HAND, *map(str, (folder / "mini.onnx", folder / "rows.npy", many, 0.5, 0.5))]
    ways = {
        PREDICT: ["-m", "texthead", "predict", str(folder / "run"), str(many), "--workers", "0"],
        HAND: [*script, "Pillow"],
        SCRIPT: [*script, "simplejpeg"],
    }
    count = COPIES * len(photos)
    run = {title: timed(lambda way=way: started(way, folder / "cache"), count) for title, way in ways.items()}
    return interleaved(run, rounds, warm=False)


def decoded(photos: Sequence[Path]) -> None:
    """Decode photos with simplejpeg at the size that `predict` needs."""
    for path in photos:
        simplejpeg.decode_jpeg(path.read_bytes(), min_height=512, min_width=512)


def section(rounds: int, data: Path, distinct: int = DISTINCT) -> Section:
    """Measure whole commands and encoding alone."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["TEXTHEAD_CACHE"] = str(folder / "cache")  # The process is this section's own.
        photos = write_photos(data, folder / "photos", distinct)
        ways = mini_ways(folder)
        inside = {
            PREDICT: lambda: ways[TEXTHEAD](photos),
            HAND: lambda: ways["Pillow, onnxruntime"](photos),
            PARTS: lambda: [decoded(photos), ways[ALONE](photos)],
        }
        kinds = {
            "whole command": commands(folder, photos, rounds),
            "encoding alone": interleaved({title: timed(way, len(photos)) for title, way in inside.items()}, rounds),
        }
    rows = []
    for kind, limit in (("whole command", SCRIPT), ("encoding alone", PARTS)):
        titles = f"{kind}: {PREDICT}", f"{kind}: {HAND}", 2.5, f"{kind}: {limit}"
        rows.append(Row(f"12-megapixel photos, {kind}", HAND, *titles, limit))
    return Section({f"{kind}: {title}": own for kind, costs in kinds.items() for title, own in costs.items()}, rows)
