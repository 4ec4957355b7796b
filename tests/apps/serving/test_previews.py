"""Stills and previews for the browser: their frames and sizes."""

import io
from pathlib import Path

import PIL.Image

from made import joined_colours, write_video
from messages import refuses
from texthead.apps.serving.previews import preview
from texthead.errors import MediaError
from texthead.media import MediaPath


def opened(path: Path, *pictures: int) -> PIL.Image.Image:
    kind, data = preview(path, *pictures)
    assert kind == "image/webp"
    return PIL.Image.open(io.BytesIO(data))


def test_a_still_is_the_middle_of_a_video_or_of_its_part(tmp_path: Path) -> None:
    film = joined_colours(tmp_path / "film.mp4", ["red", "green", "blue"])
    assert opened(film).n_frames == 16
    for path, colour in ((film, 1), (MediaPath(f"{film}#t=4,6").path, 2)):
        still = opened(path, 1)
        assert getattr(still, "n_frames", 1) == 1
        pixel = still.convert("RGB").resize((1, 1)).getpixel((0, 0))
        assert pixel.index(max(pixel)) == colour


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", "red").read_bytes()
    (tmp_path / "broken.mp4").write_bytes(whole[:200])
    with refuses(MediaError, "broken.mp4"):
        preview(tmp_path / "broken.mp4", 1)
