"""Labels on disk: they survive kills, and edits by hand are kept."""

import csv
import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from made import write_image
from messages import refuses
from platforms import kill, mkfifo, symlink
from texthead.apps.label.label_file import LabelFile, Mark
from texthead.data.dataset import Dataset, Item
from texthead.data.reading import read_dataset
from texthead.errors import DataError

FILES = 12


@pytest.fixture
def files(tmp_path: Path) -> Dataset:
    paths = [write_image(tmp_path / "files" / f"{index:02d}.png", "red", seed=index) for index in range(FILES)]
    return Dataset(tuple(Item(path, ()) for path in paths), str(tmp_path / "files"))


def test_a_label_is_a_manifest_that_training_reads(files: Dataset, tmp_path: Path) -> None:
    labels_csv = tmp_path / "labels.csv"
    labels = LabelFile(labels_csv, files)
    assert labels.put(3, Mark(("cat",))).of == {3: ("cat",)}
    labels.put(5, Mark(("a dog, or two",)))
    assert [item.label for item in read_dataset(labels_csv).items] == ["cat", "a dog, or two"]
    assert labels_csv.read_text().splitlines()[1].startswith("files/03.png,cat,20")
    # A new label replaces the old one.
    assert labels.put(3, Mark(("dog",))).of == {3: ("dog",), 5: ("a dog, or two",)}
    result = labels.put(3, Mark(bad=True))
    assert (result.of, result.bad) == ({5: ("a dog, or two",)}, {3})
    assert [row["path"] for row in csv.DictReader((tmp_path / "labels.bad.csv").open())] == ["files/03.png"]
    result = labels.put(3, Mark(("cat",), checked=True))
    assert (result.bad, result.checked, result.mark(3)) == (set(), {3}, Mark(("cat",), checked=True))
    assert LabelFile(labels_csv, files).read() == result
    assert labels.put(3, Mark(("cat",))).checked == set()
    assert labels.rename("cat", "kitten").of == {3: ("kitten",), 5: ("a dog, or two",)}
    assert labels.rename("no such", "x").of[3] == ("kitten",)
    assert labels.put(3, Mark()).of == {5: ("a dog, or two",)}
    labels.put(5, Mark())
    assert labels.read().of == LabelFile(labels_csv, files).read().of == {}
    assert not labels_csv.exists()


def test_several_labels_of_a_file_are_in_one_column(files: Dataset, tmp_path: Path) -> None:
    labels_csv = tmp_path / "labels.csv"
    labels = LabelFile(labels_csv, files, multilabel=True)
    labels.put(3, Mark(("dog", "frisbee")))
    state = labels.put(5, Mark(()))
    assert [line.rsplit(",", 2)[0] for line in labels_csv.read_text().splitlines()[1:]] == [
        "files/03.png,dog; frisbee",
        "files/05.png,",
    ]
    assert (state.of, state.counts) == ({3: ("dog", "frisbee"), 5: ()}, {"dog": 1, "frisbee": 1})
    assert read_dataset(labels_csv).label_sets == [("dog", "frisbee"), ()]
    assert labels.rename("dog", "puppy").of == {3: ("frisbee", "puppy"), 5: ()}
    assert labels.rename("puppy", "frisbee").of == {3: ("frisbee",), 5: ()}
    # Edited by hand.
    labels_csv.write_text("path,labels\nfiles/03.png,tree;dog ; tree\nfiles/04.png,\n")
    assert labels.read().of == {3: ("dog", "tree"), 4: ()}
    with refuses(DataError, "labels.csv", "'label'"):
        LabelFile(labels_csv, files).read()
    labels_csv.write_text("path,label\nfiles/03.png,dog\n")
    with refuses(DataError, "labels.csv", "'labels'"):
        LabelFile(labels_csv, files, multilabel=True)


def test_what_others_wrote_is_kept(files: Dataset, tmp_path: Path) -> None:
    labels_csv = tmp_path / "labels.csv"
    labels_csv.write_text(f"path,label,group\n{files.items[1].path},cat,indoors\n")
    one, other = LabelFile(labels_csv, files), LabelFile(labels_csv, files)
    one.put(2, Mark(("dog",)))
    assert other.put(4, Mark(("bird",))).of == {1: ("cat",), 2: ("dog",), 4: ("bird",)}
    one.put(1, Mark(("dog",)))
    assert other.read().of[1] == ("dog",)
    assert read_dataset(labels_csv).items[0].group == "indoors"


def test_a_list_of_something_else_is_refused(files: Dataset, tmp_path: Path) -> None:
    labels_csv = tmp_path / "labels.csv"
    labels_csv.write_text("path,label\nelse.png,cat\n")
    with refuses(DataError, "else.png", "labels.csv:2"):
        LabelFile(labels_csv, files)
    labels_csv.write_text("path,label\nfiles/01.png,cat\nfiles/../files/01.png,dog\n")
    with refuses(DataError, "twice", "labels.csv:3"):
        LabelFile(labels_csv, files)


@pytest.mark.parametrize("make", [mkfifo, lambda path: symlink(path, "target")])
def test_a_pipe_a_folder_or_a_link_in_place_of_a_file(
    files: Dataset, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    for name in ("labels.csv", "labels.bad.csv"):
        path = tmp_path / name / "labels.csv"
        path.parent.mkdir()
        labels, instead = LabelFile(path, files), path.with_name(name)
        instead.unlink(missing_ok=True)
        make(instead)
        for change in (labels.read, partial(labels.put, 3, Mark(("cat",))), partial(LabelFile, path, files)):
            with refuses(DataError, f"{name}: is a link, a pipe"):
                change()
        assert not path.with_name("target").exists()


def _write(labels_csv: Path, files: Dataset, acknowledged: Path) -> None:
    labels = LabelFile(labels_csv, files)
    for number in range(10_000):
        position = number % FILES
        labels.put(position, Mark((f"class {number}",)))
        # Labels are on disk before they are acknowledged.
        with acknowledged.open("a") as file:
            file.write(f"{position} {number}\n")


@pytest.mark.slow
def test_a_killed_writer_loses_no_acknowledged_label(files: Dataset, tmp_path: Path) -> None:
    labels_csv, acknowledged = tmp_path / "labels.csv", tmp_path / "acknowledged"
    for _ in range(3):
        writer = multiprocessing.get_context("spawn").Process(target=_write, args=(labels_csv, files, acknowledged))
        writer.start()
        while not acknowledged.exists() or acknowledged.read_text().count("\n") <= 20:
            time.sleep(0.05)
            assert writer.is_alive()
        assert writer.pid
        kill(writer.pid)
        writer.join()
        result = LabelFile(labels_csv, files).read().of
        for line in acknowledged.read_text().splitlines()[-FILES:]:
            position, number = map(int, line.split())
            # A later label may have been written but not acknowledged.
            assert int(result[position][0].split()[1]) >= number
        acknowledged.write_text("")
    assert {item.path for item in read_dataset(labels_csv).items} <= {item.path for item in files.items}
