"""Published lists and label files: every format is read; contradictions are errors or notes."""

from pathlib import Path

import pytest

from messages import prints, refuses
from texthead.data.published_lists import read_list
from texthead.errors import DataError
from texthead.text.class_names import clean_names
from texthead.text.label_files import ClassIds, read_labels


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def named(*names: str) -> ClassIds:
    return ClassIds(Path("labels.csv"), tuple(map(str, range(len(names)))), names)


def read(path: Path, labels: ClassIds, root: Path | None = None, **options: str) -> tuple[list[tuple[str, str]], list]:
    """Read a list; return ((path relative to the root or the list's folder, name) pairs, notes)."""
    dataset = read_list(path, labels, root, **options)
    items, notes = [(item.path, item.label) for item in dataset.items], list(dataset.notes)
    return [(item.relative_to(root or path.parent).as_posix(), name) for item, name in items], notes


def test_a_label_file(tmp_path):
    lines = ["id,name", "0,Applying sunscreen", '1,"walking, fast"', "2,backflip (human)", "3,élan", ""]
    names = ("Applying sunscreen", "walking, fast", "backflip (human)", "élan")
    for newline, encoding in (("\n", "utf-8"), ("\r\n", "utf-8-sig")):
        labels = read_labels(write(tmp_path / "labels.csv", newline.join(lines), encoding))
        assert (labels.path, labels.ids, labels.names) == (tmp_path / "labels.csv", ("0", "1", "2", "3"), names)
    assert labels.name_of("1") == "walking, fast"
    # Ids may be words, and the columns in another order.
    labels = read_labels(write(tmp_path / "a.csv", "Name, ID,more\ntench,n01440764,x\ngoldfish,n01443537,y\n"))
    assert (labels.ids, labels.names) == (("n01440764", "n01443537"), ("tench", "goldfish"))
    with refuses(DataError, "a.csv", "'n0'", 2):
        labels.name_of("n0")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0,abseiling\n1,archery\n", ["id,name", "0, abseiling"]),
        ("id,name\n0,a\n1\n", ["a.csv:3"]),
        ("id,name\n0,a, fast\n", ["a.csv:2"]),
        ("id,name\n0,\n", ["a.csv:2", "name"]),
        ("id,name\n,a\n", ["a.csv:2", "id"]),
        ("id,name\n0,a\n1,b\n2,a\n", ["name 'a'", 2]),
        ("id,name\n0,a\n0,b\n", ["id '0'", 2]),
    ],
)
def test_a_label_file_that_breaks_a_rule(tmp_path, text, parts):
    with refuses(DataError, tmp_path / "a.csv", *parts):
        read_labels(write(tmp_path / "a.csv", text))


def test_a_list_of_videos(tmp_path):
    lines = ["0wR5jVB-WPk.mp4 1", "--07WQ2iBlw.mp4 0", "sub//a b 3.mp4 1", "-x.mp4 0", "/data/v.mp4 1", ""]
    path = write(tmp_path / "val.txt", "\r\n".join(lines), "utf-8-sig")
    dataset = read_list(path, named("abseiling", "archery"))
    names = ["0wR5jVB-WPk.mp4", "--07WQ2iBlw.mp4", "sub/a b 3.mp4", "-x.mp4", "/data/v.mp4"]
    assert dataset.paths == [tmp_path / name for name in names]
    assert (dataset.labels, dataset.notes) == (["archery", "abseiling"] * 2 + ["archery"], ())


def test_a_list_of_frames(tmp_path):
    lines = ["a/v_01 163 0", "--07WQ2iBlw 272 1", "b//my clip 12 1", "4k-F7EXpcrM_0 0 0"]
    path = write(tmp_path / "lists" / "train.txt", "\n".join(lines))
    labels = named("run", "jump")
    items, notes = read(path, labels, root=tmp_path, frame_template="img_{:05d}.jpg")
    paths, names = ["a/v_01", "--07WQ2iBlw", "b/my clip", "4k-F7EXpcrM_0"], ["run", "jump", "jump", "run"]
    assert items == [(f"{folder}/img_{{:05d}}.jpg", name) for folder, name in zip(paths, names, strict=True)]
    assert notes == [], "a folder that is missing is no matter of counts"
    items, _ = read(path, labels, root=tmp_path, suffix=".avi")
    assert [item for item, _ in items] == [f"{folder}.avi" for folder in paths]


