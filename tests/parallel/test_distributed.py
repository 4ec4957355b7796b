"""Several processes give one process's results: the parts, then training and evaluation in two real processes."""

import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import ranked
from benchmarks.process_group import processes
from facts import own_facts
from made import PIXELS, write_broken, write_video
from texthead.data.clips import EpochBatchSampler, TrainClips
from texthead.data.dataset import Dataset, Item
from texthead.errors import RunError
from texthead.prediction.load import load_run
from training_runs import assert_close, counts_of, free_port, losses, on_disk

Two = Callable[..., list]


@pytest.mark.parametrize("many", [2, 3, 5])
@pytest.mark.parametrize(("length", "batch", "accumulate"), [(10, 4, 1), (9, 4, 2), (3, 16, 1), (13, 6, 3), (1, 1, 1)])
def test_processes_share_each_batch_of_one_process(length: int, batch: int, accumulate: int, many: int) -> None:
    part = math.ceil(batch / accumulate)
    one = EpochBatchSampler(length, batch, batch, seed=5)
    crew = [EpochBatchSampler(length, batch, part, seed=5, rank=number, world_size=many) for number in range(many)]
    for epoch in range(2):
        for each in (one, *crew):
            each.epoch = epoch
        steps = list(crew[0].steps())
        assert all(list(each.steps()) == steps for each in crew), "no process waits for a part that others do not have"
        left = [list(each) for each in crew]
        assert [len(parts) for parts in left] == [len(each) for each in crew]
        for (items, micro), whole in zip(steps, one, strict=True):
            own = [[key for keys in parts[:micro] for key in keys] for parts in left]
            left = [parts[micro:] for parts in left]
            assert [key for keys in own for key in keys] == whole
            assert len(whole) == items
            assert max(map(len, own)) - min(map(len, own)) <= 1
        assert not any(left)


@pytest.mark.parametrize("counts", [(3, 2), (1, 4), (2, 2), (0, 2)])
def test_gather_in_rank_order_with_gradients(two: Two, counts: tuple[int, int]) -> None:
    rows = [torch.arange(float(3 * count)).view(-1, 3) + 100 * number for number, count in enumerate(counts)]
    result = two(ranked.gathered, counts)
    for number, each in enumerate(result):
        assert each["list"] == [f"{n}-{i}" for n in (0, 1) for i in range(counts[n])]
        assert torch.equal(each["rows"], torch.cat(rows))
        assert each["numbers"].tolist() == [0] * counts[0] + [1] * counts[1]
        # Both processes run backward, with gradients of 1 and 2 times the row's number.
        first = sum(counts[:number])
        expected = 3 * torch.arange(first + 1.0, first + counts[number] + 1)[:, None].expand(-1, 3)
        assert torch.equal(each["grad"], expected)


@pytest.mark.parametrize("number", [0, 1])
def test_an_error_in_one_process_is_one_in_all(two: Two, number: int) -> None:
    messages = two(ranked.message_of, ranked.fails_in, number)
    assert messages[number] == "ValueError: no such thing"
    assert all(part in messages[1 - number] for part in ("RunError", f"{number} of 2", "no such thing"))


@pytest.mark.parametrize(
    ("count", "batch", "broken"), [(5, 1, False), (5, 2, False), (5, 100, False), (1, 1, False), (5, 1, True)]
)
def test_every_item_counts_once_on_two_processes(two, val, tmp_path, count, batch, broken) -> None:
    items = val.select(range(5 - count, 5))
    odd = (Item(write_broken(tmp_path / "broken.mp4"), ("red",)),) if broken else ()
    whole = Dataset((*items.items[:-1], *odd, items.items[-1]), "made here")
    expected = ranked.evaluated(whole, None, broken, batch)
    for paths, targets, scores, unreadable in two(ranked.evaluated, whole, None, broken, batch):
        assert paths == expected[0] == [item.path for item in items.items]
        assert torch.equal(targets, expected[1])
        assert torch.equal(scores, expected[2]), "to the bit: each item is encoded beside the same others"
        assert unreadable == [item.path for item in odd]
    for message in two(ranked.message_of, ranked.evaluated, whole) if broken else ():
        assert message.startswith(f"MediaError: {odd[0].path}")


