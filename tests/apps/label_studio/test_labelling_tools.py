"""`--export` of label and predict: Label Studio tasks, which are read back."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from labelling_tools import run_with
from made import joined_colours, write_image, write_video
from messages import prints
from texthead.data.reading import read_dataset

COLOURS = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine pictures in three colours, not in class folders."""
    for index in range(9):
        write_image(tmp_path / "my files" / f"{index}.png", COLOURS[index % 3], seed=index)
    return tmp_path / "my files"


def answered(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tasks as Label Studio exports them once each is labelled by its colour."""
    for number, task in enumerate(tasks, 1):
        index = int(Path(task["data"]["image"]).stem)
        result = {"from_name": "label", "to_name": "image", "type": "choices"}
        answer = [{**result, "id": "q", "value": {"choices": [COLOURS[index % 3]]}}]
        task |= {"id": number, "annotations": [{"id": number, "was_cancelled": False, "result": answer}]}
    return tasks


@pytest.mark.slow
def test_a_round_of_labelling_in_label_studio(folder: Path, works, tmp_path: Path) -> None:
    options = ("--classes", "red,green,blue", "--cache", tmp_path / "cache", "--workers", 0)
    first = tmp_path / "out" / "first.json"
    out, err = works("label", folder, *options, "--next", 3, "--export", f"label-studio:{first}")
    prints(err, "first.xml", "3 files, 3 with a guess", f"LOCAL_FILES_DOCUMENT_ROOT to {tmp_path}")
    rows = list(csv.DictReader(out.splitlines()))
    tasks = json.loads(first.read_text())
    assert [task["data"]["image"] for task in tasks] == [
        f"/data/local-files/?d=my%20files/{Path(row['path']).name}" for row in rows
    ]
    for row, task in zip(rows, tasks, strict=True):
        (prediction,) = task["predictions"]
        assert (prediction["model_version"], f"{prediction['score']:.3f}") == ("mini", row["probability"])
        assert prediction["result"][0]["value"] == {"choices": [row["guess"]]}
    project = tmp_path / "project-1.json"
    project.write_text(json.dumps(answered(tasks)))
    assert len(read_dataset(project).items) == 3
    # --out and --export share a document root, wherever the files are.
    moved = project.rename(tmp_path / "out" / "project-1.json")
    second = tmp_path / "out" / "second.json"
    _, err = works("label", folder, *options, "--out", moved, "--next", 2, "--export", f"label-studio:{second}")
    prints(err, "3 of 9 files have labels")
    later = json.loads(second.read_text())
    assert [("annotations" in task, "predictions" in task) for task in later] == [(False, True)] * 2 + [
        (True, False)
    ] * 3
    assert {task["data"]["image"] for task in later[2:]} == {task["data"]["image"] for task in tasks}


def test_a_place_that_cannot_be_exported_to(folder: Path, refused, tmp_path: Path) -> None:
    options = ("--classes", "red,green,blue", "--cache", tmp_path / "cache", "--workers", 0)
    labels = tmp_path / "labels.csv"
    refused("--next", "label", folder, *options, "--out", labels, "--export", "label-studio:tasks.json")
    refused("'coco:x'", "label", folder, *options, "--export", "coco:x")
    refused("tasks.csv", "label", folder, *options, "--export", "label-studio:tasks.csv")


def test_a_labelled_manifest_comes_back(folder: Path, works, tmp_path: Path) -> None:
    manifest = tmp_path / "items.csv"
    rows = [
        f"my files/{i}.png,{COLOURS[i % 3]},{'test' if i > 5 else 'train'},scene {i // 2},{i} fps" for i in range(9)
    ]
    manifest.write_text("\n".join(["path,label,split,group,speed", *rows]) + "\n")
    options = ("--classes", "red,green,blue", "--cache", tmp_path / "cache", "--workers", 0)
    tasks = tmp_path / "tasks.json"
    works("label", manifest, *options, "--out", manifest, "--next", 4, "--export", f"label-studio:{tasks}")
    assert read_dataset(tasks).items == read_dataset(manifest).items


@pytest.mark.slow
def test_predictions_of_a_run(world, works, refused, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.json"
    out, err = works("predict", world.run, world.images, "--json", "--workers", 0, "--export", f"label-studio:{tasks}")
    prints(err, "10 files, 10 with a guess", f"LOCAL_FILES_DOCUMENT_ROOT to {world.root}")
    predicted, written = json.loads(out), json.loads(tasks.read_text())
    for entry, task in zip(predicted, written, strict=True):
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == world.run.name
        assert prediction["score"] == round(entry["top"][0]["probability"], 6)
        assert prediction["result"][0]["value"]["choices"] == [entry["top"][0]["name"]]
        assert task["data"]["image"].endswith(Path(entry["path"]).name)
    assert 'value="blue"' in tasks.with_suffix(".xml").read_text()
    files = [world.images / "red" / "0.png", world.images / "blue" / "0.png"]
    works("predict", *files, "--classes", "red,blue", "--workers", 0, "--export", f"label-studio:{tasks}")
    assert [task["data"]["image"] for task in json.loads(tasks.read_text())] == [
        f"/data/local-files/?d=images/{path.parent.name}/0.png" for path in files
    ]
    video = write_video(tmp_path / "b.mp4", "red", 6)
    both = ("predict", world.run, files[0], video, "--workers", 0, "--export", f"label-studio:{tasks}")
    refused(("0.png", "b.mp4"), *both)


@pytest.mark.slow
def test_a_round_of_labelling_parts(works, tmp_path: Path) -> None:
    """Parts from a manifest, whose times come back unchanged, and windows of a long video."""
    folder = tmp_path / "scenes"
    joined_colours(folder / "a.mp4", ["red", "blue", "green"], seconds=3)
    rows = ["a.mp4,0,2.95,red", "a.mp4,2.95,5.999,", "a.mp4,5.999,,"]
    (folder / "parts.csv").write_text("\n".join(["path,start,end,colour", *rows]) + "\n")
    options = ("--classes", "red,green,blue", "--cache", tmp_path / "cache", "--workers", 0, "--cut-above", 4)
    for data, count in ((folder / "parts.csv", 3), (folder, 3)):
        first, second = (f"label-studio:{tmp_path / name}-{data.stem}.json" for name in ("first", "second"))
        _, err = works("label", data, *options, "--next", 2, "--export", first)
        prints(err, "2 files and parts of files, 2 with a guess")
        labelled = answered_by_guess(Path(first.partition(":")[2]))
        out, err = works("label", data, *options, "--out", labelled, "--next", 9, "--export", second)
        assert f"2 of {count} files have labels" in err
        rest = [row["path"] for row in csv.DictReader(out.splitlines())]
        assert len(rest) == count - 2
        assert not {str(item.path) for item in read_dataset(labelled).items} & set(rest)
        assert len(read_dataset(Path(second.partition(":")[2])).items) == 2


def answered_by_guess(written: Path) -> Path:
    """Turn every guess of an export into a label and return its JSON file."""
    tasks = json.loads(written.read_text())
    for task in tasks:
        task["annotations"] = [{"result": each["result"]} for each in task.pop("predictions")]
    written.write_text(json.dumps(tasks))
    return written


PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "labelling-tools.md"


@pytest.mark.slow
def test_the_page_s_program_for_fiftyone(works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FiftyOne shows the labels and predictions of CSV files; labels corrected there are read back."""
    section = PAGE.read_text(encoding="utf-8").partition("## FiftyOne\n")[2]
    show, back = re.findall(r"^```text\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    correct = """
for sample in dataset:
    if sample.ground_truth:
        sample.ground_truth.label = f"{sample.prediction.label} {sample.prediction.confidence > 0}"
        sample.save()
"""
    show = show.replace("fo.launch_app(dataset)\n", correct)
    monkeypatch.chdir(tmp_path)
    for colour in COLOURS:
        write_image(tmp_path / "clips" / f"{colour}.png", colour)
    Path("labels.csv").write_text("path,label\nclips/red.png,a mistake\nclips/blue.png,blue\n")
    out, _ = works("predict", "clips", "--classes", "red,green,blue", "--top", 2, "--workers", 0, "--csv")
    Path("predictions.csv").write_text(out)
    environment = {"FIFTYONE_DO_NOT_TRACK": "1", "HOME": str(tmp_path)}
    assert run_with("fiftyone", f'{show}{back}print("{{}}")', **environment) == {}
    guesses = {row["path"]: row["name"] for row in csv.DictReader(out.splitlines()) if row["rank"] == "1"}
    assert {item.path: item.label for item in read_dataset("corrected.csv").items} == {
        tmp_path / name: f"{guesses[name]} True" for name in ("clips/red.png", "clips/blue.png")
    }
