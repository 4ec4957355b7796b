"""`texthead ui` up to the first request: user errors, the warning about an open address, and clean-up at the end."""

import os
import signal
import socket
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
        (("template", "'no place'"), "--template", "no place"),
        (("device", "'abacus'"), "--device", "abacus"),
        (("max-mb", "got 0"), "--max-mb", 0),
        (("limit", "got 0"), "--limit", 0),
    ):
        refused(parts, "ui", *arguments)


def test_a_port_that_is_taken_or_none_is_refused(refused, say, run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(port, "ui", run, "--port", port)
    for port, host in ((70_000, "127.0.0.1"), (0, "192.0.2.1")):
        code, _, err = say("ui", run, "--port", port, "--host", host)
        assert (code, len(err.splitlines())) == (2, 1)
        assert f"host {host}, port {port}" in err


@pytest.mark.slow
def test_without_starlette_the_command_names_the_remedy() -> None:
    """Run in a process that cannot import starlette."""
    code = "import sys; sys.modules['starlette'] = None; from texthead.cli.main import main; sys.exit(main(['ui']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert 'pip install "texthead[ui]"' in line


@pytest.mark.slow
@pytest.mark.parametrize(("ends", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_clean_exit_and_host_warning(tmp_path: Path, run: Path, ends, code: int) -> None:
    command = [sys.executable, "-m", "texthead", "ui", str(run), "--port", "0", "--host", "0.0.0.0"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
    assert "http://0.0.0.0:" in process.stdout.readline()
    assert len([*tmp_path.glob("texthead-tmp-*")]) == 1
    process.send_signal(ends)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    (warning,) = err.splitlines()
    assert "0.0.0.0" in warning
    assert not [*tmp_path.glob("texthead-tmp-*")]
