"""`texthead doctor` on real files, from the command line to a cleaned list that can be read."""

import csv
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from made import sound, write_broken, write_image, write_video
from media_files import truncate, x264
from messages import prints
from pages import Page, assert_self_contained
from texthead import read_dataset


@pytest.fixture
def doctor(say) -> Callable[..., tuple[str, str]]:
    """Return a function that runs doctor, checks its exit code (1: serious findings) and returns (stdout, stderr)."""

    def run(*arguments: object, code: int = 1) -> tuple[str, str]:
        ended, out, err = say("doctor", *arguments, "--workers", 0)
        assert ended == code, err
        return out, err

    return run


@pytest.fixture
def findings(doctor) -> Callable[..., list[dict]]:
    """Return a function that runs doctor and returns its findings."""
    return lambda *arguments, code=1: json.loads(doctor(*arguments, "--json", code=code)[0])["findings"]


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with most kinds of faults, and an extra column."""
    folder = tmp_path_factory.mktemp("bad")
    names = [f"{colour}{number}.mp4" for colour in ("red", "green") for number in range(3)]
    for number, name in enumerate(names):
        write_video(folder / name, "red" if name.startswith("red") else "green", frames=9, seed=number)
    rows = [[name, name[:-5], "train" if "2" not in name else "test", "first"] for name in names]
    shutil.copy(folder / "red0.mp4", folder / "copy.mp4")
    truncate(x264(folder / "cut.mp4", container_options={"movflags": "faststart"}), 0.6)
    write_broken(folder / "text.mp4")
    sound(folder / "sound.mp4")
    (folder / "empty.mp4").touch()
    write_video(folder / "short.mp4", "blue", frames=3)
    more = ["copy.mp4,red,test", "cut.mp4,red,train", "text.mp4,red,train", "sound.mp4,red,train"]
    more += ["empty.mp4,green,train", "nowhere.mp4,green,train", "short.mp4,v_001,train"]
    rows += [[*row.split(","), "second"] for row in more]
    with (folder / "items.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "split", "origin"], *rows])
    return folder / "items.csv"


def test_all_faults_in_lines_json_and_page(bad: Path, tmp_path: Path, doctor) -> None:
    cleaned = tmp_path / "new.csv"
    out, _ = doctor(bad, "--quick", "--json", "--out", tmp_path / "out", "--fix", cleaned)
    content = json.loads(out)
    serious = {(Path(f["about"]).name, f["fault"]) for f in content["findings"] if f["severity"] == "serious"}
    assert serious == {
        ("red0.mp4", "leak"),
        ("cut.mp4", "cut short"),
        ("text.mp4", "unreadable"),
        ("sound.mp4", "sound only"),
        ("empty.mp4", "empty"),
        ("nowhere.mp4", "missing"),
        ("v_001", "code instead of a name"),
    }
    assert content["serious"] == len(serious)
    assert "one training item" in {f["fault"] for f in content["findings"] if f["severity"] == "warning"}
    assert json.loads((tmp_path / "out" / "doctor.json").read_text()) == content
    assert content["items"] == 13
    assert content["counts"]["red"] == {"train": 5, "test": 2}
    html = (tmp_path / "out" / "doctor.html").read_text()
    page = Page(html)
    assert_self_contained(html, page)
    assert all(name in html for name, _ in serious)
    assert ["red", "5", "2"] in page.rows
    # The original list is unchanged, and the new one can be read.
    gone = {Path(entry["path"]).name for entry in content["left_out"]}
    assert gone == {"red0.mp4", "cut.mp4", "text.mp4", "sound.mp4", "empty.mp4", "nowhere.mp4"}
    left = read_dataset(cleaned).items
    assert {item.path.name for item in left} == {item.path.name for item in read_dataset(bad).items} - gone
    assert {item.extra for item in left} == {(("origin", "first"),), (("origin", "second"),)}
    # As text, the result comes first, and details with --verbose.
    out, _ = doctor(bad, "--quick", "--fix", tmp_path / "more.csv", "--out", tmp_path / "page", "--verbose")
    prints(out.splitlines()[0], "13 items of 3 classes", "7 serious")
    for name, fault in serious:
        prints(out, f"serious, {fault}", name)
    prints(out, tmp_path / "more.csv", "7 of 13", "6 left out", "and 3 more")
    prints(out, tmp_path / "page" / "doctor.html")
    prints(out, "labels are not judged")
    assert len([line for line in out.splitlines() if line.startswith("left out: ")]) == 6
    out, _ = doctor(cleaned, "--quick", "--classes", "red, green, v_001")
    prints(out, "serious, code instead of a name: v_001: ")
    assert not [line for line in out.splitlines() if "cut short" in line or line[0] == "─"]


def test_mistakes_end_with_2(bad: Path, refused, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(bad.parent)
    before = bad.read_bytes()
    for arguments in (("--fix", "items.csv"), ("--fix", "new.txt"), ("--classes", "names.txt")):
        refused(arguments[1], "doctor", "items.csv", "--quick", *arguments)
    assert bad.read_bytes() == before
    for name in ("red; blue", "red"):  # A CSV would hold the class as two.
        write_image(tmp_path / "items" / name / "a.png", "red")
    refused("red; blue", "doctor", tmp_path / "items", "--quick", "--fix", tmp_path / "new.csv")


def test_exit_code_0_and_shards_examined(tmp_path: Path, doctor, findings, works) -> None:
    clips, shards = tmp_path / "clips", tmp_path / "shards"
    for number, colour in itertools.product(range(2), ("red", "green")):
        write_video(clips / colour / f"{number}.mp4", colour, frames=9, seed=number)
    before = {path: path.read_bytes() for path in clips.rglob("*.mp4")}
    out, _ = doctor(clips, "--quick", "--fix", tmp_path / "all.csv", code=0)
    prints(out, 4, 2, "no faults")
    prints(out, tmp_path / "all.csv", "4 of 4", 0)
    assert {path: path.read_bytes() for path in clips.rglob("*.mp4")} == before
    assert read_dataset(tmp_path / "all.csv").labels == ["green"] * 2 + ["red"] * 2
    works("prepare", clips, "--out", shards, "--workers", 0)
    (tar,) = shards.glob("*.tar")
    data = bytearray(tar.read_bytes())
    data[-12_000:-11_000] = bytes(1000)
    tar.write_bytes(data)
    serious = [f for f in findings(shards, "--quick", "--fix", tmp_path / "new.csv") if f["severity"] == "serious"]
    assert [finding["fault"] for finding in serious] == ["damaged"]
    assert len(read_dataset(tmp_path / "new.csv")) == 3
