"""Benchmarks: comparisons, the table that `make bench` writes, and a small run of each section."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import __main__ as bench
from benchmarks import cached, engine, peers, reading, rounds, startup, transforms, videos
from benchmarks.rounds import Cost, Row, Section


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


def test_cells_are_ratios_of_pairs_of_one_round() -> None:
    costs = {"slow": [Cost(2, 20), Cost(30, 3), Cost(4, 8)], "fast": [Cost(1, 10), Cost(10, 1), Cost(1, 1)]}
    rows = [Row("task", "met", "fast", "slow", 3), Row("task", "missed", "fast", "slow", 3.5, "fast", "bare")]
    assert bench.cells([Section(costs, rows)._asdict()]) == {
        ("task", "met"): "3.00 (2.00-8.00)",
        ("task", "missed (limit: bare)"): "**3.00 (2.00-8.00)**, limit 3.00",
    }


def test_one_column_of_the_file_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "BENCHMARKS.md").read_text("utf-8")
    name = "Intel Xeon family 6 model 167"
    monkeypatch.setattr(bench, "processor", lambda: name)
    task, command = "read 8 frames of a video, key frame every 12 frames", "`eval RUN`"
    rows = [Row(task, "decord", "a", "b"), Row(command, bench.TORCH, "a", "b"), Row("new", "x", "a", "b")]
    result = {"costs": {"a": [(1, 1)], "b": [(9, 9)]}, "rows": rows, "date": "2027-01-01", "about": "two cores"}
    new = bench.updated(text, [result])
    changed = [line for line in new.splitlines() if line not in text.splitlines()]
    assert changed == [
        f"- {name}: 2027-01-01, two cores",
        f"| {task} | decord | 2.24 (2.00-2.28) | 9.00 (9.00-9.00) |",
        "| new | x | - | 9.00 (9.00-9.00) |",
        f"| {command} | 0.64 (0.59-0.66) | 9.00 (9.00-9.00) |",
    ]
    monkeypatch.setattr(bench, "processor", lambda: "another")
    assert "| another |" in bench.updated(text, [result])


def test_readers_that_are_exact_read_the_same_frames(tmp_path: Path) -> None:
    path, wanted = videos.encode(tmp_path / "a.mp4", videos.drawn(2, 0), 60), [3, 17, 44]
    ours = reading.texthead_frames(path, wanted).permute(0, 2, 3, 1).numpy().astype(int)
    whole = videos.whole(path)
    assert np.array_equal(ours, np.stack([whole[index] for index in wanted]))
    if reading.imports(reading.decord_frames, path):
        assert np.abs(ours - np.asarray(reading.decord_frames(path, wanted))).mean() < 2


def test_published_chain_normalises_all_frames() -> None:
    pictures = [Image.new("RGB", (427, 320), (255, 255, 255))] * 3
    white = (1 - np.array(transforms.MEAN)) / np.array(transforms.STD)
    result = transforms.published_train(pictures, np.random.default_rng(0))
    assert result.shape == (3, 3, 224, 224)
    np.testing.assert_allclose(result.mean((0, 2, 3)).numpy(), white, rtol=1e-4)


def tiny_peers(folder: Path) -> Section:
    sides = {"image_size": 32, "patch_size": 16, "hidden_size": 64, "intermediate_size": 64}
    tiny = peers.transformers_ways(folder / "hf", num_hidden_layers=1, num_attention_heads=1, **sides)
    return peers.measure({"`mini`": peers.mini_ways(folder), "tiny": tiny}, peers.draw(folder, 3), 0)


DRAWN = Path("no real clips here")
# Each section at its smallest; its rows must be those of BENCHMARKS.md, but for models of the tests.
SMALLEST: dict[str, Callable[[Path], Section]] = {
    "reading": lambda folder: reading.measure(folder, [videos.drawn(1, 0)], 0),
    "cached": lambda _: cached.section(0, DRAWN, frames=8, size=64),
    "startup": lambda _: startup.section(0, DRAWN, seconds=1, each=4),
    "engine": lambda _: engine.section(0, DRAWN, cases=(("mini", 128),)),
    "peers": tiny_peers,
}


@pytest.mark.nightly("benchmarks")
@pytest.mark.parametrize("name", SMALLEST)
def test_a_section_at_its_smallest(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        section = SMALLEST[name](tmp_path)
    finally:
        torch.set_num_threads(threads)
    text = (Path(__file__).parents[2] / "BENCHMARKS.md").read_text("utf-8")
    new = {
        "`python EXPORTED/predict.py clip.mp4`",
        "`texthead --help`",
        "`predict clip.mp4 --classes NAMES`, zero-shot",
    }
    for task, other in bench.cells([section._asdict()]):
        row = f"| {task} |" if other == bench.TORCH else f"| {task} | {other} |"
        assert row in text or task in new or "tiny" in task, row
