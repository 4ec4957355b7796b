"""Label Studio's JSON: reads what its converter writes, and writes what its own checks accept."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from labelling_tools import run_with, write_tasks
from made import write_image, write_video
from messages import prints, refuses
from texthead.apps.label_studio.labelling_tools import labelling_config
from texthead.apps.label_studio.tasks import document_root
from texthead.data.dataset import Item
from texthead.data.reading import read_dataset
from texthead.errors import DataError

NAMES = ["kite", 'a "<drone>" & co', "鳥"]


def choice(name: object, control: str = "choice", **more: Any) -> dict[str, Any]:
    """Return an annotation with one choice, as Label Studio exports it."""
    result = {"id": "Zb3", "type": "choices", "value": {"choices": [name]}, "origin": "manual", "to_name": "image"}
    annotation = {"id": 7, "completed_by": 1, "was_cancelled": False, "ground_truth": False, "lead_time": 1.5}
    return {**annotation, "result": [{**result, "from_name": control}], **more}


def export(folder: Path, *tasks: dict[str, Any]) -> Path:
    path = folder / "project-1.json"
    for number, task in enumerate(tasks, 1):
        task.setdefault("id", number)
    path.write_text(json.dumps(list(tasks)))
    return path


def task(image: str | None, *annotations: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {"data": {"image": image, **data}, "annotations": list(annotations), "predictions": []}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of pictures whose names need escaping in URLs."""
    for name in ("a.png", "b c+d#1&2.png", "é%20.png", "sub/a.png"):
        write_image(tmp_path / "files" / name, "red")
    return tmp_path / "files"


def test_labels_splits_and_groups_of_a_json_export(files: Path, tmp_path: Path) -> None:
    uploaded = write_image(tmp_path / "upload" / "3" / "ab12-x.png", "red")
    path = export(
        tmp_path,
        task("/data/local-files/?d=files/a.png", choice("kite"), split="train", group="beach", fps=25),
        task("/data/local-files/?d=files%2Fb%20c%2Bd%231%262.png", choice("bird "), split="Validation"),
        task(f"file://{files}/%C3%A9%2520.png", choice("kite"), split="test"),
        task("http://localhost:8080/data/local-files?d=../files/sub/a.png", choice("kite"), split="test"),
        task("/data/upload/3/ab12-x.png", choice("kite"), split="test", note="blurred"),
    )
    assert read_dataset(path).items == (
        Item(files / "a.png", "kite", "train", "beach", (("fps", "25"),)),
        Item(files / "b c+d#1&2.png", "bird", "val"),
        Item(files / "é%20.png", "kite", "test"),
        Item(files / "sub/a.png", "kite", "test"),
        Item(uploaded, "kite", "test", None, (("note", "blurred"),)),
    )
    moved = tmp_path / "elsewhere.json"
    moved.parent.mkdir(exist_ok=True)
    path.rename(moved)
    assert read_dataset(moved, root=tmp_path).items[0].path == files / "a.png"
    names = tmp_path / "names.csv"
    names.write_text("id,name\nkite,a kite\nbird,a bird\n")
    assert read_dataset(moved, labels=names).classes == ["a bird", "a kite"]


