"""`texthead label` on real files: first zero-shot, then from the labels so far."""

import csv
from pathlib import Path

import pytest

import texthead as th
from made import colour_encoder, write_broken, write_image
from messages import prints
from platforms import symlink
from texthead.files import in_turn

COLOURS = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """18 pictures in three colours, not in class folders."""
    for index in range(18):
        write_image(tmp_path / "files" / f"{index:02d}.png", COLOURS[index % 3], seed=index)
    return tmp_path / "files"


def test_a_pool_of_a_loaded_encoder_has_a_short_text(folder: Path) -> None:
    symlink(folder / "link.png", "00.png")  # A file with two names is one file.
    encoder = th.EncoderOptions(colour_encoder(), template="a {} square")
    pool = th.label_pool(folder, COLOURS, encoder=encoder, reading=th.ReadOptions())
    assert repr(pool) == f"Pool({str(folder)!r}: 18 files, 0 of them labelled, 3 classes)"
    guesses = {path.name: guess for path, guess, _ in pool.suggest(18)}
    assert guesses == {f"{index:02d}.png": COLOURS[index % 3] for index in range(18)}


def asked(output: str) -> list[dict[str, str]]:
    return list(csv.DictReader(output.splitlines()))


@pytest.mark.slow
def test_next_files_by_names_then_labels(folder: Path, works, tmp_path: Path) -> None:
    options = ("--classes", "red,green,blue")
    out, err = works("label", folder, *options, "--next", 6)
    prints(err, "0 of 18 files")
    first = asked(out)
    assert len(first) == 6
    assert {Path(row["path"]).parent for row in first} == {folder}
    assert {row["guess"] for row in first} <= set(COLOURS)
    assert all(0 < float(row["probability"]) <= 1 for row in first)
    labels = tmp_path / "labels.csv"
    with labels.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for row in first:
            rows.writerow([row["path"], COLOURS[int(Path(row["path"]).stem) % 3]])
    out, err = works("label", folder, *options, "--out", labels, "--next", 20)
    prints(err, "6 of 18 files")
    later = asked(out)
    assert {row["path"] for row in later} | {row["path"] for row in first} == {str(p) for p in folder.iterdir()}
    assert len(later) == 12, "no more than there are"
    labels.with_suffix(".bad.csv").write_text(f"path,time\n{later[0]['path']},\n")
    pool = th.label_pool(folder, COLOURS, labels, reading=th.ReadOptions(cache=True))
    assert {str(path) for path, _, _ in pool.suggest(20)} == {row["path"] for row in later[1:]}, (
        "bad files are not shown"
    )
    labels.with_suffix(".bad.csv").unlink()
    # A label that is not among the names becomes another class.
    labels.write_text(labels.read_text().replace(",red", ",crimson").replace(",green", ",gren"))
    err = works("label", folder, *options, "--out", labels, "--next", 20)[1]
    prints(err, "are added", "crimson", "gren: did you mean green?")
    # A name with a comma stays one class in the next command.
    labels.write_text(labels.read_text().replace(",crimson", ',"red, dark"'))
    for own in (options, ()):
        err = works("label", folder, *own, "--out", labels, "--next", 2)[1]
        assert err.splitlines()[-1] == " ".join(map(str, ("next: texthead label", folder, *own, "--out", labels)))


def test_a_manifest_of_groups_and_what_is_refused(folder: Path, works, refused, tmp_path: Path) -> None:
    manifest = tmp_path / "files.csv"
    names = [f"files/{index:02d}.png,{'one' if index else 'other'}" for index in range(18)]
    manifest.write_text("\n".join(["path,group", *names]) + "\n")
    options = ("--classes", "red,green,blue")
    rows = asked(works("label", manifest, *options, "--next", 2)[0])
    assert str(folder / "00.png") in {row["path"] for row in rows}, "the one file of the other group"
    labels = tmp_path / "labels.csv"
    labels.write_text(f"path,label\n{write_image(tmp_path / 'else.png', 'red')},red\n{folder / '00.png'},blue\n")
    refused("else.png", "label", folder, *options, "--out", labels, "--next", 1)
    refused("no such", "label", tmp_path / "nothing", *options)
    refused("--out labels.csv", "label", folder, *options)
    refused("--classes", "label", folder, "--next", 3)
    refused(".csv", "label", folder, *options, "--out", tmp_path / "labels.txt")
    broken = write_broken(folder / "broken.mp4")
    prints(works("label", folder, *options, "--next", 1)[1], broken.name)


def test_labels_that_another_program_writes_are_refused(folder: Path, refused, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    with in_turn(labels):
        refused(f"{labels}: in use by another process", "label", folder, "--classes", "red, green", "--out", labels)
