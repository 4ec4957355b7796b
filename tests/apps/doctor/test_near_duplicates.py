"""Near duplicates: rows that point in the same direction, and similar hashes."""

import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from messages import prints
from texthead import read_dataset
from texthead.apps.doctor import near_duplicates
from texthead.apps.doctor.file_stats import EDGES, FileStats, stats_of_file

COLOURS = np.random.default_rng(5).integers(0, 256, (16, 16, 3), np.uint8)


def label_groups(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Label each row by the first row that pairs connect it to."""
    first = list(range(count))
    for one, other in pairs:
        joined = {first[one], first[other]}
        first = [min(joined) if own in joined else own for own in first]
    return first


@pytest.mark.parametrize("part", [7, 50, 4096])
@pytest.mark.parametrize("above", [0.9, 0.97, 0.999])
def test_pairs_connect_the_same_groups_as_all_cosines(part: int, above: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    every = [(i, j) for i in range(50) for j in range(i + 1, 50) if unit[i] @ unit[j] > above]
    expected = label_groups(50, every)
    monkeypatch.setattr(near_duplicates, "_BLOCK", part)
    result = near_duplicates.near_pairs(rows, above)
    pairs = {(first, second) for first, second, _ in result}
    assert pairs <= set(every)
    # No more pairs than these groups need.
    assert label_groups(50, pairs) == expected
    assert len(result) == 50 - len(set(expected))
    for first, second, cosine in result:
        assert cosine == pytest.approx(unit[first] @ unit[second], abs=1e-6)
    # A row of zeros is similar to no other.
    assert near_duplicates.near_pairs(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]), 0.0) == []


def test_rows_that_are_all_alike_take_bounded_memory() -> None:
    """5,000 rows have 12 million pairs above 0.9; positions and cosines alone take 300 MB, twice that while built."""
    rows = 1 + np.random.default_rng(0).normal(0, 0.01, (5000, 8)).astype(np.float32)
    tracemalloc.start()
    pairs = near_duplicates.near_pairs(rows, 0.9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pairs) == 4999
    assert peak < 250 * 2**20


def make_facts(edges: np.ndarray, name: object, contrast: float = 40.0, colours: np.ndarray = COLOURS) -> FileStats:
    look = {"brightest": 200.0, "contrast": contrast, "edges": edges.astype(np.float16), "colours": colours}
    return FileStats(Path("a"), digest=str(name), **look)


def test_edges_make_files_alike_and_colours_make_it_sure() -> None:
    edges = np.random.default_rng(0).choice([-1.0, 1.0], EDGES)
    near, far = edges.copy(), edges.copy()
    near[:40] *= -1
    far[:60] *= -1
    facts = [make_facts(edges, 0), FileStats(Path("b"), fault="damaged"), make_facts(far, 2), make_facts(near, 3)]
    facts.append(make_facts(edges, 4, contrast=4.0))
    pairs = near_duplicates.alike_by_edges(facts)
    # Rows 2 and 3 were changed from row 0 and differ in 20 places.
    assert {pair: likeness.sure for pair, likeness in pairs.items()} == {(0, 3): False, (2, 3): True}
    prints(pairs[0, 3].words, "0.92")
    prints(pairs[2, 3].words, "0.96")
    # Exact copies are left out: they are found by their bytes.
    assert near_duplicates.alike_by_edges([*facts, facts[3]]) == pairs
    facts[2] = make_facts(far, 2, colours=COLOURS[::-1])
    assert not near_duplicates.alike_by_edges(facts)[2, 3].sure


def test_different_things_on_plain_ground_are_no_sure_copies(tmp_path: Path) -> None:
    """The signs of their edges, a plain difference hash, correlate by 1.0: all lies in the shape's outline."""
    facts = []
    for number, colour in enumerate(("firebrick", "royalblue", "seagreen")):
        picture = PIL.Image.new("RGB", (320, 320), "white")
        draw = PIL.ImageDraw.Draw(picture)
        draw.ellipse((80 - 4 * number, 90, 230, 240 + 4 * number), fill=colour)
        draw.rectangle((120, 60 + 60 * number, 180, 100 + 60 * number), fill=("black", "orange", "white")[number])
        picture.save(tmp_path / f"{number}.png")
        facts.append(stats_of_file(tmp_path / f"{number}.png"))
    assert not any(likeness.sure for likeness in near_duplicates.alike_by_edges(facts).values())
    # The same picture, saved again at half the size, is one.
    with PIL.Image.open(tmp_path / "0.png") as picture:
        picture.resize((160, 160)).save(tmp_path / "again.jpg", quality=50)
    pairs = near_duplicates.alike_by_edges([facts[0], stats_of_file(tmp_path / "again.jpg")])
    assert pairs[0, 1].sure


def test_hands_before_a_wall_are_no_near_copies(shared: Path) -> None:
    """With the signs of edges alone, 12 pairs of 700 photos passed for near copies, half of them with two labels."""
    items = read_dataset(shared / "image" / "handdigits" / "images.csv").items
    names = ["4163", "4262", "4973", "5426", "5428", "5429", "5804", "5802"]
    facts = [stats_of_file(item.path) for item in items if item.path.stem.removeprefix("IMG_") in names]
    assert len(facts) == len(names)
    assert near_duplicates.alike(facts) == {}


def test_photos_of_one_texture_are_no_copies_of_each_other() -> None:
    """All features of a class have a cosine above 0.9 with each other; a copy is alike among them, too."""
    rng = np.random.default_rng(2)
    rows = 10 * np.repeat(rng.normal(size=(2, 30)), 12, axis=0) + rng.normal(size=(24, 30))
    rows[5] = rows[3] + 0.05
    features, labels = dict(enumerate(rows)), ["metal"] * 12 + ["paper"] * 12
    facts = [make_facts(rng.choice([-1.0, 1.0], EDGES), index) for index in range(24)]
    assert len(near_duplicates.alike(facts, features)) == 22
    pairs = near_duplicates.alike(facts, features, labels)
    assert {pair: likeness.sure for pair, likeness in pairs.items()} == {(3, 5): False}
    facts[5] = replace(facts[5], edges=facts[3].edges)
    assert near_duplicates.alike(facts, features, labels)[3, 5].sure
    # Of a class of few files nothing is known.
    assert len(near_duplicates.alike(facts, features, [*map(str, range(3)), *"aaaaa", *labels[8:]])) > 1


def test_alike_by_centered_features() -> None:
    own = np.random.default_rng(1).normal(size=(40, 30))
    features = {index: row + 100 for index, row in enumerate(own)}
    features[41] = features[7] + 0.05
    facts = [make_facts(np.zeros(EDGES), index) for index in range(42)]
    assert set(near_duplicates.alike_by_feature(facts, features)) == {(7, 41)}
    facts[7] = make_facts(np.zeros(EDGES), 7, contrast=4.0)
    assert near_duplicates.alike_by_feature(facts, features) == {}
    assert near_duplicates.alike_by_feature(facts, {}) == {}


def test_features_that_contradict_edges_are_believed() -> None:
    edges = np.random.default_rng(0).choice([-1.0, 1.0], EDGES)
    facts = [make_facts(edges, name) for name in range(3)]
    assert set(near_duplicates.alike(facts)) == {(0, 1), (0, 2)}
    features = {0: np.array([1.0, 0.1, 0]), 1: np.array([-1, 0.2, 0.3]), 2: np.array([0.9, 0.2, 0.6])}
    assert set(near_duplicates.alike(facts, features)) == {(0, 2)}
    # For a file without features only the edges count.
    del features[1]
    assert (0, 1) in near_duplicates.alike(facts, features)


def test_features_make_a_pair_sure_that_edges_leave_in_doubt() -> None:
    edges = np.random.default_rng(0).choice([-1.0, 1.0], EDGES)
    facts = [make_facts(edges, 0), make_facts(edges, 1, colours=COLOURS[::-1]), make_facts(-edges, 2)]
    features = {0: np.array([1.0, 0.1, 0]), 1: np.array([1.0, 0.1, 0.1]), 2: np.array([-1, 0.2, 0.3])}
    assert not near_duplicates.alike(facts)[0, 1].sure
    assert near_duplicates.alike(facts, features)[0, 1].sure
