"""Small pictures of files: stills, previews of files that the browser cannot show, and contact sheets."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

from texthead.data import evenly
from texthead.errors import MediaError
from texthead.media import MediaPath

# Frames of a video preview, the longer side of a picture in pixels, and that of an image's preview.
_PICTURES, _SIDE, _IMAGE_SIDE = 16, 384, 1024

_MOST_MILLISECONDS = 4000

# Stills in a row of a contact sheet, and the width, height and height of the text of each, in pixels.
_ROW, _WIDTH, _HEIGHT, _TEXT = 5, 256, 192, 44


def preview(path: Path, pictures: int = _PICTURES) -> tuple[str, bytes]:
    """Return (media type, bytes) of a small preview of a file, animated for a video.

    Args:
        pictures: frames of a video, evenly spaced; 1 returns a still of its middle, and a smaller preview of an image.

    Raises:
        MediaError: the file cannot be read.
    """
    with MediaPath(path).open() as media:
        indices = evenly(media.num_frames, pictures)
        media.enough = side = _IMAGE_SIDE if MediaPath(path).is_image and pictures > 1 else _SIDE
        small = {index: _small(picture, side) for index, picture in media.safe_pictures(set(indices))}
        seconds = media.duration_seconds
    frames = [small[index] for index in indices if index in small]
    if not frames:
        raise MediaError(path, "a frame is listed but does not decode; encode it again", "damaged")
    data = io.BytesIO()
    each = int(min(1000 * seconds, _MOST_MILLISECONDS) / len(frames)) or 100
    frames[0].save(data, "WEBP", save_all=True, append_images=frames[1:], duration=each, loop=0, quality=75)
    return "image/webp", data.getvalue()


def _small(frame: np.ndarray, side: int) -> PIL.Image.Image:
    picture = PIL.Image.fromarray(frame)
    picture.thumbnail((side, side))
    return picture


def contact_sheet(paths: Sequence[Path]) -> PIL.Image.Image:
    """Return a picture of files and parts of videos: stills in rows of five, with their names and times."""
    size = _WIDTH * min(len(paths), _ROW), (_HEIGHT + _TEXT) * math.ceil(len(paths) / _ROW)
    sheet = PIL.Image.new("RGB", size, "white")
    draw = PIL.ImageDraw.Draw(sheet)
    for number, media in enumerate(map(MediaPath, paths)):
        left, top = number % _ROW * _WIDTH + 4, number // _ROW * (_HEIGHT + _TEXT) + 4
        lines = [f"{number + 1}. {media.file.name[-30:]}", str(media.span) if media.is_part else ""]
        try:
            still = PIL.Image.open(io.BytesIO(preview(media.path, 1)[1]))
            still.thumbnail((_WIDTH - 8, _HEIGHT - 8))
            sheet.paste(still, (left, top))
        except MediaError as error:
            lines.append(error.fault)
        draw.text((left, top + _HEIGHT - 8), "\n".join(lines), "black", font_size=13)
    return sheet
