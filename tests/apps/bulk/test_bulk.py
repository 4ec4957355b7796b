"""Predictions on Ray equal those of `predict`, continue after an interruption, and have a row for each unreadable file."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import PIL.Image
import pytest

from made import write_broken, write_several_run, write_video
from messages import prints, refuses
from run_folders import make_run, write_manifest, write_media
from texthead.apps.bulk.bulk import MARK, Predicted, _names, predict_many
from texthead.data.dataset import Dataset, Item
from texthead.data.prepare import prepare
from texthead.errors import DataError
from texthead.parallel.progress import Reporter
from texthead.prediction.run import Run

parquet = pytest.importorskip("pyarrow.parquet", reason="Ray's Arrow is not installed")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("model") / "run")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_manifest(write_media(tmp_path_factory.mktemp("media")))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local Ray cluster with two CPUs."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    yield
    ray.shutdown()


def rows(out: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of all files, by path."""
    return {row["path"]: row for part in out.glob("*.parquet") for row in parquet.read_table(part).to_pylist()}


def top(run: Run, manifest: Path, **options: Any) -> dict[str, list[tuple[str, float]]]:
    """Return the same from one call of `predict`."""
    names = [*_names(manifest, Reporter())]
    return {str(each.path): rounded(each.top) for each in run.predict(names, **options)}


def top_of(out: Path) -> dict[str, list[tuple[str, float]]]:
    return {path: rounded((e["name"], e["probability"]) for e in row["top"]) for path, row in rows(out).items()}


def rounded(top: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    return [(name, round(probability, 5)) for name, probability in top]


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_predictions_equal_those_of_predict_and_are_continued(run, manifest, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("texthead.apps.bulk.bulk._BLOCK", 4)
    out = tmp_path / "out"
    assert predict_many(run, manifest, out, top=2, processes=2) == Predicted(11, 0, 0)
    expected = top(run, manifest, top=2)
    assert top_of(out) == expected
    answers = {path: row["answer"] for path, row in rows(out).items()}
    assert answers == {path: best[0][0] for path, best in expected.items()}
    first, second, *others = sorted(out.glob("*.parquet"))
    assert others, "several files"
    # An interruption leaves out files, or a half-written one.
    first.unlink()
    second.write_bytes(second.read_bytes()[:50])
    before = {path: path.read_bytes() for path in others}
    done = predict_many(run, manifest, out, top=2)
    assert (done.files, 0 < done.before < 11) == (11, True)
    assert top_of(out) == expected
    assert {path: path.read_bytes() for path in others} == before
    assert predict_many(run, manifest, out, top=2) == Predicted(11, 11, 0), "nothing is left to do"


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_an_actor_that_is_killed_is_replaced(run: Run, manifest: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("texthead.apps.bulk.bulk._BLOCK", 2)
    killed, over = list[int](), list[bool]()

    def kill() -> None:
        """Kill the encoding process, once."""
        while not killed and not over:
            for words in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    if not killed and words.read_bytes().startswith(b"ray::MapWorker"):
                        os.kill(int(words.parent.name), signal.SIGKILL)
                        killed.append(int(words.parent.name))

    killer = Thread(target=kill)
    killer.start()
    assert predict_many(run, manifest, tmp_path / "out").files == 11
    over.append(True)
    killer.join()
    assert killed
    assert top_of(tmp_path / "out") == top(run, manifest)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_unreadable_files_are_rows_with_a_reason_and_several_labels_a_list(tmp_path: Path, say) -> None:
    run = write_several_run(tmp_path / "run")
    good, broken = write_video(tmp_path / "good.mp4", "red"), write_broken(tmp_path / "broken.mp4")
    PIL.Image.new("1", (20_000, 20_000)).save(tmp_path / "large.png")  # above Pillow's limit
    (tmp_path / "a.txt").write_text(f"{good}\n{broken}\nlarge.png\ngone.mp4\n")
    command = ("bulk", run, tmp_path / "a.txt", "--out", tmp_path / "out", "--batch", 3)
    code, out, _ = say(*command)
    assert code == 1
    prints(out, tmp_path / "out", "4 files", "3 of them could not be read")
    written = {Path(path).name: row for path, row in rows(tmp_path / "out").items()}
    errors = {name: row["error"] for name, row in written.items()}
    assert (errors["good.mp4"], written["good.mp4"]["labels"]) == (None, ["red"])
    assert "limit" in errors["large.png"]
    assert errors["gone.mp4"]
    assert errors["broken.mp4"]
    assert say(*command, "--skip-unreadable")[0] == 0


def test_files_come_from_tables_lists_folders_and_shards(manifest: Path, tmp_path: Path) -> None:
    files = [str(manifest.parent / line) for line in manifest.read_text().splitlines()[1:]]
    listed = manifest.with_name("files.txt")
    listed.write_text("\n".join(os.path.relpath(file, manifest.parent) for file in files) + "\n\n")
    described = manifest.with_name("files.yaml")
    manifest.with_name("labelled.csv").write_text(
        "".join(f"{line}\n" for line in ["path,label", *(f"{file},a" for file in files)])
    )
    described.write_text("list: labelled.csv\n")
    for source in (manifest, listed, described):
        assert [*_names(source, Reporter())] == files
    assert sorted(_names(manifest.parent, Reporter())) == sorted(files)
    # As `find .` prints them. Predictions are known again by the names of paths.
    listed.write_text("".join(f".//{os.path.relpath(file, manifest.parent)}\n" for file in files))
    assert [*_names(listed, Reporter())] == files
    prepare(Dataset(tuple(Item(Path(file), ("a",)) for file in files[:2])), tmp_path / "shards")
    assert len([*_names(tmp_path / "shards", Reporter())]) == 2
    part = manifest.with_name("part.csv")
    part.write_text(f"path,start,end\n{files[0]},,0.1\n")
    assert [*_names(part, Reporter())] == [f"{files[0]}#t=,0.1"]


def test_a_folder_has_one_request(run, manifest, tmp_path, monkeypatch, install) -> None:
    written = dict.fromkeys(_names(manifest, Reporter()), False)
    monkeypatch.setattr("texthead.apps.bulk.bulk._written", lambda _: written)
    out = tmp_path / "out"
    assert predict_many(run, manifest, out) == Predicted(11, 11, 0)
    assert predict_many(run, manifest, out) == Predicted(11, 11, 0)
    with refuses(DataError, out, "another top"):
        predict_many(run, manifest, out, top=2)
    with refuses(DataError, out, "another frames"):
        predict_many(replace(run, recipe=replace(run.recipe, frames=run.recipe.frames + 1)), manifest, out)
    install("mine", "texthead.temporal", "mine = mine", "VALUE = 1")
    with refuses(DataError, out, "another code"):
        predict_many(run, manifest, out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with refuses(DataError, "notes.txt", MARK):
        predict_many(run, manifest, tmp_path / "other")


def test_inputs_of_the_command(run: Run, manifest: Path, tmp_path: Path, refused) -> None:
    refused("name the list", "bulk", run.folder, "--out", tmp_path / "out")
    refused("takes one list", "bulk", run.folder, manifest, manifest, "--out", tmp_path / "out")
    refused("--classes", "bulk", manifest, "--out", tmp_path / "out")
    refused("--top", "bulk", run.folder, manifest, "--out", tmp_path / "out", "--top", 0)
    refused("prediction sets need", "bulk", run.folder, manifest, "--out", tmp_path / "out", "--sets")
