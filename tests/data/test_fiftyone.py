"""FiftyOne's JSON: reads what its exporters write, and writes what its importers read."""

import json
from pathlib import Path
from typing import Any

import pytest

from labelling_tools import run_with
from made import write_image, write_video
from messages import prints, refuses
from texthead.data.dataset import Item
from texthead.data.reading import read_dataset
from texthead.errors import DataError, RunError
from texthead.exporting.labelling_tools import write_samples


def one(label: object, **more: Any) -> dict[str, Any]:
    """Return a classification as stored in a FiftyOne sample."""
    return {"_id": {"$oid": "6b09b9094ba60109d479db13"}, "_cls": "Classification", "tags": [], "label": label, **more}


def sample(path: str, *tags: str, **fields: Any) -> dict[str, Any]:
    private = {"_id": None, "_media_type": "image", "_rand": 0.99, "_dataset_id": None}
    return {"filepath": path, "tags": [*tags], "metadata": None, "created_at": None, **private, **fields}


def dataset_of(folder: Path, *samples: dict[str, Any]) -> Path:
    """Write a folder like FiftyOne's dataset export: metadata.json and samples.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.json").write_text("{}")
    (folder / "samples.json").write_text(json.dumps({"samples": list(samples)}))
    return folder


def labels_of(folder: Path, labels: dict[str, Any], classes: list[str] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.json").write_text(json.dumps({"classes": classes, "labels": labels}))
    return folder


def test_a_key_that_occurs_twice(tmp_path: Path) -> None:
    """A duplicate key is an error in the labels and in the list of files."""
    folder = labels_of(tmp_path, {"a": 0}, ["kite"])
    text = (folder / "labels.json").read_text()
    (folder / "data.json").write_text('{"a": "a.png", "a": "b.png"}')
    with refuses(DataError, "data.json", "'a'"):
        read_dataset(folder)
    (folder / "labels.json").write_text(text.replace('"a": 0', '"a": 0, "a": 1'))
    with refuses(DataError, "labels.json", "'a'"):
        read_dataset(folder)


def test_a_group_that_is_no_text(tmp_path: Path) -> None:
    with refuses(DataError, "group", "[1]"):
        read_dataset(dataset_of(tmp_path, sample("a.png", ground_truth=one("kite"), group=[1])))


def test_the_samples_of_a_dataset(tmp_path: Path) -> None:
    folder = dataset_of(
        tmp_path / "exported",
        sample("data/a.png", "train", "blurred", ground_truth=one("kite"), group="beach", camera="left"),
        sample("/abs/b.png", "VALIDATION", ground_truth=one("bird"), guess=one("kite", confidence=0.9)),
        sample("data/c.png", "test", ground_truth={"_cls": "Classifications", "classifications": [one("kite")]}),
        sample("data/d.png", "test", ground_truth=None, guess=one("kite", confidence=0.9)),
        sample("data/e.png", split="test", ground_truth=one("kite"), group={"_cls": "Group", "_id": {"$oid": "6b0"}}),
    )
    expected = (
        Item(folder / "data/a.png", "kite", "train", "beach", (("camera", "left"),)),
        Item(Path("/abs/b.png"), "bird", "val"),
        Item(folder / "data/c.png", "kite", "test"),
        Item(folder / "data/e.png", "kite", "test", "6b0"),
    )
    dataset = read_dataset(folder)
    assert dataset.items == expected
    assert read_dataset(folder / "samples.json").items == expected
    prints("\n".join(dataset.notes), "1 of 5")
    assert read_dataset(folder / "samples.json", root=tmp_path).items[0].path == tmp_path / "data/a.png"


def test_the_field_of_labels_is_the_only_one_without_confidences(tmp_path: Path) -> None:
    guess = one("bird", confidence=0.5)
    assert read_dataset(dataset_of(tmp_path / "a", sample("a.png", kind=one("kite"), guess=guess))).labels == ["kite"]
    with refuses(DataError, "guess", "ground_truth"):
        read_dataset(dataset_of(tmp_path / "b", sample("a.png", guess=guess)))
    with refuses(DataError, "kind, weather", "ground_truth"):
        read_dataset(dataset_of(tmp_path / "c", sample("a.png", kind=one("kite"), weather=one("windy"))))
    with refuses(DataError, "no field holds labels"):
        read_dataset(dataset_of(tmp_path / "d", sample("a.png")))


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (sample("a.png", "train", "test", ground_truth=one("kite")), "test, train"),
        (sample("a.png", ground_truth=one("kite"), split="dev"), "'dev'"),
        (sample("a.png", ground_truth={"_cls": "Classifications", "classifications": [one("a"), one("b")]}), "a, b"),
        (sample("a.png", ground_truth={"_cls": "Detections", "detections": []}), "Detections"),
        (sample("a.mp4", events={"_cls": "TemporalDetections", "detections": []}), "has a label"),
        (sample("a.mp4", events={"_cls": "TemporalDetections", "detections": 3}), "has a label"),
        (sample("a.mp4", ground_truth={"_cls": "TemporalDetection", "support": [1, 9]}), "must be text"),
        (sample("a.png", ground_truth=one(None)), "must be text"),
        (sample("a.png", ground_truth=one("")), "empty"),
        (sample("a.png", ground_truth="kite"), "str"),
        (sample("a\0.png", ground_truth=one("kite")), "filepath"),
        ({"filepath": 3, "ground_truth": one("kite")}, "filepath"),
    ],
)
def test_what_a_sample_may_not_be(tmp_path: Path, wrong: dict[str, Any], part: str) -> None:
    good = sample("z.png", ground_truth=one("kite"), tags=7) if "ground_truth" in wrong else sample("z.png")
    with refuses(DataError, part):
        read_dataset(dataset_of(tmp_path / "data", good, wrong))


def test_the_labels_of_an_image_classification_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    paths = [write_image(folder / "data" / name, "red") for name in ("a.png", "b.c.jpg", "sub/a.png", "e.png")]
    named = labels_of(folder, {"a": "kite", "b.c": {"label": "bird", "confidence": 0.4}, "sub/a": ["kite"], "e": None})
    dataset = read_dataset(named)
    assert dataset.items == (Item(paths[0], "kite"), Item(paths[1], "bird"), Item(paths[2], "kite"))
    prints("\n".join(dataset.notes), "1 of 4")
    numbered = labels_of(folder, {"a": 1, str(paths[3]): 0}, ["bird", "kite"]) / "labels.json"
    assert read_dataset(numbered).items == (Item(paths[0], "kite"), Item(paths[3], "bird"))
    moved = labels_of(tmp_path / "alone", {"a.png": "kite"}) / "labels.json"
    with refuses(DataError, "a.png", "no file", "root"):
        read_dataset(moved)
    assert read_dataset(moved, root=folder / "data").items == (Item(paths[0], "kite"),)
    (tmp_path / "alone" / "data.json").write_text(json.dumps({"a.png": str(paths[0]), "x": "../exported/data/e.png"}))
    labels_of(tmp_path / "alone", {"a": "kite", "x": "bird"})
    assert [item.path.resolve() for item in read_dataset(tmp_path / "alone").items] == [paths[0], paths[3]]
    write_image(folder / "data" / "a.jpg", "red")
    with refuses(DataError, "2 files", "a.jpg, a.png"):
        read_dataset(labels_of(folder, {"a": "kite"}))


@pytest.mark.parametrize(
    ("label", "part"),
    [
        (2, "0 to 1"),
        (["kite", "bird"], "2 labels"),
        ([{"label": "kite", "timestamps": [0.1, 2]}], "use_timestamps"),
        ([{"label": "kite", "bounding_box": [0, 0, 1, 1]}], "box"),
        (1.5, "must be text"),
    ],
)
def test_what_a_label_may_not_be(tmp_path: Path, label: object, part: str) -> None:
    write_image(tmp_path / "data" / "a.png", "red")
    with refuses(DataError, part):
        read_dataset(labels_of(tmp_path, {"a": label}, ["kite", "bird"]))


def test_what_a_file_beside_may_not_be(tmp_path: Path) -> None:
    labels_of(tmp_path, {"a": "kite"})
    for text, part in (("[]", "each name to a path"), ("[", "JSON")):
        (tmp_path / "data.json").write_text(text)
        with refuses(DataError, "data.json", part):
            read_dataset(tmp_path)
    (tmp_path / "labels.json").write_text('{"classes": [3], "labels": {"a": 0}}')
    with refuses(DataError, "classes"):
        read_dataset(tmp_path)
    # A different labels.json next to class folders is not taken for FiftyOne's.
    write_image(tmp_path / "data" / "a.png", "red")
    (tmp_path / "labels.json").write_text('{"0": "kite"}')
    assert read_dataset(tmp_path).labels == ["data"]


def items_of(folder: Path, kind: str) -> list[Item]:
    write = write_image if kind == "image" else lambda path, colour: write_video(path, colour, 4)
    ends = ".png" if kind == "image" else ".mp4"
    paths = [write(folder / "files" / f"{stem}{ends}", "red") for stem in ("a", "b c+d#1&2?=%20", "é")]
    return [
        Item(paths[0], "kite", "train", "beach", (("camera", "left"),)),
        Item(paths[1], 'a "<drone>" & 鳥', "test", None, (("camera", "right"),)),
        Item(paths[2], "", "test"),
    ]


@pytest.mark.parametrize("kind", ["image", "video"])
def test_what_is_written_is_read_as_it_was(tmp_path: Path, kind: str) -> None:
    items = items_of(tmp_path, kind)
    write_samples(tmp_path / "out", items, {items[2].path: ("kite", 0.51234567)}, ["kite"])
    assert read_dataset(tmp_path / "out").items == tuple(items[:2])
    with refuses(RunError, "already exists"):
        write_samples(tmp_path / "out", items, {}, [])


def test_fields_of_its_own_and_both_kinds_are_not_written(tmp_path: Path) -> None:
    image, video = write_image(tmp_path / "a.png", "red"), write_video(tmp_path / "b.mp4", "red", 4)
    extra = (("id", "7"), ("_rand", "1"), ("a b", "c"), ("camera", "left"))
    write_samples(tmp_path / "out", [Item(image, "kite", extra=extra)], {}, [])
    assert read_dataset(tmp_path / "out").items == (Item(image, "kite", extra=(("camera", "left"),)),)
    with refuses(DataError, "a.png", "b.mp4"):
        write_samples(tmp_path / "both", [Item(image, ""), Item(video, "")], {}, [])


IMPORT = """
import json, sys
import fiftyone.utils.data as foud
whole = foud.FiftyOneDatasetImporter(sys.argv[1])
assert whole._is_legacy_format_data()  # So `Dataset.from_dir` takes the importer of the first format.
importer = foud.LegacyFiftyOneDatasetImporter(sys.argv[1])
importer.setup()
found = []
for sample in importer:
    label = lambda name: (lambda l: [l.label, l.confidence])(sample[name]) if sample.has_field(name) else None
    group = sample["group"] if sample.has_field("group") else None
    found.append([sample.media_type, sample.filepath, sample.tags, label("ground_truth"), label("prediction"), group])
