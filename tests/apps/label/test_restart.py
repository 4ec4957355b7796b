"""Pages of one address after a restart: each picture is that of its name, and tabs of the last start change nothing."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from made import noise, write_image
from messages import prints
from served_pages import opened
from texthead.apps.label.app import Training, label_app
from texthead.apps.label.labelling import Pool
from texthead.apps.label.session import LabelSession
from texthead.data.dataset import Dataset, Item

Start = Callable[..., TestClient]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a page of all files of a folder."""
    with ExitStack() as stack:

        def one(folder: Path, labels_csv: Path) -> TestClient:
            files = Dataset(tuple(Item(path, "") for path in sorted(folder.glob("*.png"))), str(folder))
            pool = Pool(files, noise(len(files), 16), ("red", "green"))
            session = stack.enter_context(closing(LabelSession(pool, labels_csv)))
            return opened(label_app(session, Training(lambda *_: ["no-such-command"], labels_csv)))

        yield one


def photos(folder: Path, *names: str) -> Path:
    for name in names:
        write_image(folder / f"{name}.png", "red", seed=sum(map(ord, str(folder / name))))
    return folder


def post(page: TestClient, action: str, **body: object) -> dict:
    answer = page.post(f"/api/{action}", json={"who": "ann", **body})
    return answer.json() | {"status": answer.status_code}


def walk(page: TestClient) -> dict[str, str]:
    """Return the key of each file by its path, after a look at its picture."""
    keys = dict[str, str]()
    while (item := post(page, "next")["item"])["path"] not in keys:
        keys[item["path"]] = item["key"]
        assert page.get(f"/media/{item['key']}").content == Path(item["path"]).read_bytes()
        post(page, "skip", key=item["key"])
    return keys


def test_a_photo_added_between_two_starts(start: Start, tmp_path: Path) -> None:
    folder, labels_csv = photos(tmp_path / "files", *"bcdefgh"), tmp_path / "labels.csv"
    before = walk(start(folder, labels_csv))
    photos(folder, "a")
    again = start(folder, labels_csv)
    # An address means one content, shown now or kept by a browser, or nothing yet.
    assert {again.get(f"/media/{key}").status_code for key in before.values()} == {400}
    after = walk(again)
    assert len(after) == 8
    assert {path: after[path] for path in before} == before
    # The file of a name is replaced.
    first = folder / "a.png"
    write_image(first, "blue", seed=99)
    os.utime(first, ns=(1, 1))
    assert walk(start(folder, labels_csv))[str(first)] != after[str(first)]


@pytest.mark.parametrize("other", [False, True], ids=["same project", "another project"])
def test_a_tab_of_the_last_start_changes_nothing(start: Start, tmp_path: Path, other: bool) -> None:
    folder = photos(tmp_path / "files", *"bcd")
    labels_csv = tmp_path / "labels.csv"
    tab = start(folder, labels_csv)
    item = post(tab, "next")["item"]
    if other:
        folder, labels_csv = photos(tmp_path / "others", *"bcd"), tmp_path / "others.csv"
    else:
        photos(folder, "a")
    page = start(folder, labels_csv)
    now = post(page, "next")["item"]
    post(page, "label", key=now["key"], label="green")
    labels = labels_csv.read_text()
    # The cookie is one of the browser: the tab sends that of the page.
    start_of_tab, tab = tab.headers["x-start"], opened(page.app)
    tab.headers["x-start"] = start_of_tab
    for action, body in (
        *((action, {"key": key}) for action in ("skip", "bad", "keep", "state") for key in (item["key"], now["key"])),
        *(("label", {"key": key, "label": "red"}) for key in (item["key"], now["key"])),
        ("rename", {"old": "green", "new": "red"}),
        *((action, {}) for action in ("undo", "next", "train")),
    ):
        answer = post(tab, action, **body, how="quick", review=True)
        assert (answer["status"], len(answer["error"].splitlines())) == (400, 1)
        prints(answer["error"], "reload")
    assert labels_csv.read_text() == labels
    assert {path.name for path in tmp_path.glob("*.csv")} == {labels_csv.name}
    assert post(page, "state")["training"] is None
    # What a page has not shown it does not have, even with its own start.
    if other:
        prints(post(page, "label", key=item["key"], label="red")["error"], "reload")
    assert labels_csv.read_text() == labels
    # After a reload the tab is a tab of the new start.
    assert post(opened(page.app), "undo", who="ann")["item"]["key"] == now["key"]


def test_a_file_that_changes_while_it_is_shown_gets_no_label(start: Start, tmp_path: Path) -> None:
    folder, labels_csv = photos(tmp_path / "files", *"ab"), tmp_path / "labels.csv"
    page = start(folder, labels_csv)
    item = post(page, "next")["item"]
    write_image(Path(item["path"]), "blue", seed=77)
    for action in ("label", "keep"):
        prints(post(page, action, key=item["key"], label="red")["error"], item["name"], "changed", "reload")
    assert page.get(f"/media/{item['key']}").status_code == 400
    assert not labels_csv.exists()
    again = post(page, "next")["item"]
    assert (again["path"], again["key"] != item["key"]) == (item["path"], True)
    assert post(page, "label", key=again["key"], label="red")["state"]["labelled"] == 1
    # What is gone can be skipped, or marked as bad.
    gone = post(page, "next")["item"]
    Path(gone["path"]).unlink()
    assert post(page, "skip", key=gone["key"])["status"] == 200
    assert post(page, "bad", key=gone["key"])["state"]["bad"] == 1
