"""Many files in slices: every file once, whichever process predicts it and however often one is killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import texthead as th
from benchmarks.process_group import processes
from made import SPEC, noise, tiny_visual, write_broken, write_frames, write_several_run
from messages import prints, refuses
from run_folders import make_run, table, write_manifest, write_media
from texthead.apps.bulk.bulk import MARK, Slice, SliceOptions, Slices, State, open_slices, predict_slices
from texthead.cli.main import main
from texthead.data.prepare import ShardOptions, prepare
from texthead.data.protocol import Protocol, Views
from texthead.data.reading import read_dataset
from texthead.errors import DataError, MediaError, RunError
from texthead.features.reading import Reading
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.prediction.formats import csv_rows
from texthead.prediction.predict import predict
from texthead.runs.run import Run, load_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_media(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("model") / "run")


@pytest.fixture
def manifest(folder: Path) -> Path:
    return write_manifest(folder)


def list_files(manifest: Path) -> list[Path]:
    return [manifest.parent / line for line in manifest.read_text().splitlines()[1:]]


def predict_rows(run: Run, files: list[Path], **options: object) -> list[list[str]]:
    """Return the same rows from one call of `predict`."""
    return [[str(value) for value in row] for row in csv_rows(predict(run, files, **options))]  # pyright: ignore


def finish(slices: Slices, **options: object) -> list[int]:
    """Predict slices and return their numbers."""
    numbers: list[Slice] = []
    predict_slices(slices, done=numbers.append, **options)  # pyright: ignore
    return [slice_.number for slice_ in numbers]


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_slices_of_any_number_of_processes_equal_predict(run: Run, manifest: Path, tmp_path: Path, ranks: int) -> None:
    slices = open_slices(run, manifest, tmp_path / "out", options=SliceOptions(4, top=2))
    shares = [finish(slices, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert shares == [[number for number in range(3) if number % ranks == rank] for rank in range(ranks)]
    assert table(tmp_path / "out") == predict_rows(run, list_files(manifest), top=2)
    assert slices.state() == State(finished=3, slices=3, files=11, unreadable=0)
    names = [f"slice-{i:06d}{suffix}" for i in range(3) for suffix in (".csv", ".json")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*names, MARK])


def test_batch_size_changes_only_last_digits(run: Run, manifest: Path, tmp_path: Path) -> None:
    one, two = (
        open_slices(run, manifest, tmp_path / name, options=SliceOptions(4, batch=3)) for name in ("one", "two")
    )
    predict_slices(one)
    for rank in (1, 0):
        predict_slices(two, rank=rank, ranks=2)
    assert table(tmp_path / "one") == table(tmp_path / "two")
    for found, wanted in zip(table(tmp_path / "one"), predict_rows(run, list_files(manifest)), strict=True):
        assert [found[0], found[1], found[2]] == [wanted[0], wanted[1], wanted[2]]
        assert float(found[3]) == pytest.approx(float(wanted[3]), abs=2e-6)


@pytest.mark.slow
def test_options_of_predict_are_passed_on(run: Run, manifest: Path, tmp_path: Path) -> None:
    options = ["--frames=2", "--views=2x3", "--pooling=probabilities"]
    assert main(command(run.folder, manifest, tmp_path / "out", *options)[3:]) == 0
    views = Views.parse("2x3", origin=run.recipe.origin, along=run.recipe.crops_along)
    protocol = Protocol(2, run.pixels, views, "probabilities")
    assert table(tmp_path / "out") == predict_rows(run, list_files(manifest), protocol=protocol)


@pytest.mark.slow
def test_scores_of_all_classes_and_a_bare_model(run: Run, manifest: Path, tmp_path: Path) -> None:
    predict_slices(open_slices(run, manifest, tmp_path / "out", options=SliceOptions(6, scores=True)))
    found = torch.cat([load_file(path)["scores"] for path in sorted((tmp_path / "out").glob("*.safetensors"))])
    assert found.shape == (11, 5)
    for row, prediction in zip(found.softmax(-1), predict(run, list_files(manifest)), strict=True):
        assert dict(zip(run.labels, row.tolist(), strict=True)) == dict(prediction.top)
    assert json.loads((tmp_path / "out" / MARK).read_text())["labels"] == list(run.labels)
    predict_slices(open_slices(run.model, manifest, tmp_path / "bare"))
    assert table(tmp_path / "bare") == predict_rows(run.model, list_files(manifest))  # pyright: ignore[reportArgumentType]


def test_files_come_from_tables_lists_folders_and_shards(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table also has other columns."""
    files, shards = [folder / "red" / "still.png", folder / "blue" / "02.mp4"], tmp_path / "shards"
    (folder / "more.tsv").write_text("Label\tpath\twhen\n\t red/still.png \tnow\nx, y\tblue/02.mp4\t\n")
    (folder / "more.txt").write_text(f"red/still.png\n\n{files[1]}\n")
    (folder / "labelled.csv").write_text("path,label\nred/00.mp4,red\nblue/02.mp4,blue\ngreen/01.mp4,green\n")
    prepare(read_dataset(folder / "labelled.csv"), shards, ShardOptions(clips=2))
    write_frames(tmp_path / "clip" / "{:d}.png", "red", 11)
    (tmp_path / "clips.csv").write_text("path\nclip\n")
    more = [(folder / name, files) for name in ("more.tsv", "more.txt")]
    more.append((tmp_path / "clips.csv", [tmp_path / "clip" / "*"]))
    for source, expected in [*more, (folder, [folder]), (shards, [shards])]:
        slices = open_slices(run, source, tmp_path / f"out {source.name}", options=SliceOptions(2))
        for rank in (1, 0):
            predict_slices(slices, rank=rank, ranks=2)
        assert table(slices.out) == predict_rows(run, expected)
    monkeypatch.chdir(folder.parent)
    again = open_slices(run, folder.name, tmp_path / f"out {folder.name}", options=SliceOptions(2))
    assert finish(again) == [], "the same files by another name"


