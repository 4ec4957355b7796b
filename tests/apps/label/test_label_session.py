"""Labelling without a browser: the next file, undo, review, training, and requests that the server refuses."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient
from torch import Tensor

from made import noise, write_image, write_video
from messages import prints, refuses
from served_pages import act as ask
from served_pages import opened as opened_page
from served_pages import until
from texthead.apps.label.app import label_app
from texthead.apps.label.label_file import LabelFile
from texthead.apps.label.labelling import Pool
from texthead.apps.label.session import LabelSession
from texthead.data.dataset import Dataset, Item
from texthead.data.reading import read_dataset
from texthead.errors import DataError

COLOURS = ("red", "green", "blue")
FILES, DIM = 30, 16
MEANS = 3 * noise(len(COLOURS), DIM, seed=1)


def truth(position: int) -> str:
    return COLOURS[position % 3]


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Pictures of three colours whose features form clusters; the last file is a video."""
    paths = [write_image(tmp_path / "files" / f"{i:02d}.png", truth(i), seed=i) for i in range(FILES - 1)]
    paths.append(write_video(tmp_path / "files" / f"{FILES - 1:02d}.mp4", "red"))
    features = MEANS[[index % 3 for index in range(FILES)]] + 0.3 * noise(FILES, DIM, seed=2)
    files = Dataset(tuple(Item(path, ()) for path in paths), str(tmp_path / "files"))
    return Pool(files, features, COLOURS, encode=rows)


def rows(names: list[str]) -> Tensor:
    """Return text rows: the mean features of the three colours, noise for other names."""
    own = dict(zip(COLOURS, MEANS - MEANS.mean(0), strict=True))
    return torch.stack([own[name] if name in own else noise(DIM, seed=len(name)) for name in names])


Open = Callable[..., LabelSession]


@pytest.fixture
def opened(pool: Pool, tmp_path: Path) -> Iterator[Open]:
    """Return a function that opens another session of the same files and labels."""
    sessions: list[LabelSession] = []

    def one(names: tuple[str, ...] = COLOURS, *, multilabel: bool = False) -> LabelSession:
        sessions.append(LabelSession(replace(pool, names=names, multilabel=multilabel), tmp_path / "labels.csv"))
        return sessions[-1]

    yield one
    for session in sessions:
        session.close()


def fitted(session: LabelSession) -> None:
    until(lambda: session.is_fitted)


def test_files_until_all_are_labelled(opened: Open, tmp_path: Path) -> None:
    session, seen = opened(("red", "green")), []
    while (file := session.next_file()) is not None:
        assert file.labels is None
        assert {"red", "green"} <= {*file.predictions}
        seen.append(file.position)
        session.label(file.position, truth(file.position))
        # The label is on disk before the next file is shown.
        assert len(read_dataset(tmp_path / "labels.csv")) == len(seen)
    assert sorted(seen) == list(range(FILES))
    assert {truth(index) for index in seen[:4]} == set(COLOURS), "one of each first"
    fitted(session)
    state = session.state()
    assert (state["labelled"], state["files"]) == (FILES, FILES)
    assert state["classes"] == [{"name": name, "count": 10} for name in ("red", "green", "blue")]
    assert state["curve"][-1]["labels"] == FILES
    assert state["curve"][-1]["top1"] == 100
    assert state["others"] is None


def test_what_was_learned_is_guessed(opened: Open) -> None:
    session = opened()
    for index in range(9):
        session.label(index, truth(index))
    fitted(session)
    assert session.state()["others"] is None, "too few labels to say"
    session.label(9, truth(9))
    fitted(session)
    assert session.state()["others"] > 60
    # Nine labels again: nothing is left of the tenth.
    session.undo()
    until(lambda: session.state()["curve"] == [])
    session.label(9, truth(9))
    fitted(session)
    for _ in range(5):
        file = session.next_file()
        assert next(iter(file.predictions)) == truth(file.position)
        assert sum(file.predictions.values()) == pytest.approx(1, abs=1e-4)
        session.skip(file.position)


def test_undo_leaves_what_was_edited_by_hand(opened: Open, tmp_path: Path) -> None:
    session, labels = opened(), tmp_path / "labels.csv"
    session.label(0, "red")
    session.label(1, "green")
    labels.write_text(labels.read_text().replace("green", "blue"))
    assert session.undo().position == 0
    assert read_dataset(labels).labels == ["blue"]