print(json.dumps([found, importer.get_dataset_info()]))
"""


@pytest.mark.parametrize("kind", ["image", "video"])
def test_fiftyone_reads_what_is_written(tmp_path: Path, kind: str) -> None:
    items = items_of(tmp_path, kind)
    first, second, third = items
    write_samples(tmp_path / "out", items, {third.path: ("kite", 0.51234567)}, ["kite"])
    found, info = run_with("fiftyone", IMPORT, tmp_path / "out", FIFTYONE_DO_NOT_TRACK="1", HOME=str(tmp_path))
    assert found == [
        [kind, str(first.path), ["train"], ["kite", None], None, "beach"],
        [kind, str(second.path), ["test"], [second.label, None], None, None],
        [kind, str(third.path), ["test"], None, ["kite", 0.512346], None],
    ]
    assert info["default_classes"] == ["kite", second.label]


EXPORT = """
import sys
import fiftyone as fo
import fiftyone.utils.data as foud
out, image, other = sys.argv[1:]
samples = [
    fo.Sample(filepath=image, tags=["train"], ground_truth=fo.Classification(label="kite"), camera="left",
              guess=fo.Classification(label="bird", confidence=0.4), pair=fo.Group().element("left")),
    fo.Sample(filepath=other, tags=["val"], ground_truth=fo.Classification(label="bird")),
]
with foud.LegacyFiftyOneDatasetExporter(export_dir=f"{out}/whole", export_media=True) as exporter:
    for sample in samples:
        exporter.export_sample(sample)
