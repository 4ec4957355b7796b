"""kill -9: saved data stays, half-written data is never used, and no process waits for a dead one."""

import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from made import PIXELS
from platforms import kill
from texthead import Dataset, Protocol, ReadOptions
from texthead.errors import RunError
from texthead.evaluation.evaluate import evaluate
from texthead.features import encode
from texthead.parallel.progress import Reporter
from texthead.training.train import fine_tune
from training_runs import RECIPE, assert_same_weights, make_model, on_disk, timeless

SECONDS = 60.0
PROTOCOL, READING = Protocol(2, PIXELS), ReadOptions(workers=2)


def unfinished(out: Path) -> set[Path]:
    """Return the checkpoints that are being written, or were when their process was killed."""
    return {*out.glob("state/.last.safetensors.*")}


@pytest.mark.slow
@pytest.mark.parametrize("saving", [False, True], ids=["at any time", "while saving"])
def test_repeatedly_killed_run_matches_uninterrupted(data: Dataset, tmp_path: Path, saving: bool) -> None:
    """Kill it ten times at random moments: creating the folder, in a step, or writing a checkpoint."""
    recipe, out = replace(RECIPE, epochs=8), tmp_path / "run"
    expected = fine_tune(make_model(dropout=0.4), data, None, recipe, out=tmp_path / "whole", checkpoint_every=1)
    rng = random.Random(f"moments {saving}")

    def go_on() -> list[dict]:
        begun = (out / "recipe.json").is_file()
        return fine_tune(make_model(dropout=0.4), data, None, recipe, out=out, resume=begun, checkpoint_every=1)

    def wait(process: multiprocessing.process.BaseProcess, before: set[str]) -> None:
        """Wait for a random time, or until at most 10 ms after the next checkpoint starts."""
        if not saving:
            process.join(rng.uniform(0.01, 0.5))
            return
        while process.is_alive() and unfinished(out) <= before:
            time.sleep(0.0005)
        time.sleep(rng.uniform(0.0, 0.01))

    killed = halves = 0
    while killed < 10:
        process = multiprocessing.get_context("fork").Process(target=go_on)
        before = unfinished(out)
        process.start()
        wait(process, before)
        process.kill()
        process.join()
        if process.exitcode == 0:
            # The run ended before the kill: check it, then kill a new one.
            assert timeless(on_disk(out)) == timeless(expected)
            out = tmp_path / f"run{killed}"
            continue
        killed += 1
        halves += bool(unfinished(out))
    assert timeless(go_on()) == timeless(expected) == timeless(on_disk(out))
    assert_same_weights(load_file(out / "model.safetensors"), load_file(tmp_path / "whole" / "model.safetensors"))
    assert not saving or halves, "some kills left half a checkpoint"
    assert not unfinished(out)


def calls(
    data: Dataset, out: Path, *, reporter: Reporter = Reporter(), resume: bool = False
) -> dict[str, Callable[[], object]]:
    """Return the calls that read data with two workers."""
    model, paths = make_model(dropout=0.4), [item.path for item in data.items]
    recipe = replace(RECIPE, epochs=3)
    training = {"reading": READING, "reporter": reporter, "resume": resume}
    return {
        "train": lambda: fine_tune(model, data, None, recipe, out=out, **training),
        "score": lambda: evaluate(model, data, PROTOCOL, READING, reporter=reporter),
        "encode": lambda: [*encode(model.visual, paths, PROTOCOL, READING, reporter)],
    }


def ends_in_time(call: Callable[[], object], *parts: str) -> None:
    """Check that a call whose workers die or hang raises a one-line error in time."""
    started, message = time.perf_counter(), ""
    try:
        call()
    except RunError as error:  # not pytest.raises, which keeps the frames and thus the workers
        message = str(error)
    assert time.perf_counter() - started < SECONDS
    assert "data-loader worker" in message
    assert all(part in message for part in parts), message
    assert "\n" not in message


def kill_a_worker(after: int) -> Reporter:
    """Return a reporter that kills one worker after this many clips."""
    killed: list[int] = []

    def progress(done: int, total: int) -> None:
        if done >= after and not killed:
            killed.append(multiprocessing.active_children()[0].pid or 0)
            kill(killed[0])

    return Reporter().counting(progress)


@pytest.mark.slow
def test_killed_loader_worker_then_resume(data: Dataset, tmp_path: Path) -> None:
    recipe, out = replace(RECIPE, epochs=3), tmp_path / "run"
    expected = fine_tune(make_model(dropout=0.4), data, None, recipe, out=tmp_path / "whole")
    ends_in_time(calls(data, out, reporter=kill_a_worker(after=14))["train"], "resume")
    assert timeless(calls(data, out, resume=True)["train"]()) == timeless(expected)


@pytest.mark.slow
def test_a_killed_loader_worker_is_replaced(data: Dataset, tmp_path: Path) -> None:
    """Repeat, because the loader may first notice either that the worker died or that it does not answer."""
    expected = evaluate(make_model(dropout=0.4), replace(data, items=data.items * 10), PROTOCOL)
    for _ in range(4):
        scored = calls(replace(data, items=data.items * 10), tmp_path, reporter=kill_a_worker(after=3))["score"]()
        assert torch.allclose(scored.scores, expected.scores, atol=1e-5)
        assert not scored.skipped


@pytest.mark.slow
@pytest.mark.parametrize("what", ["score", "train", "encode"])
def test_hung_call_ends_job(data: Dataset, tmp_path: Path, what: str) -> None:
    process = multiprocessing.get_context("spawn").Process(target=hang, args=(data, tmp_path / "run", what))
    process.start()
    process.join(3 * SECONDS)
    code = process.exitcode
    process.kill()
    assert code == 0


def hang(data: Dataset, out: Path, what: str) -> None:
    """Make a call whose workers hang and ignore Python's signals, as in a decoder's loop."""
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    forkserver.set_forkserver_preload(["faults.deaf"])
    forkserver.ensure_running()
    ends_in_time(calls(data, out)[what], "file")
