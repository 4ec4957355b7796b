"""Labels on disk: they survive kills, and edits by hand are kept."""

import csv
import multiprocessing
import time
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


def put(labels: LabelFile, files: Dataset, number: int, mark: Mark) -> dict[int, Mark]:
    labels.put(files.items[number].media, mark)
    return read(labels)


def read(labels: LabelFile) -> dict[int, Mark]:
    """Return the marks by the number in the name of their file."""
    return {int(media.file.stem): mark for media, mark in labels.read().items()}


def test_a_label_is_a_manifest_that_training_reads(files: Dataset, tmp_path: Path) -> None:
    labels_csv, dog = tmp_path / "labels.csv", Mark(("a dog, or two",))
    labels = LabelFile(labels_csv, files)
    assert put(labels, files, 3, Mark(("cat",))) == {3: Mark(("cat",))}
    put(labels, files, 5, dog)
    assert [item.label for item in read_dataset(labels_csv).items] == ["cat", "a dog, or two"]
    assert labels_csv.read_text().splitlines()[1].startswith("files/03.png,cat,20")
    # A new mark replaces the old one.
    for mark in (Mark(("dog",)), Mark(bad=True), Mark(("cat",), checked=True), Mark(("cat",))):
        assert put(labels, files, 3, mark) == read(LabelFile(labels_csv, files)) == {3: mark, 5: dog}
        bad = tmp_path / "labels.bad.csv"
        rows = csv.DictReader(bad.read_text().splitlines()) if bad.exists() else ()
        assert [row["path"] for row in rows] == ["files/03.png"] * mark.bad
    labels.rename("cat", "kitten")
    labels.rename("no such", "x")
    assert read(labels) == {3: Mark(("kitten",)), 5: dog}
    assert put(labels, files, 3, Mark()) == {5: dog}
    assert put(labels, files, 5, Mark()) == read(LabelFile(labels_csv, files)) == {}
    assert not labels_csv.exists()


def test_several_labels_of_a_file_are_in_one_column(files: Dataset, tmp_path: Path) -> None:
    labels_csv = tmp_path / "labels.csv"
    labels = LabelFile(labels_csv, files, multilabel=True)
    put(labels, files, 3, Mark(("dog", "frisbee")))
    assert put(labels, files, 5, Mark(())) == {3: Mark(("dog", "frisbee")), 5: Mark(())}
    rows = [line.rsplit(",", 2)[0] for line in labels_csv.read_text().splitlines()[1:]]
    assert rows == ["files/03.png,dog; frisbee", "files/05.png,"]
    assert read_dataset(labels_csv).label_sets == [("dog", "frisbee"), ()]
    for new in ("puppy", "frisbee"):
        labels.rename("dog" if new == "puppy" else "puppy", new)
        assert read(labels) == {3: Mark(tuple(sorted({"frisbee", new}))), 5: Mark(())}
    # Edited by hand; the column says that there may be several.
    labels_csv.write_text("path,labels\nfiles/03.png,tree;dog ; tree\nfiles/04.png,\n")
    for each in (labels, LabelFile(labels_csv, files)):
        assert read(each) == {3: Mark(("dog", "tree")), 4: Mark(())}
    labels_csv.write_text("path,label,checked\nfiles/03.png,dog,no\nfiles/04.png,dog,Yes\n")
    assert read(LabelFile(labels_csv, files)) == {3: Mark(("dog",)), 4: Mark(("dog",), checked=True)}
    labels_csv.write_text("path,label\nfiles/03.png,dog\n")
    with refuses(DataError, "labels.csv", "`multilabel`"):
        LabelFile(labels_csv, files, multilabel=True)


def test_what_others_wrote_is_kept(files: Dataset, tmp_path: Path) -> None:
    labels_csv = tmp_path / "labels.csv"
    labels_csv.write_text(f"path,label,group\n{files.items[1].path},cat,indoors\n")
    one, other = LabelFile(labels_csv, files), LabelFile(labels_csv, files)
    put(one, files, 2, Mark(("dog",)))
    assert put(other, files, 4, Mark(("bird",))) == {1: Mark(("cat",)), 2: Mark(("dog",)), 4: Mark(("bird",))}
    put(one, files, 1, Mark(("dog",)))
    assert read(other)[1] == Mark(("dog",))
    assert read_dataset(labels_csv).items[0].group == "indoors"


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ("else.png,cat", ("else.png", "labels.csv:2", "not in")),
        ("files/01.png,cat|files/../files/01.png,dog", ("twice", "labels.csv:3")),
    ],
)
def test_a_list_of_something_else_is_refused(files: Dataset, tmp_path: Path, rows: str, parts: tuple) -> None:
    labels_csv = tmp_path / "labels.csv"
    labels_csv.write_text(f"path,label|{rows}".replace("|", "\n"))
    with refuses(DataError, *parts):
        LabelFile(labels_csv, files)


@pytest.mark.parametrize("make", [mkfifo, lambda path: symlink(path, "target")])
def test_a_pipe_a_folder_or_a_link_in_place_of_a_file(files, tmp_path, make) -> None:
    for name in ("labels.csv", "labels.bad.csv"):
        path = tmp_path / name / "labels.csv"
        path.parent.mkdir()
        labels, instead = LabelFile(path, files), path.with_name(name)
        instead.unlink(missing_ok=True)
        make(instead)
        write = partial(put, labels, files, 3, Mark(("cat",)))
        for change in (labels.read, write, partial(LabelFile, path, files)):
            with refuses(DataError, f"{name}: is a link, a pipe"):
                change()
        assert not path.with_name("target").exists()


def _write(labels_csv: Path, files: Dataset, acknowledged: Path) -> None:
    labels = LabelFile(labels_csv, files)
    for number in range(10_000):
        position = number % FILES
        labels.put(files.items[position].media, Mark((f"class {number}",)))
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
        result = read(LabelFile(labels_csv, files))
        for line in acknowledged.read_text().splitlines()[-FILES:]:
            position, number = map(int, line.split())
            # A later label may have been written but not acknowledged.
            assert int(result[position].labels[0].split()[1]) >= number
        acknowledged.write_text("")
    assert {item.path for item in read_dataset(labels_csv).items} <= {item.path for item in files.items}
