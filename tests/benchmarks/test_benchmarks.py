"""Benchmarks: comparisons, output when a peer is missing, and a small run of each script."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import (
    growth,
    load,
    mini,
    peers,
    reading,
    rounds,
    startup,
    step,
    transforms,
    videos,
)
from benchmarks.rounds import Cost


def rows_of(table: str) -> dict[str, list[str]]:
    """Return each row's cells, keyed by its first cell."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return {first: rest for first, *rest in lines}


def test_rounds_alternate_order() -> None:
    seen: list[str] = []

    def way(name: str) -> rounds.Way:
        return lambda: seen.append(name) or Cost(float(len(seen)), 0.0)

    costs = rounds.interleaved({name: way(name) for name in "abc"}, 2)
    assert "".join(seen) == "cba" + "abc" + "cba"
    # Runs 1 to 3 are the warm-up.
    times = {name: [cost.wall for cost in result] for name, result in costs.items()}
    assert rounds.interleaved({"a": way("a")}, 0)["a"] == [Cost(10.0, 0.0)], "the warm-up"
    assert times == {"a": [4.0, 9.0], "b": [5.0, 8.0], "c": [6.0, 7.0]}


def test_ratios_are_of_pairs_of_one_round() -> None:
    costs = {"slow": [Cost(2, 20), Cost(30, 3), Cost(4, 8)], "fast": [Cost(1, 10), Cost(10, 1), Cost(1, 1)]}
    assert rounds.ratios(costs, "slow", "fast", "wall") == [2, 3, 4]
    assert rounds.ratios(costs, "slow", "fast") == [2, 3, 8]
    assert rounds.judge([2, 3, 4], at_least=3) == ("3.00 (2.00-4.00)", "at least 3: met")
    assert rounds.judge([2, 3, 4], at_most=2.5) == ("3.00 (2.00-4.00)", "at most 2.5: missed")
    assert rounds.judge([2, 3, 4])[1] == "-"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    reading.make(folder, [videos.drawn(2, number) for number in range(2)])
    return folder


def test_readers_that_are_exact_read_the_same_frames(made: Path) -> None:
    path, wanted = reading.Files.from_folder(made).videos[250][0], [3, 17, 44]
    ours = reading.texthead_frames(path, wanted).permute(0, 2, 3, 1).numpy().astype(int)
    whole = videos.whole(path)
    assert np.array_equal(ours, np.stack([whole[index] for index in wanted]))
    assert np.abs(ours - reading.pyav_frames(path, wanted)).mean() < 1
    if reading.missing("decord") is None:
        assert np.abs(ours - reading.decord_frames(path, wanted)).mean() < 2


def test_published_chain_normalises_all_frames() -> None:
    pictures = [Image.new("RGB", (427, 320), (255, 255, 255))] * 3
    white = (1 - np.array(transforms.MEAN)) / np.array(transforms.STD)
    for result in (transforms.published_train(pictures, np.random.default_rng(0)), transforms.published_test(pictures)):
        assert result.shape == (3, 3, 224, 224)
        np.testing.assert_allclose(result.mean((0, 2, 3)).numpy(), white, rtol=1e-4)


@pytest.mark.nightly("benchmarks/peers.py")
def test_peers_compute_the_same_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path))
    sides = {"image_size": 32, "patch_size": 16, "hidden_size": 64, "intermediate_size": 64}
    tiny = peers.transformers_ways(tmp_path / "hf", num_hidden_layers=1, num_attention_heads=1, **sides)
    groups, paths = {"mini": peers.mini_ways(tmp_path), "tiny": tiny}, peers.draw(tmp_path, 3)
    rows = [line.strip("| ").split(" | ") for line in peers.measure(groups, paths, 1).text.splitlines()[2:]]
    assert [row[:2] for row in rows] == [[name, way] for name, ways in groups.items() for way in ways]
    gaps = {way: float(gap) for _, way, *_, gap in rows if way != peers.TEXTHEAD}
    assert max(gaps.values()) < 1e-3


# For each script: its measurement and the titles of its table.
SMALLEST: dict[str, tuple[Callable[[Path], str], set[str]]] = {
    "items": (lambda _: growth.measure_items(1, 10, times=(1, 2, 3)), {"10", "20", "30"}),
    "classes": (
        lambda _: growth.measure_classes(1, [10, 20], architecture="openclip:ViT-S-32-alt", frames=1),
        {"20 classes"},
    ),
    "start-up": (lambda _: startup.measure(0, seconds=1, memory=False, each=4).text, {startup.PREDICT, startup.BESIDE}),
    "mini": (lambda _: mini.measure(1, batch=2, sizes=(32,)), {"training at 32 pixels"}),
    "steps": (
        lambda _: step.measure(0, steps=step.FEW, memory=False).text,
        {title for rows in step.rows() for title in rows},
    ),
    "reading": (
        lambda folder: reading.measure(folder, [videos.drawn(1, 0)], 0, memory=True).text,
        {
            reading.JPEGS,
            f"{reading.PACKETS}, GOP 12",
            f"{reading.SHARDS} / {reading.PACKETS}, GOP 250",
            f"{reading.CHAIN} / {reading.PUBLISHED}, short side 320",
        },
    ),
}


@pytest.mark.nightly("benchmarks")
@pytest.mark.parametrize("name", SMALLEST)
def test_a_script_at_its_smallest(name: str, tmp_path: Path) -> None:
    measure, titles = SMALLEST[name]
    assert titles <= rows_of(measure(tmp_path)).keys()


# --- load with real kills


@pytest.mark.nightly("benchmarks/load.py")
@pytest.mark.parametrize(
    "arguments",
    [["page", "--minutes", "0.5", "--clients", "3", "--every", "10"], ["label", "--kills", "2", "--every", "3"]],
)
def test_nothing_is_lost_or_wrong(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = load.main(arguments)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (code, result["bad"]) == (0, 0), result
    assert result["kills"] >= 2
    assert result.get("right", result.get("acknowledged", result.get("rows"))) > 10