def test_undo_takes_back_labels_skips_and_bad_files(opened: Open) -> None:
    session = opened()
    first = session.next_file()
    session.label(first.position, "red")
    session.label(first.position, "purple")
    assert "purple" in names(session)
    fitted(session)
    session.bad(first.position)
    assert session.state()["bad"] == 1
    file = session.next_file()
    assert file.position != first.position
    for label in ("purple", "red", None):
        back = session.undo()
        assert (back.position, back.labels) == (first.position, label and (label,))
    # The undone class is no longer guessed.
    assert "purple" not in back.predictions
    assert session.undo() is None
    assert not session.state()["undo"]
    assert "purple" not in names(session)
    # A skipped file comes back when no other is left.
    session.skip(first.position)
    assert session.undo() is not None
    session.skip(first.position)
    order = []
    while (file := session.next_file()) is not None:
        order.append(file.position)
        session.label(file.position, "red")
    assert order[-1] == first.position


def names(session: LabelSession) -> list[str]:
    return [entry["name"] for entry in session.state()["classes"]]


def test_a_class_is_renamed_and_joined_with_another(opened: Open, tmp_path: Path) -> None:
    session = opened(("red", "Red", "green"))
    for index, name in enumerate(["red", "Red", "green", "Red"]):
        session.label(index, name)
    session.rename("Red", "red")
    assert names(session) == ["red", "green"]
    assert read_dataset(tmp_path / "labels.csv").labels == ["red", "red", "green", "red"]
    session.rename("green", "lime")
    assert set(names(session)) == {"red", "lime"}
    # A class without labels keeps its name too; blanks do not make another one.
    session.rename("red", "red ")
    other = opened(("sea", "sky"))
    other.rename("sea", "blue")
    other.rename("blue", " blue ")
    assert names(other)[:2] == ["blue", "sky"]
    other.rename("blue", "bleue\u0301")
    other.rename("bleue\u0301", "bleu\u00e9")
    # Undo does not bring back an old name.
    while session.undo() is not None:
        assert set(names(session)) <= {"red", "lime"}
    for old, new in (("no such", "x"), ("red", ""), ("red", "a\x00b")):
        with refuses(DataError, "class"):
            session.rename(old, new)


def test_several_labels_of_a_file(opened: Open, tmp_path: Path) -> None:
    """Pictures of two colours have the features of both; every fifth has none of the classes."""
    session = opened(multilabel=True)
    for index in range(12):
        session.label(index, *(() if index % 5 == 4 else (truth(index), "a picture")))
    fitted(session)
    dataset = read_dataset(tmp_path / "labels.csv")
    assert dataset.multilabel
    assert dataset.label_sets[3:5] == [("a picture", "red"), ()]
    state = session.state()
    assert (state["multilabel"], state["labelled"], state["curve"], state["others"]) == (True, 12, [], None)
    counts = {entry["name"]: entry["count"] for entry in state["classes"]}
    assert counts == {"red": 3, "green": 3, "blue": 4, "a picture": 10}
    file = session.next_file()
    assert (file.position >= 12, file.labels) == (True, None)
    assert {name for name, value in file.predictions.items() if value > 0.5} == {truth(file.position), "a picture"}
    # A file that is opened again has its classes on; the answer "none" is one too.
    session.label(file.position)
    back = session.undo()
    assert back.labels is None
    for _ in range(9):
        back = session.undo()
    assert (back.position, back.labels) == (3, None)
    session.label(3, "red", "red", "sky")
    session.label(3)
    back = session.undo()
    assert back.labels == ("red", "sky")
    session.rename("sky", "red")
    assert read_dataset(tmp_path / "labels.csv").label_sets[3] == ("red",)
    with refuses(DataError, ";"):
        session.label(3, "red; sky")


def test_a_wrong_label_is_found_again(opened: Open, pool: Pool) -> None:
    session = opened()
    for index in range(FILES - 2):
        session.label(index, truth(index) if index != 4 else "red")
    fitted(session)
    assert session.state()["review"] >= 1
    file = session.review()
    assert (file.position, file.labels, next(iter(file.predictions))) == (4, ("red",), "green")
    assert "green" in file.why
    # A label that is kept is not shown again, nor after a restart; undo brings it back.
    session.keep(4)
    assert session.review() is None
    back = session.undo()
    assert (back.position, back.labels, back.why) == (4, ("red",), file.why)
    session.keep(4)
    other = opened()
    fitted(other)
    assert other.review() is None


def test_broken_csv_is_reported_until_fixed(opened: Open, tmp_path: Path) -> None:
    session, labels_csv = opened(), tmp_path / "labels.csv"
    session.label(0, "red")
    fitted(session)
    whole = labels_csv.read_text()
    labels_csv.write_text(whole + "files/99.png,red,now,\n")
    with refuses(DataError, Path("files/99.png"), "labels.csv:3"):
        session.next_file()
    with refuses(DataError, Path("files/99.png")):
        session.label(1, "green")
    labels_csv.write_text(whole)
    session.label(1, "green")
    fitted(session)
    assert session.state()["labelled"] == 2


