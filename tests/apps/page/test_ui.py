"""`texthead ui` up to the first request: user errors, the link, and clean-up at the end."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from made import write_small_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_run(tmp_path_factory.mktemp("runs") / "run")


def test_what_does_not_go_together_is_refused(refused, run: Path, tmp_path: Path) -> None:
    for parts, *arguments in (
        ((tmp_path, "recipe.json"), tmp_path),
        ((run, "encoder"), run, "--encoder", "mini"),
        (("device", "'abacus'"), "--device", "abacus"),
        (("port", "got -1"), "--port", -1),
    ):
        refused(parts, "ui", *arguments)


@pytest.mark.slow
@pytest.mark.parametrize(("ends", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_clean_exit_after_one_link(tmp_path: Path, run: Path, ends, code: int) -> None:
    command = [sys.executable, "-m", "texthead", "ui", str(run), "--port", "0"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
    assert re.fullmatch(
        r"page: http://127\.0\.0\.1:\d+/\?token=[0-9a-f]{24}  \(Ctrl-C ends it\)\n", process.stdout.readline()
    )
    assert len([*tmp_path.glob("texthead-tmp-*")]) == 1
    process.send_signal(ends)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, "")
    assert not [*tmp_path.glob("texthead-tmp-*")]