def test_the_feature_cache_is_shared_by_processes(two: Two, val: Dataset, tmp_path: Path) -> None:
    expected = ranked.evaluated(val)
    for _ in range(2):  # written, then read
        for _, _, scores, _ in two(ranked.evaluated, val, tmp_path):
            torch.testing.assert_close(scores, expected[2], rtol=0, atol=1e-5)


def test_processes_with_different_inputs_refuse(two: Two, data: Dataset, tmp_path: Path) -> None:
    for things, job, args in (
        ("words", ranked.differs, ()),
        ("files", ranked.evaluate_own, (data,)),
        ("recipes", ranked.train_own_batch, (data, tmp_path / "run")),
    ):
        first, second = two(ranked.message_of, job, *args)
        assert first == second
        assert first.startswith("RunError: 2 ")
        assert things in first
    assert not (tmp_path / "run").exists()


KINDS = {
    "accumulated, blocks run again": {"accumulate": 2, "grad_checkpointing": True},
    "more processes than items": {"batch": 1, "epochs": 1},
    "encoder frozen": {"tune": "none"},
    "norms alone": {"tune": "norm"},
    "several labels, one process without an item of a batch": {"batch": 1, "epochs": 1, "several": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS.keys())
def test_two_processes_train_as_one(two, data, val, tmp_path, changes) -> None:
    if "several" in changes:
        items = [Item(item.path, ranked.NAMES[: number % 4], "train") for number, item in enumerate(data.items)]
        data, val = Dataset(tuple(items), "made here", multilabel=True), None
        changes = {"batch": 1, "epochs": 1}
    expected, weights, lines = ranked.trained(data, val, changes, tmp_path / "one")
    result = two(ranked.trained, data, val, changes, tmp_path / "two")
    (records, own, printed), (others, other, silent) = result
    assert [r["kind"] for r in records] == [r["kind"] for r in expected]
    for now, before in zip(records, expected, strict=True):
        for key in set(before) - {"clips_per_second"}:
            assert now[key] == pytest.approx(before[key], abs=1e-5), key
    assert [r.get("loss") for r in records] == [r.get("loss") for r in others]
    assert_close(own, weights, 1e-5)
    assert all(torch.equal(own[key], other[key]) for key in own), "to the bit"
    assert len(printed) == len(lines)
    assert silent == []
    assert on_disk(tmp_path / "two") == records, "written by one of them, once"
    state = load_run(tmp_path / "two").model.state_dict()
    assert_close({f"0.{key}": tensor for key, tensor in state.items()}, own, 1e-6)


@pytest.mark.parametrize("changes", [{}, {"batch": 9, "accumulate": 2}], ids=["one part", "two parts"])
def test_gradients_are_those_of_one_process_on_the_joined_batch(two, data, tmp_path, changes) -> None:
    """The cross-entropy rounds cosines to single precision; everything else is double."""
    changes = {**changes, "clip_norm": 0.0}
    expected = ranked.first_gradients(ranked.trained, data, None, changes, tmp_path / "one")
    args = (ranked.trained, data, None, changes, tmp_path / "two")
    assert len(expected) > 40
    for result in two(ranked.first_gradients, *args):
        largest = max(float(grad.abs().max()) for grad in expected.values())
        assert_close(result, expected, 1e-6 * largest)


@pytest.fixture(scope="module")
def whole(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict], dict[str, Tensor]]:
    """Return (records, weights) of an uninterrupted run in one process."""
    records, weights, _ = ranked.trained(data, None, {}, tmp_path_factory.mktemp("whole") / "run")
    return records, weights


MOVES = {"1 to 2": (1, 2), "2 to 1": (2, 1)}


