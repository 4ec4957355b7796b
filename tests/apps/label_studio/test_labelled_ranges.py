"""Labelled ranges of Label Studio are read as parts of videos, and parts are written as ranges."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelling_tools import run_with, write_tasks
from made import joined_colours, pictures, write_timed, write_video
from messages import prints, refuses
from texthead.data.dataset import Item
from texthead.data.reading import read_dataset
from texthead.errors import DataError, MediaError
from texthead.media.paths import MediaPath
from texthead.media.reader import Part

ROWS = [
    "path,start,end,label,split,group,camera,note",
    "a.mp4,0,1.234,kite,train,beach,left,x",
    "a.mp4,1.3,2.5,bird,train,beach,left,y",
    "a.mp4,2,,kite,train,beach,left,x",
    "odd.mp4,0.4,1.5,bird,test,,right,x",
    "b c#1.mp4,,,kite,val,,right,x",
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A 40-frame video at 10 fps, one with uneven frame times, one to label as a whole, and a manifest."""
    joined_colours(tmp_path / "files" / "a.mp4", ["red", "blue"])
    write_timed(tmp_path / "files" / "odd.mp4", pictures("red", 5, 0), [0.0, 1 / 3, 0.4, 1.5, 1.7], 10)
    write_video(tmp_path / "files" / "b c#1.mp4", "green", 4)
    (tmp_path / "files" / "list.csv").write_text("\n".join(ROWS) + "\n")
    return tmp_path / "files"


Export = Callable[[list[Item], dict[Path, tuple[str, float]]], Path]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    def write(items: list[Item], guesses: dict[Path, list[tuple[str, float]]]) -> Path:
        write_tasks(tmp_path / "tasks.json", items, guesses, ["kite"], root=tmp_path, model="mini")
        return tmp_path / "tasks.json"

    return write


def frames_of(path: Path) -> range:
    with MediaPath(path).open() as media:
        return media.frames if isinstance(media, Part) else range(media.num_frames)


def without(key: str, value: Any) -> Any:
    """Return a JSON value without a key, at any depth."""
    if isinstance(value, dict):
        return {name: without(key, each) for name, each in value.items() if name != key}
    return [without(key, each) for each in value] if isinstance(value, list) else value


def test_parts_come_back(files: Path, export: Export) -> None:
    """Times come back exactly; other columns only if all parts of a file share them."""
    before = read_dataset(files / "list.csv")
    written = export([*before.items], {})
    after = read_dataset(written)
    assert [item.path for item in after.items] == [item.path for item in before.items]
    assert [(i.label, i.split, i.group) for i in after.items] == [(i.label, i.split, i.group) for i in before.items]
    assert [item.extra for item in after.items[1:4]] == [
        (("camera", "left"),),
        (("camera", "left"),),
        (("camera", "right"), ("note", "x")),
    ]
    assert after.notes == ()
    written.write_text(json.dumps(without("parts", json.loads(written.read_text()))))
    by_frames = read_dataset(written)
    assert [item.path.name for item in by_frames.items] == [
        "a.mp4#t=,1.3",
        "a.mp4#t=1.3,2.5",
        "a.mp4#t=2",
        "odd.mp4#t=0.4,1.5",
        "b c#1.mp4",
    ]
    assert [frames_of(item.path) for item in by_frames.items] == [frames_of(item.path) for item in before.items]


def test_a_file_in_two_splits_is_written_twice(files: Path, export: Export) -> None:
    items = [Item(files / "a.mp4#t=,1", "kite", "train"), Item(files / "a.mp4#t=1", "bird", "test")]
    written = export(items, {})
    assert read_dataset(written).items == tuple(items)
    assert written.read_text().count('"data":') == 2


def test_a_part_without_a_frame_is_not_written(files: Path, export: Export) -> None:
    with refuses(MediaError, "a.mp4#t=30,40"):
        export([Item(files / "a.mp4#t=30,40", "kite")], {})


def test_guesses_are_ranges_too(files: Path, tmp_path: Path) -> None:
    first, second = files / "a.mp4#t=,1", files / "a.mp4#t=1"
    items = [Item(first, "kite"), Item(second, "")]
    guesses = {first: [("kite", 0.9)], second: [("bird", 0.31234567)]}
    write_tasks(tmp_path / "tasks.json", items, guesses, ["kite"], root=tmp_path, model="mini")
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    assert task["data"] == {"video": "/data/local-files/?d=files/a.mp4", "frame_rate": 10, "parts": ["#t=,1", "#t=1"]}
    (prediction,) = task["predictions"]
    assert [result["value"] for result in prediction["result"]] == [
        {"ranges": [{"start": 1, "end": 10}], "timelinelabels": ["kite"]},
        {"ranges": [{"start": 11, "end": 40}], "timelinelabels": ["bird"]},
    ]
    assert prediction["score"] == 0.312346


