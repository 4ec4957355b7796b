"""`texthead doctor` on real files, from the command line to a cleaned list that reads."""

import csv
import json
import shutil
from pathlib import Path

import PIL.Image
import PIL.ImageOps
import pytest

from made import sound, write_broken, write_image, write_video
from media_files import truncate, x264
from pages import Page, assert_self_contained
from texthead import cli, read_dataset
from texthead.data.dataset import Dataset
from texthead.doctor.facts import read_facts


def doctor(*arguments: object) -> int:
    """The exit code."""
    try:
        return cli.main(["doctor", *map(str, arguments), "--workers", "2"])
    except SystemExit as ended:
        return int(ended.code or 0)


def write_manifest(path: Path, rows: list[list[str]], header: str = "path,label,split") -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with a fault of most kinds, and a column of its own."""
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
    return write_manifest(folder / "items.csv", rows, "path,label,split,origin")


def test_what_is_there_and_every_fault_in_the_table_the_json_and_the_page(
    bad: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert doctor(bad, "--quick", "--json", "--k", "2", "--out", tmp_path / "out", "--fix", tmp_path / "new.csv") == 1
    out, err = capsys.readouterr()
    told = json.loads(out)
    found = {(Path(f["about"]).name, f["fault"]) for f in told["findings"] if f["severity"] == "serious"}
    assert found == {
        ("red0.mp4", "leak"),
        ("cut.mp4", "cut short"),
        ("text.mp4", "unreadable"),
        ("sound.mp4", "sound only"),
        ("empty.mp4", "empty"),
        ("nowhere.mp4", "missing"),
        ("v_001", "a code, no name"),
        ("v_001", "too few items"),
    }
    assert told["serious"] == len(found)
    assert {"too few frames"} <= {f["fault"] for f in told["findings"] if f["severity"] == "warning"}
    assert json.loads((tmp_path / "out" / "doctor.json").read_text()) == told
    assert (told["overview"]["whole"]["items"], told["overview"]["whole"]["unreadable"]) == (13, 5)
    assert [entry["name"] for entry in told["overview"]["classes"]] == ["red", "green", "v_001"]
    html = (tmp_path / "out" / "doctor.html").read_text()
    page = Page(html)
    assert_self_contained(html, page)
    assert all(name in html for name, _ in found)
    assert ["red", "5", "2", "9", "0.9"] in page.rows
    # Of those that can be read; each picture says which file it is.
    assert page.attributes("title") == [
        *("red0.mp4", "red1.mp4", "red2.mp4", "copy.mp4"),
        *("green0.mp4", "green1.mp4", "green2.mp4", "short.mp4"),
    ]
    # The original stays, and the new list reads.
    gone = {Path(entry["path"]).name for entry in told["left_out"]}
    assert gone == {"red0.mp4", "cut.mp4", "text.mp4", "sound.mp4", "empty.mp4", "nowhere.mp4"}
    assert all(f"{name}: " in err for name in gone)
    cleaned = read_dataset(tmp_path / "new.csv")
    assert {item.path.name for item in cleaned.items} == {item.path.name for item in read_dataset(bad).items} - gone
    assert {item.extra for item in cleaned.items} == {(("origin", "first"),), (("origin", "second"),)}
    assert doctor(tmp_path / "new.csv", "--quick", "--classes", "red, green, v_001") == 1  # A code is still no name.
    out, _ = capsys.readouterr()
    assert "a code, no name" in out
    assert "cut short" not in out
    lines = out.splitlines()
    assert lines[0] == "7 videos of 3 classes: 57 frames, 5.7 s, all 48x48"
    assert [line.split() for line in lines[2:9] if not line.startswith("─")] == [
        ["class", "train", "test", "frames", "seconds"],
        ["all", "4", "3", "9", "(3-9)", "0.9", "(0.3-0.9)"],
        [],
        ["green", "2", "1", "9", "0.9"],
        ["red", "1", "2", "9", "0.9"],
        ["v_001", "1", "0", "3", "0.3"],
    ]
    assert max(map(len, lines)) <= 80


@pytest.mark.slow
def test_nothing_serious_ends_with_0(tmp_path: Path, capsys) -> None:
    for number in range(3):
        for colour in ("red", "green"):
            write_video(tmp_path / "data" / colour / f"{number}.mp4", colour, frames=9, seed=number)
    before = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*.mp4")}
    assert doctor(tmp_path / "data", "--quick", "--fix", tmp_path / "all.csv") == 0
    out, err = capsys.readouterr()
    assert "6 items of 2 classes: 0 serious" in out
    assert "6 of 6 items; 0 left out" in err
    assert {path: path.read_bytes() for path in (tmp_path / "data").rglob("*.mp4")} == before
    assert read_dataset(tmp_path / "all.csv").labels == ["green"] * 3 + ["red"] * 3


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--fix", "items.csv"], "must be a new .csv"),
        (["--fix", "new.txt"], "must be a new .csv"),
        (["--classes", "names.txt"], "no such file"),
        (["--k", "0"], "--k must be"),
    ],
)
def test_mistakes_end_with_2(bad: Path, arguments: list[str], problem: str, capsys, monkeypatch) -> None:
    monkeypatch.chdir(bad.parent)
    before = bad.read_bytes()
    assert doctor("items.csv", "--quick", *arguments) == 2
    assert problem in capsys.readouterr().err
    assert bad.read_bytes() == before


def test_a_list_of_which_nothing_is_left_is_not_written(tmp_path: Path, capsys) -> None:
    write_broken(tmp_path / "a.mp4")
    manifest = write_manifest(tmp_path / "items.csv", [["a.mp4", "cat"]], "path,label")
    assert doctor(manifest, "--quick", "--fix", tmp_path / "new.csv") == 2
    out, err = capsys.readouterr()
    assert "no item would be left" in err
    assert "unreadable" in out
    assert not (tmp_path / "new.csv").exists()


@pytest.mark.slow
def test_prepared_shards_are_looked_at_too(tmp_path: Path, capsys) -> None:
    for number in range(2):
        for colour in ("red", "green"):
            write_video(tmp_path / "data" / colour / f"{number}.mp4", colour, frames=9, seed=number)
    shards = tmp_path / "shards"
    assert cli.main(["prepare", str(tmp_path / "data"), "--out", str(shards), "--workers", "0"]) == 0
    assert doctor(shards, "--quick") == 0
    (tar,) = shards.glob("*.tar")
    data = bytearray(tar.read_bytes())
    data[-12_000:-11_000] = bytes(1000)
    tar.write_bytes(data)
    capsys.readouterr()
    assert doctor(shards, "--quick", "--json", "--fix", tmp_path / "new.csv") == 1
    told = json.loads(capsys.readouterr().out)
    assert [finding["fault"] for finding in told["findings"] if finding["severity"] == "serious"] == ["unreadable"]
    assert len(read_dataset(tmp_path / "new.csv")) == 3


@pytest.mark.slow
def test_flat_pictures_are_compared_by_their_bytes_alone(tmp_path: Path, capsys) -> None:
    rows = []
    for name, colour, split in (
        ("a.png", 90, "train"),
        ("b.png", 90, "test"),
        ("c.bmp", 90, "test"),
        ("d.png", 91, "test"),
    ):
        PIL.Image.new("RGB", (48, 48), (colour, 120, 200)).save(tmp_path / name)
        rows.append([name, "sky", split])
    assert doctor(write_manifest(tmp_path / "items.csv", rows), "--quick", "--json") == 1
    told = json.loads(capsys.readouterr().out)["findings"]
    beside = [({Path(path).name for path in f["paths"]}, f["fault"]) for f in told if len(f["paths"]) > 1]
    assert beside == [({"a.png", "b.png"}, "leak")]
    assert [f["fault"] for f in told].count("one colour") == 4


def test_a_file_that_takes_too_long_is_named(tmp_path: Path) -> None:
    write_video(tmp_path / "data" / "red" / "0.mp4", "red")
    (facts,) = read_facts(read_dataset(tmp_path / "data"), workers=1, seconds=0.0, pictured={0})
    assert facts.thumbnail == b""
    assert facts.fault == "stopped its reader"
    assert facts.problem == "took longer than 0 s; give it more by --limit, or leave it out"


def test_help_says_what_is_serious(capsys) -> None:
    assert doctor("--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in ("cannot be read whole", "one file under two labels", "two splits", "fewer than K", "look swapped"):
        assert words in text


# ---- with `mini`, on real files


@pytest.fixture(scope="module")
def clothing(shared: Path) -> Dataset:
    data = read_dataset(shared / "image" / "clothing" / "images.csv").split("train")
    # Twelve of each class are enough, and take a few seconds.
    kept = [place for name in data.classes for place in [i for i, own in enumerate(data.labels) if own == name][:12]]
    return data.pick(kept)


def listed(dataset: Dataset, folder: Path, renamed: dict[str, str]) -> Path:
    """The items in one folder, so that only the pictures tell a class, with some labels changed."""
    rows = []
    for number, item in enumerate(dataset.items):
        (folder / f"{number:03d}{item.path.suffix}").symlink_to(item.path)
        rows.append([f"{number:03d}{item.path.suffix}", renamed.get(item.label, item.label)])
    return write_manifest(folder / "items.csv", rows, "path,label")


def swaps_told(capsys) -> list[set[str]]:
    told = json.loads(capsys.readouterr().out)["findings"]
    found = [f for f in told if f["fault"] == "names look swapped"]
    return [{f["about"], f["detail"].removeprefix("with ").split(":")[0]} for f in found]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
def test_a_planted_swap_of_two_classes_is_found(clothing: Dataset, tmp_path: Path, cache: Path, capsys) -> None:
    renamed = {"dress": "shoes", "shoes": "dress"}
    assert doctor(listed(clothing, tmp_path, renamed), "--json", "--cache", cache) == 1
    assert swaps_told(capsys) == [{"dress", "shoes"}]


@pytest.mark.slow
def test_no_swap_is_seen_where_none_is(clothing: Dataset, tmp_path: Path, cache: Path, capsys) -> None:
    doctor(listed(clothing, tmp_path, {}), "--json", "--cache", cache)
    assert swaps_told(capsys) == []


@pytest.mark.slow
def test_a_photo_saved_again_in_another_split_is_a_near_leak(
    clothing: Dataset, tmp_path: Path, cache: Path, capsys
) -> None:
    rows = []
    for number, item in enumerate(clothing.items[:40]):
        (tmp_path / f"{number}.jpg").symlink_to(item.path)
        rows.append([f"{number}.jpg", item.label, "train"])
    for number, name in ((3, "smaller.jpg"), (20, "mirrored.jpg")):
        with PIL.Image.open(clothing.items[number].path) as photo:
            again = photo.convert("RGB")
        smaller = again.resize((again.width // 2, again.height // 2))
        (smaller if number == 3 else PIL.ImageOps.mirror(again)).save(tmp_path / name, quality=60)
        rows.append([name, clothing.items[number].label, "test"])
    assert doctor(write_manifest(tmp_path / "items.csv", rows), "--json", "--cache", cache) == 1
    told = json.loads(capsys.readouterr().out)["findings"]
    leaks = [{Path(path).name for path in f["paths"]} for f in told if f["fault"] == "near leak"]
    assert sorted(leaks, key=str) == sorted([{"3.jpg", "smaller.jpg"}, {"20.jpg", "mirrored.jpg"}], key=str)


def test_names_that_mini_reads_alike_or_not_at_all(tmp_path: Path, cache: Path, capsys) -> None:
    names = ["couch", "sofa", "volcano", "very " * 300 + "long"]
    rows = []
    for number, name in enumerate(names):
        write_image(tmp_path / f"{number}.png", "red", seed=number)
        rows.append([f"{number}.png", name])
    assert doctor(write_manifest(tmp_path / "items.csv", rows, "path,label"), "--json", "--cache", cache) == 1
    told = json.loads(capsys.readouterr().out)["findings"]
    assert [f["about"] for f in told if f["fault"] == "near-synonyms"] == ["couch"]
    (long,) = [f for f in told if f["fault"] == "name too long"]
    assert long["about"] == names[3]
    assert "tokens" in long["detail"]
