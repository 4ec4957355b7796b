"""Small pictures of files: stills, and previews of files that the browser cannot show."""

import io
from functools import lru_cache
from pathlib import Path

import PIL.Image

from texthead.data import evenly
from texthead.errors import MediaError
from texthead.media import MediaPath

# Frames of a video preview, the longer side of a picture in pixels, and that of an image's preview.
FRAMES, _SIDE, _IMAGE_SIDE = 16, 384, 1024

_MAX_MILLISECONDS = 4000


@lru_cache(maxsize=512)
def preview(path: Path, pictures: int = FRAMES, version: str = "") -> tuple[str, bytes]:
    """Return (media type, bytes) of a small preview of a file, animated for a video.

    Args:
        pictures: frames of a video, evenly spaced; 1 returns a still of its middle, and a smaller preview of an image.
        version: of the file, whose last previews stay in memory.

    Raises:
        MediaError: the file cannot be read.
    """
    with MediaPath(path).open() as media:
        indices = evenly(media.num_frames, pictures)
        media.min_short_side = side = _IMAGE_SIDE if MediaPath(path).is_image and pictures > 1 else _SIDE
        small = dict[int, PIL.Image.Image]()
        for index, picture in media.safe_frames(set(indices)):
            small[index] = PIL.Image.fromarray(picture)
            small[index].thumbnail((side, side))
        seconds = media.duration_seconds
    frames = [small[index] for index in indices if index in small]
    if not frames:
        raise MediaError(path, "a frame is listed but does not decode; encode it again", "damaged")
    data = io.BytesIO()
    each = int(min(1000 * seconds, _MAX_MILLISECONDS) / len(frames)) or 100
    frames[0].save(data, "WEBP", save_all=True, append_images=frames[1:], duration=each, loop=0, quality=75)
    return "image/webp", data.getvalue()
