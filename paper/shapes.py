"""Drawn coloured shapes: stills for pre-training, and videos of colour-shape pairs that the stills never show."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw

from texthead import Reporter
from texthead.apps.demo import MOTIONS, Placement, animate, cut_out, draw_set, draw_still
from texthead.errors import DataError

COLOURS: MappingProxyType[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (215, 30, 35),
        "orange": (255, 135, 0),
        "yellow": (255, 230, 20),
        "green": (30, 150, 50),
        "cyan": (30, 215, 225),
        "blue": (30, 60, 215),
        "purple": (130, 40, 170),
        "pink": (255, 130, 190),
        "brown": (120, 70, 30),
        "black": (20, 20, 20),
        "gray": (130, 130, 130),
        "white": (250, 250, 250),
    }
)
SHAPES = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "cross",
    "ring",
    "diamond",
    "arrow",
    "moon",
    "drop",
    "bolt",
)
COLUMNS = ("path", "label", "split", "colour", "shape", "motion")

_RENDER = 1.25  # side of a sprite, in frame sides: enough for the largest radius

# Words that can tell two pictures of the same pair apart.
OPPOSITES = (("small", "large"), ("on the left", "on the right"), ("at the top", "at the bottom"))
OPPOSITE_MOTIONS = (("moving left", "moving right"), ("growing", "shrinking"), ("jumping", "spinning"))
FORMS = (
    "{}",
    "{}.",
    "a picture of {}",
    "a picture of {}.",
    "a photo of {}",
    "a photo of {}.",
    "a video of {}",
    "a video of {}.",
    "a drawing of {}.",
    "this is {}.",
    "there is {}.",
    "here we see {}.",
)
CAPTION_WORD_RATE = 0.3  # probability that a caption states a true attribute
MOVING = 0.5  # probability that twins are long exposures
EXPOSED, END = 5, 0.65  # frames per long exposure, and the weight of the last one

# Four diagonals of the 12 x 12 board are unseen. Their differences modulo 12 cover 1 to 11, so that any two colours,
# and any two shapes, share one or two unseen partners.
_UNSEEN_DIAGONALS = (0, 1, 3, 7)
_JITTER = 12  # maximum change of each colour channel
_OUTLINE = (35, 35, 35)


class Pair(NamedTuple):
    """A colour and a shape."""

    colour: str
    shape: str

    @property
    def name(self) -> str:
        """The pair with an article: "a red circle", "an orange star"."""
        return f"{article(self.colour)} {self.colour} {self.shape}"


def article(word: str) -> str:
    """Return the article of a word, "a" or "an"."""
    return "an" if word[0] in "aeiou" else "a"


# ---------------------------------------------------------------------------------------------- pairs


def all_pairs() -> list[Pair]:
    """Return all 144 pairs, colour by colour."""
    return [Pair(*words) for words in itertools.product(COLOURS, SHAPES)]


def unseen_pairs(seed: int = 0) -> list[Pair]:
    """Return the 48 pairs excluded from pre-training; each colour and each shape occurs four times.

    Each dozen of them in turn has all twelve colours and all twelve shapes.
    """
    rng = np.random.default_rng(seed)
    colours, shapes = rng.permutation(list(COLOURS)).tolist(), rng.permutation(SHAPES).tolist()
    # Diagonal 3 of the shuffled board: (0, 3), (1, 4), ... (9, 0), (10, 1), (11, 2).
    return [
        Pair(colours[row], shapes[(row + diagonal) % len(shapes)])
        for diagonal in _UNSEEN_DIAGONALS
        for row in range(len(colours))
    ]


def seen_pairs(seed: int = 0) -> list[Pair]:
    """Return the other 96 pairs; each colour and each shape occurs eight times."""
    unseen = set(unseen_pairs(seed))
    return [pair for pair in all_pairs() if pair not in unseen]


# ---------------------------------------------------------------------------------------------- sprites


def draw_sprite(pair: Pair, *, pixels: int, rng: np.random.Generator) -> Image.Image:
    """Draw a pair as a sprite for `demo.animate`: the shape in a shade of its colour, outlined."""
    body, line = _masks(pair.shape, pixels)
    shade = np.array(COLOURS[pair.colour]) + rng.integers(-_JITTER, _JITTER + 1, 3)
    rgb = np.clip(shade, 0, 255) * (1 - line) + np.array(_OUTLINE) * line
    return cut_out(Image.fromarray(np.concatenate([rgb, 255 * body], axis=-1).round().astype(np.uint8), "RGBA"))


@lru_cache(maxsize=64)
def _masks(shape: str, pixels: int) -> tuple[Float[np.ndarray, "side side 1"], Float[np.ndarray, "side side 1"]]:
    """Return the coverage of each pixel by the shape and by its outline, in 0..1. Cached: do not modify."""
    fine = 8 * pixels
    masks = [Image.new("L", (fine, fine)) for _ in range(2)]
    pens = [ImageDraw.Draw(mask) for mask in masks]
    for outline, value in _outlines(shape):
        points = [((x + 1) / 2 * fine, (y + 1) / 2 * fine) for x, y in outline]
        pens[0].polygon(points, fill=value)
        pens[1].line([*points, *points[:2]], fill=255, width=fine // 20, joint="curve")
    body, line = (np.asarray(mask.resize((pixels, pixels), Image.Resampling.BOX)) / 255.0 for mask in masks)
    return np.maximum(body, line)[..., None], line[..., None]


def _outlines(shape: str) -> list[tuple[list[tuple[float, float]], int]]:
    """Return (polygon, fill) pairs in the square from -1 to 1, y downwards; fill is 255, or 0 for a hole."""
    if shape == "ring":
        return [(_arc(0.85), 255), (_arc(0.42), 0)]
    return [(_outline(shape), 255)]


def _outline(shape: str) -> list[tuple[float, float]]:
    if shape == "circle":
        return _arc(0.85)
    if shape == "square":
        return [(-0.65, -0.65), (0.65, -0.65), (0.65, 0.65), (-0.65, 0.65)]
    if shape == "triangle":
        return _arc(0.95, steps=3)
    if shape == "star":
        return [
            point for pair in zip(_arc(0.95, steps=5), _arc(0.4, steps=5, start=-54), strict=True) for point in pair
        ]
    if shape == "heart":
        turns = np.linspace(0, 2 * math.pi, 60, endpoint=False)
        return [
            (0.85 * math.sin(t) ** 3, -0.7 * math.cos(t) + 0.3 * math.cos(2 * t) + 0.11 * math.cos(3 * t))
            for t in turns
        ]
    if shape == "cross":
        corner = [(0.27, -0.27), (0.27, -0.88), (-0.27, -0.88)]
        return [_turned(point, quarter) for quarter in (0, 3, 2, 1) for point in corner]
    if shape == "diamond":
        return [(0, -0.93), (0.5, 0), (0, 0.93), (-0.5, 0)]
    if shape == "arrow":
        return [(-0.85, -0.22), (0.1, -0.22), (0.1, -0.62), (0.9, 0), (0.1, 0.62), (0.1, 0.22), (-0.85, 0.22)]
    if shape == "moon":
        return _arc(0.9, start=-60, turn=-240) + [(x + 0.5, y) for x, y in _arc(0.77, start=94, turn=172)]
    if shape == "drop":
        return [(0, -0.95), *((x, y + 0.3) for x, y in _arc(0.6, start=-25, turn=230))]
    if shape == "bolt":
        return [(0.15, -0.95), (-0.55, 0.15), (-0.08, 0.15), (-0.2, 0.95), (0.55, -0.25), (0.08, -0.25), (0.4, -0.95)]
    raise DataError(f"shape must be one of {', '.join(SHAPES)}, got {shape!r}")


def _arc(radius: float, *, steps: int = 60, start: float = -90, turn: float = 360) -> list[tuple[float, float]]:
    """Return points on a circle around the origin; angles in degrees clockwise from the right, -90 is the top."""
    angles = np.radians(np.linspace(start, start + turn, steps, endpoint=turn < 360 and turn > -360))
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _turned(point: tuple[float, float], quarters: int) -> tuple[float, float]:
    """Rotate a point clockwise around the origin by quarter turns: (0.2, -0.9) by one is (0.9, 0.2)."""
    x, y = point
    for _ in range(quarters):
        x, y = -y, x
    return x, y


# ---------------------------------------------------------------------------------------------- captions


def words_of(placement: Placement) -> list[str]:
    """Return the words that describe a placement: "small", "on the left", ...; possibly none."""
    conditions = {
        "small": placement.radius < 0.24,
        "large": placement.radius > 0.34,
        "on the left": placement.x < 0.43,
        "on the right": placement.x > 0.57,
        "at the top": placement.y < 0.43,
        "at the bottom": placement.y > 0.57,
    }
    return [word for word, holds in conditions.items() if holds]


def caption(pair: Pair, words: Sequence[str], rng: np.random.Generator, *, required: str | None = None) -> str:
    """Draw a true caption at random, such as "a video of a small red circle on the left.".

    Each of `words` is included with probability CAPTION_WORD_RATE; `required`, one of them, always is.
    """
    included = [word for word in words if word == required or rng.uniform() < CAPTION_WORD_RATE]
    before = [word for word in included if word in OPPOSITES[0]]
    after = [word for word in included if word not in OPPOSITES[0]]
    phrase = " ".join([*before, pair.colour, pair.shape, *after])
    form = FORMS[rng.integers(len(FORMS))] if rng.uniform() < 0.7 else "{}"
    return form.format(f"{article(phrase)} {phrase}")


# ---------------------------------------------------------------------------------------------- stills


@dataclass(frozen=True)
class Picture:
    """A picture of a pair for pre-training.

    Attributes:
        pixels: RGB.
        words: words that describe it besides its pair.
        distinguishing: the one of `words` that is false of its twin.
    """

    pixels: UInt8[np.ndarray, "size size 3"]
    words: tuple[str, ...]
    distinguishing: str


def draw_twins(pair: Pair, *, rng: np.random.Generator, size: int = 64) -> tuple[Picture, Picture]:
    """Draw two pictures of a pair, each with a word that is false of the other, so that one batch can hold both.

    Half of the twins are stills that differ in size or position; the others are long exposures of two motions, often
    opposite ones, which would rarely meet in a batch by chance.
    """
    draw, opposites = (_exposed, OPPOSITE_MOTIONS) if rng.uniform() < MOVING else (_still, OPPOSITES)
    words = opposites[rng.integers(len(opposites))]
    if draw is _exposed and rng.uniform() < 0.5:
        words = rng.choice(MOTIONS, 2, replace=False).tolist()
    first, second = (draw(pair, word, rng, size) for word in words)
    return first, second


def _still(pair: Pair, word: str, rng: np.random.Generator, size: int) -> Picture:
    placement = Placement.draw(rng)
    while word not in words_of(placement):
        placement = Placement.draw(rng)
    return Picture(draw_picture(pair, rng=rng, placement=placement, size=size), tuple(words_of(placement)), word)


def _exposed(pair: Pair, motion: str, rng: np.random.Generator, size: int) -> Picture:
    return Picture(draw_exposure(pair, motion, rng=rng, size=size), (motion,), motion)


def draw_exposure(
    pair: Pair, motion: str, *, rng: np.random.Generator, size: int = 64
) -> UInt8[np.ndarray, "size size 3"]:
    """Draw a long exposure of a pair in motion in RGB: the last position is clear, earlier ones leave a trail."""
    sprite = draw_sprite(pair, pixels=round(_RENDER * size), rng=rng)
    clip = animate(sprite, motion, frames=EXPOSED, size=size, rng=rng)
    return (END * clip[-1] + (1 - END) * clip[:-1].mean(axis=0)).round().astype(np.uint8)


def draw_picture(
    pair: Pair, *, rng: np.random.Generator, placement: Placement | None = None, size: int = 64
) -> UInt8[np.ndarray, "size size 3"]:
    """Draw a still of a pair in RGB over a drawn background, at a random placement if `placement` is None."""
    sprite = draw_sprite(pair, pixels=round(_RENDER * size), rng=rng)
    return draw_still(sprite, placement or Placement.draw(rng), size=size, rng=rng)


def draw_shape_pictures(
    pairs: Sequence[Pair], each: int, *, rng: np.random.Generator, size: int = 64
) -> tuple[UInt8[np.ndarray, "pictures size size 3"], Int[np.ndarray, " pictures"]]:
    """Draw `each` stills per pair; return them pair by pair, with the index of each one's pair."""
    pictures = [draw_picture(pair, rng=rng, size=size) for pair in pairs for _ in range(each)]
    return np.stack(pictures), np.repeat(np.arange(len(pairs)), each)


