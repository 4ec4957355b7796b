"""What a visual encoder takes and gives: its preprocessing, clips and grids of features, apart from its weights."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Literal

from texthead.data.protocol import Pixels, Protocol, Views
from texthead.errors import EncoderError, Rule, RunError, check_types, raising
from texthead.recipes import Recipe, check_clip_size

_Channels = tuple[float, float, float]

# Steps, rows and columns.
Grid = tuple[int, int, int]


@dataclass(frozen=True)
class VisualSpec:
    """The architecture and preprocessing of a visual encoder: all that rebuilds it, except its weights.

    Attributes:
        source: as in `load_encoder`.
        architecture: "timm:NAME", "openclip" or "hf"; "PREFIX" or "PREFIX:..." for another package's network.
        dim: length of a feature.
        size: side of the input in pixels.
        crop: side of the test crop over the short side after resizing.
        interpolation: interpolation of the resize.
        mean, std: of each colour channel, for pixel values from 0 to 1.
        activation: name of the activation function, for information.
        channels_last: whether the network is faster in the channels-last memory format.
        any_size: whether the network accepts inputs of other sizes (a CNN does, a ViT does not).
        config: JSON from which the library builds the network, so that a run does not depend on its list of names.
        squash: whether test images are resized to a square, ignoring their aspect ratio.
        frames: frames that the network takes at once: 1 for an image encoder, more for a video encoder.
        grid: steps, rows and columns of the features that a video encoder gives for a clip, in this order.
        finest: the grid of its own tokens, of which `grid` holds means; None if it gives no finer one.
        stride: step between its input frames in training, in video frames; 0 if spread over the video, or unknown.
        floor: how the test crop is placed; see `crop_offsets`.
    """

    source: str
    architecture: str
    dim: int
    size: int
    crop: Annotated[float, Rule("above 0 and at most 1", lambda crop: 0 < crop <= 1)]
    interpolation: Literal["bilinear", "bicubic"]
    mean: Annotated[_Channels, Rule("three finite numbers", lambda means: all(map(math.isfinite, means)))]
    std: Annotated[_Channels, Rule("three numbers above 0", lambda stds: all(0 < each < math.inf for each in stds))]
    activation: str = ""
    channels_last: bool = False
    any_size: bool = False
    config: str = "{}"
    squash: bool = False
    frames: int = 1
    grid: Grid = (1, 1, 1)
    finest: Grid | None = None
    stride: int = 0
    floor: bool = False

    @property
    def tokens(self) -> int:
        """The number of features per clip of a video encoder."""
        return math.prod(self.grid)

    @property
    def number_type(self) -> str:
        """How features are kept: a grid of means in half precision, the encoder's own features as they are."""
        means = self.tokens > self.grid[0] and self.grid != self.finest
        return "float16" if means else "float32"

    def with_grid(self, most: Grid) -> "VisualSpec":
        """Return the spec with the finest grid of at most these steps, rows and columns."""
        steps, rows, columns = map(min, self.finest or self.grid, most)
        return replace(self, grid=(steps, rows, columns))

    @property
    def unit(self) -> Literal["frame", "clip"]:
        """The input of the network: single frames or clips."""
        return "clip" if self.frames > 1 else "frame"

    def pixels(self, recipe: Recipe | None = None, *, training: bool = False) -> Pixels:
        """Return a recipe's sizes for training clips or for all others, or the encoder's own test sizes.

        Raises:
            RunError: the encoder does not support the size, or clips would take too much memory.
        """
        if recipe is None:
            return Pixels(self.size, round(self.size / self.crop), self.interpolation, self.squash, floor=self.floor)
        size = (0 if training else recipe.test_size) or recipe.size or self.size
        if size != self.size and not self.any_size:
            raise RunError(f"{self.source} takes only {self.size} pixels, got size {size}; use `size={self.size}`")
        resize = recipe.resize or round(size / self.crop)
        pixels = Pixels(size, resize, self.interpolation, self.squash, decode=recipe.decode, floor=self.floor)
        check_clip_size(recipe.frames, pixels.size, pixels.resize)
        return pixels

    def clip_frames(self, several: int = 8) -> int:
        """Return the clip length of an encoder of whole clips; `several` for an encoder of single frames."""
        return self.frames if self.unit == "clip" else several

    def protocol(self, recipe: Recipe | None = None, *, frames: int = 8) -> Protocol:
        """Return the test settings of a recipe with one view, or the encoder's own.

        Args:
            frames: frames per clip without a recipe, for an encoder of single frames.

        Raises: as `pixels`.
        """
        if recipe is None:
            views = Views(origin="center", stride=self.stride)
            return Protocol(self.clip_frames(frames), self.pixels(), views)
        return Protocol(recipe.frames, self.pixels(recipe), Views.from_recipe(recipe))

    def to_json(self) -> dict[str, object]:
        """Return JSON values, which `VisualSpec.from_json` reads back."""
        return {**asdict(self), "config": json.loads(self.config)}

    @staticmethod
    def from_json(values: dict) -> "VisualSpec":
        """Return the spec that `to_json` wrote.

        Raises:
            EncoderError: a key is missing or unknown, or mean, std or crop is out of range.
        """
        problem = "visual encoder description is not valid in this version"
        with raising(EncoderError, problem, "restore the file", KeyError, TypeError):
            plain = {**values, "config": json.dumps(values["config"])}
            return VisualSpec(**{**plain, **check_types(VisualSpec, plain, ValueError)})


def square_side(source: str, sides: Sequence[int]) -> int:
    """Return the side of an encoder's square input; raise EncoderError for another shape."""
    if len({*sides}) > 1:
        size = "x".join(map(str, sides))
        raise EncoderError(f"'{source}' takes {size} pixels, only squares are supported: choose another")
    return int(sides[0])