def test_names_that_cannot_be_classes_are_refused(opened: Open) -> None:
    session = opened()
    for name in ("  ", "a\x00b", "red; blue"):
        with refuses(DataError, "class"):
            session.label(0, name)
    assert session.state()["labelled"] == 0
    session.label(0, "  deep \n sky  blue ")
    assert session.state()["classes"][-1]["name"] == "deep sky blue"
    session.label(0, "آبی\u200cها")


@pytest.fixture
def page(opened: Open) -> TestClient:
    return opened_page(label_app(opened(), "texthead train labels.csv"))


def test_the_page_and_its_files(page: TestClient, pool: Pool) -> None:
    names = [item.path.name for item in pool.files.items]
    key_of = dict[int, str]()
    while len(key_of) < FILES:
        item = ask(page, "next")["item"]
        key_of[names.index(item["name"])] = item["key"]
        ask(page, "bad", key=item["key"])
    for path, kind in (("/", "text/html"), ("/label.js", "text/javascript"), ("/label.css", "text/css")):
        assert page.get(path).headers["content-type"].startswith(kind)
    assert page.get(f"/media/{key_of[3]}").content == pool.files.items[3].path.read_bytes()
    part = page.get(f"/media/{key_of[FILES - 1]}", headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    for position in (0, FILES - 1):
        assert page.get(f"/preview/{key_of[position]}").content[8:12] == b"WEBP"
    for path in ("/docs", "/label.html", "/.labels.csv.lock"):
        assert page.get(path).status_code == 404
    for path in ("/media/0", "/preview/0", "/still/x", "/media/..%2Flabels.csv"):
        assert page.get(path).status_code in (400, 404)


def test_two_tabs_work_on_one_queue(page: TestClient, tmp_path: Path) -> None:
    shown = ask(page, "next")["item"]
    assert ask(page, "next")["item"]["key"] == shown["key"]
    after = ask(page, "label", key=shown["key"], label="red")["item"]
    # The other tab still shows the first file, and its answer is for that one.
    assert ask(page, "label", key=shown["key"], label="green")["item"]["key"] == after["key"]
    assert read_dataset(tmp_path / "labels.csv").labels == ["green"]
    for label in ("red", None):
        back = ask(page, "undo")["item"]
        assert (back["key"], back["label"]) == (shown["key"], label)
    # The other tab still shows a class that was renamed: it does not come back.
    ask(page, "rename", old="red", new="crimson")
    prints(ask(page, "label", 400, key=shown["key"], label="red", known=["red"])["error"], "no class 'red'", "reload")
    assert not (tmp_path / "labels.csv").exists()


def test_a_file_that_changes_while_it_is_shown_gets_no_label(page: TestClient, tmp_path: Path) -> None:
    answer = ask(page, "next")
    assert answer["state"]["train"] == "texthead train labels.csv"
    item = answer["item"]
    os.utime(item["path"], ns=(1, 1))
    for action in ("label", "keep"):
        prints(ask(page, action, 400, key=item["key"], label="red")["error"], item["name"], "changed", "reload")
    assert page.get(f"/media/{item['key']}").status_code == 400
    assert not (tmp_path / "labels.csv").exists()
    again = ask(page, "next")["item"]
    assert (again["path"], again["key"] != item["key"]) == (item["path"], True)
    # What is gone can be skipped, or marked as bad.
    gone = ask(page, "label", key=again["key"], label="red")["item"]
    Path(gone["path"]).unlink()
    ask(page, "skip", key=gone["key"])
    assert ask(page, "bad", key=gone["key"])["state"]["bad"] == 1


@pytest.mark.posix("names of files that are no text")
def test_file_names_of_all_kinds(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    names = (" lead.png", os.fsdecode(b"\xfe.png"), "\u202egnp.exe.png")
    items = tuple(Item(write_image(folder / name, "red"), ()) for name in names)
    pool = Pool(Dataset(items, str(folder)), noise(3, DIM), ("red",), encode=rows)
    labels_csv, seen = folder / "labels.csv", set[str]()
    with closing(LabelSession(pool, labels_csv)) as session:
        page = opened_page(label_app(session, ""))
        while item := ask(page, "next")["item"]:
            seen.add(item["name"])
            ask(page, "label", key=item["key"], label="red")
    assert seen == {*names[:2], "\\u202egnp.exe.png"}
    assert len(LabelFile(labels_csv, pool.files).read()) == len(read_dataset(labels_csv)) == len(names)