# ---- Label Studio


def timeline(label: str | list[str], *ranges: tuple[object, object]) -> dict[str, Any]:
    """Return a TimelineLabels result."""
    labels = [label] if isinstance(label, str) else label
    value = {"ranges": [{"start": start, "end": end} for start, end in ranges], "timelinelabels": labels}
    return {"from_name": "line", "to_name": "video", "type": "timelinelabels", "value": value}


def region(label: str, start: object, end: object) -> dict[str, Any]:
    """Return a Labels result for a region of a sound or video, in seconds."""
    value = {"start": start, "end": end, "channel": 0, "labels": [label]}
    return {"from_name": "line", "to_name": "video", "type": "labels", "value": value}


CHOICE = {"from_name": "line", "to_name": "video", "type": "choices", "value": {"choices": ["kite"]}}


def task(video: str, *annotations: list[dict[str, Any]], truth: int | None = None, **data: Any) -> dict[str, Any]:
    annotated = [{"result": results, "ground_truth": at == truth} for at, results in enumerate(annotations)]
    return {"id": 1, "data": {"video": f"files/{video}", **data}, "annotations": annotated}


def tasks_of(folder: Path, *tasks: dict[str, Any]) -> Path:
    path = folder / "project.json"
    path.write_text(json.dumps(tasks))
    return path


def read_parts(path: Path) -> dict[str, str]:
    return {item.path.name: item.label for item in read_dataset(path).items}


def test_ranges_of_label_studio(files: Path, tmp_path: Path) -> None:
    path = tasks_of(
        tmp_path,
        task("a.mp4", [timeline("kite", (1, 10), (12, 12)), timeline("bird", (31, 45))], frame_rate=10),
        task("odd.mp4", [region("kite", 0, 0.31234567), region("bird", 1.5, 1.8)]),
    )
    assert read_parts(path) == {
        "a.mp4#t=,1": "kite",
        "a.mp4#t=1.1,1.2": "kite",
        "a.mp4#t=3": "bird",  # The end may lie beyond the video if its sound is longer.
        "odd.mp4#t=,0.312346": "kite",
        "odd.mp4#t=1.5,1.8": "bird",
    }
    dataset = read_dataset(tasks_of(tmp_path, task("a.mp4", [timeline("kite", (1, 40))])))
    assert [item.path.name for item in dataset.items] == ["a.mp4"]
    prints("\n".join(dataset.notes), "1 tasks", "frameRate")


def test_several_labels_of_a_range(files: Path, tmp_path: Path) -> None:
    both, bird = timeline(["kite", "bird"], (1, 10)), timeline("bird", (11, 20))
    path = tasks_of(tmp_path, task("a.mp4", [both, bird], frame_rate=10), task("odd.mp4", []))
    assert read_parts(path) == {"a.mp4#t=,1": "bird; kite", "a.mp4#t=1,2": "bird"}
    twice = [timeline("kite", (1, 10)), timeline("bird", (1, 10))]
    assert read_parts(tasks_of(tmp_path, task("a.mp4", twice))) == {"a.mp4#t=,1": "bird; kite"}
    with refuses(DataError, "annotations disagree", "bird and kite"):
        read_dataset(tasks_of(tmp_path, task("a.mp4", [both], [timeline("kite", (1, 10))])))
    items = [Item(files / "a.mp4#t=,1", "bird; kite"), Item(files / "a.mp4#t=2,3", "bird")]
    config = write_tasks(tmp_path / "out.json", items, {}, [], root=tmp_path, model="mini", several=True)
    assert '<TimelineLabels name="label" toName="video" choice="multiple">' in config.read_text()
    assert read_parts(tmp_path / "out.json") == {"a.mp4#t=,1": "bird; kite", "a.mp4#t=2,3": "bird"}


def test_annotations_of_ranges_that_differ(files: Path, tmp_path: Path) -> None:
    kite, bird, other = timeline("kite", (1, 10)), timeline("bird", (1, 10)), timeline("bird", (20, 30))
    assert len(read_parts(tasks_of(tmp_path, task("a.mp4", [kite], [kite, other])))) == 2
    with refuses(DataError, "bird, kite"):
        read_dataset(tasks_of(tmp_path, task("a.mp4", [kite], [bird])))
    dataset = read_dataset(tasks_of(tmp_path, task("a.mp4", [kite, other], [bird], truth=1)))
    assert [(item.path.name, item.label) for item in dataset.items] == [("a.mp4#t=,1", "bird")]
    prints("\n".join(dataset.notes), "disagree")


