"""kill -9: nothing that was saved is lost, nothing half-written is read as whole, nobody waits for the dead."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing import forkserver
from pathlib import Path

import pytest
from safetensors.torch import load_file

from made import PIXELS
from texthead.data.dataset import Dataset
from texthead.data.protocol import Protocol
from texthead.data.sampling import evenly
from texthead.errors import RunError
from texthead.evaluation.evaluate import evaluate
from texthead.features.frames import frame_features
from texthead.features.reading import Reading
from texthead.training.train import train
from training_runs import RECIPE, assert_same_weights, free_port, make_model, on_disk, timeless

SECONDS = 60.0
PROTOCOL, READING = Protocol(2, PIXELS), Reading(workers=2)


def saves(out: Path) -> set[str]:
    """The folders of checkpoints, whole or not."""
    return {path.name for path in out.glob("state/step-*")}


@pytest.mark.slow
@pytest.mark.parametrize("saving", [False, True], ids=["at any time", "while saving"])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(
    data: Dataset, tmp_path: Path, saving: bool
) -> None:
    """Ten kills at random moments: while the folder is begun, within a step, within a checkpoint."""
    recipe, out = replace(RECIPE, epochs=8), tmp_path / "run"
    expected = train(make_model(dropout=0.4), data, None, recipe, out=tmp_path / "whole", checkpoint_every=1)
    rng = random.Random(f"moments {saving}")

    def go_on() -> list[dict]:
        begun = (out / "recipe.json").is_file()
        return train(make_model(dropout=0.4), data, None, recipe, out=out, resume=begun, checkpoint_every=1)

    def wait(process: multiprocessing.process.BaseProcess, before: set[str]) -> None:
        """Until a moment to kill: any, or within 10 ms after the next checkpoint was begun."""
        if not saving:
            process.join(rng.uniform(0.01, 0.5))
            return
        while process.is_alive() and saves(out) <= before:
            time.sleep(0.0005)
        time.sleep(rng.uniform(0.0, 0.01))

    killed = unfinished = 0
    while killed < 10:
        process = multiprocessing.get_context("fork").Process(target=go_on)
        before = saves(out)
        process.start()
        wait(process, before)
        process.kill()
        process.join()
        if process.exitcode == 0:
            # It was finished before; the next kills are of another run that has to be the same.
            assert timeless(on_disk(out)) == timeless(expected)
            out = tmp_path / f"run{killed}"
            continue
        killed += 1
        pointer = out / "state" / "last.json"
        whole = {f"step-{json.loads(pointer.read_text())['step']}"} if pointer.is_file() else set()
        unfinished += bool(saves(out) - whole)
    found = go_on()
    assert timeless(found) == timeless(expected) == timeless(on_disk(out))
    assert_same_weights(load_file(out / "model.safetensors"), load_file(tmp_path / "whole" / "model.safetensors"))
    assert not saving or unfinished, "some kills left half a checkpoint"


# --- processes that decode


def kill_a_worker(after: int) -> Callable[[int, int], None]:
    """Progress that kills a process of the loader when so many clips are done."""
    killed: list[int] = []

    def progress(done: int, total: int) -> None:
        if done >= after and not killed:
            killed.append(multiprocessing.active_children()[0].pid or 0)
            os.kill(killed[0], signal.SIGKILL)

    return progress


@pytest.mark.slow
def test_a_loader_s_process_that_is_killed_ends_training_and_the_run_goes_on(data: Dataset, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=3)
    expected = train(make_model(dropout=0.4), data, None, recipe, out=tmp_path / "whole")
    started = time.perf_counter()
    told = None
    try:
        progress = kill_a_worker(after=14)
        train(make_model(dropout=0.4), data, None, recipe, out=tmp_path / "run", workers=2, progress=progress)
    except RunError as error:  # Not pytest.raises: it keeps frames, and with them the workers.
        told = str(error)
    assert time.perf_counter() - started < SECONDS
    assert told is not None
    assert "a process that decodes has ended" in told
    assert "--resume" in told
    assert "\n" not in told
    found = train(make_model(dropout=0.4), data, None, recipe, out=tmp_path / "run", workers=2, resume=True)
    assert timeless(found) == timeless(expected)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["score", "encode"])
def test_a_loader_s_process_that_is_killed_ends_scoring(data: Dataset, what: str) -> None:
    """Again and again: what is seen first, its end or that it no longer answers, is a matter of luck."""
    for _ in range(10):
        scoring_ends(data, what)


def scoring_ends(data: Dataset, what: str) -> None:
    model, many = make_model(), data.repeat(10)
    paths, progress = [item.path for item in many.items], kill_a_worker(after=3)
    calls = {
        "score": lambda: evaluate(model, many, PROTOCOL, READING, progress=progress),
        "encode": lambda: frame_features(model.visual, paths, FIRST, PIXELS, READING, progress),
    }
    started = time.perf_counter()
    told = None
    try:
        calls[what]()
    except RunError as error:  # Not pytest.raises: it keeps frames, and with them the workers.
        told = str(error)
    assert told is not None
    assert "a process that decodes has ended" in told
    assert "\n" not in told
    assert time.perf_counter() - started < SECONDS


FIRST = partial(evenly, most=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", ["score", *(pytest.param(what, marks=pytest.mark.slow) for what in ("train", "encode"))]
)
def test_a_call_that_never_comes_back_ends_the_job(data: Dataset, tmp_path: Path, what: str) -> None:
    process = multiprocessing.get_context("spawn").Process(target=hangs, args=(data, tmp_path / "run", what))
    process.start()
    process.join(3 * SECONDS)
    ended = process.exitcode
    process.kill()
    assert ended == 0


def hangs(data: Dataset, out: Path, what: str) -> None:
    """The call is deaf to all that Python could say to it, as a loop inside a decoder is."""
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    forkserver.set_forkserver_preload(["deaf"])
    forkserver.ensure_running()
    model, paths = make_model(), [item.path for item in data.items]
    calls = {
        "train": lambda: train(model, data, None, RECIPE, out=out, workers=2),
        "score": lambda: evaluate(model, data, PROTOCOL, READING),
        "encode": lambda: frame_features(model.visual, paths, FIRST, PIXELS, READING),
    }
    started = time.perf_counter()
    with pytest.raises(RunError, match="a process that decodes has ended.* held up by a file in one call") as caught:
        calls[what]()
    assert time.perf_counter() - started < SECONDS
    assert "\n" not in str(caught.value)


# --- processes that train together


def texthead(*words: object, processes: int, **options: object) -> subprocess.Popen:
    """A command of one process of one thread, or of several under torchrun."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", free_port()]
    program = [sys.executable, *(launcher if processes > 1 else []), "-m", "texthead", *map(str, words)]
    quiet = {"OMP_NUM_THREADS": "1", "TORCHELASTIC_ERROR_FILE": os.devnull}
    return subprocess.Popen(program, env={**os.environ, **quiet}, stderr=subprocess.PIPE, text=True)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_one_of_two_ranks_that_is_killed_ends_the_job_and_it_goes_on(folder: Path, tmp_path: Path, which: int) -> None:
    words = ["train", folder, "--encoder", "mini", "--size", 32, "--frames", 2, "--epochs", 8, "--batch", 4]
    words += ["--workers", 2, "--baselines", "never", "--checkpoint-every", 1, "--cache", tmp_path / "cache"]
    with texthead(*words, "--out", tmp_path / "whole", processes=2) as process:
        assert process.wait(300) == 0
    out = tmp_path / "run"
    with texthead(*words, "--out", out, processes=2) as process:
        while not (out / "state" / "last.json").is_file() and process.poll() is None:
            time.sleep(0.01)
        assert len(children(process.pid)) == 2
        os.kill(children(process.pid)[which], signal.SIGKILL)
        started = time.perf_counter()
        _, said = process.communicate(timeout=SECONDS)
        assert time.perf_counter() - started < SECONDS
    assert process.returncode != 0
    assert not (out / "model.safetensors").exists()
    # The other rank says so in a line, unless torchrun ends it first, whose own report says the same.
    assert "has lost the others" in said or "SIGKILL" in said
    with texthead("train", folder, "--out", out, "--resume", "--workers", 2, processes=2) as process:
        assert process.wait(300) == 0
    assert timeless(on_disk(out)) == timeless(on_disk(tmp_path / "whole"))
