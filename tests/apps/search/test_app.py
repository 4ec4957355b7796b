"""The page of `texthead find --page` without a browser: queries, marks, runs, and requests by hand."""

import io
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from starlette.testclient import TestClient

from made import colour_encoder, write_album, write_image
from messages import prints
from served_pages import act, opened
from texthead.apps.search.app import SearchSession, search_app
from texthead.apps.search.index import Index, open_index
from texthead.apps.search.search import Hit, Results
from texthead.data.reading import read_dataset
from texthead.prediction.load import load_run

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """An index of photos of three colours, and a film of all three."""
    folder = tmp_path_factory.mktemp("search")
    write_album(folder / "files", 24)
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
    with opened(search_app(session)) as client:
        yield client


@pytest.fixture
def ask(client: TestClient) -> Ask:
    return partial(act, client)


def names(hits: list[dict[str, Any]]) -> list[str]:
    return [Path(hit["path"].partition("#t=")[0]).name.partition("-")[0] for hit in hits]


def test_words_and_examples(client: TestClient, ask: Ask) -> None:
    state = ask("state")
    assert state["words"] == "red"
    prints(state["about"], "25 files")
    found = ask("search", words="red", avoid="blue, green")
    assert len(found["hits"]) == 6
    assert ask("state")["avoid"] == "blue, green", "a page that is loaded again shows its last search"
    assert {*names(found["hits"])} <= {"red", "film.mp4"}
    assert (found["fits"], found["unsure"], found["marks"]["hits"]) == (True, [], 0)
    # The example of the command, files of the browser of one name, and more like a hit.
    assert names(ask("search", like=True)["hits"])[0] in ("green", "film.mp4")
    hits, marked = [], []
    for colour in ("red", "blue"):
        picture = write_image(Path("image.png"), colour, seed=77).read_bytes()
        token = client.post("/upload?name=image.png", content=picture).json()["file"]
        found = ask("search", like=token)
        hits, marked = found["hits"], [*marked, found["marks"]["name"]]
        assert names(hits)[0] in (colour, "film.mp4")
        ask("mark", key=hits[0]["key"], hit=True)
    assert marked == ["image", "image again"]
    assert hits[0]["path"] not in [hit["path"] for hit in ask("search", hit=hits[0]["key"])["hits"]]
    token = client.post("/upload?name=bad.jpg", content=b"no picture").json()["file"]
    assert ask("search", status=400, like=token)["error"].startswith("bad.jpg: "), "without its folder"


def test_a_hit_is_shown_by_its_picture_and_its_file(client: TestClient, ask: Ask) -> None:
    hits = ask("search", words="green")["hits"]
    film = next(hit for hit in hits if "film" in hit["path"])
    assert film["kind"] == "video"
    assert "#t=" in film["path"]
    still, preview = (client.get(f"/{name}/{film['key']}") for name in ("still", "preview"))
    assert PIL.Image.open(io.BytesIO(still.content)).size == (48, 48)
    assert PIL.Image.open(io.BytesIO(preview.content)).n_frames > 1
    media = client.get(f"/media/{film['key']}", headers={"range": "bytes=0-9"})
    assert (media.status_code, media.headers["content-type"], len(media.content)) == (206, "video/mp4", 10)
    for number in ("0", film["key"][:-1], "x"):
        assert client.get(f"/still/{number}").status_code == 400
    for address in ("/", "/search.js", f"/still/{film['key']}", f"/media/{film['key']}"):
        assert client.get(address).headers["cache-control"] == "no-store"


