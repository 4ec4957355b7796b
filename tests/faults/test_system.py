"""System errors are one line, and no code in the current folder is run."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import platforms
from made import write_colour_run, write_image, write_video

PROGRAM = "import sys; from texthead.__main__ import main; sys.exit(main()) if __name__ == '__main__' else None"


CAUGHT = {"capture_output": True, "text": True, "timeout": 300}


def texthead(folder: Path, *words: object, before: str = "", by: str = "") -> subprocess.CompletedProcess[str]:
    """Run texthead in a shell in a folder, after `before` (like `cd there;`) and through `by` (like `setpriv`)."""
    # Like the installed program: modules are searched in its own folder first, not in the current one.
    program = folder / "bin" / "program.py"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"{PROGRAM}\n")
    command = f'{before} exec {by} "{sys.executable}" "{program}" {" ".join(map(str, words))}'
    environment = {**os.environ, "TEXTHEAD_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONSAFEPATH", None)
    if platforms.WINDOWS:
        return _without_shell(program, words, before, environment)
    return subprocess.run(["/bin/sh", "-c", command], cwd=folder, env=environment, check=False, **CAUGHT)


def _without_shell(
    program: Path, words: Sequence[object], before: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    name, _, value = before.partition("=")
    command = [sys.executable, str(program), *" ".join(map(str, words)).split()]
    more = {name: value} if name else {}
    return subprocess.run(command, cwd=program.parents[1], env=environment | more, check=False, **CAUGHT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run and its images."""
    made = tmp_path_factory.mktemp("system")
    write_colour_run(made / "run")
    for number in range(3):
        write_image(made / "in" / f"{number}.png", "red", number)
    return made


@pytest.mark.slow
def test_no_file_of_the_current_folder_is_run(folder: Path) -> None:
    """Data-loader workers start with the current folder on their path, and import `random`, `signal` and more."""
    for number in range(24):
        write_video(folder / "many" / f"{number}.mp4", "red", 4, number)
    for name in ("random", "signal", "tempfile", "selectors"):
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'w').write({name!r})\nraise SystemExit(3)\n")
    try:
        done = texthead(folder, "predict run many --workers 2")
    finally:
        for name in ("random", "signal", "tempfile", "selectors"):
            (folder / f"{name}.py").unlink()
    assert not (folder / "ran").exists(), (folder / "ran").read_text()
    assert done.returncode == 0, done.stderr


@pytest.mark.posix("a shell that closes streams")
def test_streams_that_are_closed(folder: Path) -> None:
    for closed in (">&-", "<&-", ">&- 2>&- <&-"):
        done = texthead(folder, "classes run list --quiet", closed)
        assert (done.returncode, done.stderr) == (0, ""), closed


@pytest.mark.posix("a device that is full")
@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full, a device of Linux")
def test_output_on_a_full_disk(folder: Path) -> None:
    done = texthead(folder, "classes run list --json > /dev/full")
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert (done.returncode, line.startswith("texthead: "), "No space left" in line) == (2, True, True), line


@pytest.mark.parametrize(
    ("module", "error"), [("docstring_parser", "KeyboardInterrupt"), ("texthead.commands.encoders", "ImportError")]
)
def test_an_interrupt_while_modules_are_imported_is_one_line(module: str, error: str) -> None:
    """torch imports numpy again after an interrupt, which is an ImportError."""
    program = f"""
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's jobs in the background ignore it.
from texthead.__main__ import main

class Interrupt:
    @staticmethod
    def find_spec(name, *_):
        if name == "{module}":
            try:
                signal.raise_signal(signal.SIGINT)
                time.sleep(9)
            except KeyboardInterrupt:
                time.sleep(0.2)
                raise {error} from None

sys.meta_path.insert(0, Interrupt)
sys.exit(main())
"""
    command = [sys.executable, "-c", program, "encoders"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (130, "texthead: interrupted\n")
