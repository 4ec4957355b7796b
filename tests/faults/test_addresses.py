"""Lists, runs and data sets make no request; the address of a file that is an argument is read."""

from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from file_server import Requests, served
from made import write_image, write_small_run
from messages import refuses
from texthead import read_dataset
from texthead.errors import MediaError
from texthead.media import MediaPath
from texthead.media.addresses import address
from texthead.media.find import find_media


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    write_image(tmp_path / "served" / "a.png", "red")
    with served(tmp_path / "served") as url:
        yield url


@pytest.fixture
def asked(say: Callable) -> Callable[..., tuple[int, str, int]]:
    """Return a function that runs a command and returns (exit code, all it prints, requests)."""

    def run(*arguments: object) -> tuple[int, str, int]:
        before = Requests.count
        code, out, err = say(*arguments)
        assert "Traceback" not in err
        return code, out + err, Requests.count - before

    return run


@pytest.mark.parametrize("chain", ["", "simplecache::"])
def test_lists_ask_nobody(world, server, asked, monkeypatch, tmp_path, chain):
    rows = [(write_image(tmp_path / f"{number}.png", "red").name, "red") for number in range(2)]
    rows += [(f"{chain}{server}/a.png?{number}", "blue") for number in range(2)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *map(",".join, rows)]))
    (tmp_path / "list.txt").write_text("\n".join(f"{path} {label == 'blue':d}" for path, label in rows))
    (tmp_path / "list.yaml").write_text("list: list.txt\nlabels: {0: red, 1: blue}\n")
    monkeypatch.chdir(tmp_path)
    fast = (*world.run_options(), "--tune", "none", "--out", "run", "--workers", "0")
    for command in (
        ("train", "list.csv", *fast),
        ("train", "list.yaml", *fast),
        ("doctor", "list.csv", "--quick"),
        ("prepare", "list.csv", "--out", "shards", "--workers", "0"),
    ):
        code, printed, requests = asked(*command)
        assert (code in (1, 2), requests) == (True, 0), (command, printed)
        assert command[0] != "train" or "an address is read only as an argument" in printed, printed


@pytest.mark.parametrize("card", ["README.md", ".huggingface.yaml"])
@pytest.mark.parametrize("chain", ["", "zip://*.csv::", "reference::"])
def test_a_data_set_asks_nobody_for_its_files(server, asked, tmp_path, card, chain):
    lines = f"configs:\n- config_name: default\n  data_files: {chain}{server}/x.csv\n"
    (tmp_path / card).write_text(f"---\n{lines}---\n" if card.endswith(".md") else lines)
    code, printed, requests = asked("train", f"datasets:{tmp_path}", "--out", tmp_path / "run")
    assert (code, requests, "is not in the folder" in printed) == (2, 0, True), printed


def test_an_argument_is_read(server, asked, tmp_path):
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp, which texthead does not need")
    code, printed, requests = asked("predict", write_small_run(tmp_path / "run"), f"{server}/a.png", "--workers", "0")
    assert (code, requests > 0, "a.png" in printed) == (0, True, True), printed


def test_any_file_system_of_fsspec(tmp_path):
    fsspec.filesystem("memory").pipe_file("/photos/a.png", write_image(tmp_path / "b.png", "red").read_bytes())
    (name,) = find_media("memory://photos/a.png")
    assert Path(name).read_bytes() == (tmp_path / "b.png").read_bytes()
    assert MediaPath(name).original == "memory://photos/a.png"
    with refuses(MediaError, Path("memory:/photos/none.png"), "FileNotFoundError", "download the file"):
        find_media("memory://photos/none.png")
    with refuses(MediaError, Path("nowhere:/a.png")):
        find_media("nowhere://a.png")
    with pytest.raises(Exception, match="no such file"):
        read_dataset("memory://photos")


def test_addresses():
    assert address(Path("http://host:80/a/b")) == address("http://host:80/a/b") == "http://host:80/a/b"
    for local in ("a/b.tar", "C:/a/b.tar", "/a/x:/b", "simplecache::https://host/a", "http://a/b::s3://c"):
        assert address(local) is None
    for drive in (r"C:\a\b.mp4", "C:/a/b.mp4#t=1,2", r"\\server\clips\b.mp4", r"D:\http\x.jpg", "c:x.jpg"):
        assert address(drive) is address(Path(drive)) is None