def test_marks_teach_the_search_and_are_saved_as_a_run(ask: Ask, tmp_path: Path) -> None:
    index = {hit["key"]: hit for words in ("blue", "green") for hit in ask("search", words=words)["hits"]}
    index |= {hit["key"]: hit for hit in ask("search", words="a red thing")["hits"]}
    marked, marks = dict[str, bool](), {}
    for key, hit in index.items():
        marked[key] = names([hit]) == ["red"]
        marks = ask("mark", key=key, hit=marked[key])["marks"]
    hits = sum(marked.values())
    counts = {"hits": hits, "misses": len(marked) - hits, "new": len(marked)}
    assert marks == {"name": "a red thing", "file": "marks.csv", **counts}
    found = ask("next")
    assert found["marks"]["new"] == 0
    assert names(found["hits"][:3]) == ["red"] * 3
    assert found["unsure"]
    # Nothing is in both lists, and hits are likelier than not.
    assert not {hit["key"] for hit in found["hits"]} & {hit["key"] for hit in found["unsure"]}
    assert all(hit["probability"] >= 0.5 for hit in found["hits"])
    assert all(hit["mark"] is None for hit in found["unsure"])
    # Take one back.
    taken = ask("mark", key=next(iter(marked)), hit=None)["marks"]
    assert taken["hits"] + taken["misses"] == len(marked) - 1
    assert len(read_dataset(tmp_path / "marks.csv").items) == len(marked) - 1
    prints(ask("save")["line"], "a-red-thing")
    assert load_run(tmp_path / "here" / "a-red-thing").labels == ("a red thing", "other")
    # An existing run is not replaced, and a name with slashes stays in the folder.
    prints(ask("save")["line"], "a-red-thing-2")
    hits = ask("search", words="../../red /etc")["hits"]
    for hit in (hits[0], hits[-1]):
        ask("mark", key=hit["key"], hit=hit is hits[0])
    ask("save")
    assert {*os.listdir(tmp_path / "here")} == {"a-red-thing", "a-red-thing-2", "red-etc"}


def test_the_moment_that_is_marked_is_shown(index: Index, tmp_path: Path) -> None:
    session = SearchSession(index, tmp_path, {}, None, None, 6)
    window = next(window for window in range(len(index)) if index.media(window).is_part)
    media = index.media(window)
    joined = Hit(media.file, 0.0, 12.0, 3.0, None, window, ())
    (card,) = session.page(Results([joined], True, ""), [joined])["hits"]
    assert card["path"] == str(media)


@pytest.mark.parametrize("kept", [True, False])
def test_marks_belong_to_their_words(index: Index, tmp_path: Path, kept: bool) -> None:
    csv = tmp_path / "marks.csv" if kept else None

    def started() -> SearchSession:
        return SearchSession(index, tmp_path, {"words": "", "like": ""}, csv, None, 6)

    session = started()
    assert session.act("state", {})["words"] == ""
    red, marks = session.act("search", {"words": "red"})["hits"], {}
    for hit in red:
        marks = session.act("mark", {"key": hit["key"], "hit": names([hit]) == ["red"]})["marks"]
    found = session.act("search", {"words": "a  blue thing"})
    assert found["unsure"] == []
    assert [hit["mark"] for hit in found["hits"]] == [None] * 6
    file = "marks-a-blue-thing.csv" if kept else ""
    assert found["marks"] == {"name": "a blue thing", "hits": 0, "misses": 0, "new": 0, "file": file}
    session.act("mark", {"key": found["hits"][0]["key"], "hit": False})
    # Back, and after a restart: what the marks teach.
    for now in [session, *([started()] if kept else [])]:
        again = now.act("search", {"words": "red" if now is session else now.act("state", {})["words"]})
        assert again["marks"] == marks | {"new": 0}
        assert again == now.act("next", {})
        assert now.act("search", {"words": "a blue thing"})["marks"]["misses"] == 1
    if kept:
        assert {path.name for path in tmp_path.glob("*.csv")} == {"marks.csv", "marks-a-blue-thing.csv"}
        assert started().act("state", {})["words"] == "red"


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("search", {}),
        ("search", {"words": "  "}),
        *(("search", {"like": like}) for like in ("/etc/passwd", [1])),
        *(("search", {"hit": key}) for key in (0, [1])),
        *(("mark", {"key": key, "hit": True}) for key in (None, "0")),
        ("mark", {"hit": "yes"}),
        *((action, {}) for action in ("next", "save", "__class__")),
    ],
)
def test_requests_by_hand_are_refused_in_one_line(ask: Ask, action: str, body: dict[str, Any]) -> None:
    if action == "mark":
        ask("search", words="red")
    line = ask(action, status=400, **body)["error"]
    assert len(line.splitlines()) == 1
    assert ask("state")["marks"]["hits"] == 0


def test_marks_need_a_search_of_this_page_and_a_file_that_stays(ask: Ask) -> None:
    prints(ask("mark", status=400, key="x", hit=True)["error"], "search first")
    hit = next(hit for hit in ask("search", words="red")["hits"] if hit["path"].endswith(".png"))
    ask("search", words="blue")
    prints(ask("mark", status=400, name="red", key=hit["key"], hit=True)["error"], "'blue'", "search again")
    assert ask("mark", name="blue", key=hit["key"], hit=True)["marks"]["hits"] == 1
    os.utime(hit["path"], ns=(1, 1))
    prints(ask("mark", status=400, key=hit["key"], hit=True)["error"], "changed", "reload")
