"""What a picture looks like in a few numbers, kept beside its features, so that it is decoded once for both."""

from typing import NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import Float, Float16, UInt8

# The attributes of `ImageStats`, as stored.
_ROW = np.dtype("f8, f8, (256,)f2, (16, 16, 3)u1")


class ImageStats(NamedTuple):
    """What a picture looks like, in grey levels from 0 to 255.

    Attributes:
        brightest: 95th percentile.
        contrast: standard deviation.
        edges: `edges_of` the picture.
        colours: `colours_of` the picture.
    """

    brightest: float
    contrast: float
    edges: Float16[np.ndarray, "256"]
    colours: UInt8[np.ndarray, "16 16 3"]

    @classmethod
    def from_frame(cls, picture: UInt8[np.ndarray, "height width 3"]) -> "ImageStats":
        """Return the statistics of an upright picture."""
        grey = cls.grey_of(picture)
        brightest, contrast = float(np.percentile(grey, 95)), float(grey.std())
        return cls(brightest, contrast, cls.edges_of(grey), cls.colours_of(picture))

    def to_bytes(self) -> bytes:
        """Return the statistics as stored."""
        return np.array(self, _ROW).tobytes()

    @classmethod
    def from_bytes(cls, row: bytes) -> "ImageStats":
        """Return stored statistics."""
        return cls(*np.frombuffer(row, _ROW)[0].item())

    @staticmethod
    def grey_of(picture: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "64 64"]:
        """Return the mean grey level of each cell of a 64x64 grid."""
        image = PIL.Image.fromarray(picture).convert("L")
        return np.asarray(image.resize((64, 64), PIL.Image.Resampling.BOX), np.float32)

    @staticmethod
    def colours_of(picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "16 16 3"]:
        """Return the mean colour of each cell of a 16x16 grid."""
        return np.asarray(PIL.Image.fromarray(picture).resize((16, 16), PIL.Image.Resampling.BOX))

    @staticmethod
    def edges_of(grey: Float[np.ndarray, "64 64"]) -> Float16[np.ndarray, "256"]:
        """Return how much brighter each cell of a 16x16 grid is than the one to its left: a square root with its sign.

        Source: the difference hash of Krawetz, on a finer grid. The sign alone, his hash, makes noise count as much as
        edges, so that different things before plain backgrounds agree (docs/decisions.md).
        """
        shrunk = PIL.Image.fromarray(grey).resize((17, 16), PIL.Image.Resampling.BOX)
        steps = np.diff(np.asarray(shrunk), axis=1).ravel()
        return (np.sign(steps) * np.sqrt(np.abs(steps))).astype(np.float16)