def test_tasks_without_a_label_and_ground_truth_are_noted(files: Path, tmp_path: Path) -> None:
    path = export(
        tmp_path,
        task("files/a.png", choice("kite"), choice("bird", ground_truth=True), choice("kite")),
        task("files/sub/a.png", choice("kite", was_cancelled=True)),
        task("files/a.png"),
        task(str(files / "b c+d#1&2.png"), choice("kite"), choice("kite"), choice("bird", was_cancelled=True)),
    )
    dataset = read_dataset(path)
    assert dataset.labels == ["bird", "kite"]
    prints("\n".join(dataset.notes), "2 of 4")
    prints("\n".join(dataset.notes), "disagree")


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (task("files/a.png", choice("kite"), choice("bird")), "bird, kite"),
        (task("files/a.png", choice("kite"), choice("windy", "weather")), "choice, weather"),
        (task("https://host/a.png?token=1", choice("kite")), "https://host/a.png"),
        (task("s3://bucket/a.png", choice("kite")), "s3://bucket/a.png"),
        (task("files/a.png", choice("kite"), split="rest"), "'rest'"),
        (task("files/a.png", choice(" ")), "empty"),
        (task("files/a.png", choice("\ud800")), "Unicode"),
        (task("files/a\0.png", choice("kite")), "not a path"),
        (task("http://[", choice("kite")), "image"),
        (task("files/lost.png", choice("kite")), "lost.png"),
        (task(f"files/{'a' * 300}.png", choice("kite")), "none of its 1 files exists"),
        (task(f"/data/upload/1/{'a' * 300}.png", choice("kite")), "none of its 1 files exists"),
        (task("files/a.png", choice(3)), "list of names"),
        (task("files/a.png", {"result": [{"value": {"choices": "kite"}}]}), "'kite'"),
        (task("files/a.png", choice("kite"), group=[1]), "[1]"),
        (task(None, choice("kite"), left="files/a.png", right="files/sub/a.png"), "left, right"),
        (task("files/a.png", {"result": [{"value": {"start": 1, "end": 2, "labels": ["kite"]}}]}), "only videos"),
        ({"data": {"image": "files/a.png"}, "annotations": [7]}, "annotations"),
        ({"data": {"image": "files/a.png"}, "annotations": {"result": []}}, "annotations"),
        ({"data": {"image": "files/a.png"}, "annotations": [{"result": ["kite"]}]}, "result"),
        ({"data": {"image": "files/a.png"}}, "none of its files has a label"),
        ({"image": "files/a.png", "choice": "kite", "annotation_id": 7}, "not JSON-MIN"),
    ],
)
def test_what_a_task_may_not_be(files: Path, tmp_path: Path, wrong: dict[str, Any], part: str) -> None:
    with refuses(DataError, part):
        read_dataset(export(tmp_path, dict(wrong)))


def test_what_a_file_may_not_be(files: Path, tmp_path: Path) -> None:
    path = export(tmp_path, task("files/a.png", choice("kite")))
    with refuses(DataError, "root", "nowhere"):
        read_dataset(path, root=tmp_path / "nowhere")
    with refuses(DataError, "suffix"):
        read_dataset(path, suffix=".avi")
    path.write_text("[" * 100_000)
    with refuses(DataError, "nested too deeply"):
        read_dataset(path)
    twice = json.dumps([task("files/a.png", choice("kite"))]).replace('"data":', '"data": {}, "data":')
    path.write_text(twice)
    with refuses(DataError, "'data'"):
        read_dataset(path)
    path.write_text(json.dumps([task("files/a.png", choice("kite")), 3]))
    with refuses(DataError, "entry 2"):
        read_dataset(path)
    with path.open("wb") as file:
        file.truncate(2**28 + 1)
    with refuses(DataError, "268,435,456"):
        read_dataset(path)


def several(*names: str, **more: Any) -> dict[str, Any]:
    """Return an annotation of a control with `choice="multiple"`, as Label Studio exports it; none without names."""
    annotation = choice("kite", **more)
    annotation["result"][0]["value"]["choices"] = [*names]
    return annotation if names else {**annotation, "result": []}


def test_several_choices_of_a_file(files: Path, tmp_path: Path) -> None:
    path = export(
        tmp_path,
        task("files/a.png", several("kite", "bird"), several("bird", "kite")),
        task("files/sub/a.png", several()),
        task("files/b c+d#1&2.png", several("kite")),
        task("files/é%20.png", several("kite", "bird"), several(ground_truth=True)),
        task("files/lost.png", several("kite", was_cancelled=True)),
    )
    dataset = read_dataset(path)
    assert dataset.several
    assert [item.label for item in dataset.items] == ["bird; kite", "", "kite", ""]
    prints("\n".join(dataset.notes), "1 of 5 tasks have no label")
    prints("\n".join(dataset.notes), "1 of 4 files have several labels", "2 have none")
    two = {"result": choice("kite")["result"] + choice("bird")["result"]}
    assert [item.label for item in read_dataset(export(tmp_path, task("files/a.png", two))).items] == ["bird; kite"]
    for others in ([several("kite")], [several()]):
        with refuses(DataError, "annotations disagree", "bird and kite"):
            read_dataset(export(tmp_path, task("files/a.png", several("kite", "bird"), *others)))
    with refuses(DataError, "'a; b'", "';'"):
        read_dataset(export(tmp_path, task("files/a.png", several("kite", "a; b"))))
    # One choice each: an annotation without a choice is no label, and a name may have a semicolon.
    one = read_dataset(export(tmp_path, task("files/a.png", several("a; b")), task("files/sub/a.png", several())))
    assert (one.several, one.labels) == (False, ["a; b"])


