"""Drawn clips in which only the order of frames shows the class: one of two shapes moves, the other is at rest.

The frame wraps around at its borders, and each motion begins at a random place, angle and phase. So in any single frame
of any class both shapes have a uniform position, angle and size: no classifier of single frames is better than chance.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8

Times = Float[np.ndarray, " frames"]
# Position in frame sides, angle in turns, size between the smallest (0) and the largest (1); all but the size wrap.
Course = tuple[Times | float, Times | float, Times | float, Times | float]

TURN = 2 * np.pi


def _triangle(phase: Times) -> Times:
    """Return a wave from -1 at phase 0 to 1 at phase 0.5 and back."""
    return 1 - 4 * np.abs(phase % 1 - 0.5)


def _steps(phase: Times, rng: np.random.Generator) -> Times:
    """Return a place (0 to 1) per third of a period, at random."""
    return rng.uniform(size=99)[np.floor(3 * phase).astype(int)]


# Each motion is a function of way (frame sides travelled so far), phase (periods so far, from a random one), amplitude
# (frame sides) and the generator. y points down.
Motion = Callable[[Times, Times, float, np.random.Generator], Course]

# The motions that towers are trained on.
TRAINED: Mapping[str, Motion] = {
    "moving left": lambda way, phase, size, rng: (-way, 0, 0, 0),
    "moving right": lambda way, phase, size, rng: (way, 0, 0, 0),
    "swinging sideways": lambda way, phase, size, rng: (size * np.sin(TURN * phase), 0, 0, 0),
    "swinging up and down": lambda way, phase, size, rng: (0, size * np.sin(TURN * phase), 0, 0),
    "spinning clockwise": lambda way, phase, size, rng: (0, 0, phase, 0),
    "spinning anticlockwise": lambda way, phase, size, rng: (0, 0, -phase, 0),
    "growing again and again": lambda way, phase, size, rng: (0, 0, 0, phase % 1),
    "shrinking again and again": lambda way, phase, size, rng: (0, 0, 0, -phase % 1),
    "zigzagging left": lambda way, phase, size, rng: (-way, size * _triangle(2 * phase), 0, 0),
    "zigzagging right": lambda way, phase, size, rng: (way, size * _triangle(2 * phase), 0, 0),
    "jumping from place to place": lambda way, phase, size, rng: (_steps(phase, rng), _steps(phase, rng), 0, 0),
    "resting": lambda way, phase, size, rng: (0, 0, 0, 0),
}

# The motions that the constants of the probes are chosen on.
DEVELOPMENT: Mapping[str, Motion] = {
    "moving up and to the left": lambda way, phase, size, rng: (-way / 1.4, -way / 1.4, 0, 0),
    "moving up and to the right": lambda way, phase, size, rng: (way / 1.4, -way / 1.4, 0, 0),
    "moving down and to the left": lambda way, phase, size, rng: (-way / 1.4, way / 1.4, 0, 0),
    "moving down and to the right": lambda way, phase, size, rng: (way / 1.4, way / 1.4, 0, 0),
    "walking round a square clockwise": lambda way, phase, size, rng: _square(phase, size),
    "walking round a square anticlockwise": lambda way, phase, size, rng: _square(-phase, size),
    "rocking from side to side": lambda way, phase, size, rng: (0, 0, _triangle(phase) / 8, 0),
    "tumbling to the right": lambda way, phase, size, rng: (way, 0, phase, 0),
    "tumbling to the left": lambda way, phase, size, rng: (-way, 0, -phase, 0),
    "pulsing": lambda way, phase, size, rng: (0, 0, 0, (_triangle(phase) + 1) / 2),
}

# The motions that judge.
JUDGED: Mapping[str, Motion] = {
    "moving up": lambda way, phase, size, rng: (0, -way, 0, 0),
    "moving down": lambda way, phase, size, rng: (0, way, 0, 0),
    "circling clockwise": lambda way, phase, size, rng: _circle(phase, size, 1),
    "circling anticlockwise": lambda way, phase, size, rng: _circle(-phase, size, 1),
    "zigzagging up": lambda way, phase, size, rng: (size * _triangle(2 * phase), -way, 0, 0),
    "zigzagging down": lambda way, phase, size, rng: (size * _triangle(2 * phase), way, 0, 0),
    "bouncing on the floor": lambda way, phase, size, rng: (0, size * (_triangle(phase) ** 2) * 2, 0, 0),
    "bouncing off the ceiling": lambda way, phase, size, rng: (0, -size * (_triangle(phase) ** 2) * 2, 0, 0),
    "spiralling outwards": lambda way, phase, size, rng: _circle(_side(rng) * phase * 2, 2 * size, phase % 1),
    "spiralling inwards": lambda way, phase, size, rng: _circle(_side(rng) * phase * 2, 2 * size, -phase % 1),
}


def _then(first: Motion, second: Motion) -> Motion:
    """Return a motion that changes from the first to the second in the middle third of the clip."""

    def moves(way: Times, phase: Times, size: float, rng: np.random.Generator) -> Course:
        change = int(rng.integers(len(way) // 3, len(way) - len(way) // 3))
        before, after = (np.stack([part + 0 * way for part in each(way, phase, size, rng)]) for each in (first, second))
        after[:3] += before[:3, change - 1 : change] - after[:3, change - 1 : change]  # it goes on from where it is
        return tuple(np.concatenate([before[:, :change], after[:, change:]], axis=1))

    return moves


def _in_order(motions: Mapping[str, Motion], pairs: Sequence[tuple[str, str]]) -> dict[str, Motion]:
    """Return two motions of each pair: "A, then B" and "B, then A"."""
    return {
        f"{first}, then {second}": _then(motions[first], motions[second])
        for pair in pairs
        for first, second in (pair, pair[::-1])
    }


DEVELOPMENT_ORDERS = _in_order(
    DEVELOPMENT,
    [
        ("moving up and to the left", "moving down and to the right"),
        ("moving up and to the right", "moving down and to the left"),
        ("walking round a square clockwise", "walking round a square anticlockwise"),
        ("tumbling to the right", "tumbling to the left"),
        ("rocking from side to side", "pulsing"),
    ],
)

# Judged as well: the two classes of a pair hold the same motions and differ in their order alone.
JUDGED_ORDERS = _in_order(
    {**TRAINED, **JUDGED},
    [
        ("moving up", "moving down"),
        ("moving left", "moving right"),
        ("spinning clockwise", "spinning anticlockwise"),
        ("growing again and again", "shrinking again and again"),
        ("circling clockwise", "circling anticlockwise"),
    ],
)

MOTIONS = {**TRAINED, **DEVELOPMENT, **JUDGED, **DEVELOPMENT_ORDERS, **JUDGED_ORDERS}


def _circle(phase: Times, size: float, radius: Times | float) -> Course:
    return size * radius * np.cos(TURN * phase), size * radius * np.sin(TURN * phase), 0, 0


def _square(phase: Times, size: float) -> Course:
    """Return the way round a square, clockwise as phase grows."""
    right, down = (np.clip(np.abs(4 * (part % 1) - 2) - 1, -0.5, 0.5) * 2 for part in (-phase, 0.25 - phase))
    return size * right, size * down, 0, 0


def _side(rng: np.random.Generator) -> int:
    return int(rng.choice([-1, 1]))


# Each shape is the union of rectangles (left, top, right, bottom) in a circle of radius 1; none looks the same turned.
SHAPES: Mapping[str, Sequence[tuple[float, float, float, float]]] = {
    "L": [(-0.5, -0.8, -0.1, 0.8), (-0.5, 0.4, 0.6, 0.8)],
    "T": [(-0.7, -0.7, 0.7, -0.3), (-0.2, -0.7, 0.2, 0.9)],
    "flag": [(-0.5, -0.8, -0.2, 0.9), (-0.5, -0.8, 0.6, 0.0)],
    "chair": [(-0.6, -0.8, -0.2, 0.7), (-0.6, -0.1, 0.6, 0.2), (0.2, -0.1, 0.6, 0.7)],
    # From here on: shapes of the clips that probes see.
    "F": [(-0.5, -0.9, -0.1, 0.9), (-0.5, -0.9, 0.6, -0.5), (-0.5, -0.2, 0.4, 0.1)],
    "U": [(-0.6, -0.7, -0.2, 0.7), (0.2, -0.7, 0.6, 0.7), (-0.6, 0.3, 0.6, 0.7)],
    "key": [(-0.15, -0.9, 0.15, 0.9), (-0.5, -0.9, 0.5, -0.3), (-0.15, 0.5, 0.5, 0.8)],
    "step": [(-0.7, 0.1, 0.7, 0.6), (-0.7, -0.6, 0.0, 0.6)],
}


def draw(
    motion: str, shapes: Sequence[str], *, frames: int, size: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "frames size size 3"]:
    """Draw one clip in RGB: a shape in `motion` and one at rest, over a smooth random texture with some noise."""
    times, phase = np.arange(frames), rng.uniform()
    way, period = times * rng.uniform(0.03, 0.06), rng.uniform(9, 16)
    moves = MOTIONS[motion](way, times / period + phase, rng.uniform(0.1, 0.18), rng)
    still = rng.uniform(90, 165, 3) + rng.uniform(-25, 25, (8, 8, 3)).repeat(size // 8, 0).repeat(size // 8, 1)
    clip = np.broadcast_to(still, (frames, size, size, 3)).copy()
    for path in [(0, 0, 0, 0), moves] if rng.uniform() < 0.5 else [moves, (0, 0, 0, 0)]:
        x, y, angle, scale = (np.zeros(frames) + part for part in path)
        # A size that does not change is uniform, as is one that grows: neither shows in a single frame.
        scale = scale if np.ptp(scale) else scale + rng.uniform()
        shape = SHAPES[shapes[int(rng.integers(len(shapes)))]]
        mask = _mask(shape, x + rng.uniform(), y + rng.uniform(), angle + rng.uniform(), 0.12 + 0.08 * scale, size)
        clip += mask[..., None] * (rng.choice([0, 255], 3) - clip)
    return np.clip(clip + rng.normal(0, 6, clip.shape), 0, 255).astype(np.uint8)


def _mask(
    shape: Sequence[tuple[float, float, float, float]], x: Times, y: Times, angle: Times, radius: Times, size: int
) -> Float[np.ndarray, "frames size size"]:
    """Return how far (0 to 1) each pixel is covered by the shape, whose borders are as wide as a pixel."""
    pixels = (np.arange(size) + 0.5) / size
    # The nearest copy of the shape: with x = 0.9, the pixel at 0.1 is 0.2 to its right.
    right, down = (((pixels - place[:, None] + 0.5) % 1 - 0.5) / radius[:, None] for place in (x, y))
    cos, sin = (wave(TURN * angle)[:, None, None] for wave in (np.cos, np.sin))
    u, v = right[:, None] * cos + down[:, :, None] * sin, down[:, :, None] * cos - right[:, None] * sin
    inside = [np.minimum(np.minimum(u - left, r - u), np.minimum(v - top, b - v)) for left, top, r, b in shape]
    return np.clip(np.max(inside, axis=0) * radius[:, None, None] * size + 0.5, 0, 1)


def draw_set(
    motions: Sequence[str], shapes: Sequence[str], count: int, *, frames: int, size: int, seed: int
) -> tuple[UInt8[np.ndarray, "clips frames size size 3"], Int[np.ndarray, " clips"]]:
    """Draw `count` clips of each motion, class by class; a clip depends on (seed, motion, number) alone."""
    clips = [
        draw(motion, shapes, frames=frames, size=size, rng=np.random.default_rng([seed, number, each]))
        for number, motion in enumerate(motions)
        for each in range(count)
    ]
    return np.stack(clips), np.arange(len(motions)).repeat(count)