@pytest.mark.parametrize(
    ("results", "part"),
    [
        ([timeline([], (1, 10))], "0 choices"),
        ([timeline("kite", (1, 10)), CHOICE], "whole file"),
        ([timeline("kite", (0, 10))], "frames 0 to 10"),
        ([timeline("kite", (41, 42))], "frames 41 to 42"),
        ([timeline("kite", (1, 51))], "frames 1 to 51"),
        ([timeline("kite", (5, 4))], "frames 5 to 4"),
        ([timeline("kite", (1.5, 4))], "whole numbers"),
        ([timeline("kite", (1, None))], "None"),
        ([region("kite", 2, 1)], "above start 2"),
        ([region("kite", -1, 1)], "'-1'"),
        ([region("kite", "1", 2)], "'1' and 2"),
        ([{**CHOICE, "value": {"sequence": [], "labels": ["kite"]}}], "must be of TimelineLabels"),
        ([{**CHOICE, "value": {"start": 0, "end": 3, "text": "sky", "labels": ["kite"]}}], "must be of TimelineLabels"),
        ([{**CHOICE, "value": {"start": 0, "end": 3, "timeserieslabels": ["kite"]}}], "must be of TimelineLabels"),
        ([{**CHOICE, "value": {"ranges": 3, "timelinelabels": ["kite"]}}], "must be of TimelineLabels"),
    ],
)
def test_what_a_range_may_not_be(files: Path, tmp_path: Path, results: list[dict[str, Any]], part: str) -> None:
    with refuses(DataError, part):
        read_dataset(tasks_of(tmp_path, task("a.mp4", results)))


def test_a_file_that_ranges_need_must_be_there(files: Path, tmp_path: Path) -> None:
    with refuses(DataError, "lost.mp4", "root"):
        read_dataset(tasks_of(tmp_path, task("lost.mp4", [timeline("kite", (1, 10))])))
    (files / "empty.mp4").touch()
    with refuses(DataError, "empty.mp4"):
        read_dataset(tasks_of(tmp_path, task("empty.mp4", [timeline("kite", (1, 10))])))
    with refuses(DataError, "#t=x"):
        read_dataset(tasks_of(tmp_path, task("a.mp4", [timeline("kite", (1, 10))], parts=[3, "/", "#t=x"])))


CHECK = """
import json, sys
from label_studio_sdk.converter import Converter
from label_studio_sdk.converter.converter import Format
from label_studio_sdk.label_interface import LabelInterface
config, path, out = sys.argv[1:]
tasks = json.load(open(path))
interface = LabelInterface(open(config).read())
interface.validate()
control = interface.get_control("label")
assert control.tag == "TimelineLabels" and control.objects[0].attr["frameRate"] == "$frame_rate"
for task in tasks:
    assert interface.validate_task({"data": task["data"]})
    assert all(interface.validate_annotation(each) for each in task.get("annotations", []))
    assert not [error for each in task.get("predictions", []) for error in interface.validate_prediction(each, True)]
bad = {"result": [{**tasks[0]["annotations"][0]["result"][0], "value": {"ranges": [], "timelinelabels": ["kite"]}}]}
assert not interface.validate_annotation(bad)
for number, task in enumerate(tasks, 1):  # As the server numbers them.
    task |= {"id": number, "annotations": [{**task["annotations"][0], "id": 10 + number, "completed_by": 1}]}
json.dump(tasks, open(f"{out}/exported.json", "w"))
Converter(open(config).read(), project_dir=None, download_resources=False).convert(
    f"{out}/exported.json", f"{out}/converted", Format.JSON, is_dir=False)
print(json.dumps(list(control.labels)))
"""


def test_label_studio_accepts_and_converts_ranges(files: Path, tmp_path: Path) -> None:
    items = read_dataset(files / "list.csv").items
    guesses = {item.path: [("bird", 0.5)] for item in items}
    config = write_tasks(tmp_path / "tasks.json", items, guesses, ["kite"], root=tmp_path, model="mini")
    labels = run_with("label_studio_sdk", CHECK, config, tmp_path / "tasks.json", tmp_path)
    assert labels == ["kite", "bird"]
    read = read_dataset(tmp_path / "converted" / "result.json", root=tmp_path)
    assert [(i.path, i.label, i.split, i.group) for i in read.items] == [
        (i.path, i.label, i.split, i.group) for i in items
    ]
    assert read.notes == ()