@pytest.mark.parametrize(
    ("name", "content", "piece"),
    [
        ("a.csv", b"path,label\n", ""),
        ("a.txt", b"\n \n", ""),
        ("a.csv", b"file,label\nx,y\n", "'path', got file, label"),
        ("a.csv", b"", "'path'"),
        ("a.csv", b"path,label\nx\n", "a.csv:2"),
        ("a.csv", b"path,label\n ,y\n", "a.csv:2: path"),
        ("a.csv", b"path\n\xff\xfe\n", "UTF-8"),
        ("a.txt", b"\xff\xfe\n", "UTF-8"),
        ("a.mp4", b"", ".tsv"),
        ("gone.csv", None, ""),
    ],
)
def test_a_manifest_that_breaks_a_rule(run: Run, tmp_path: Path, name: str, content: bytes | None, piece: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with refuses(DataError, tmp_path / name, piece):
        open_slices(run, tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_manifest_is_not_held(run: Run, tmp_path: Path) -> None:
    """Forty thousand lines take 6 MB as strings."""
    (tmp_path / "a.txt").write_text("".join(f"folder/{'x' * 60}/{i}.mp4\n" for i in range(40_000)))
    (tmp_path / "one.txt").write_text("a.mp4\n")
    open_slices(run, tmp_path / "one.txt", tmp_path / "first")  # The imports of a first call are not measured.
    tracemalloc.start()
    slices = open_slices(run, tmp_path / "a.txt", tmp_path / "out")
    number, paths = next(slices.unfinished(20, 40))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (number, len(paths)) == (20, 1000)
    assert peak < 2e6


def test_a_manifest_that_changes_while_it_is_read_is_refused(run: Run, manifest: Path, tmp_path: Path) -> None:
    copy = manifest.with_name("changing.csv")
    copy.write_text(manifest.read_text())
    slices = open_slices(run, copy, tmp_path / "out", options=SliceOptions(4))
    with copy.open("a") as file:
        file.write("red/00.mp4\nred/00.mp4\n")
    with refuses(RunError, copy):
        predict_slices(slices)
    with refuses(DataError, tmp_path / "out", "files 11", 13):
        open_slices(run, copy, tmp_path / "out", options=SliceOptions(4))


def test_finished_slices_are_reused(run: Run, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert finish(open_slices(run, manifest, out, options=SliceOptions(2)), rank=1, ranks=2) == [1, 3, 5]
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    slices = open_slices(run, manifest, out, options=SliceOptions(2))
    assert slices.state().finished == 3
    assert [finish(slices, rank=rank, ranks=3) for rank in range(3)] == [[0], [4], [2]]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    whole = table(out)
    assert whole == predict_rows(run, list_files(manifest))
    for suffix in (".csv", ".json"):
        (out / f"slice-000004{suffix}").unlink()
        assert finish(slices) == [4]
        assert table(out) == whole


def command(run: Path, manifest: Path, out: Path, *more: str) -> list[str]:
    options = ["--out", str(out), "--workers", "0", "--engine", "eager", *more]
    return [sys.executable, "-m", "texthead", "bulk", str(run), str(manifest), *options]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


@pytest.mark.slow
def test_killed_process_leaves_others_running(run: Run, folder: Path, tmp_path: Path) -> None:
    """The files are listed many times so that the process is killed midway; each line counts."""
    files = [str(path) for path in sorted((folder / "red").iterdir())] * 30
    (tmp_path / "a.txt").write_text("\n".join(files))
    out, quick = tmp_path / "out", ("--slice", "2", "--ranks", "2", "--rank", "0")
    with subprocess.Popen(command(run.folder, tmp_path / "a.txt", out, *quick), env=environment()) as process:
        while not (out / "slice-000004.json").exists() and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    slices = open_slices(run, tmp_path / "a.txt", out, options=SliceOptions(2))
    before = {path: path.stat().st_mtime_ns for path in out.glob("slice-*.json")}
    assert process.returncode == -signal.SIGKILL
    assert 3 <= len(before) < 38
    shares = [finish(slices, rank=rank, ranks=3) for rank in range(3)]
    assert sorted(number for share in shares for number in share) == [
        number for number in range(75) if out / f"slice-{number:06d}.json" not in before
    ]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert slices.state() == State(75, 75, 150, 0)
    assert table(out) == predict_rows(run, [Path(path) for path in files])


@pytest.mark.slow
def test_torchrun(run: Run, manifest: Path, tmp_path: Path) -> None:
    """The processes form no process group."""
    words = command(run.folder, manifest, tmp_path / "out", "--slice", "2")[1:]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    quiet = environment(TORCHELASTIC_ERROR_FILE=os.devnull)
    found = subprocess.run([*launcher, *words], capture_output=True, text=True, env=quiet, timeout=300)
    assert found.returncode == 0, found.stderr
    for rank in range(2):
        prints(found.stderr, f"process {rank} of 2", "11 files", "6 slices")
    for number in range(6):
        assert found.stderr.count(f"slice {number} of 6: ") == 1
    assert "6 of 6" in found.stdout
    assert table(tmp_path / "out") == predict_rows(run, list_files(manifest))


def in_a_group(slices: Slices) -> list:
    with pytest.raises(RunError, match="rank"):
        predict_slices(slices)
    return []


@pytest.mark.slow
def test_a_process_group_is_refused(run: Run, manifest: Path, tmp_path: Path) -> None:
    slices = open_slices(run, manifest, tmp_path / "out")
    with processes(2) as all_run:
        all_run(in_a_group, slices)


def test_numbers_out_of_range(run: Run, manifest: Path, tmp_path: Path) -> None:
    for option in ("slice", "top", "batch"):
        with refuses(DataError, option, 0):
            SliceOptions(**{option: 0})
    slices = open_slices(run, manifest, tmp_path / "out")
    for rank, ranks in ((2, 2), (-1, 2)):
        with refuses(DataError, "rank", ranks - 1, rank):
            predict_slices(slices, rank=rank, ranks=ranks)
    with refuses(DataError, "ranks", 0):
        th.predict_slices(slices, rank=0, ranks=0)


def test_unreadable_files_stop_a_process_or_are_rows(run: Run, folder: Path, tmp_path: Path) -> None:
    good, broken = [folder / "red" / "00.mp4", folder / "blue" / "02.mp4"], write_broken(tmp_path / "broken.mp4")
    gone = tmp_path / "gone.mp4"
    files = [*good, good[0], broken, broken, gone, good[1]]
    (tmp_path / "a.txt").write_text("\n".join(map(str, files)))
    slices = open_slices(run, tmp_path / "a.txt", tmp_path / "out", options=SliceOptions(2, top=1, scores=True))
    with pytest.raises(MediaError, match=r"broken\.mp4: .*skip_unreadable"):
        predict_slices(slices)
    assert slices.state() == State(1, 4, 2, 0), "what came before stays"
    state = predict_slices(slices, skip_unreadable=True)
    assert state == State(4, 4, 7, 3)
    rows = table(tmp_path / "out")
    assert rows.pop(5)[:4] == [str(gone), "", "", ""]
    assert rows == predict_rows(
        run, [path for path in files if path != gone], top=1, reading=Reading(skip_unreadable=True)
    )
    scores = [load_file(tmp_path / "out" / f"slice-{i:06d}.safetensors")["scores"] for i in range(4)]
    assert torch.cat(scores).isnan().all(1).tolist() == [False, False, False, True, True, True, False]
    assert torch.equal(scores[1][0], scores[0][0])
    assert predict_slices(slices) == state, "a finished slice is not looked at again"


def other_rows(run: Run, rows: torch.Tensor | None = None, scale: float = 9.0) -> FrozenHead:
    """Return the run's head with other rows or another scale."""
    return FrozenHead(run.model.head.weight if rows is None else rows, names=run.labels, scale=scale)  # pyright: ignore


OTHERS: list[tuple[Callable[[Run], dict], str]] = [
    (lambda run: {"options": SliceOptions(4, top=3)}, "top 5"),
    (lambda run: {"options": SliceOptions(3)}, "slice 4"),
    (lambda run: {"options": SliceOptions(4, scores=True)}, "scores False"),
    (lambda run: {"options": SliceOptions(4, batch=2)}, "batch 1"),
    (lambda run: {"protocol": replace(run.protocol, frames=7)}, "frames 3"),
    (lambda run: {"protocol": replace(run.protocol, pooling="logits")}, "pooling features"),
    (lambda run: {"run": run.model, "protocol": None}, "pixels"),
    (lambda run: {"run": run.model.with_head(run.head.with_rows(run.head.rows(), list("abcde")))}, "labels"),
    (lambda run: {"run": Recognizer(tiny_visual(seed=1), MeanPool(), run.model.head)}, "model"),
    (lambda run: {"run": run.model.with_head(other_rows(run, noise(5, SPEC.dim, seed=1)))}, "head"),
    (lambda run: {"run": run.model.with_head(other_rows(run, scale=9.1))}, "head"),
]


@pytest.mark.parametrize(("other", "piece"), OTHERS)
def test_another_request_is_refused_in_the_same_folder(
    run: Run, manifest: Path, tmp_path: Path, other: Callable[[Run], dict], piece: str
) -> None:
    predict_slices(open_slices(run, manifest, tmp_path / "out", options=SliceOptions(4)))
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    with refuses(DataError, tmp_path / "out", piece):
        asked = {"run": run, "source": manifest, "out": tmp_path / "out", "protocol": run.protocol}
        asked["options"] = SliceOptions(4)
        open_slices(**(asked | other(run)))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before


def test_repeated_request_gives_same_files(run: Run, manifest: Path, tmp_path: Path) -> None:
    """On another processor the last bits of the rows differ; the same manifest elsewhere lists other files."""
    slices = open_slices(run, manifest, tmp_path / "out")
    rows = run.model.head.weight + 1e-7 * noise(5, SPEC.dim, seed=2)  # pyright: ignore[reportOperatorIssue]
    again = open_slices(run.model.with_head(other_rows(run, rows)), manifest, tmp_path / "out", run.protocol)
    assert again.request["head"] == pytest.approx(slices.request["head"], abs=1e-4)
    (tmp_path / "clips.csv").write_text(manifest.read_text())
    with refuses(DataError, tmp_path / "out", "manifest"):
        open_slices(run, tmp_path / "clips.csv", tmp_path / "out")


def test_concurrent_request_detected_before_writing(run: Run, manifest: Path, tmp_path: Path) -> None:
    first = open_slices(run, manifest, tmp_path / "out", options=SliceOptions(4))
    (tmp_path / "out" / MARK).unlink()
    open_slices(run, manifest, tmp_path / "out", options=SliceOptions(3))
    with refuses(DataError, tmp_path / "out", "slice 3", 4):
        predict_slices(first)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [MARK]


def test_a_folder_with_something_else_in_it_is_refused(run: Run, manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with refuses(DataError, tmp_path / "out", "notes.txt", MARK):
        open_slices(run, manifest, tmp_path / "out")
    with refuses(RunError, tmp_path / "out" / "notes.txt"):
        open_slices(run, manifest, tmp_path / "out" / "notes.txt")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_options_that_do_not_go_together(
    run: Run, manifest: Path, tmp_path: Path, wrong: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, out = run.folder, ["--out", "x"]
    for arguments, option in [
        ([folder, manifest], "--out"),
        ([folder, *out], "after it"),
        ([folder, manifest, *out, "--rank", 0], "--ranks"),
        ([folder, manifest, *out, "--rank", 2, "--ranks", 2], "rank"),
        ([folder, manifest, *out, "--rank", 0, "--ranks", 2, "--ray", 1], "--ray"),
        ([folder, manifest, manifest, *out], "2"),
        ([folder, "gone.csv", *out], "gone.csv"),
        ([manifest, *out], "--classes"),
    ]:
        assert option in wrong("bulk", *arguments), arguments
    assert not any(tmp_path.iterdir())


def test_zero_shot_in_slices(folder: Path, tmp_path: Path, say: Callable[..., tuple[int, str, str]]) -> None:
    (tmp_path / "a.txt").write_text(f"{folder}/red/still.png\n{folder}/blue/02.mp4\n{tmp_path}/gone.mp4\n")
    options = ["--classes", "a red square, a blue square", "--workers", 0, "--skip-unreadable"]
    out = tmp_path / "out"
    code, text, err = say("bulk", tmp_path / "a.txt", "--out", out, *options)
    assert code == 0
    prints(text, out, "1 of 1", "3 files", "1 of them")
    assert "slice 0 of 1: 3 files, 1 of them" in err
    assert [row[1] for row in table(out)] == ["1", "2", "1", "2", ""]


def test_slices_of_several_labels(folder: Path, manifest: Path, tmp_path: Path) -> None:
    run = load_run(write_several_run(tmp_path / "run"))
    slices = open_slices(run, manifest, tmp_path / "out", options=SliceOptions(slice=4, top=1))
    assert predict_slices(slices).finished == slices.count
    with (tmp_path / "out" / "slice-000000.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    predictions = predict(run, list_files(manifest)[:4], top=1)
    expected = [
        (name, "yes" if i < each.chosen else "no") for each in predictions for i, (name, _) in enumerate(each.top)
    ]
    assert [(row["name"], row["chosen"]) for row in rows] == expected
    strict = load_run(write_several_run(tmp_path / "strict", (20.0, 20.0, 20.0)))
    with refuses(DataError, "head"):
        open_slices(strict, manifest, tmp_path / "out", options=SliceOptions(slice=4, top=1))
    with refuses(DataError, "sets", "several"):
        open_slices(run, manifest, tmp_path / "sets", options=SliceOptions(sets=True))
