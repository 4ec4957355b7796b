"""SIGTERM and SIGHUP end a command as Ctrl-C does: one line, its exit code, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import platforms
from made import with_bridge
from texthead.data.dataset import Dataset
from training_runs import free_port

platforms.module("signals of processes and their groups")

SECONDS = 60.0
QUICK = ("--encoder", "mini", "--tune", "all", "--set", "size=32", "--set", "frames=2")
TRAIN = (*QUICK, "--set", "epochs=2000", "--workers", 2, "--out", "run")

ALONE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # Background jobs of a shell ignore it.
from texthead.cli.signals import ended_by_signals
with ended_by_signals(lambda: "stuck") as ending:
    try:
        print("ready", flush=True)
        {block}
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        {after}
sys.exit(ending.code)
"""


@contextmanager
def started(program: Sequence[object], folder: Path, **options: object) -> Iterator[subprocess.Popen[str]]:
    """Start a Python program in its own session, with its temporary files in the folder."""
    environment = {**os.environ, "TMPDIR": str(folder), "TEXTHEAD_CACHE": str(folder / "cache")}
    environment |= {"OMP_NUM_THREADS": "1", "TORCHELASTIC_ERROR_FILE": os.devnull}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    command = [sys.executable, *map(str, program)]
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # These tests may run under nohup.
    process = subprocess.Popen(command, env=environment, cwd=folder, **pipes, **options)  # pyright: ignore
    signal.signal(signal.SIGHUP, before)
    with process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    """Wait for a line that the process prints."""
    assert process.stdout is not None
    return process.stdout.readline()


def wait_for(process: subprocess.Popen[str], there: Callable[[], object]) -> None:
    while not there():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def session_processes(number: int) -> list[str]:
    """Return the processes of a session that are still running."""
    result = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = status.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == number and state != "Z":
            result.append(status.parent.name)
    return result


def none_left(process: subprocess.Popen[str], folder: Path) -> None:
    until = time.monotonic() + SECONDS
    while session_processes(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert session_processes(process.pid) == []
    assert [path for path in folder.rglob("*") if "texthead-tmp" in path.name] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_second_signal_is_no_interrupt(tmp_path: Path, number: signal.Signals) -> None:
    code = ALONE.format(block="time.sleep(60)", after="print(sys.stdin.readline(), flush=True)")
    with started(["-c", code], tmp_path, stdin=subprocess.PIPE) as process:
        assert line_of(process) == "ready\n"
        process.send_signal(number)
        assert line_of(process) == "interrupted\n"
        process.send_signal(number)
        out, err = process.communicate("whole", timeout=SECONDS)
    assert (out.strip(), err, process.returncode) == ("whole", "", 128 + number)


def test_under_nohup_a_closed_terminal_ends_nothing(tmp_path: Path) -> None:
    code = ALONE.format(block="print(sys.stdin.readline(), flush=True)", after="")
    code = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{code}"
    with started(["-c", code], tmp_path, stdin=subprocess.PIPE) as process:
        assert line_of(process) == "ready\n"
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate("went on", timeout=SECONDS)
    assert out.strip() == "went on"


COMMANDS = {
    "train": (("train", "DATA", *TRAIN), "run/state/last.safetensors"),
    "prepare": (("prepare", "DATA", "--out", "shards", "--workers", 2), "shards/.*texthead-tmp*"),
    "compare": (("compare", "DATA", "--encoder", "mini", "--workers", 2), "cache/*"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(("number", "to_all"), [(signal.SIGTERM, False), (signal.SIGHUP, True)])
def test_a_command_ends_and_leaves_nothing(data, tmp_path, name, number, to_all) -> None:
    """The signal goes to the command alone or, as from a closing terminal, to all its processes."""
    words, there = COMMANDS[name]
    words = [data.source if word == "DATA" else word for word in words]
    if name == "train":
        with_bridge(tmp_path / "cache")
    with started(["-m", "texthead", *words], tmp_path) as process:
        wait_for(process, lambda: any(tmp_path.glob(there)))
        (os.killpg if to_all else os.kill)(process.pid, number)
        _, err = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 128 + number, err
    lines = err.splitlines()
    assert [line for line in lines if line.startswith("texthead: ")] == lines[-1:]
    assert lines[-1].startswith("texthead: interrupted")
    assert not any(word in err for word in ("Traceback", "resource_tracker", "Error"))
    if name == "train":
        assert lines[-1].endswith("--resume continues")
        assert (tmp_path / "run" / "state" / "last.safetensors").is_file()
    none_left(process, tmp_path)


@pytest.mark.slow
def test_ranks_end_with_a_line(data: Dataset, tmp_path: Path) -> None:
    """SIGTERM goes to the launcher; ranks that are killed: test_killed.py."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", free_port(), "-m", "texthead"]
    with_bridge(tmp_path / "cache")
    with started([*launcher, "train", data.source, *TRAIN], tmp_path) as process:
        wait_for(process, (tmp_path / "run" / "state" / "last.safetensors").is_file)
        process.terminate()
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    assert len([line for line in err.splitlines() if line.startswith("texthead: ")]) == 2, err
    none_left(process, tmp_path)