def test_several_labels_are_written_and_read_back(files: Path, tmp_path: Path) -> None:
    items = [Item(files / "a.png", "bird; kite"), Item(files / "sub/a.png", ""), Item(files / "é%20.png", "")]
    guesses = {items[1].path: [("kite", 0.9), ("drone", 0.61)], items[2].path: []}
    path = tmp_path / "tasks.json"
    config = write_tasks(path, items, guesses, ["kite"], root=tmp_path, model="run", several=True)
    first, second, third = json.loads(path.read_text())
    assert first["annotations"][0]["result"][0]["value"] == {"choices": ["bird", "kite"]}
    (prediction,) = second["predictions"]
    assert (prediction["score"], prediction["result"][0]["value"]) == (0.61, {"choices": ["kite", "drone"]})
    assert "predictions" not in third
    text = config.read_text()
    assert 'choice="multiple"' in text
    assert [name in text for name in ('value="kite"', 'value="bird"', 'value="bird; kite"')] == [True, True, False]
    assert [item.label for item in read_dataset(path).items] == ["bird; kite"]


def items_of(folder: Path, kind: str) -> list[Item]:
    """Return one item per name, with odd file names; the last has no label."""
    stems = ("a", "b c+d#1&2?=%20", "é")
    if kind == "image":
        paths = [write_image(folder / "files" / f"{stem}.png", "red") for stem in stems]
    else:
        paths = [write_video(folder / "files" / f"{stem}.mp4", "red", 4) for stem in stems]
    first, second, third = paths
    return [
        Item(first, NAMES[0], "train", "beach", (("fps", "25"),)),
        Item(second, NAMES[1], "test"),
        Item(third, "", "test"),
    ]


@pytest.mark.parametrize("kind", ["image", "video"])
def test_what_is_written_is_read_as_it_was(tmp_path: Path, kind: str) -> None:
    items = items_of(tmp_path, kind)
    guesses = {items[2].path: [(NAMES[2], 0.51234567)]}
    path = tmp_path / "tasks.json"
    root = document_root(tmp_path / "files", [item.path for item in items])
    assert root == tmp_path
    config = write_tasks(path, items, guesses, NAMES[:2], root=root, model="mini")
    assert config == tmp_path / "tasks.xml"
    assert read_dataset(path).items == tuple(items[:2])
    tasks = json.loads(path.read_text())
    assert tasks[2]["predictions"] == [
        {
            "model_version": "mini",
            "score": 0.512346,
            "result": [
                {"from_name": "label", "to_name": kind, "type": "choices", "value": {"choices": [NAMES[2]]}},
            ],
        }
    ]
    assert "annotations" not in tasks[2]
    # Without an explicit False, the server marks imported annotations as ground truth.
    assert [each["ground_truth"] for task in tasks[:2] for each in task["annotations"]] == [False, False]


def test_a_name_that_is_no_utf_8_comes_back(tmp_path: Path) -> None:
    path = write_image(tmp_path / "files" / "x.png", "red")
    odd = path.rename(os.fsdecode(os.fsencode(path.parent) + b"/\xe9.png"))
    write_tasks(tmp_path / "tasks.json", [Item(odd, "kite")], {}, [], root=tmp_path, model="mini")
    assert read_dataset(tmp_path / "tasks.json").items[0].path == odd


