"""Shared fixtures; beartype checks every annotation in texthead, tensor shapes included, while the tests run."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import torch
from jaxtyping import install_import_hook

import platforms
from tools.tree import PACKAGES, TOP

ROOT = Path(__file__).parents[1]

# Without commands, whose annotations name types that are only imported when a command runs.
APPS = [path.relative_to(ROOT / "src").with_suffix("") for path in (ROOT / "src" / "texthead" / "apps").glob("*/*.py")]
install_import_hook(
    [
        *(f"texthead.{name}" for name in (*TOP, *PACKAGES)),
        *(".".join(path.parts) for path in APPS if path.stem not in ("__init__", "command", "options")),
    ],
    "beartype.beartype",
)

# Commands cache features; tests must not share the user's.
_CACHE = tempfile.TemporaryDirectory(prefix="texthead-tests-")
os.environ["TEXTHEAD_CACHE"] = _CACHE.name

# A shell has programs in its background ignore Ctrl-C, and their children do too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The processes that results are compared with use one thread too. Set once for the whole run: oneDNN reuses kernels
# prepared for another number of threads, which changes the last bits.
torch.set_num_threads(1)

# Fixture modules, loaded after the import hook above.
pytest_plugins = ["installed", "text_models", "worlds", "tools.nightly"]


# These take minutes, the longest first, so that no process waits for another at the end.
FIRST = (
    "tests/test_docs.py",
    "tests/benchmarks/test_benchmarks.py",
    "tests/paper/test_smoke.py",
    "tests/parallel/test_distributed.py",
    "tests/commands/test_train.py",
    "tests/apps/demo/test_demo.py",
    "tests/test_release.py",
    "tests/faults/test_killed.py",
    "tests/apps/export/test_export.py",
    "tests/test_notebooks.py",
    "tests/encoders/test_openclip.py",
    "tests/test_large.py",
    "tests/faults/test_signals.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {ROOT / name: index for index, name in enumerate(FIRST)}
    platforms.skips(items)
    items.sort(key=lambda item: ranks.get(item.path, len(FIRST)))


# No test depends on seconds: other programs may need the processors, and Wine takes seconds to load a module.
hypothesis.settings.register_profile("any", suppress_health_check=[hypothesis.HealthCheck.too_slow], deadline=None)
hypothesis.settings.load_profile("any")

SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real labelled media beside the checkout; skip the test if it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"no reference data at {SHARED}")
    return SHARED


@pytest.fixture(scope="module")
def two() -> Iterator[Callable[..., list]]:
    """A function that runs another in two processes, and returns both results."""
    from benchmarks.process_group import processes  # Import only after the hook above.

    with processes(2) as run:
        yield run


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command and returns (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        from texthead.cli import main as cli  # Import only after the hook above.

        capsys.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def wrong(say: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Return a function that runs a command, expects a user error and returns its line."""

    def run(*arguments: object) -> str:
        code, _, err = say(*arguments)
        assert code == 2, err
        assert "Traceback" not in err
        lines = err.splitlines()
        assert [line.startswith("texthead: ") for line in lines].count(True) == 1, err
        # Notes may come first; the error must be the last line.
        assert lines[-1].startswith("texthead: ")
        return lines[-1]

    return run
