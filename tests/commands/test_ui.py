"""`texthead ui` up to the first request: what is refused in one line, what is warned of, what is left at the end."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from made import write_small_run

Wrong = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_run(tmp_path_factory.mktemp("runs") / "run")


def test_what_does_not_go_together_is_refused(wrong: Wrong, run: Path, tmp_path: Path) -> None:
    assert "is no run (no recipe.json in it)" in wrong("ui", tmp_path)
    assert "has its own encoder; leave it out" in wrong("ui", run, "--encoder", "mini")
    assert "exactly one '{}'" in wrong("ui", "--template", "no place")
    assert "--device 'abacus' cannot be used" in wrong("ui", "--device", "abacus")
    assert "--most-mb must be a whole number, 1 or more, got 0" in wrong("ui", "--most-mb", 0)
    assert "--limit must be a number above 0, got 0" in wrong("ui", "--limit", 0)


def test_a_port_that_is_taken_or_none_is_refused(wrong: Wrong, run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--host 127.0.0.1 --port {port} cannot be listened at" in wrong("ui", run, "--port", port)
    assert "cannot be listened at" in wrong("ui", run, "--port", 70_000)
    assert "cannot be listened at" in wrong("ui", run, "--port", 0, "--host", "192.0.2.1")


@pytest.mark.slow
def test_without_gradio_the_command_says_how_to_install_it() -> None:
    """In a process that cannot import gradio."""
    code = "import sys; sys.modules['gradio'] = None; from texthead.cli import main; sys.exit(main(['ui']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = "texthead: texthead ui needs gradio, which is not installed: pip install 'texthead[ui]'\n"
    assert (done.returncode, done.stderr) == (2, expected)


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path, run: Path, wrong: Wrong) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "recipe.json").write_bytes((run / "recipe.json").read_bytes())
    assert "classes.json: missing" in wrong("ui", broken, "--port", 0)
    assert "unknown encoder 'abacus'" in wrong("ui", "--encoder", "abacus", "--port", 0)


@pytest.mark.slow
@pytest.mark.parametrize("ends", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_the_end_leaves_nothing_and_another_host_is_warned_of(tmp_path: Path, run: Path, ends: signal.Signals) -> None:
    command = [sys.executable, "-m", "texthead", "ui", str(run), "--port", "0", "--host", "0.0.0.0"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("page: http://0.0.0.0:")
    assert len([*tmp_path.glob("texthead-ui-*")]) == 1
    process.send_signal(ends)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (0 if ends == signal.SIGINT else 143)
    assert err == "warning: --host 0.0.0.0: whoever reaches this machine can use the page; it has no password\n"
    assert not [*tmp_path.glob("texthead-ui-*")]
