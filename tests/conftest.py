"""Shared fixtures; beartype checks every annotation in texthead, tensor shapes included, while the tests run."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import install_import_hook

from messages import GOLDEN, RECORDER, merge, place_of, write
from tools.tree import PACKAGES, TOP

# Without commands/: its annotations name types that are only imported when a command runs.
install_import_hook(
    [f"texthead.{name}" for name in ("cli", *TOP, *PACKAGES) if name != "commands"], "beartype.beartype"
)

# The processes that results are compared with use one thread too. Set once for the whole run: oneDNN reuses kernels
# prepared for another number of threads, which changes the last bits.
torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]

# Fixture modules, loaded after the import hook above.
pytest_plugins = ["installed", "text_models", "worlds"]


# The first three measure memory in forks of the test process, so they run before a command makes malloc keep what is freed.
# The others take minutes, the longest first, so that no process waits for another at the end.
FIRST = (
    "tests/faults/test_memory_of_decoding.py",
    "tests/faults/test_untrusted_sizes.py",
    "tests/doctor/test_near_duplicates.py",
    "tests/test_docs.py",
    "tests/benchmarks/test_benchmarks.py",
    "tests/paper/test_smoke.py",
    "tests/parallel/test_distributed.py",
    "tests/commands/test_train.py",
    "tests/commands/test_demo.py",
    "tests/test_release.py",
    "tests/faults/test_killed.py",
    "tests/exporting/test_export.py",
    "tests/test_notebooks.py",
    "tests/encoders/test_openclip.py",
    "tests/test_large.py",
    "tests/benchmarks/test_load.py",
    "tests/faults/test_signals.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-messages", action="store_true", help="write golden/messages.txt from what the tests see"
    )


def pytest_configure(config: pytest.Config) -> None:
    RECORDER.rewrite = config.getoption("--rewrite-messages")
    config.pluginmanager.register(FromWorkers())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {ROOT / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(FIRST)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    RECORDER.item = item
    return (yield)


def pytest_deselected(items: Iterable[pytest.Item]) -> None:
    RECORDER.partial.update(map(place_of, items))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the golden file; a pytest-xdist worker sends its messages to the main process instead."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["messages"] = RECORDER.seen, sorted(RECORDER.partial)
    elif RECORDER.rewrite:
        picked = bool(session.config.option.keyword) or any("::" in word for word in session.config.args)
        whole = not picked and not session.testsfailed
        write(GOLDEN, merge(RECORDER.golden, RECORDER.seen, whole=whole, partial=RECORDER.partial))


class FromWorkers:
    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        seen, partial = getattr(node, "workeroutput", {}).get("messages", ({}, ()))
        RECORDER.partial.update(map(tuple, partial))
        for file, functions in seen.items():
            for function, sentences in functions.items():
                RECORDER.seen.setdefault(file, {}).setdefault(function, []).extend(sentences)


SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real labelled media beside the checkout; skip the test if it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"no reference data at {SHARED}")
    return SHARED


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command and returns (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        from texthead import cli  # Import only after the hook above.

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
    """Return a function that runs a command, expects a user error and returns its line (`volatile`: messages.py)."""

    def run(*arguments: object, volatile: Iterable[object] = ()) -> str:
        code, _, err = say(*arguments)
        assert code == 2, err
        assert "Traceback" not in err
        lines = err.splitlines()
        assert [line.startswith("texthead: ") for line in lines].count(True) == 1, err
        # Notes may come first; the error must be the last line.
        assert lines[-1].startswith("texthead: ")
        RECORDER.check(lines[-1], volatile)
        return lines[-1]

    return run
