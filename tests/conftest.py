"""Shared fixtures; every annotated shape in texthead is checked while the tests run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("texthead", "beartype.beartype")

# As in the processes that results are compared with. For the whole run: kernels that oneDNN has prepared under another
# number of threads are used again after it has changed, with other last bits.
torch.set_num_threads(1)

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real labelled media beside the checkout; tests that need it skip where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"no reference data at {SHARED}")
    return SHARED


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command: (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        from texthead import cli  # Not before the hook above.

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
    """Runs a command that must fail as a user's mistake; its line."""

    def run(*arguments: object) -> str:
        code, _, err = say(*arguments)
        assert code == 2, err
        assert "Traceback" not in err
        lines = err.splitlines()
        assert [line.startswith("texthead: ") for line in lines].count(True) == 1, err
        # Notes on what was read may stand above; the mistake is the last word.
        assert lines[-1].startswith("texthead: ")
        return lines[-1]

    return run
