"""Contact sheets: one picture of many files and parts of videos."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import PIL.Image
import PIL.ImageDraw

from texthead.apps.serving import preview
from texthead.errors import MediaError
from texthead.media import MediaPath

# Stills in a row, and the width, height and height of the text of each, in pixels.
_ROW, _WIDTH, _HEIGHT, _TEXT = 5, 256, 192, 44


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