@pytest.mark.parametrize(
    ("text", "options", "parts"),
    [
        ("a 12 0\n", {}, ["`path n_frames label`", "frames: img_", "suffix: .avi"]),
        ("a.mp4 0\n", {"frame_template": "{:05d}.jpg"}, ["`file label`", "`frames`"]),
        ("a 1 0\n", {"frame_template": "{:05d}.jpg", "suffix": ".avi"}, ["`frames`", "`suffix`"]),
        ("a 1 0\n", {"frame_template": "img.jpg"}, ["`frames`", "'img.jpg'"]),
        ("a.mp4 run\n", {}, ["a.txt:1", "'a.mp4 run'", "`file label`"]),
        ("a.mp4 0\nb.mp4\n", {}, ["a.txt:2", "'b.mp4'", "`file label`"]),
        ("a.mp4 0\n\nb.mp4 -1\n", {}, ["a.txt:3", "'b.mp4 -1'", "`file label`"]),
        ("a 12 0\nb 1\n", {"suffix": ".avi"}, ["a.txt:2", "'b 1'", "`path n_frames label`"]),
        ("a.mp4 0\nb.mp4 2\n", {}, ["a.txt", "labels.csv", "id '2'"]),
    ],
)
def test_a_list_that_breaks_a_rule(tmp_path, text, options, parts):
    with refuses(DataError, *parts):
        read(write(tmp_path / "a.txt", text), named("run", "jump"), **options)


@pytest.mark.parametrize("ids", [("1", "0", "2"), ("2", "1", "0"), ("1", "0", "5"), ("0", "1", "n3")])
def test_ids_that_a_list_may_mean_in_place_of_rows(tmp_path: Path, ids: tuple[str, ...]) -> None:
    """A mapping in a YAML file says which name an id has; in a file, the published code takes the row."""
    path, names = write(tmp_path / "a.txt", "a.mp4 0\nb.mp4 1\n"), ("run", "jump", "swim")
    with refuses(DataError, "labels.csv", "0, 1, 2, ...", "labels: {1: cat"):
        read(path, ClassIds(Path("labels.csv"), ids, names))
    items, _ = read(path, ClassIds(Path("data.yaml"), ids, names, keyed=True))
    assert [name for _, name in items] == [names[ids.index("0")], names[ids.index("1")]]
    with refuses(DataError, "data.yaml", "'0'"):
        read(path, ClassIds(Path("data.yaml"), ("1", "2", "3"), names, keyed=True))


def test_ids_that_are_no_numbers_and_names_without_an_item(tmp_path):
    path = write(tmp_path / "a.txt", "a.mp4 0\nb.mp4 1\n")
    items, (unused,) = read(path, ClassIds(Path("labels.csv"), ("n1", "n2", "n3"), ("run", "jump", "swim")))
    assert [name for _, name in items] == ["run", "jump"]
    prints(unused, path, "1 of the 3", "labels.csv", "'swim'")


def test_imagenet_s_names_are_known_by_its_ids(tmp_path, monkeypatch):
    labels = read_labels(Path("imagenet"))
    assert (len(labels.ids), len(labels.names)) == (1000, 1000)
    assert labels.name_of("n01440764") == "tench"
    assert labels.name_of("n03126707").startswith("crane: lifts and moves heavy objects")
    assert labels.name_of("n02113186") != labels.name_of("n02963159"), "Cardigan, a dog, and cardigan"
    assert len(clean_names(labels.names)) == 1000
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").write_text("id,name\n0,a cat\n")
    assert read_labels(Path("imagenet")).names == ("a cat",)
