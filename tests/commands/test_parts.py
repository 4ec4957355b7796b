"""Parts of videos on the command line: train, eval, predict, doctor and timeline."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from made import joined_colours, pictures, write_colour_run, write_timed
from texthead.data.reading import read_dataset
from texthead.files import write_csv
from texthead.prediction.load import load_run


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of ten videos with two scenes each, in either order; each whole video shows both classes."""
    folder = tmp_path_factory.mktemp("scenes")
    rows = []
    for number in range(10):
        colours = ["red", "blue"][:: 1 if number % 2 else -1]
        video = write_timed(
            folder / f"{number}.mkv",
            [picture for colour in colours for picture in pictures(colour, 10, number)],
            [i / 10 for i in range(20)],
            rate=10,
        )
        split = "train" if number < 6 else "test"
        rows += [[video.name, start, start + 1, colour, split] for start, colour in enumerate(colours)]
    write_csv(folder / "parts.csv", ["path", "start", "end", "label", "split"], rows)
    return folder / "parts.csv"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that classifies colours."""
    return write_colour_run(tmp_path_factory.mktemp("colours") / "run")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_parts_train_what_no_whole_file_could(scenes: Path, works: Callable, refused: Callable, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--workers", 0)
    works("train", scenes, "--tune", "none", "--out", out, *options)
    split = json.loads((out / "split.json").read_text())
    assert len(split["train"]) == len(set(split["train_content"])) == 12
    assert split["train"][0] == str(scenes.parent / "0.mkv#t=,1")
    rows = tmp_path / "items.csv"
    scores = json.loads(works("eval", out, scenes, "--out", rows, "--json", *options)[0])
    found = read(rows)
    assert len(found) == 8
    assert [row["predicted"] for row in found] == [row["label"] for row in found], scores
    assert [item.path for item in read_dataset(rows).items] == [Path(row["path"]) for row in found], "it can be read"
    # Items are recognised by their frames: a part that overlaps with a training part is refused.
    overlap = scenes.parent / "overlap.csv"
    overlap.write_text("path,start,end,label\n0.mkv,0.5,1.5,red\n7.mkv,0.1,0.9,red\n")
    refused(("1 of 2", "0.mkv#t=0.5,1.5"), "eval", out, overlap, *options)
    part = scenes.parent / "8.mkv#t=1,2"
    best = tmp_path / "best.csv"
    works("predict", out, part, "--top", 1, "--out", best)
    assert [(row["path"], row["name"]) for row in read(best)] == [(str(part), "red")]
    refused(("9.mkv#t=7,8", "1.900"), "predict", out, scenes.parent / "9.mkv#t=7,8")


def test_events_become_a_manifest_that_trains(run: Path, works: Callable, refused: Callable, tmp_path: Path) -> None:
    video = joined_colours(tmp_path / "a.mkv", ["red", "blue", "green"])
    manifest = tmp_path / "events.csv"
    works("timeline", run, video, "--window", 0.5, "--out", manifest)
    rows = read(manifest)
    assert list(rows[0]) == ["path", "start", "end", "label", "mean", "peak"]
    assert [(row["path"], row["label"]) for row in rows] == [("a.mkv", name) for name in ("red", "blue", "green")]
    assert [float(row["start"]) for row in rows] == pytest.approx([0, 2, 4], abs=0.3)
    dataset = read_dataset(manifest)
    assert [found.top[0][0] for found in load_run(run).predict([item.path for item in dataset.items])] == dataset.labels
    # For a part, the manifest's times are those of the file.
    part = tmp_path / "part.csv"
    out, _ = works("timeline", run, f"{video}#t=0.5,5.5", "--window", 0.5, "--out", part, "--json")
    assert [event["start"] for event in json.loads(out)["events"]] == pytest.approx([0, 1.5, 3.5], abs=0.3)
    assert [float(row["start"]) for row in read(part)] == pytest.approx([0.5, 2, 4], abs=0.3)
    assert float(read(part)[-1]["end"]) == pytest.approx(5.5, abs=0.01)
    refused(("--out", ".csv"), "timeline", run, video, "--out", tmp_path / "events.json")
