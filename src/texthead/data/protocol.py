"""Test settings: frames, sizes, views, and what is averaged over the views."""

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from texthead.data import sampling
from texthead.errors import CheckedFields, DataError, NonNegativeInt, PositiveInt, Rule, check_fields
from texthead.recipes import Along, Decode, Origin, Pooling, Recipe

# A reduced decode keeps at least this many times the short side that frames are resized to.
_KEPT = 2


@dataclass(frozen=True)
class Views(CheckedFields):
    """The test views of a video: `clips` in time times `crops` in space, such as "4x3".

    `origin` is the frame taken from each segment: "first" as in the published Text4Vis code, "center" as in ViFi-CLIP,
    "middle" as in ActionCLIP; or "dense" for windows of 128 frames. `along` places three crops: along the "width" as in
    the published Text4Vis code, or along the "long-side" as in ViFi-CLIP, for portrait videos. With a `stride`, a clip
    is a window of frames that many apart, if the video is long enough; 0 spreads the frames over the whole video.

    Raises: DataError for clips below 1, crops other than 1 and 3, an unknown origin or side, or a negative
        stride.
    """

    clips: PositiveInt = 1
    crops: Annotated[int, Rule("1 or 3", (1, 3).__contains__)] = 1
    origin: Origin = "first"
    along: Along = "width"
    stride: NonNegativeInt = 0

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "Views":
        """Return the single view that a recipe uses in testing."""
        return cls(origin=recipe.origin, along=recipe.crops_along, stride=recipe.stride)

    @classmethod
    def parse(cls, text: str, like: "Views | None" = None) -> "Views":
        """Parse views such as "4x3": 4 clips, 3 crops; the rest is as in `like`.

        Raises: DataError for any other form.
        """
        clips, cross, crops = text.partition("x")
        # `isdecimal` also accepts digits of other alphabets, hence `isascii`.
        if not (text.isascii() and cross and clips.isdecimal() and crops.isdecimal()):
            raise DataError(f"`views` must be CLIPSxCROPS, such as 4x3, got {text!r}")
        return replace(like or cls(), clips=int(clips), crops=int(crops))

    def __str__(self) -> str:
        return f"{self.clips}x{self.crops}"

    @property
    def count(self) -> int:
        """The number of views of one video."""
        return self.clips * self.crops

    @property
    def uses_windows(self) -> bool:
        """Whether clips are windows of a video; a prepared clip, which holds only some frames, has none."""
        return self.stride > 0 or self.origin == "dense"

    def frame_indices(self, length: int, num_frames: int) -> list[list[int]]:
        """Return the frame indices of every clip, one list of `num_frames` per clip.

        With origins "center" and "middle" each segment is cut into `clips` equal intervals; clip k takes its frame
        from interval k.

        Worked example, "center", length 40, 2 frames, 2 clips: intervals of 10 with middles 5 15 | 25 35.
        The clips are 5 25 and 15 35.
        Stride 3, length 40, 4 frames, 2 clips: windows of 12 frames from 0 and 28, so 0 3 6 9 and 28 31 34 37.

        Source: published code for "first" and "dense"; several clips with other origins are our own extension.
        Raises: DataError for a length or number of frames below 1.
        """
        if 0 < num_frames * self.stride <= length:
            return sampling.dense_clips(length, num_frames, self.clips, num_frames * self.stride)
        if self.origin == "first":
            return sampling.clips_in_segments(length, num_frames, self.clips)
        if self.origin == "dense":
            return sampling.dense_clips(length, num_frames, self.clips)
        choose = sampling.middle_in_segment if self.origin == "middle" else sampling.center_in_segment
        indices = choose(length, num_frames * self.clips)
        return [indices[k :: self.clips] for k in range(self.clips)]


@dataclass(frozen=True)
class Pixels:
    """How frames become the encoder's input in testing: short side `resize`, crops of `size`, in pixels.

    With `squash` both sides become `resize`. Without `antialias`, downscaling interpolates between the nearest pixels
    only, as in OpenCV. `decode` "reduced" decodes a JPEG at 1/2, 1/4 or 1/8 of its size where that divides both
    sides and keeps at least twice `resize`; "exact" at full size, as does `antialias=False`. `floor` is as in
    `crop_offsets`.

    Raises: DataError for a size below 1 or above `resize`, or another interpolation or `decode`.
    """

    size: int
    resize: int
    interpolation: Literal["bilinear", "bicubic"]
    squash: bool = False
    antialias: bool = True
    decode: Decode = "reduced"
    floor: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= self.size <= self.resize:
            raise DataError(f"`size` must be at least 1 and at most `resize` ({self.resize}), got {self.size}")

    @property
    def min_short_side(self) -> int:
        """The short side, in pixels, that a still image keeps at least when it is decoded; 0 for its full size."""
        return _KEPT * self.resize if self.decode == "reduced" and self.antialias else 0


@dataclass(frozen=True)
class Protocol(CheckedFields):
    """How items are read in testing.

    Args:
        frames: frames per clip.
        pixels: sizes in pixels; None for the encoder's own.
        views: clips in time and crops in space.
        pooling: what is averaged over the views.

    Source: Sec. 4.1; Tables 5 and 7.
    Raises: DataError for frames below 1 or an unknown pooling.
    """

    frames: PositiveInt = 8
    pixels: Pixels | None = None
    views: Views = Views()
    pooling: Pooling = "features"

    @property
    def sizes(self) -> Pixels:
        """The sizes.

        Raises: DataError if `pixels` is None.
        """
        if self.pixels is None:
            raise DataError("`pixels` is None: the encoder's sizes are unknown here; pass Pixels(size, resize, ...)")
        return self.pixels

    def with_views(self, text: str) -> "Protocol":
        """Return the protocol with views such as "4x3", whose frames and crops are placed as its own."""
        return replace(self, views=Views.parse(text, self.views))

    def to_json(self) -> dict[str, Any]:
        """Return the protocol as JSON values."""
        return asdict(self)
