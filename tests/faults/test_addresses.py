"""Addresses in a stranger's files make no request: in runs, lists, descriptions of data sets, options of a run."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from file_server import Ranged, served
from made import write_image
from run_folders import changed
from texthead.data.prepare import prepare
from texthead.data.reading import read_dataset
from texthead.errors import MediaError
from texthead.media import MediaPath, find_names
from texthead.media.addresses import allow_addresses, allowed_address

VARIABLE = "TEXTHEAD_ADDRESSES"


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch):
    """Undo what commands of this process allow."""
    monkeypatch.setenv(VARIABLE, "")


@pytest.fixture(scope="module")
def shards(world, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("served") / "shards"
    prepare(read_dataset(world.images), out)
    return out


@pytest.fixture
def server(shards) -> Iterator[str]:
    with served(shards.parent) as address:
        yield address


@pytest.fixture
def asked(say, monkeypatch):
    """Return a function that runs a command by itself and returns (exit code, all it prints, requests)."""

    def run(*arguments: object) -> tuple[int, str, int]:
        monkeypatch.setenv(VARIABLE, "")
        before = Ranged.requests
        code, out, err = say(*arguments)
        assert "Traceback" not in err
        return code, out + err, Ranged.requests - before

    return run


def lists(folder: Path, clip: str) -> dict[str, Path]:
    """Write lists of each form that name two photos of the folder and two clips."""
    rows = [(write_image(folder / f"{number}.png", "red").name, "red") for number in range(2)]
    rows += [(clip.format(number), "blue") for number in range(2)]
    texts = {
        "list.csv": "\n".join(["path,label", *map(",".join, rows)]),
        "list.tsv": "\n".join(["path\tlabel", *map("\t".join, rows)]),
        "list.jsonl": "\n".join(json.dumps({"path": path, "label": label}) for path, label in rows),
        "list.txt": "\n".join(f"{path} {label == 'blue':d}" for path, label in rows),
        "names.csv": "id,name\n0,red\n1,blue",
    }
    for name, text in texts.items():
        (folder / name).write_text(text + "\n")
    return {name: Path(name) for name in texts}


@pytest.mark.parametrize("chain", ["", "simplecache::", "reference::", "zip://a.png::"])
def test_lists_of_the_current_folder_ask_nobody(world, server, asked, monkeypatch, tmp_path, chain):
    named = lists(tmp_path, f"{chain}{server}/shards/shard-000000.tar/00000000{{}}.jpg")
    monkeypatch.chdir(tmp_path)
    fast = (*world.run_options(), "--tune", "none")
    commands = [
        ("train", named["list.csv"], *fast, "--out", "run"),
        ("train", named["list.tsv"], *fast, "--out", "run"),
        ("train", named["list.jsonl"], *fast, "--out", "run"),
        ("train", named["list.txt"], "--labels", named["names.csv"], *fast, "--out", "run"),
        ("eval", world.run, named["list.csv"]),
        ("compare", named["list.csv"], "--workers", "0"),
        ("prepare", named["list.csv"], "--out", "shards", "--workers", "0"),
        ("prepare", named["list.csv"], "--out", "shards", "--workers", "1"),
        ("doctor", named["list.csv"], "--quick"),
    ]
    for command in commands:
        code, printed, requests = asked(*command)
        assert (code in (1, 2), requests) == (True, 0), (command, printed)
        assert chain or "--allow-addresses" in printed, (command, printed)
    code, printed, requests = asked("find", "red", named["list.csv"])
    assert (code, requests, chain or "--allow-addresses" in printed) == (0, 0, chain or True), printed
    if not chain:
        for command in (commands[0], commands[7]):
            code, printed, requests = asked(*command, "--allow-addresses")
            assert (code, requests > 0) == (0, True), (command, printed)


def test_a_run_asks_nobody_for_the_items_that_it_names(world, server, asked, tmp_path):
    photo, run = write_image(tmp_path / "photo.png", "red"), tmp_path / "run"
    code, printed, requests = asked("train", f"{server}/shards", *world.run_options(), "--tune", "none", "--out", run)
    assert (code, requests > 0) == (0, True), printed
    quick = ("--workers", "0")
    for command in (("eval", run), ("calibrate", run), ("report", run, "--baselines", "never")):
        code, printed, requests = asked(*command, *quick)
        assert (code, requests, "--allow-addresses" in printed) == (2, 0, True), printed
        code, printed, requests = asked(*command, *quick, "--allow-addresses")
        assert (code, requests > 0) == (0, True), printed
    for command in (("predict", run, photo, *quick), ("export", run, "--out", tmp_path / "exported")):
        code, printed, requests = asked(*command)
        assert (code, requests) == (0, 0), printed
    code, printed, requests = asked("eval", run, f"{server}/shards", *quick)
    assert (code, requests > 0) == (0, True), printed


def test_a_pattern_of_files_allows_nothing(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert asked("predict", "*", "--classes", "red, blue", "--encoder", "mini")[0] == 2
    with pytest.raises(MediaError):
        allowed_address("http://127.0.0.1:9/shards")


def test_a_run_to_resume_asks_nobody(world, server, asked, tmp_path):
    """Nor does a file of options."""
    run = tmp_path / "run"
    assert asked("train", world.images, *world.fast(run), "--held-out", "0")[0] == 0
    changed(run, "recipe.json", lambda about: about["command"].update(held_out=None, val=f"{server}/shards"))
    code, printed, requests = asked("train", world.images, "--out", run, "--resume")
    assert (code, requests, "--allow-addresses" in printed) == (2, 0, True), printed
    changed(run, "recipe.json", lambda about: about["command"].update(allow_addresses=True))
    code, printed, requests = asked("train", world.images, "--out", run, "--resume")
    assert (code, requests) == (2, 0), printed
    options = tmp_path / "options.yaml"
    options.write_text(f"val: {server}/shards\n")
    code, printed, requests = asked("train", world.images, *world.fast(tmp_path / "other"), "--config", options)
    assert (code, requests, "--allow-addresses" in printed) == (2, 0, True), printed
    options.write_text(f"val: {server}/shards\nallow_addresses: true\n")
    code, printed, requests = asked("train", world.images, *world.fast(tmp_path / "third"), "--config", options)
    assert (code, requests) == (2, 0), printed


@pytest.mark.parametrize("card", ["README.md", ".huggingface.yaml"])
@pytest.mark.parametrize("chain", ["", "zip://*.csv::", "reference::"])
def test_a_data_set_asks_nobody_for_its_files(server, asked, tmp_path, card, chain):
    lines = f"configs:\n- config_name: default\n  data_files: {chain}{server}/x.csv\n"
    (tmp_path / card).write_text(f"---\n{lines}---\n" if card.endswith(".md") else lines)
    code, printed, requests = asked("train", f"datasets:{tmp_path}", "--out", tmp_path / "run")
    assert (code, requests, chain or "--allow-addresses" in printed) == (2, 0, chain or True), printed


def test_what_a_program_names_is_read(server, shards):
    clip = f"{server}/shards/shard-000000.tar/000000000.jpg"
    assert not MediaPath(clip).surely_missing()
    with pytest.raises(Exception, match="allow_addresses"):
        MediaPath(clip).open()
    assert Ranged.requests == 0
    assert len(find_names(f"{server}/shards")) == 10
    assert MediaPath(clip).open().num_frames == 1
    for other in (
        "/shards2/a.tar/0.jpg",
        "/shards/../b.tar/0.jpg",
        "/shards/%2e%2E/b.tar/0.jpg",
        "0/shards/a.tar/0.jpg",
    ):
        with pytest.raises(Exception, match="allow_addresses"):
            allowed_address(f"{server}{other}")
    allow_addresses("*")
    assert allowed_address("s3://a/b") == "s3://a/b"