# ---------------------------------------------------------------------------------------------- videos


def video_pairs(pairs: int = 8) -> list[Pair]:
    """Return the pairs for the videos: unseen ones that cover as many colours and shapes as possible."""
    return unseen_pairs()[:pairs]


def video_names(pairs: int = 8) -> list[str]:
    """Return the class names of the videos, such as "a red circle moving left", in the order of their indices."""
    return [f"{pair.name} {motion}" for pair in video_pairs(pairs) for motion in MOTIONS]


def draw_shape_videos(
    out: Path,
    *,
    pairs: int = 8,
    train: int = 16,
    test: int = 8,
    frames: int = 8,
    size: int = 64,
    seed: int = 0,
    reporter: Reporter = Reporter(),
) -> Path:
    """Draw `train` + `test` videos per class unless they exist, and return the manifest `out`/clips.csv.

    A class is one of `pairs` unseen pairs in one of the six motions. Each clip depends only on (seed, class, split,
    number).

    Raises:
        DataError: `out` holds something other than a draw with these parameters.
    """
    parameters = {
        "pictures": "shapes",
        "pairs": pairs,
        "train": train,
        "test": test,
        "frames": frames,
        "size": size,
        "seed": seed,
    }

    def draw(pair: Pair, motion: str, key: tuple[int, int, int]) -> UInt8[np.ndarray, "frames size size 3"]:
        rng = np.random.default_rng([seed, *key])
        return animate(
            draw_sprite(pair, pixels=round(_RENDER * size), rng=rng), motion, frames=frames, size=size, rng=rng
        )

    clips = []
    for index, (pair, motion) in enumerate(itertools.product(video_pairs(pairs), MOTIONS)):
        folder = f"videos/{pair.name.replace(' ', '-')}-{motion.replace(' ', '-')}"
        for half, (split, count) in enumerate(zip(("train", "test"), (train, test), strict=True)):
            for number in range(count):
                path = f"{folder}/{split}_{number}.mp4"
                row = path, f"{pair.name} {motion}", split, pair.colour, pair.shape, motion
                clips.append((row, partial(draw, pair, motion, (index, half, number))))
    return draw_set(out, COLUMNS, clips, parameters=parameters, reporter=reporter)
