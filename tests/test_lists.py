"""Lists and label files as they are published: every form is read, and what does not agree is said."""

from pathlib import Path

import pytest

from texthead.errors import DataError
from texthead.label_files import LabelFile, read_labels
from texthead.lists import read_list
from texthead.prompts import clean_names


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def named(*names: str) -> LabelFile:
    return LabelFile(Path("labels.csv"), tuple(map(str, range(len(names)))), names)


def read(
    path: Path,
    labels: LabelFile,
    *,
    root: Path | None = None,
    frame_template: str | None = None,
    suffix: str | None = None,
) -> tuple[list[tuple[str, str]], list[str]]:
    """(paths below the list's folder as text, with names; notes)."""
    items, notes = read_list(path, labels, root=root, frame_template=frame_template, suffix=suffix)
    return [(str(item.relative_to(root or path.parent)), name) for item, name in items], notes


def frames(folder: Path, first: int, last: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, last + 1):
        (folder / f"img_{number:05d}.jpg").write_bytes(b"x")


# ---- label files


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_label_file(tmp_path, encoding, newline):
    lines = ["id,name", "0,Applying sunscreen", '1,"walking, fast"', "2,backflip (human)", "3,élan", ""]
    path = write(tmp_path / "labels.csv", newline.join(lines), encoding)
    found = read_labels(path)
    assert found.path == path
    assert found.ids == ("0", "1", "2", "3")
    assert found.names == ("Applying sunscreen", "walking, fast", "backflip (human)", "élan")
    assert found.name_of("1") == "walking, fast"


def test_ids_may_be_words_and_columns_in_another_order(tmp_path):
    found = read_labels(write(tmp_path / "a.csv", "Name, ID,more\ntench,n01440764,x\ngoldfish,n01443537,y\n"))
    assert (found.ids, found.names) == (("n01440764", "n01443537"), ("tench", "goldfish"))
    with pytest.raises(DataError, match="no row of 2 has the id 'n0': add the row n0,NAME"):
        found.name_of("n0")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "its first line must be id,name, found nothing"),
        ("0,abseiling\n1,archery\n", "its first line must be id,name, found 0, abseiling"),
        ("id,name\n", "holds no class"),
        ("id,name\n0,a\n1\n", "a.csv:3: the row has not as many fields"),
        ("id,name\n0,a, fast\n", "a.csv:2: the row has not as many fields as the header; quote names with commas"),
        ("id,name\n0,\n", "a.csv:2: id and name must not be empty"),
        ("id,name\n,a\n", "a.csv:2: id and name must not be empty"),
        ("id,name\n0,a\n1,b\n2,a\n", "name 'a' occurs 2 times"),
        ("id,name\n0,a\n0,b\n", "id '0' occurs 2 times"),
        ('id,name\n0,"a\n', "not a readable label file"),
    ],
)
def test_a_label_file_that_breaks_a_rule(tmp_path, text, told):
    with pytest.raises(DataError, match=told) as caught:
        read_labels(write(tmp_path / "a.csv", text))
    assert str(tmp_path) in str(caught.value)


def test_no_label_file(tmp_path):
    with pytest.raises(DataError, match="none.csv: no such label file; give a CSV with the columns id,name"):
        read_labels(tmp_path / "none.csv")
    with pytest.raises(DataError, match="not a readable label file"):
        read_labels(tmp_path)
    with pytest.raises(DataError, match="save it as UTF-8"):
        read_labels(write(tmp_path / "a.csv", "id,name\n0,élan\n", "latin-1"))


# ---- forms of lists


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_list_of_videos(tmp_path, newline):
    lines = ["0wR5jVB-WPk.mp4 1", "--07WQ2iBlw.mp4 0", "sub//a b 3.mp4 1", "-x.mp4 0"]
    path = write(tmp_path / "val.txt", newline.join([*lines, ""]), "utf-8-sig")
    items, notes = read(path, named("abseiling", "archery"))
    assert items == [
        ("0wR5jVB-WPk.mp4", "archery"),
        ("--07WQ2iBlw.mp4", "abseiling"),
        ("sub/a b 3.mp4", "archery"),
        ("-x.mp4", "abseiling"),
    ]
    assert notes == []


