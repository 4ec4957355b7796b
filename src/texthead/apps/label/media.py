"""Files for the browser: unchanged if it can show them, else as small previews."""

import io
from pathlib import Path

import numpy as np
import PIL.Image

from texthead.data import evenly
from texthead.media import MediaPath

# Frames of a video preview, its longer side in pixels, and that of an image preview.
_PICTURES, _SIDE, _IMAGE_SIDE = 16, 384, 1024

_MOST_MILLISECONDS = 4000


def preview(path: Path) -> tuple[str, bytes]:
    """Return (media type, bytes) of a small preview of a file, animated for a video.

    Raises:
        MediaError: the file cannot be read.
    """
    with MediaPath(path).open() as media:
        indices = evenly(media.num_frames, min(_PICTURES, media.num_frames))
        side = _IMAGE_SIDE if MediaPath(path).is_image else _SIDE
        small = {index: _small(picture, side) for index, picture in media.safe_pictures(set(indices))}
        seconds = media.duration_seconds
    pictures = [small[index] for index in indices if index in small]
    data = io.BytesIO()
    each = int(min(1000 * seconds, _MOST_MILLISECONDS) / len(pictures)) or 100
    pictures[0].save(data, "WEBP", save_all=True, append_images=pictures[1:], duration=each, loop=0, quality=75)
    return "image/webp", data.getvalue()


def _small(frame: np.ndarray, side: int) -> PIL.Image.Image:
    picture = PIL.Image.fromarray(frame)
    picture.thumbnail((side, side))
    return picture
