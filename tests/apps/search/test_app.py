"""The page of `texthead find --page` without a browser: queries, marks, runs, exports, and requests by hand."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from starlette.testclient import TestClient

from made import colour_encoder, joined_colours, write_image
from messages import prints
from texthead.apps.search.app import SearchSession, search_app
from texthead.apps.search.index import Index, open_index
from texthead.data.reading import read_dataset
from texthead.runs.run import load_run

Ask = Callable[..., Any]

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """An index of photos of three colours, and a film of all three."""
    folder = tmp_path_factory.mktemp("search")
    for number in range(24):
        write_image(folder / "files" / f"{COLOURS[number % 3]}-{number:02d}.png", COLOURS[number % 3], seed=number)
    joined_colours(folder / "files" / "film.mp4", COLOURS, seconds=4.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTHEAD_CACHE", str(folder / "cache"))
        yield open_index(folder / "files", colour_encoder())


@pytest.fixture
def client(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The page; the command was started in an empty folder."""
    for name in ("uploads", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    example = write_image(tmp_path / "example.png", "green", seed=99)
    first = {"words": "red", "like": str(example)}
    session = SearchSession(index, tmp_path / "uploads", first, tmp_path / "marks.csv", None, 6)
    with TestClient(search_app(session, "127.0.0.1"), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def ask(client: TestClient) -> Ask:
    def post(action: str, status: int = 200, **body: object) -> Any:
        answer = client.post(f"/api/{action}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    return post


def names(hits: list[dict[str, Any]]) -> list[str]:
    return [Path(hit["path"].partition("#t=")[0]).name.partition("-")[0] for hit in hits]


def test_words_and_examples(client: TestClient, ask: Ask) -> None:
    state = ask("state")
    assert state["words"] == "red"
    prints(state["about"], "25 files")
    found = ask("search", words="red", avoid="blue, green")
    assert len(found["hits"]) == 6
    assert {*names(found["hits"])} <= {"red", "film.mp4"}
    assert (found["fits"], found["unsure"], found["marks"]["hits"]) == (True, [], 0)
    # The example of the command, a file of the browser, and more like a hit.
    assert names(ask("search", like=True)["hits"])[0] in ("green", "film.mp4")
    blue = write_image(Path("blue.png"), "blue", seed=77)
    token = client.post("/upload?name=blue.png", content=blue.read_bytes()).json()["file"]
    hits = ask("search", like=token)["hits"]
    assert names(hits)[0] in ("blue", "film.mp4")
    assert hits[0]["path"] not in [hit["path"] for hit in ask("search", like=hits[0]["window"])["hits"]]


def test_a_hit_is_shown_by_its_picture_and_its_file(client: TestClient, ask: Ask, index: Index) -> None:
    hits = ask("search", words="green")["hits"]
    film = next(hit for hit in hits if "film" in hit["path"])
    assert film["kind"] == "video"
    assert "#t=" in film["path"]
    still, preview = (client.get(f"/{name}/{film['window']}") for name in ("still", "preview"))
    assert PIL.Image.open(io.BytesIO(still.content)).size == (48, 48)
    assert PIL.Image.open(io.BytesIO(preview.content)).n_frames > 1
    media = client.get(f"/media/{film['window']}", headers={"range": "bytes=0-9"})
    assert (media.status_code, media.headers["content-type"], len(media.content)) == (206, "video/mp4", 10)
    for number in (len(index), 10**9):
        assert client.get(f"/still/{number}").status_code == 400
    # The numbers of windows are others in the next search of another folder.
    assert {client.get(at).headers["cache-control"] for at in ("/search.js", "/still/0")} == {"no-cache"}


def test_marks_teach_the_search_and_are_saved_as_a_run(ask: Ask, tmp_path: Path) -> None:
    ask("search", words="red")
    marked, marks = dict[int, bool](), {}
    for words in ("a red thing", "blue", "green"):
        for hit in ask("search", words=words)["hits"]:
            marked[hit["window"]] = names([hit]) == ["red"]
            marks = ask("mark", window=hit["window"], hit=marked[hit["window"]])["marks"]
    # The first words that were marked name the class.
    hits = sum(marked.values())
    assert marks == {"name": "a red thing", "hits": hits, "misses": len(marked) - hits, "new": len(marked)}
    found = ask("next")
    assert found["marks"]["new"] == 0
    assert names(found["hits"][:3]) == ["red"] * 3
    assert found["unsure"]
    assert all(hit["mark"] is None for hit in found["unsure"])
    # Take one back.
    taken = ask("mark", window=next(iter(marked)), hit=None)["marks"]
    assert taken["hits"] + taken["misses"] == len(marked) - 1
    assert len(read_dataset(tmp_path / "marks.csv").items) == len(marked) - 1
    prints(ask("save")["line"], "a-red-thing")
    assert load_run(tmp_path / "here" / "a-red-thing").labels == ("a red thing", "other")
    # An existing run is not replaced.
    prints(ask("save")["line"], "a-red-thing-2")
    assert ask("forget")["marks"]["hits"] == 0
    assert ask("search", words="green")["marks"]["name"] == "green"


def test_a_name_with_slashes_stays_in_the_folder(ask: Ask, tmp_path: Path) -> None:
    hits = ask("search", words="../../red /etc")["hits"]
    ask("mark", window=hits[0]["window"], hit=True)
    ask("mark", window=hits[-1]["window"], hit=False)
    ask("save")
    assert os.listdir(tmp_path / "here") == ["red-etc"]


def test_hits_or_the_marked_ones_are_exported(client: TestClient, ask: Ask, tmp_path: Path) -> None:
    assert client.get("/export").status_code == 400
    hits = ask("search", words="red")["hits"]

    def lines(kind: str) -> tuple[str, list[str]]:
        prints(ask("export", kind=kind)["line"], "hits")
        answer = client.get("/export")
        return answer.headers["content-disposition"], answer.text.splitlines()

    name, rows = lines("csv")
    assert ('filename="hits.csv"' in name, len(rows)) == (True, 7)
    ask("mark", window=hits[1]["window"], hit=True)
    ask("mark", window=hits[2]["window"], hit=False)
    assert len(lines("jsonl")[1]) == 1
    assert ask("export", kind="sheet")["line"] == "hits.png: 1 hits"
    for kind in ("clips", "label-studio"):
        ask("export", kind=kind)
        with zipfile.ZipFile(io.BytesIO(client.get("/export").content)) as archive:
            files = [file for file in archive.namelist() if not file.endswith("/")]
        assert len(files) == (1 if kind == "clips" else 2)
    assert os.listdir(tmp_path / "here") == []


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("search", {}),
        ("search", {"words": "  "}),
        *(("search", {"like": like}) for like in (-1, 10**6, "x", "/etc/passwd", 1.5, [1], {})),
        *(("mark", {"window": window, "hit": True}) for window in (None, -1, 10**6, "0", True, 0.0)),
        *(("mark", {"window": 0, "hit": hit}) for hit in ("yes", 2, [])),
        *((action, {}) for action in ("next", "save", "export", "nothing", "__class__")),
        ("export", {"kind": "../x"}),
        ("export", {"kind": ["csv"]}),
    ],
)
def test_requests_by_hand_are_refused_in_one_line(ask: Ask, action: str, body: dict[str, Any]) -> None:
    if action == "mark":
        ask("search", words="red")
    line = ask(action, status=400, **body)["error"]
    assert len(line.splitlines()) == 1
    assert ask("state")["marks"]["hits"] == 0


def test_without_an_example_there_is_none_to_begin_with(index: Index, tmp_path: Path) -> None:
    app = search_app(SearchSession(index, tmp_path, {"words": "red", "like": ""}, None, None, 6), "127.0.0.1")
    with TestClient(app, base_url="http://127.0.0.1") as client:
        answer = client.post("/api/search", json={"like": True})
        assert (answer.status_code, len(answer.json()["error"].splitlines())) == (400, 1)


def test_a_name_that_is_not_utf_8_is_shown_marked_and_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))
    write_image(tmp_path / "files" / "plain.png", "red").rename(tmp_path / "files" / os.fsdecode(b"caf\xe9.png"))
    session = SearchSession(open_index(tmp_path / "files", colour_encoder()), tmp_path, {}, None, None, 6)
    with TestClient(search_app(session, "127.0.0.1"), base_url="http://127.0.0.1") as client:
        hits = client.post("/api/search", json={"words": "red"}).json()["hits"]
        assert hits[0]["path"].endswith("caf\udce9.png")
        assert client.post("/api/export", json={"kind": "clips"}).status_code == 200


def test_marks_need_a_search(ask: Ask) -> None:
    prints(ask("mark", status=400, window=0, hit=True)["error"], "search first")