def test_a_list_of_frames(tmp_path):
    lines = ["a/v_01 163 0", "--07WQ2iBlw 272 1", "b//my clip 12 1", "4k-F7EXpcrM_0 0 0"]
    path = write(tmp_path / "lists" / "train.txt", "\n".join(lines))
    labels = named("run", "jump")
    items, notes = read(path, labels, root=tmp_path, frame_template="img_{:05d}.jpg")
    assert items == [
        ("a/v_01/img_{:05d}.jpg", "run"),
        ("--07WQ2iBlw/img_{:05d}.jpg", "jump"),
        ("b/my clip/img_{:05d}.jpg", "jump"),
        ("4k-F7EXpcrM_0/img_{:05d}.jpg", "run"),
    ]
    assert notes == [], "a folder that is missing is no matter of counts"
    items, _ = read(path, labels, root=tmp_path, suffix=".avi")
    assert [item for item, _ in items] == ["a/v_01.avi", "--07WQ2iBlw.avi", "b/my clip.avi", "4k-F7EXpcrM_0.avi"]


def test_a_suffix_also_completes_files(tmp_path):
    path = write(tmp_path / "a.txt", "v_1 0\nv.2 1\n")
    assert read(path, named("a", "b"), suffix=".mp4")[0] == [("v_1.mp4", "a"), ("v.2.mp4", "b")]


def test_paths_from_the_root_of_the_disk(tmp_path):
    path = write(tmp_path / "a.txt", "/data/v.mp4 0\n")
    assert read_list(path, named("a"), root=None, frame_template=None, suffix=None)[0] == [(Path("/data/v.mp4"), "a")]


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("", {}, "the list is empty; expected lines `path n_frames label` or `file label`"),
        (
            "a 12 0\n",
            {},
            r"a.txt: lines are `path n_frames label`: give frame_template \(--frame-template .*, or suffix \(--suffix",
        ),
        ("a.mp4 0\n", {"frame_template": "{:05d}.jpg"}, r"lines are `file label`, and frame_template .* leave it out"),
        ("a 1 0\n", {"frame_template": "{:05d}.jpg", "suffix": ".avi"}, "both say what a path is: give one"),
        (
            "a 1 0\n",
            {"frame_template": "img.jpg"},
            r"must hold one place for the number, as img_{:05d}.jpg, got 'img.jpg'",
        ),
        ("a 1 0\n", {"suffix": "avi"}, "must be a dot and letters, as .avi, got 'avi'"),
        ("a.AVI 0\n", {"suffix": ".avi"}, r"its paths end in .avi already \(a.AVI\): leave out suffix"),
        (
            "a.mp4 run\n",
            {},
            "a.txt:1: 'a.mp4 run' is not `file label` nor `path n_frames label`; the label is a whole number",
        ),
        ("a.mp4 0\nb.mp4\n", {}, "a.txt:2: 'b.mp4' is not `file label`, as the first line is"),
        ("a.mp4 0\n\nb.mp4 -1\n", {}, "a.txt:3: 'b.mp4 -1' is not `file label`"),
        ("a.mp4 0\nb.mp4 1.0\n", {}, "a.txt:2"),
        ("a 12 0\nb 1\n", {"suffix": ".avi"}, "a.txt:2: 'b 1' is not `path n_frames label`, as the first line is"),
        ("path,label\na.mp4,run\n", {}, "a.txt:1"),
        (
            "a.mp4 0\nb.mp4 2\n",
            {},
            "a.txt:2: label 2 is outside 0..1, the rows of labels.csv; the list and the label file",
        ),
        ("a.mp4 1\nb.mp4 2\n", {}, "label 2 is outside 0..1, .*; the labels run from 1 to 2: take 1 off each"),
    ],
)
def test_a_list_that_breaks_a_rule(tmp_path, text, options, told):
    with pytest.raises(DataError, match=told):
        read(write(tmp_path / "a.txt", text), named("run", "jump"), **options)


