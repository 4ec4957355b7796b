"""Data described by a YAML file: other names of columns, roots, suffixes, numeric labels, splits and trees."""

from pathlib import Path

import pytest

from made import write_image
from messages import refuses
from texthead.data.dataset import Dataset
from texthead.data.reading import listed_files, read_dataset, read_files
from texthead.errors import DataError


def described(root: Path, text: str, name: str = "data.yaml") -> Dataset:
    (root / name).write_text(text)
    return read_dataset(root / name)


def table(root: Path, *rows: str, name: str = "list.csv") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(rows) + "\n")


def rows_of(data: Dataset) -> list[tuple[str | None, str, str | None]]:
    return [(item.name, item.label, item.split) for item in data.items]


def test_columns_root_and_suffix_of_a_table_of_other_people(tmp_path: Path) -> None:
    table(tmp_path, "image_id,species,path,set", "a,0,x,train", "b,1,y,test")
    text = "list: list.csv\nroot: photos\nsuffix: .jpg\nlabels: {0: a kite, 1: crow}\n"
    text += "columns: {path: image_id, label: species, split: set}\n"
    with refuses(DataError, tmp_path / "photos", "no such file or folder"):
        described(tmp_path, text)
    (tmp_path / "photos").mkdir()
    data = described(tmp_path, text)
    assert rows_of(data) == [("a.jpg", "a kite", "train"), ("b.jpg", "crow", "test")]
    assert data.items[0].path == tmp_path / "photos" / "a.jpg"
    assert data.notes == ()
    files = read_files(tmp_path / "data.yaml")
    assert (files.paths, files.classes, data.paths) == (data.paths, [], [*listed_files(tmp_path / "data.yaml")])


def test_a_list_and_a_folder_as_splits(tmp_path: Path) -> None:
    table(tmp_path, "path;labels", "a.png;dog", name="lists/train.csv")
    table(tmp_path, "path;labels", "a.png;dog; cat", 'b.png;""', name="other/test.csv")
    with refuses(DataError, "test.csv:2", "double quotes"):
        described(tmp_path, "train: lists/train.csv\ntest: other/test.csv\n")
    table(tmp_path, "path;labels", 'a.png;"dog; cat"', 'b.png;""', name="other/test.csv")
    data = described(tmp_path, "train: lists/train.csv\ntest: other/test.csv\n")
    names = [("lists/a.png", "dog", "train"), ("other/a.png", "cat; dog", "test"), ("other/b.png", "", "test")]
    assert rows_of(data) == names
    assert len([note for note in data.notes if "binary label" in note]) == 1
    for split in ("train", "test"):
        write_image(tmp_path / split / "red" / "a.png", "red")
    data = described(tmp_path, "train: train\ntest: test\n")
    assert rows_of(data) == [("train/red/a.png", "red", "train"), ("test/red/a.png", "red", "test")]


def test_a_tree_in_the_file_or_in_another(tmp_path: Path) -> None:
    table(tmp_path, "path,label", "a.png,pug", "b.png,siamese")
    tree = "{animal: {dog: [pug, beagle], cat: [siamese]}}"
    (tmp_path / "tree.yaml").write_text(tree)
    trees = [described(tmp_path, f"list: list.csv\ntree: {value}\n").tree for value in (tree, "tree.yaml")]
    assert trees[0] == trees[1]
    assert trees[0] is not None
    assert trees[0].ancestors("pug") == ("animal", "dog")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("lst: list.csv", ["'lst'", "list?"]),
        ("list: list.csv\ntrain: list.csv", ["list, train"]),
        ("list: gone.csv", ["gone.csv", "no such file"]),
        ("list: list.csv\ncolumns: {file: image_id}", ["'file'", "path, label"]),
        ("list: list.csv\ncolumns: {path: image_id}", ["must name image_id and label"]),
        # A group that is not read would let training items leak into the test.
        ("list: list.csv\ncolumns: {group: Site}", ["must name path and label and Site"]),
        ("list: list.csv\ncolumns: {label: label, group: label}", ["`columns`", "a separate column"]),
        ("list: list.csv\nlabels: {cat: a cat}", ["id 'dog'"]),
        ("test: list.csv", ["column split has train", "test"]),
    ],
)
def test_what_a_data_file_may_not_hold(tmp_path: Path, text: str, parts: list[str]) -> None:
    table(tmp_path, "path,label,split", "a.png,dog,train")
    with refuses(DataError, *parts):
        described(tmp_path, text)
