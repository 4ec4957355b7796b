"""Trees of the classes in CSVs, files and nested folders."""

from pathlib import Path

from made import write_image
from messages import refuses
from texthead.data.reading import read_dataset
from texthead.errors import DataError


def manifest(folder: Path, labels: dict[str, str], column: str = "note") -> Path:
    """Write a CSV of images of these labels, with another column."""
    rows = [f"path,label,{column}"]
    for index, (label, more) in enumerate(labels.items()):
        rows.append(f"{index}.png,{label},{more}")
    (folder / "items.csv").write_text("\n".join(rows) + "\n")
    return folder / "items.csv"


def test_labels_and_parents_make_a_tree_with_a_note(tmp_path: Path):
    data = read_dataset(manifest(tmp_path, {"animal/dog": "", "animal/cat": "", "kite": ""}))
    assert data.tree
    assert data.tree.above == {"animal/dog": ("animal",), "animal/cat": ("animal",), "kite": ()}
    assert data.notes[-1] == "the 3 classes form a tree with 1 broader name (animal); not in it: kite"
    data = read_dataset(manifest(tmp_path, {"dog": "animal", "cat": "animal", "kite": ""}, "parent"))
    assert data.tree
    assert data.tree.above == {"cat": ("animal",), "dog": ("animal",), "kite": ()}
    data = read_dataset(manifest(tmp_path, {"TV/monitor": "", "kite": ""}))
    assert data.tree is None
    assert not data.notes
    # A column `parent` that is no tree is only noted.
    data = read_dataset(manifest(tmp_path, {"dog": "animal", "cat": "dog"}, "parent"))
    assert data.tree is None
    assert "'dog' is a class and a name above classes" in data.notes[-1]


def test_a_file_is_the_tree_of_the_labels(tmp_path: Path):
    path, tree = manifest(tmp_path, {"dog": "", "cat": "", "kite": ""}), tmp_path / "tree.yaml"
    tree.write_text("animal: [dog, cat, bird]")
    data = read_dataset(path, tree=tree)
    assert data.tree
    assert data.tree.above == {"cat": ("animal",), "dog": ("animal",), "bird": ("animal",), "kite": ()}
    tree.write_text("animal: [bird]")
    with refuses(DataError, "items.csv", "no class is in the tree"):
        read_dataset(path, tree=tree)
    with refuses(DataError, "tree", "is for class folders"):
        read_dataset(path, tree="folders")


def test_nested_folders_are_one_class_or_make_a_tree(tmp_path: Path):
    for name in ("animal/dog/1.png", "animal/dog/pug/2.png", "animal/cat/3.png", "kite/4.png"):
        write_image(tmp_path / name, "red")
    data = read_dataset(tmp_path)
    assert data.labels == ["animal", "animal", "animal", "kite"]
    assert "3 files in folders below class folders belong to these classes" in data.notes[0]
    with refuses(DataError, "its folders are no tree"):  # animal/dog holds files and is above animal/dog/pug
        read_dataset(tmp_path, tree="folders")
    (tmp_path / "animal" / "dog" / "1.png").unlink()
    data = read_dataset(tmp_path, tree="folders")
    assert data.labels == ["animal/cat", "animal/dog/pug", "kite"]
    assert data.tree
    assert data.tree.above["animal/dog/pug"] == ("animal", "animal/dog")