def test_a_list_without_its_folder_or_not_as_utf8(tmp_path):
    path = write(tmp_path / "a.txt", "a.mp4 0\n")
    with pytest.raises(
        DataError, match=r"gone: no such folder; root \(--root\) must be where the paths in .*a.txt begin"
    ):
        read(path, named("run"), root=tmp_path / "gone")
    with pytest.raises(DataError, match="save it as UTF-8"):
        read(write(tmp_path / "a.txt", "é.mp4 0\n", "latin-1"), named("run"))


# ---- what does not agree


def test_ids_that_are_not_the_order_of_rows_are_noted(tmp_path):
    path = write(tmp_path / "a.txt", "a.mp4 0\nb.mp4 1\n")
    labels = LabelFile(Path("labels.csv"), ("1", "0"), ("run", "jump"))
    items, notes = read(path, labels)
    assert [name for _, name in items] == ["run", "jump"]
    assert notes == [
        "labels.csv: its ids are not 0, 1, 2, ... (row 0 has id '1'); a label is the place of its row, from 0"
    ]


def test_names_without_an_item_are_noted(tmp_path):
    _, notes = read(write(tmp_path / "a.txt", "a.mp4 1\n"), named("run", "jump", "swim"))
    assert notes == [f"{tmp_path / 'a.txt'}: no item for 2 of the 3 names of labels.csv (the first: 'run')"]


def test_frame_counts_that_disagree_with_the_folder_are_one_note(tmp_path):
    frames(tmp_path / "one", 1, 5)
    frames(tmp_path / "zero", 0, 4)
    frames(tmp_path / "more", 1, 6)
    frames(tmp_path / "fewer", 1, 4)
    frames(tmp_path / "none", 1, 3)
    template = {"frame_template": "img_{:05d}.jpg"}
    good = write(tmp_path / "good.txt", "one 5 0\nzero 5 0\nmore 6 0\nfewer 4 0\ngone 7 0\n")
    assert read(good, named("run"), **template)[1] == []
    bad = write(tmp_path / "bad.txt", "one 5 0\nzero 5 0\nmore 5 0\nfewer 5 0\nnone 0 0\ngone 7 0\n")
    assert read(bad, named("run"), **template)[1] == [
        f"{bad}: 3 of 6 folders do not hold as many frames as it says; the folder is believed "
        f"(the first: {tmp_path / 'more'}, 5 frames by the list)"
    ]


HMDB = ("kick", "kick ball", "sword", "sword exercise")


def test_folders_of_another_class_are_one_note(tmp_path):
    lines = ["kick/a.avi 1", "kick_ball/b.avi 0", "sword/c.avi 2", "sword_exercise/d.avi 3", "other/e.avi 0"]
    path = write(tmp_path / "a.txt", "\n".join(lines))
    _, notes = read(path, named(*HMDB))
    assert notes == [
        f"{path}: 2 of 5 paths name another class than their label (line 1: kick/a.avi says 'kick', "
        "label 1 is 'kick ball'): check labels.csv"
    ]


@pytest.mark.parametrize(
    "line", ["KickBall/v.avi 1", "kick/kick ball/v.avi 1", "kick-ball/v.avi 1", "kick.avi 1", "v.avi 1"]
)
def test_folders_of_the_class_itself_or_of_none_are_not_noted(tmp_path, line):
    lines = [line, "kick/a.avi 0", "sword/a.avi 2", "sword_exercise/a.avi 3"]
    assert read(write(tmp_path / "a.txt", "\n".join(lines)), named(*HMDB))[1] == []


def test_names_of_ucf_say_their_class(tmp_path):
    names = ("ApplyEyeMakeup", "HandstandPushups")
    agree = ["v_ApplyEyeMakeup_g01_c01.avi 0", "v_HandStandPushups_g01_c02.avi 1"]
    assert read(write(tmp_path / "a.txt", "\n".join(agree)), named(*names))[1] == []
    path = write(tmp_path / "b.txt", "v_ApplyEyeMakeup_g01_c01 163 1\nv_HandStandPushups_g01_c02 12 1\n")
    _, notes = read(path, named(*names), suffix=".avi")
    assert "1 of 2 paths name another class than their label (line 1: v_ApplyEyeMakeup_g01_c01 says" in notes[1]


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