def test_what_label_studio_cannot_show(tmp_path: Path) -> None:
    image, video = write_image(tmp_path / "a" / "a.png", "red"), write_video(tmp_path / "a" / "b.mp4", "red", 4)
    tasks = tmp_path / "tasks.json"
    with refuses(DataError, "a.png", "b.mp4"):
        write_tasks(tasks, [Item(image, ""), Item(video, "")], {}, [], root=tmp_path, model="mini")
    with refuses(DataError, "a/*"):
        write_tasks(tasks, [Item(tmp_path / "a" / "*", "")], {}, [], root=tmp_path, model="mini")
    with refuses(DataError, "a.png", "b, the folder"):
        write_tasks(tasks, [Item(image, "")], {}, [], root=tmp_path / "b", model="mini")
    assert not tasks.exists()
    manifest = image.with_name("list.csv")
    assert document_root(manifest, [image]) == tmp_path
    assert document_root(tmp_path / "list.csv", [image]) == tmp_path


CHECK = """
import json, os, sys
from label_studio_sdk._extensions.label_studio_tools.core.utils.io import get_local_path
from label_studio_sdk.label_interface import LabelInterface
config, tasks = open(sys.argv[1]).read(), json.load(open(sys.argv[2]))
interface = LabelInterface(config)
interface.validate()
kind = list(interface.objects)[0].tag.lower()
for task in tasks:
    assert interface.validate_task({"data": task["data"]})
    assert all(interface.validate_annotation(each) for each in task.get("annotations", []))
    assert not [error for each in task.get("predictions", []) for error in interface.validate_prediction(each, True)]
bad = {"result": [{"from_name": "label", "to_name": kind, "type": "choices", "value": {"choices": ["other"]}}]}
assert not interface.validate_annotation(bad)
print(json.dumps({
    "files": [get_local_path(task["data"][kind]) for task in tasks],
    "classes": list(interface.get_control("label").labels),
    "counts": [sum(len(task.get(name, [])) for task in tasks) for name in ("annotations", "predictions")],
}))
"""


@pytest.mark.parametrize("kind", ["image", "video"])
def test_label_studio_accepts_what_is_written(tmp_path: Path, kind: str) -> None:
    items = items_of(tmp_path, kind)
    guesses = {item.path: [(NAMES[2], 0.5)] for item in items}
    config = write_tasks(tmp_path / "tasks.json", items, guesses, NAMES, root=tmp_path, model="mini")
    environment = {"LOCAL_FILES_DOCUMENT_ROOT": str(tmp_path)}
    result = run_with("label_studio_sdk", CHECK, config, tmp_path / "tasks.json", **environment)
    assert result == {"files": [str(item.path) for item in items], "classes": NAMES, "counts": [2, 3]}


CONVERT = """
import json, sys
from label_studio_sdk.converter import Converter
from label_studio_sdk.converter.converter import Format
config, tasks, out = sys.argv[1:]
Converter(open(config).read(), project_dir=None, download_resources=False).convert(
    tasks, f"{out}/converted", Format.JSON, is_dir=False)
print("{}")
"""


def test_what_label_studio_converts_is_read(files: Path, tmp_path: Path) -> None:
    paths = ["a.png", "b c+d#1&2.png", "sub/a.png"]
    config = tmp_path / "config.xml"
    config.write_text(labelling_config("image", NAMES))
    items = [Item(files / name, label, "train") for name, label in zip(paths, NAMES, strict=True)]
    write_tasks(tmp_path / "tasks.json", items, {}, NAMES, root=tmp_path, model="mini")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    for number, each in enumerate(tasks, 1):  # ids as the server assigns them
        each |= {"id": number, "annotations": [{**each["annotations"][0], "id": 10 + number, "completed_by": 1}]}
    unlabelled = {"id": 9, "data": {"image": "/data/local-files/?d=files/%C3%A9%2520.png"}, "annotations": []}
    exported = export(tmp_path, *tasks, unlabelled)
    run_with("label_studio_sdk", CONVERT, config, exported, tmp_path)
    dataset = read_dataset(tmp_path / "converted" / "result.json", root=tmp_path)
    assert dataset.items == tuple(items)
    assert len(dataset.notes) == 1
