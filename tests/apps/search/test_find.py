"""`texthead find` on real files: a run's class, an example, marks, exports, and what is refused."""

import csv
import json
import math
from pathlib import Path

import pytest

from made import encode, joined_colours, pictures, write_colour_run, write_image
from messages import prints
from texthead.apps.search.search import Hit, write_hits
from texthead.data import manifest_rows

COLOURS = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of three colours and a film of them, not in class folders; a run of the colours lies beside."""
    monkeypatch.chdir(tmp_path)
    for index in range(18):
        write_image(tmp_path / "files" / f"{index:02d}.png", COLOURS[index % 3], seed=index)
    joined_colours(tmp_path / "files" / "film.mp4", COLOURS, seconds=4.0)
    write_colour_run(tmp_path / "run")
    return tmp_path / "files"


def test_a_class_of_a_run_is_found_and_exported(folder: Path, works) -> None:
    options = ("--run", "run", "--top", 7)
    out, err = works("find", "red", folder, *options, "--out", "hits.csv")
    heading, *lines = out.splitlines()
    assert heading.startswith("rank, ")
    assert len(lines) == 7
    assert sum(Path(line.split()[-1]).name in [f"{index:02d}.png" for index in range(0, 18, 3)] for line in lines) == 6
    assert sum("film.mp4#t=" in line for line in lines) == 1
    prints(err, "hits.csv: 7 hits")
    rows = [*csv.DictReader((folder.parent / "hits.csv").read_text().splitlines())]
    assert [row["path"] for row in rows if row["start"] != "0.0"] in (["files/film.mp4"], [])


def test_json_and_an_example(folder: Path, works) -> None:
    example = write_image(folder.parent / "example.png", "blue", seed=99)
    found = json.loads(works("find", "--like", example, folder, "--run", "run", "--top", 3, "--json")[0])
    assert set(found) == {"query", "fits", "note", "results"}
    assert found["query"] == "example"
    assert all(int(Path(hit["path"]).stem) % 3 == 2 for hit in found["results"] if hit["path"].endswith(".png"))
    assert set(found["results"][0]) >= {"path", "start", "end", "score", "probability", "copies"}


def test_marks_teach_a_run(folder: Path, works, refused) -> None:
    rows = [f"files/{index:02d}.png,{'green' if index % 3 == 1 else 'other'}" for index in range(12)]
    Path("marks.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    _, err = works("find", "green", folder, "--run", "run", "--marks", "marks.csv", "--save", "taught")
    assert "next: texthead predict taught" in err
    prints(works("find", "green", folder, "--run", "run", "--marks", "none.csv")[1], "none.csv does not exist")
    answers = json.loads(works("predict", "taught", folder / "13.png", folder / "14.png", "--json")[0])
    assert [answer["top"][0]["name"] for answer in answers] == ["green", "other"]
    refused("--marks", "find", "red", folder, "--save", "new", "--run", "run")
    refused("taught", "find", "green", folder, "--run", "run", "--marks", "marks.csv", "--save", "taught")


def test_what_is_refused(folder: Path, refused) -> None:
    refused("needs words", "find", folder)
    refused("put the words in quotes", "find", "a", "red", "kite", folder)
    refused("nowhere", "find", "red", "nowhere")
    refused("remove 'red'", "find", "red", folder, "--like", folder / "00.png")
    refused("remove --out", "find", "red", folder, "--page", "--out", "hits.csv")
    refused("must end in .csv", "find", "red", folder, "--out", "hits.gif", "--run", "run")
    refused(".csv", "find", "red", folder, "--marks", "marks.txt")
    refused("another file", "find", "red", folder, "--out", "hits.csv", "--marks", "hits.csv")
    for flag in ("--encoder", "--text"):
        refused("its own encoder", "find", "red", folder, "--run", "run", flag, "mini")
    refused("ranked by the marks", "find", "red", folder, "--not", "blue", "--marks", "marks.csv")
    refused("already exists", "find", "red", folder, "--marks", "marks.csv", "--save", folder)


def test_hits_are_written_as_a_manifest(tmp_path: Path) -> None:
    """A part of a film, its end, a whole clip and a photo."""
    films, out = tmp_path / "files", tmp_path / "hits.csv"
    film, clip = joined_colours(films / "film.mp4", COLOURS), encode(films / "clip.avi", pictures("red", 6, 0), "mpeg4")
    hits = [
        Hit(film, 2.5, 4.0, 0.31, 0.92, 1, ("a.mp4", "b.mp4#t=2")),
        Hit(film, 4.0, math.inf, 0.3, None, 2, ()),
        Hit(clip, 0.0, math.inf, 0.25, None, 3, ()),
        Hit(write_image(films / "photo.png", "red"), 0.0, math.inf, 0.2, 0.125, 4, ()),
    ]
    write_hits(hits, out)
    first, end, _, photo = csv.DictReader(out.open())
    assert [*first] == ["path", "start", "end", "score", "probability", "copies"]
    assert [*first.values()] == ["files/film.mp4", "2.5", "4.0", "0.31", "0.92", "a.mp4; b.mp4#t=2"]
    assert (end["end"], end["probability"], photo["path"], photo["score"]) == ("", "", "files/photo.png", "0.2")
    assert len([*manifest_rows(out, ("path",))]) == 4
