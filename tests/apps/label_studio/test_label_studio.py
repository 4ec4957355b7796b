"""Exports of Label Studio become our CSV, and our CSV its tasks, which come back as they were."""

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from made import joined_colours, write_image
from messages import prints
from texthead.data.reading import read_dataset


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures, and one of a film of 6 s with 10 frames per second."""
    monkeypatch.chdir(tmp_path)
    for index in range(3):
        write_image(tmp_path / "my files" / f"{index}.png", "red", seed=index)
    joined_colours(tmp_path / "films" / "a.mp4", ["red", "green", "blue"])
    return tmp_path


def rows_of(path: Path | str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).open()))


def choices(*names: str, **more: Any) -> dict[str, Any]:
    return {"result": [{"type": "choices", "from_name": "label", "value": {"choices": [*names]}}], **more}


def ranges(*labelled: tuple[Any, Any, str]) -> dict[str, Any]:
    values = [{"ranges": [{"start": a, "end": b}], "timelinelabels": [name]} for a, b, name in labelled]
    return {"result": [{"type": "timelinelabels", "value": value} for value in values]}


def task(address: str, *annotations: Any, **fields: Any) -> dict[str, Any]:
    return {"id": 7, "data": {"video": address, **fields}, "annotations": [*annotations]}


def export(*tasks: Any) -> str:
    Path("export.json").write_text(json.dumps([*tasks]))
    return "export.json"


LOCAL = "/data/local-files/?d="


def test_an_export_becomes_a_csv_that_trains(files: Path, works) -> None:
    tasks = export(
        task(f"{LOCAL}my%20files/0.png", choices("kite"), split="test", group="g"),
        task(
            "my files/1.png", choices("bird"), choices("kite", ground_truth=True), choices("kite", was_cancelled=True)
        ),
        task("/data/upload/1/2.png", choices("bird")),
        task("my files/2.png", choices("kite", was_cancelled=True)),
    )
    _, err = works("label-studio", tasks, "--out", "labels.csv")
    prints(err, "labels.csv", "3 labelled files", "1 files without a label")
    assert [list(row.values()) for row in rows_of("labels.csv")] == [
        ["my files/0.png", "", "", "kite", "test", "g"],
        ["my files/1.png", "", "", "kite", "", ""],
        ["1/2.png", "", "", "bird", "", ""],
    ]


def test_ranges_become_parts(files: Path, works) -> None:
    tasks = export(task("a.mp4", ranges((1, 10, "red"), (51, 60, "green")), frame_rate=10))
    works("label-studio", tasks, "--out", "labels.csv", "--root", "films")
    parts = [item.path.as_posix() for item in read_dataset("labels.csv").items]
    assert parts == ["films/a.mp4#t=,1", "films/a.mp4#t=5,6"]


def test_frames_without_a_rate_are_those_of_label_studio(files: Path, works) -> None:
    _, err = works("label-studio", export(task("films/a.mp4", ranges((49, 72, "red")))), "--out", "labels.csv")
    assert [(row["start"], row["end"]) for row in rows_of("labels.csv")] == [("2", "3")]
    prints(err, "1 tasks", "frame_rate", "24 per second")


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        (task("0.png", choices("a"), choices("b")), ("task 7", "2 annotations", "ground truth")),
        (task("https://a.org/0.png", choices("a")), ("task 7", "local file", "https://a.org")),
        (task("", choices("a")), ("task 7", "local file", "''")),
        (task("0.png"), ("none of its files has a label",)),
        (task("films/a.mp4", {"result": choices("a")["result"] + ranges((1, 2, "b"))["result"]}), ("task 7", "whole")),
        (task("films/a.mp4", ranges((0, 5, "a"))), ("task 7", "frames 0")),
        (
            task("a.mp4", {"result": [{"type": "labels", "value": {"start": 1, "labels": ["a"]}}]}),
            ("task 7", "'labels'"),
        ),
        (task("0.png", choices("a; b")), ("task 7", "'a; b'")),
        (task("0.png", {"result": "x"}), ("JSON-MIN",)),
        ({"video": "0.png"}, ("JSON-MIN",)),
    ],
)
def test_what_is_no_label_of_a_file_is_refused(files: Path, refused, entry: Any, parts: tuple[str, ...]) -> None:
    refused(parts, "label-studio", export(entry), "--out", "labels.csv")
    assert not Path("labels.csv").exists()


def test_labels_come_back_as_they_were(files: Path, works) -> None:
    lines = [
        "path,label,split,group",
        "my files/0.png,kite,train,a",
        "my files/1.png,bird; kite,test,b",
        "my files/2.png,kite,train,",
    ]
    Path("labels.csv").write_text("\n".join(lines) + "\n")
    _, err = works("label-studio", "labels.csv", "--out", "tasks.json")
    prints(err, "tasks.json", "3 tasks", "tasks.xml", f"DOCUMENT_ROOT to {files}")
    assert json.loads(Path("tasks.json").read_text())[0]["data"]["image"] == f"{LOCAL}my%20files/0.png"
    config = ElementTree.parse("tasks.xml")
    assert [each.get("value") for each in config.iter("Choice")] == ["kite", "bird"]
    works("label-studio", "tasks.json", "--out", "back.csv")
    assert read_dataset("back.csv").items == read_dataset("labels.csv").items


@pytest.mark.slow
def test_predictions_and_guesses_become_predictions(files: Path, works, world) -> None:
    works("predict", world.run, "my files", "--out", "predictions.csv", "--workers", 0)
    out, _ = works("label", "my files", "--classes", "red,blue", "--next", 2)
    Path("next.csv").write_text(out)
    for name, count in (("predictions.csv", 3), ("next.csv", 2)):
        works("label-studio", name, "--out", "tasks.json")
        first, tasks = rows_of(name)[0], json.loads(Path("tasks.json").read_text())
        assert len(tasks) == count
        (guess,) = tasks[0]["predictions"]
        assert guess["result"][0]["value"]["choices"] == [first.get("guess") or first["name"]]
        assert guess["score"] == float(first["probability"])


@pytest.mark.parametrize(
    ("columns", "rows", "names"),
    [
        ("guesses,probability", ["0.png,a; b,0.9", "1.png,,0.8"], ["a", "b"]),
        ("rank,name,probability,chosen", ["0.png,1,a,0.9,yes", "0.png,2,b,0.6,yes", "1.png,1,c,0.1,no"], ["a", "b"]),
    ],
)
def test_files_that_may_have_several_labels(files, works, columns, rows, names) -> None:
    Path("next.csv").write_text("\nmy files/".join([f"path,{columns}", *rows]) + "\n")
    works("label-studio", "next.csv", "--out", "tasks.json")
    first, second = json.loads(Path("tasks.json").read_text())
    assert first["predictions"][0]["result"][0]["value"]["choices"] == names
    assert "predictions" not in second
    config = ElementTree.parse("tasks.xml")
    assert [each.get("value") for each in config.iter("Choice")] == names
    assert config.find("Choices").get("choice") == "multiple"


def test_parts_come_back_to_a_twenty_fourth_of_a_second(files: Path, works) -> None:
    rows = ("films/a.mp4,,2,b; a", "films/a.mp4,2.5,4.1,a", "films/a.mp4,5,,c")
    Path("labels.csv").write_text("\n".join(["path,start,end,labels", *rows]) + "\n")
    works("label-studio", "labels.csv", "--out", "tasks.json")
    (one,) = json.loads(Path("tasks.json").read_text())
    ranges = [each["value"]["ranges"] for each in one["annotations"][0]["result"]]
    assert ranges == [[{"start": start, "end": end}] for start, end in [(1, 48), (61, 98), (121, 144)]]
    works("label-studio", "tasks.json", "--out", "back.csv")
    assert [[row[key] for key in ("start", "end", "labels")] for row in rows_of("back.csv")] == [
        ["", "2", "a; b"],
        ["2.5", "4.083", "a"],
        ["5", "6", "c"],
    ]


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ("path|my files/0.png|films/a.mp4", ("images or videos, not both", "remove")),
        ("path", ("images or videos",)),
        ("path|none.png", ("none.png", "no file below")),
        ("path|../0.png", ("0.png", "no file below", "--root")),
        ("path,label|my files/0.png,a|my files/0.png,b", (":3", "listed twice")),
        ("path,guess|my files/0.png,a", ("0.png", "no probability")),
        ("path,start,end,group|films/a.mp4,,1,x|films/a.mp4,1,,y", ("parts of", "a.mp4", "group")),
    ],
)
def test_what_label_studio_cannot_show(files: Path, refused, lines: str, parts: tuple[str, ...]) -> None:
    Path("files.csv").write_text(lines.replace("|", "\n") + "\n")
    refused(parts, "label-studio", "files.csv", "--out", "tasks.json")
    assert not Path("tasks.json").exists()