for name, options in (
    ("copied", {"export_media": True, "classes": ["bird", "kite"]}),
    ("listed", {"export_media": "manifest", "data_path": f"{out}/listed/data.json", "include_confidence": None, "include_attributes": None}),
    ("absolute", {"export_media": False, "abs_paths": True}),
):
    with foud.FiftyOneImageClassificationDatasetExporter(export_dir=f"{out}/{name}", **options) as exporter:
        for sample in samples:
            exporter.export_sample(sample.filepath, sample.ground_truth)
print("{}")
"""


def test_what_fiftyone_exports_is_read(tmp_path: Path) -> None:
    first, second = write_image(tmp_path / "1" / "a.png", "red"), write_image(tmp_path / "2" / "b c.png", "blue")
    run_with("fiftyone", EXPORT, tmp_path, first, second, FIFTYONE_DO_NOT_TRACK="1", HOME=str(tmp_path))
    whole = read_dataset(tmp_path / "whole").items
    assert [(item.label, item.split, item.extra) for item in whole] == [
        ("kite", "train", (("camera", "left"),)),
        ("bird", "val", ()),
    ]
    assert [item.path.read_bytes() for item in whole] == [first.read_bytes(), second.read_bytes()]
    for name in ("copied", "listed", "absolute"):
        source = tmp_path / name / "labels.json"
        items = read_dataset(source).items
        assert [item.label for item in items] == ["kite", "bird"]
        assert [item.path.read_bytes() for item in items] == [first.read_bytes(), second.read_bytes()]
