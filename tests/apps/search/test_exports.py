"""Hits as a CSV."""

import csv
import math
from pathlib import Path

import pytest

from made import encode, joined_colours, pictures, write_image
from texthead.apps.search.finding import write_hits
from texthead.apps.search.search import Hit
from texthead.data import manifest_rows


@pytest.fixture
def hits(tmp_path: Path) -> list[Hit]:
    """A part of a film, its end, a whole clip and a photo."""
    files = tmp_path / "files"
    film = joined_colours(files / "film.mp4", ["red", "green", "blue"])
    clip = encode(files / "clip.avi", pictures("red", 6, 0), "mpeg4", rate=10)
    photo = write_image(files / "photo.png", "red")
    return [
        Hit(film, 2.5, 4.0, 0.31, 0.92, 1, ("a.mp4", "b.mp4#t=2")),
        Hit(film, 4.0, math.inf, 0.3, None, 2, ()),
        Hit(clip, 0.0, math.inf, 0.25, None, 3, ()),
        Hit(photo, 0.0, math.inf, 0.2, 0.125, 4, ()),
    ]


def test_a_csv_is_a_manifest(hits: list[Hit], tmp_path: Path) -> None:
    write_hits(hits, tmp_path / "hits.csv")
    rows = [*csv.DictReader((tmp_path / "hits.csv").open())]
    assert [*rows[0]] == ["path", "start", "end", "score", "probability", "copies"]
    assert [*rows[0].values()] == ["files/film.mp4", "2.5", "4.0", "0.31", "0.92", "a.mp4; b.mp4#t=2"]
    assert (rows[1]["end"], rows[1]["probability"], rows[3]["path"]) == ("", "", "files/photo.png")
    assert len([*manifest_rows(tmp_path / "hits.csv", ("path",))]) == 4


def test_a_hit_without_a_score_has_none(hits: list[Hit], tmp_path: Path) -> None:
    write_hits([hits[1]._replace(score=math.nan), hits[1]], tmp_path / "hits.csv")
    assert [row["score"] for row in csv.DictReader((tmp_path / "hits.csv").open())] == ["", "0.3"]
