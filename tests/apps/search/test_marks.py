"""Marks teach a search: the CSV, the head, probabilities, what to mark next, and the run for other commands."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

import texthead as th
from made import joined_colours, noise, tiny_visual, write_colour_run, write_image, write_video
from messages import refuses
from texthead.apps.search.index import Index, open_index
from texthead.apps.search.marks import CALIBRATED, MIN_GROUPS, OTHER, Marks, marked_words
from texthead.encoders.encoder import Encoder
from texthead.errors import DataError, RunError
from texthead.features.reading import ReadOptions
from texthead.parallel.progress import Reporter
from texthead.prediction.load import load_run

RED = "a red thing"


def clouds(rare: int = 20, others: int = 180, dim: int = 24) -> tuple[Index, Tensor]:
    """Return an index of drawn features, the first of which are wanted, and a query that is half right."""
    center, wanted = 3 * noise(dim, seed=1), 2 * normalize(noise(dim, seed=2), dim=0)
    features = center + noise(rare + others, dim, seed=3)
    features[:rare] += wanted
    paths = [f"/nowhere/{number:03d}.png" for number in range(rare + others)]
    spans = torch.tensor([0.0, torch.inf]).repeat(len(paths), 1)
    numbers = torch.arange(len(paths))
    model = Encoder(tiny_visual(), None, scale=10.0)
    index = Index(paths, {}, numbers, spans.double(), features.half(), Path("/nowhere"), model)
    return index, normalize(normalize(wanted, dim=0) + normalize(noise(dim, seed=4), dim=0), dim=0)


def precision(scores: Tensor, wanted: int) -> float:
    """Return the average precision of scores of windows, the first of which are wanted."""
    right = (scores.argsort(descending=True) < wanted).double()
    return float((right.cumsum(0) / torch.arange(1, len(right) + 1))[right.bool()].mean())


@torch.inference_mode()
def odds(marks: Marks) -> Tensor:
    return marks.head()(marks.index.features.float()) @ torch.tensor([1.0, -1.0])


def test_marks_improve_the_ranking_and_hits_alone_do_no_harm() -> None:
    index, row = clouds()
    texts = precision(normalize(index.features.float() - index.features.float().mean(0), dim=-1) @ row, 20)
    marks = Marks(index, "kite", row)
    assert precision(odds(marks), 20) == pytest.approx(texts, abs=0.03)
    for window in range(100, 106):
        marks.put(window, False)
    assert precision(odds(marks), 20) > texts - 0.05
    hits = Marks(index, "kite", row)
    for window in range(4):
        hits.put(window, True)
        marks.put(window, True)
    assert precision(odds(hits), 20) > texts
    assert precision(odds(marks), 20) > texts + 0.05
    assert torch.equal(odds(marks), odds(marks))
    marks.put(0, None)
    assert 0 not in marks.hit
    assert Marks(index, "one; or\n two", row).name == "one, or two"


def test_probabilities_need_enough_marks() -> None:
    index, row = clouds(300, 1700)
    marks, kinds = Marks(index, "kite", row), list[str]()
    for _ in range(5):
        head, ranked = marks.head(), odds(marks).argsort(descending=True).tolist()
        kinds.append(head.kind)
        for window in [window for windows in marks.next_to_mark(head, ranked) for window in windows]:
            marks.put(window, window < 300)
        few = min(sum(marks.hit.values()), sum(not hit for hit in marks.hit.values())) < MIN_GROUPS
        assert marks.head().kind.endswith(f", {CALIBRATED}") != few
    assert CALIBRATED not in kinds[0]
    probabilities = odds(marks).sigmoid()
    for low, high in ((0.0, 0.2), (0.2, 0.8), (0.8, 1.0)):
        own = (probabilities >= low) & (probabilities <= high)
        assert float((torch.arange(2000)[own] < 300).float().mean() - probabilities[own].mean()) == pytest.approx(
            0, abs=0.12
        )


def test_windows_of_one_film_nearby_are_one_group() -> None:
    index, row = clouds()
    file = replace(index, paths=index.paths[:1], file_of=0 * index.file_of)
    marks = Marks(file, "kite", row)
    for window in range(10):
        marks.put(window, True)
        marks.put(100 + 10 * window, False)
    assert CALIBRATED not in marks.head().kind


def test_the_next_page_has_likely_hits_and_doubtful_windows() -> None:
    index, row = clouds()
    marks = Marks(index, "kite", row)
    ranked = odds(marks).argsort(descending=True).tolist()
    assert marks.next_to_mark(marks.head(), ranked) == (ranked[:10], [])
    for window in ranked[:10]:
        marks.put(window, window < 20)
    head, scores = marks.head(), odds(marks)
    ranked = scores.argsort(descending=True).tolist()
    sure, unsure = marks.next_to_mark(head, ranked)
    assert sure == [window for window in ranked if window not in marks.hit][:5]
    assert len({*sure, *unsure, *marks.hit}) == 20
    hits = torch.tensor([window in marks.hit and marks.hit[window] for window in range(200)])
    misses = torch.tensor([window in marks.hit and not marks.hit[window] for window in range(200)])
    middle = (scores[hits].mean() + scores[misses].mean()) / 2
    left = [window for window in ranked if window not in {*sure, *unsure, *marks.hit}]
    assert (scores[unsure] - middle).abs().max() <= (scores[left] - middle).abs().min()
    everything = [*range(200)]
    assert marks.next_to_mark(head, [window for window in everything if window in marks.hit]) == ([], [])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Red and blue clips and images, and a film that is red for eight seconds and then blue."""
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))
    for number in range(6):
        for colour in ("red", "blue"):
            write_image(tmp_path / "files" / f"{colour}{number}.png", colour, seed=number)
            write_video(tmp_path / "files" / f"{colour}{number}.mp4", colour, seed=number)
    joined_colours(tmp_path / "files" / "film.mp4", ["red", "blue"], seconds=8.0)
    return tmp_path / "files"


