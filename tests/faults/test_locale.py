"""Names that the locale cannot encode: every command prints them escaped and succeeds; files are UTF-8."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from made import with_bridge, write_image
from texthead.cli import main as cli
from texthead.files import read_json

LABELS = ("кот", "狗", "🦆")

QUICK = ("--set", "size=32", "--set", "epochs=1", "--set", "warmup=0")

# Environment variables that set Python's output encoding.
LOCALES = {
    "ascii output": {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    "latin output": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "latin-1"},
}


def environment(locale: str, folder: Path) -> dict[str, str]:
    """Return the environment variables of a locale."""
    others = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    return {**others, **LOCALES[locale], "TEXTHEAD_CACHE": str(folder / "cache")}


def called(locale: str, folder: Path, *words: object) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a locale and capture its output."""
    command, settings = [sys.executable, "-m", "texthead", *map(str, words)], environment(locale, folder)
    return subprocess.run(command, capture_output=True, env=settings, cwd=folder, check=False, timeout=600)


def ends_well(done: subprocess.CompletedProcess[bytes], code: int = 0) -> str:
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout.isascii()
    assert done.stderr.isascii()
    return done.stdout.decode()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with class folders and a run trained on them."""
    folder = tmp_path_factory.mktemp("names")
    for number, label in enumerate(LABELS):
        for i in range(4):
            write_image(folder / "data" / label / f"{label}{i}.png", ("red", "blue", "green")[number], i)
    words = ["train", folder / "data", "--encoder", "mini", "--tune", "all", *QUICK, "--workers", 0]
    words += ["--out", folder / "run"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTHEAD_CACHE", str(with_bridge(folder / "cache")))
        assert cli.main([*map(str, words)]) == 0
    return folder


@pytest.mark.parametrize("locale", LOCALES)
def test_json_with_escaped_names_is_json(data: Path, locale: str) -> None:
    result = json.loads(ends_well(called(locale, data, "classes", "run", "list", "--json")))
    assert [row["label"] for row in result["classes"]] == sorted(LABELS)


@pytest.mark.nightly("src/texthead/cli/console.py", "src/texthead/cli/system.py")
@pytest.mark.parametrize("locale", LOCALES)
def test_every_command_that_prints_names(data: Path, tmp_path: Path, locale: str) -> None:
    run_each(partial(called, locale, data), tmp_path / "кошка")


def run_each(run: Callable[..., subprocess.CompletedProcess[bytes]], out: Path) -> None:
    """Run the commands that print names."""
    picture, quick = f"data/{LABELS[0]}/{LABELS[0]}0.png", ("--workers", 0)
    ends_well(run("train", "data", "--encoder", "mini", "--tune", "all", *QUICK, *quick, "--out", out))
    assert [row["label"] for row in read_json(out / "classes.json")["classes"]] == sorted(LABELS)
    assert all("\\u" not in line for line in (out / "split.json").read_text(encoding="utf-8").splitlines())
    page = (out / "report.html").read_text(encoding="utf-8")
    assert LABELS[1] in page
    ends_well(run("eval", out, "data", *quick))
    assert "\\u" in ends_well(run("predict", out, picture))
    json.loads(ends_well(run("predict", out, picture, "--json")))
    ends_well(run("predict", picture, "--classes", ", ".join(LABELS), "--encoder", "mini"))
    ends_well(run("compare", "data", "--encoder", "mini", *quick))
    ends_well(run("doctor", "data", "--quick", *quick))
    ends_well(run("classes", out, "list"))
    ends_well(run("label", "data", "--next", 3, "--classes", ", ".join(LABELS), "--encoder", "mini"))
    ends_well(run("report", out, "data", *quick))
    ends_well(run("train", "--help"))
    refused = run("predict", out, "нет.png")
    ends_well(refused, code=2)
    assert len(refused.stderr.splitlines()) == 1
