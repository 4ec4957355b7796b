"""Frame indices of clips and positions of crops, in integer arithmetic but for `center_in_segment`.

`length` is the number of frames in the video, `num_frames` the number of frames per clip (T). Indices start at 0. If
a video is shorter than a clip, frames repeat.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, SupportsInt

from texthead.recipes import Along

# An int, or a symbolic int if torch.export leaves the side dynamic.
Side = Any


def random_in_segment(length: int, num_frames: int, integers: Callable[[int], SupportsInt]) -> list[int]:
    """Draw one frame from each of `num_frames` equal segments, ascending; `integers(n)` draws from 0..n-1.

    If the video is no longer than the clip, take all its frames and draw the rest from them.

    Worked example, length 10, 3 frames: segments 0-2, 3-5, 6-9, so draws 2, 0, 1 give 2 3 7.
    Length 2, 3 frames: 0 and 1 and a draw of 0 give 0 0 1.

    Source: published code, training.
    """
    if length <= num_frames:
        return sorted([*range(length), *(int(integers(length)) for _ in range(num_frames - length))])
    starts = [i * length // num_frames for i in range(num_frames + 1)]
    return [start + int(integers(end - start)) for start, end in pairwise(starts)]


def random_window(length: int, num_frames: int, stride: int, integers: Callable[[int], SupportsInt]) -> list[int]:
    """Draw `num_frames` frames, `stride` apart, from a random start; `integers(n)` draws from 0..n-1.

    If the video is shorter than num_frames * stride, or `stride` is 0, draw with `random_in_segment` instead.

    Worked example, length 100, 4 frames, stride 10: there are 61 starts, and a draw of 7 gives 7 17 27 37.

    Source: training of video encoders (Feichtenhofer et al. 2019; later VideoMAE, ViViT, V-JEPA 2).
    """
    if not stride or length < num_frames * stride:
        return random_in_segment(length, num_frames, integers)
    start = int(integers(length - num_frames * stride + 1))
    return [start + i * stride for i in range(num_frames)]


def first_in_segment(length: int, num_frames: int) -> list[int]:
    """Return the first frame of each of `num_frames` equal segments.

    Worked example, length 10, 3 frames: segments 0-2, 3-5, 6-9 give 0 3 6.
    Length 2, 3 frames: 0 0 1.

    Source: published code, validation and one-clip test; Sec. 4.1 says only "uniformly".
    """
    return [i * length // num_frames for i in range(num_frames)]


def center_in_segment(length: int, num_frames: int) -> list[int]:
    """Return the frame at the center of each of `num_frames` equal segments.

    Worked example, length 10, 3 frames: centers 1.67, 5, 8.33 give 1 5 8.
    Length 2, 3 frames: 0 1 1.

    In floats, as its source: their rounding decides where a center is a whole number.
    Length 24, 7 frames: the fourth is 11, not 12.

    Source: ViFi-CLIP's validation, used for its published results.
    """
    interval = length / num_frames
    return [int(i * interval + interval / 2) for i in range(num_frames)]


def middle_in_segment(length: int, num_frames: int) -> list[int]:
    """Return the middle frame of each of `num_frames` equal segments of s frames: i * s + (s - 1) / 2, rounded down.

    If the video is no longer than the clip, return the first frame of each segment; of one segment, frame length // 2.

    Worked example, length 10, 3 frames: s = 3.33, so 1.17, 4.5, 7.83 give 1 4 7 (`center_in_segment`: 1 5 8).
    Length 2, 3 frames: 0 0 1.

    Source: ActionCLIP's validation, used for its published results.
    """
    if num_frames == 1:
        return [length // 2]
    if length <= num_frames:
        return first_in_segment(length, num_frames)
    return [(2 * i * length + length - num_frames) // (2 * num_frames) for i in range(num_frames)]


def clips_in_segments(length: int, num_frames: int, clips: int) -> list[list[int]]:
    """Return one list of frames per clip: the first frames of the segments, shifted by up to one segment.

    The shifts are spread evenly from 0 to the largest that fits, length / num_frames - 1.

    Worked example, length 40, 4 frames, 3 clips: shifts 0 4 9 (4.5 rounds down) on the grid 0 10 20 30.
    The last clip is 9 19 29 39.

    Source: published code, test with several clips; "4x3" in Sec. 4.1.
    Differs: for a video shorter than a clip the published shifts are negative and wrap around to the video's end,
    depending on the numpy version; here they stay 0. Integers instead of floats: the results are the same for 8, 16
    and 32 frames and up to 10 clips.
    """
    room = max(0, length - num_frames)
    steps = num_frames * max(1, clips - 1)
    grid = first_in_segment(length, num_frames)
    return [[k * room // steps + start for start in grid] for k in range(clips)]


def dense_clips(length: int, num_frames: int, clips: int, window: int = 128) -> list[list[int]]:
    """Return one list of frames per clip: every (window // num_frames)-th frame of windows spread over the video.

    A window that reaches past the end wraps around to frame 0.

    Worked example, length 300, 8 frames, 4 clips of 128: stride 16, starts 0 57 114 171 (172 // 3 apart).
    Length 100, 8 frames, 1 clip: start 0, so 0 16 32 48 64 80 96 12.

    Source: published code, dense test.
    Differs: a single clip is the window in the middle of the video; the published code divides by zero.
    """
    room = max(0, length - window)
    starts = [k * (room // (clips - 1)) for k in range(clips)] if clips > 1 else [room // 2]
    stride = window // num_frames
    return [[(start + i * stride) % length for i in range(num_frames)] for start in starts]


def crop_offsets(
    width: Side, height: Side, size: int, crops: int, along: Along = "width", *, floor: bool = False
) -> list[tuple[Side, Side]]:
    """Return (x, y) of every crop: the upper left corner of a size x size box, at most as large as the picture.

    1: the center. 3: left, right, center, at mid height, at multiples of a quarter of the margin (side minus size),
    rounded down, so the right crop may end up to 3 pixels before the edge.

    Worked example, 341x256, size 224, 3 crops: quarters are 117 // 4 = 29 and 32 // 4 = 8.
    So x is 0, 4 * 29, 2 * 29 and y is 2 * 8: (0, 16) (116, 16) (58, 16).

    With `along` "long-side", they lie at both ends and in the middle of the long side, at multiples of half the
    margin, and are centered on the short side: 256x341, size 224 gives (16, 0) (16, 116) (16, 58).

    With `floor`, half a pixel in the margin of the central crop is rounded down, as by transformers' processors.

    Source: published code; "three 224x224 crops" in Sec. 4.1. As published, three crops of a portrait picture lie
    along its width too, though they nearly coincide; ViFi-CLIP's lie along the long side.
    """
    if crops == 1:
        # Halves are rounded down, or to even as by torchvision's CenterCrop.
        x, y = (room // 2 + (0 if floor else room % 4 // 3) for room in (width - size, height - size))
        return [(x, y)]
    if along == "long-side":
        x, y = (width - size) // 2, (height - size) // 2
        return [(x * k, y) if width >= height else (x, y * k) for k in (0, 2, 1)]
    x, y = (width - size) // 4, (height - size) // 4
    return [(2 * x * k, 2 * y) for k in (0, 2, 1)]


def evenly(length: int, most: int) -> list[int]:
    """Return at most `most` distinct frames, evenly spaced: all of a short video, else segment centers."""
    return list(range(length)) if length <= most else center_in_segment(length, most)