@pytest.mark.slow
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
def test_a_run_goes_on_with_another_number_of_processes(two, data, whole, tmp_path, move) -> None:
    """Resume within the second epoch. The order of sums differs, so losses and weights may differ by 1e-5."""
    crews = {1: lambda run, *args: [run(*args)], 2: two}
    run, (before, after) = tmp_path / "run", move
    crews[before](ranked.stopped, 5, ranked.trained, data, None, {}, run, {"checkpoint_every": 2})
    assert counts_of(run)["step"] == 4
    for records, weights, lines in crews[after](
        ranked.trained, data, None, {}, run, {"checkpoint_every": 2, "resume": True}
    ):
        assert all("1 of 3" in line for line in lines[:1]), "the step after which it goes on"
        notes = [record["text"] for record in records if record["kind"] == "note"]
        assert [re.findall(r"\d+", note) for note in notes] == ([[str(before), str(after)]] if before != after else [])
        assert losses(records) == pytest.approx(losses(whole[0]), abs=1e-5)
        assert_close(weights, whole[1], 1e-5)
    assert_close({f"0.{k}": v for k, v in load_run(run).model.state_dict().items()}, whole[1], 1e-5)


@pytest.mark.parametrize("every", [None, 0], ids=["checkpoints", "no checkpoint"])
def test_batch_norms_that_move_end_alike(two: Two, data: Dataset, tmp_path: Path, every: int | None) -> None:
    """Each process sees only its share (one sees none of the last batch); the first one's statistics are saved."""
    args = data, None, {"freeze_batchnorm": False}, tmp_path / "run", {"checkpoint_every": every}
    (_, first, _), (_, second, _) = two(ranked.trained, *args)
    start = ranked.weights(ranked.plain_model())
    moved = [key for key in first if "running_" in key and not torch.equal(first[key].float(), start[key])]
    assert len(moved) > 10
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_top_1_of_a_step_is_that_of_its_items(two: Two, data: Dataset, tmp_path: Path) -> None:
    clips = TrainClips(data, ranked.RECIPE, PIXELS)
    model = ranked.plain_model().double().eval()
    best = model(torch.stack([clips[0, position][0] for position in range(9)])).argmax(1)
    right = int((best == data.targets(ranked.NAMES)[:9]).sum())
    assert 0 < right < 9
    for records, _, _ in two(ranked.trained, data, None, {"epochs": 1, "batch": 9}, tmp_path / "run"):
        assert records[0]["train_top1"] == pytest.approx(100 * right / 9)


def test_a_stopped_run_of_two_processes_goes_on_bit_for_bit(two: Two, data: Dataset, tmp_path: Path) -> None:
    whole = two(ranked.trained, data, None, {}, tmp_path / "whole")
    two(ranked.stopped, 4, ranked.trained, data, None, {}, tmp_path / "cut")
    result = two(ranked.trained, data, None, {}, tmp_path / "cut", {"resume": True})
    for (records, weights, _), (expected, kept, _) in zip(result, whole, strict=True):
        assert losses(records) == losses(expected)
        assert all(torch.equal(weights[key], kept[key]) for key in kept)


def test_dropout_draws_apart(two: Two) -> None:
    first, second = two(ranked.drawn, 5)
    assert first != second
    assert first == ranked.drawn(5), "the first process draws as one process does"


def test_an_unreadable_item_of_one_process_stops_both(two: Two, data: Dataset, tmp_path: Path) -> None:
    broken = write_broken(tmp_path / "broken.mp4")
    odd = Dataset((*data.items[:4], Item(broken, ("red",)), *data.items[4:]), "made here")
    for changes in ({}, {"tune": "none"}):
        begun = time.perf_counter()
        messages = two(ranked.message_of, ranked.train_plain, odd, tmp_path / f"run{len(changes)}", changes)
        assert all(str(broken) in message for message in messages)
        assert any(message.startswith("MediaError") for message in messages)
        assert time.perf_counter() - begun < 30


def test_a_loss_that_is_not_finite_stops_both(two: Two, data: Dataset, tmp_path: Path) -> None:
    changes = {"lr_new": 1e30, "clip_norm": 0.0}
    first, second = two(ranked.message_of, ranked.train_plain, data, tmp_path / "run", changes)
    assert first == second
    assert re.match(r"RunError: .* step \d", first)