def opened(folder: Path, run: Path | None = None) -> Index:
    model = load_run(run) if run else Encoder(tiny_visual(), None, scale=10.0)
    return open_index(folder, model, ReadOptions(cache=True))


def taught(index: Index, path: Path | None = None) -> Marks:
    """Return marks of all clips and images but the last of each kind, and of the film's first and last windows."""
    marks = Marks(index, RED, torch.zeros(index.features.shape[1]), path)
    film = [window for window in range(len(index)) if index.media(window).is_part]
    for window in range(len(index)):
        name = index.media(window).file.name
        if window in (film[0], film[-1]) or (window not in film and "5" not in name):
            marks.put(window, "red" in name or window == film[0])
    return marks


def test_marks_are_kept_in_a_csv_that_train_reads_and_resumed(folder: Path, tmp_path: Path) -> None:
    index, path = opened(folder), tmp_path / "marks" / "marks.csv"
    marks = taught(index, path)
    rows = [*csv.DictReader(path.open())]
    assert {row["label"] for row in rows} == {RED, OTHER}
    assert any("#t=" in row["path"] for row in rows)
    dataset = th.read_dataset(path)
    assert {str(item.media.resolved()) for item in dataset.items} == {
        str(index.media(window).resolved()) for window in marks.hit
    }
    notes: list[str] = []
    again = Marks(index, RED, marks.row, path, Reporter(note=notes.append))
    assert again.hit == marks.hit
    assert notes == []
    assert torch.equal(odds(again), odds(marks))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0.001, 3600, allow_subnormal=False), min_size=2, max_size=8, unique_by=lambda x: round(x, 3)))
def test_marks_at_any_time_are_found_again(times: list[float]) -> None:
    """Times such as 2.3 and 7 / 3 have no exact binary or decimal form."""
    cuts = sorted(times)
    spans = torch.tensor([*pairwise(cuts), (cuts[-1], torch.inf)], dtype=torch.float64)
    features, numbers = noise(len(spans), 4, seed=0).half(), torch.zeros(len(spans), dtype=torch.int64)
    with TemporaryDirectory() as folder:
        index = Index(
            [f"{folder}/a.mp4"], {}, numbers, spans, features, Path(folder), Encoder(tiny_visual(), None, scale=10.0)
        )
        marks = Marks(index, RED, torch.zeros(4), Path(folder) / "marks.csv")
        for window in range(len(index)):
            marks.put(window, window % 2 == 0)
        assert Marks(index, RED, torch.zeros(4), Path(folder) / "marks.csv").hit == marks.hit


def test_marks_of_other_files_stay_in_the_csv_with_a_line(folder: Path, tmp_path: Path) -> None:
    path = folder / "marks.csv"
    write_image(tmp_path / "elsewhere.png", "red")
    path.write_text(
        f"path,label,split\n{tmp_path}/elsewhere.png,{RED},train\nred0.png,{RED},train\nred1.png,other,\n"
        f"film.mp4#t=0.5,1.5,{RED},\n".replace("film.mp4#t=0.5,1.5", '"film.mp4#t=0.5,1.5"')
    )
    index, notes = opened(folder), list[str]()
    marks = Marks(index, RED, torch.zeros(index.features.shape[1]), path, Reporter(note=notes.append))
    assert notes == [f"{path}: 2 of 4 marks are not in {folder}; they stay in the file"]
    assert sorted(marks.hit.values()) == [False, True]
    (red,) = (window for window, hit in marks.hit.items() if hit)
    marks.put(red, None)
    (new,) = (window for window in range(len(index)) if index.media(window).file.name == "blue0.png")
    marks.put(new, False)
    rows = [*csv.DictReader(path.open())]
    assert [(Path(row["path"]).name, row["label"], row["split"]) for row in rows] == [
        ("elsewhere.png", RED, "train"),
        ("red1.png", OTHER, ""),
        ("film.mp4#t=0.5,1.5", RED, ""),
        ("blue0.png", OTHER, ""),
    ]


