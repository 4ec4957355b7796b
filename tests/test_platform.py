"""What differs between systems: processes, locks, renaming, and how Windows spells paths."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from messages import refuses
from texthead.errors import RunError
from texthead.files import in_turn, locked
from texthead.parallel import loaders
from texthead.parallel.loaders import data_loader, end_after, worker_errors
from texthead.platform import replace

HOLD = """
import sys
from pathlib import Path
from texthead.files import in_turn, locked
with (in_turn if sys.argv[2] == "turn" else locked)(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["turn", "folder"])
def holder(request: pytest.FixtureRequest, tmp_path: Path):
    """Return another process that holds a lock, the path that it locks, and the function that does."""
    path, lock = (tmp_path / "labels.csv", in_turn) if request.param == "turn" else (tmp_path, locked)
    words = [sys.executable, "-c", HOLD, str(path), request.param]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process, path, lock
        process.kill()


@pytest.mark.parametrize("end", [lambda process: process.stdin.close(), lambda process: process.kill()])
def test_a_lock_is_free_once_its_process_ends(holder, end, monkeypatch: pytest.MonkeyPatch) -> None:
    process, path, lock = holder
    monkeypatch.setattr("texthead.files._TURN", 0.2)
    with refuses(RunError, str(path), "in use by another process"), lock(path):
        pytest.fail("two hold the lock")
    end(process)
    process.wait()
    with lock(path):
        pass


@pytest.mark.parametrize("holder", ["turn"], indirect=True)
def test_one_waits_for_its_turn(holder) -> None:
    process, path, lock = holder
    threading.Timer(0.3, process.stdin.close).start()
    start = time.monotonic()
    with lock(path):
        assert time.monotonic() - start > 0.2


def test_a_file_that_another_program_has_open_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows then refuses to replace it."""
    source, target, calls, real = tmp_path / "new", tmp_path / "old", [], Path.replace
    source.write_text("new")

    def busy(path: Path, other: Path) -> None:
        calls.append(path)
        if len(calls) < 3:
            raise PermissionError(13, "used by another process")
        real(path, other)

    monkeypatch.setattr(Path, "replace", busy)
    monkeypatch.setattr("texthead.platform._CLOSING_SECONDS", 0.0)
    with pytest.raises(PermissionError):
        replace(source, target)
    monkeypatch.setattr("texthead.platform._CLOSING_SECONDS", 2.0)
    replace(source, target)
    assert (len(calls), target.read_text()) == (3, "new")


class Hanging(torch.utils.data.Dataset):
    """An item whose reading never ends, in a worker with a time limit; the others describe their process."""

    def __init__(self, hangs: bool):
        self.hangs = hangs

    def __len__(self) -> int:
        return 2

    def __getitem__(self, position: int) -> tuple[int, bool]:
        end_after(0.2)
        while self.hangs:
            pass
        return os.getpid(), "multiprocessing.forkserver" in sys.modules


@pytest.mark.parametrize("method", ["spawn", pytest.param("forkserver", marks=pytest.mark.posix("a fork server"))])
def test_workers_of_each_start_method(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows spawns them."""
    monkeypatch.setattr(loaders, "START_METHOD", method)
    pids = {pid for pid, _ in data_loader(Hanging(False), 1, batch_size=None)}
    assert len(pids) == 1
    assert os.getpid() not in pids
    with refuses(RunError, "a data-loader worker has ended", "fewer `workers`"), worker_errors():
        list(data_loader(Hanging(True), 1, batch_size=None))