@pytest.mark.slow
def test_workers_not_forked_with_process_group(two: Two) -> None:
    """The process group has threads, and locks that they hold at a fork would stay locked."""
    for pid, grouped, result in two(own_facts, 2):
        assert grouped
        assert len({fact.pid for fact in result}) == 2
        for fact in result:
            assert pid not in (fact.pid, fact.parent)
            assert "forkserver" in fact.command
            assert not fact.grouped


@pytest.mark.slow
def test_a_process_that_is_late_or_gone_is_an_error_in_time() -> None:
    with processes(2, timeout=2.0) as run:
        run(ranked.threads)
        begun = time.perf_counter()
        message, _ = run(ranked.message_of, ranked.comes_late, 4.0)
        assert message.startswith("RunError: process 0 of 2")
        with pytest.raises(RunError, match="1 of 2"):
            run(ranked.ends, 1)
        assert time.perf_counter() - begun < 20


@pytest.mark.slow
def test_killed_process_is_error_in_other(data: Dataset, tmp_path: Path) -> None:
    with processes(2, timeout=10.0) as run, pytest.raises(RunError, match="1 of 2"):
        run(ranked.ends_in_a_step, data, tmp_path / "run")
    message = (tmp_path / "message-0").read_text()
    assert message.startswith("RunError: process 0 of 2")
    assert "\n" not in message
    assert not (tmp_path / "run" / "model.safetensors").exists()


def run_command(*words: str, processes: int) -> subprocess.CompletedProcess:
    """Run a command in one process of one thread, or in several under torchrun."""
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "TORCHELASTIC_ERROR_FILE": os.devnull}
    several = ("-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", free_port())
    command = [sys.executable, *(several if processes > 1 else ()), "-m", "texthead", *words]
    return subprocess.run(command, capture_output=True, text=True, env=quiet, timeout=300)


@pytest.mark.slow
def test_torchrun_trains_and_scores_as_one_process(tmp_path: Path) -> None:
    """The weights have the same names."""
    source = ranked.write_encoder(tmp_path)
    for number in range(12):
        colour = ranked.NAMES[number % 3]
        write_video(tmp_path / "data" / colour / f"{number}.mp4", colour, seed=number)
    kinds = {"plain": 1, "two": 2}
    logs, names, tables = {}, {}, []
    for kind, count in kinds.items():
        run = tmp_path / f"run-{kind[:3]}"  # names of equal length give tables of equal width
        words = ("train", str(tmp_path / "data"), "--out", str(run), "--encoder", source, "--tune", "all")
        words += ("--set", "size=32", "--set", "frames=2", "--set", "epochs=2", "--set", "batch=4", "--workers", "0")
        trained = run_command(*words, processes=count)
        assert trained.returncode == 0, trained.stderr
        assert trained.stdout.count("report: ") == 1, "the first process speaks for all"
        assert "Warning" not in trained.stderr
        assert (run / "report.html").is_file()
        logs[kind] = on_disk(run)
        names[kind] = {key: tensor.shape for key, tensor in load_file(run / "model.safetensors").items()}
        assert load_run(run).labels == ranked.NAMES
    for a, b in zip(logs["plain"], logs["two"], strict=True):
        assert a["kind"] == b["kind"]
        assert b.get("loss") == pytest.approx(a.get("loss"), abs=1e-4)
        assert b.get("top1") == a.get("top1")
    assert names["plain"] == names["two"]
    for kind in ("plain", "two"):
        words = ("eval", str(tmp_path / f"run-{kind[:3]}"), str(tmp_path / "data"))
        scored = run_command(*words, "--split", "train", "--workers", "2", processes=kinds[kind])
        assert scored.returncode == 0, scored.stderr
        tables.append(scored.stdout.replace(f"run-{kind[:3]}", "RUN"))
    assert tables[0] == tables[1]


def test_a_command_for_one_process_is_refused_in_several(wrong, monkeypatch) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    assert "texthead: predict " in wrong("predict", "a.mp4", "--classes", "red, blue")