def test_marks_of_other_words_are_refused(tmp_path: Path) -> None:
    index, path = clouds()[0], tmp_path / "marks.csv"
    assert marked_words(path) == ""
    path.write_text(f"path,label\n1.png,{OTHER}\n2.png,a helicopter\n")
    assert marked_words(path) == "a helicopter"
    with refuses(DataError, path, "'a helicopter'", "'a piano'"):
        Marks(index, "a piano", noise(24), path)
    path.write_text("path,label\n1.png,a kite\n2.png,a helicopter\n")
    assert marked_words(path) == ""
    path.unlink()
    Marks(index, "a kite", noise(24), path).put(0, False)
    assert marked_words(path) == "a kite", "misses alone"
    with refuses(DataError, path, "'a kite'", "'a piano'"):
        Marks(index, "a piano", noise(24), path)
    assert Marks(index, "a kite", noise(24), path).hit == {0: False}


def test_two_writers_of_a_csv_keep_the_marks_of_each_other(folder: Path, tmp_path: Path) -> None:
    index, path = opened(folder), tmp_path / "marks.csv"
    one, other = (Marks(index, RED, torch.zeros(index.features.shape[1]), path) for _ in range(2))
    one.put(0, True)
    other.put(1, False)
    one.put(2, True)
    assert Marks(index, RED, one.row, path).hit == {0: True, 1: False, 2: True}

    def put_often(marks: Marks, window: int) -> None:
        for number in range(60):
            marks.put(window, number % 2 == 0)
            assert Marks(index, RED, one.row, path).hit[window] == (number % 2 == 0)

    with ThreadPoolExecutor() as threads:
        assert [*threads.map(put_often, (one, other), (0, 1))] == [None, None]


def test_wrong_names_and_marks_are_refused(folder: Path, tmp_path: Path) -> None:
    index, _ = clouds()
    for name in (OTHER, f" {OTHER}\n"):
        with refuses(DataError, "a class cannot be called 'other'"):
            Marks(index, name, noise(24))
    marks = Marks(index, "kite", noise(24))
    marks.put(3, False)
    with refuses(DataError, "nothing is marked as 'kite'"):
        marks.save_run(tmp_path / "run")
    (tmp_path / "run").mkdir()
    with refuses(RunError, "already exists"):
        taught(opened(folder)).save_run(tmp_path / "run")


def test_a_saved_run_predicts_like_the_head(folder: Path, tmp_path: Path) -> None:
    index = opened(folder)
    marks = taught(index, tmp_path / "marks.csv")
    marks.save_run(tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.labels == (RED, OTHER)
    assert run.split.was_trained_on(folder / "red0.png")
    assert not run.split.was_trained_on(folder / "red5.png")
    files = [folder / name for name in ("red5.png", "blue5.png", "red5.mp4", "blue5.mp4")]
    predictions = run.predict(files, top=2)
    assert [prediction.top[0][0] for prediction in predictions] == [RED, OTHER, RED, OTHER]
    of_image = odds(marks).sigmoid()[next(w for w in range(len(index)) if index.media(w).file.name == "red5.png")]
    assert predictions[0].top[0][1] == pytest.approx(float(of_image), abs=2e-3)
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["head"]["kind"].endswith(CALIBRATED)
    assert run.calibration_for(run.protocol) == (run.calibration, None)
    assert (run.calibration.temperature, run.calibration.items) == (1.0, len(marks.hit))


def test_a_run_from_an_index_has_its_encoder_and_temporal(folder: Path, tmp_path: Path) -> None:
    index = opened(folder, write_colour_run(tmp_path / "colours"))
    taught(index).save_run(tmp_path / "run")
    run, old = load_run(tmp_path / "run"), load_run(tmp_path / "colours")
    assert run.recipe == old.recipe
    for own, other in zip(run.model.visual.parameters(), old.model.visual.parameters(), strict=True):
        assert torch.equal(own, other)
    assert [each.top[0][0] for each in run.predict([folder / "red5.mp4", folder / "blue5.mp4"])] == [RED, OTHER]
