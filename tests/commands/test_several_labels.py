"""Commands on files with several labels: what a run keeps of them, and what refuses them."""

import csv
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from made import pictures
from messages import prints
from texthead import load_run, read_dataset
from texthead.data.dataset import Dataset, Item
from texthead.errors import DataError
from texthead.runs.scored_items import held_out_items, training_items, unknown_items

COLOURS = ("red", "green", "blue")


def halves(path: Path, names: list[str], seed: int) -> Path:
    """Write a picture with the colours side by side, or grey without any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [pictures(name, 1, seed)[0] for name in names] or [np.full((32, 32, 3), 100 + seed, np.uint8)]
    PIL.Image.fromarray(np.concatenate(parts, axis=1)).save(path)
    return path


def write_rows(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("path", "labels")) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 32 pictures of any of three colours."""
    root = tmp_path_factory.mktemp("several")
    rows = []
    for number in range(32):
        names = [colour for bit, colour in enumerate(COLOURS) if number >> bit & 1]
        halves(root / "pictures" / f"{number:02d}.png", names, number)
        rows.append((f"pictures/{number:02d}.png", ";".join(names)))
    return write_rows(root / "labels.csv", rows)


@pytest.fixture(scope="module")
def run(labels: Path) -> Path:
    from texthead.cli import main as cli

    out = labels.parent / "run"
    options = ("--tune", "none", "--baselines", "never", "--workers", "0", "--cache", str(out.with_name("cache")))
    assert cli.main(["train", str(labels), *options, "--out", str(out)]) in (None, 0)
    return out


def test_a_run_keeps_the_labels_of_its_items(run: Path, labels: Path) -> None:
    loaded, written = load_run(run), {item.path: item.label for item in read_dataset(labels).items}
    held_out, trained = held_out_items(loaded), training_items(loaded)
    for dataset in (held_out, trained):
        assert dataset.several
        assert {item.path: item.label for item in dataset.items}.items() <= written.items()
    assert len(held_out) + len(trained) == 32
    assert json.loads((run / "split.json").read_text())["several"] is True
    with pytest.raises(DataError, match="1 items have a class of the run"):
        unknown_items(loaded, Dataset((Item(Path("a.png"), "blue; x"), Item(Path("b.png"), "x")), "here", several=True))


def test_labels_that_the_run_lacks_are_not_scored(run: Path, works, refused, tmp_path: Path) -> None:
    rows = [
        (str(halves(tmp_path / f"{n}.png", ["red"] * (n % 2), 50 + n)), "red; x" if n % 2 else "") for n in range(4)
    ]
    options = ("--workers", 0, "--baselines", "never")
    _, err = works("eval", run, write_rows(tmp_path / "more.csv", rows), *options)
    prints(err, "2 of 4 all items", "(x)", "not scored")
    one = write_rows(tmp_path / "one.csv", [(path, "red") for path, _ in rows], ("path", "label"))
    refused(("one.csv", "one label per file", "'labels'"), "eval", run, one, *options)
    refused("one label per file", "calibrate", run, "--workers", 0)


def test_several_names_are_exported(run: Path, works, tmp_path: Path) -> None:
    files = [halves(tmp_path / "a.png", ["red", "blue"], 90), halves(tmp_path / "b.png", [], 91)]
    tasks = tmp_path / "tasks.json"
    out, _ = works("predict", run, *files, "--json", "--workers", 0, "--export", f"label-studio:{tasks}")
    assert 'choice="multiple"' in tasks.with_suffix(".xml").read_text()
    for entry, task in zip(json.loads(out), json.loads(tasks.read_text()), strict=True):
        results = [each["result"][0]["value"]["choices"] for each in task.get("predictions", [])]
        assert results == ([entry["labels"]] if entry["labels"] else [])


def test_doctor_counts_each_label_of_a_file(labels: Path, works, say, tmp_path: Path) -> None:
    out, _ = works("doctor", labels, "--quick", "--workers", 0, "--json")
    report = json.loads(out)
    assert report["classes"] == sorted(COLOURS)
    assert [summary["items"] for summary in report["overview"]["classes"]] == [16, 16, 16]
    assert report["overview"]["whole"]["items"] == 32
    rows = list(csv.reader(labels.open()))[1:]
    same = Path(labels.parent / rows[3][0])
    (tmp_path / "copy.png").write_bytes(same.read_bytes())
    more = [(str(labels.parent / path), text) for path, text in rows[:8]] + [("copy.png", "red"), ("red/a.png", "")]
    halves(tmp_path / "red" / "a.png", ["green"], 40)
    manifest = write_rows(tmp_path / "more.csv", more)
    code, out, _ = say("doctor", manifest, "--quick", "--workers", 0, "--k", 5, "--json")
    assert code == 1
    faults = {finding["fault"]: finding for finding in json.loads(out)["findings"]}
    assert "folder of another class" not in faults
    prints(faults["one file, two labels"]["detail"], "green; red and red")
    prints(faults["too few items"]["detail"], "K is 5")
    code, out, _ = say("doctor", manifest, "--quick", "--workers", 0, "--fix", tmp_path / "clean.csv")
    clean = read_dataset(tmp_path / "clean.csv")
    assert (clean.several, len(clean)) == (True, 8)


def test_doctor_does_not_judge_several_labels(labels: Path, say, tmp_path: Path) -> None:
    _, out, _ = say("doctor", labels, "--workers", 0, "--cache", tmp_path / "cache", "--out", tmp_path / "doctor")
    prints(out, "labels are not judged", "one label each")
    assert (tmp_path / "doctor" / "doctor.html").is_file()
