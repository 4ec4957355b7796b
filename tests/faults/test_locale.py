"""Names that the locale cannot encode: every command prints them escaped and succeeds; files are UTF-8."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from made import with_bridge, write_image
from texthead.cli import main as cli
from texthead.files import read_json

LABELS = ("кот", "狗", "🦆")

QUICK = ("--set", "size=32", "--set", "epochs=1", "--set", "warmup=0")


def called(folder: Path, *words: object) -> subprocess.CompletedProcess[bytes]:
    """Run a command whose output is ASCII, and capture it."""
    others = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    own = {**others, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "TEXTHEAD_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "texthead", *map(str, words)]
    return subprocess.run(command, capture_output=True, env=own, cwd=folder, check=False, timeout=600)


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


def test_json_with_escaped_names_is_json(data: Path) -> None:
    result = json.loads(ends_well(called(data, "classes", "run", "list", "--json")))
    assert [row["label"] for row in result["classes"]] == sorted(LABELS)


# Commands that print names.
COMMANDS = f"""
train data --encoder mini --tune all {" ".join(QUICK)} --out OUT
eval OUT data
predict OUT PICTURE
predict OUT PICTURE --json
predict PICTURE --classes {",".join(LABELS)} --encoder mini
compare data --encoder mini
doctor data --quick
classes OUT list
label data --next 3 --classes {",".join(LABELS)} --encoder mini
report OUT data
"""


@pytest.mark.nightly("src/texthead/cli/console.py", "src/texthead/cli/system.py")
def test_every_command_that_prints_names(data: Path, tmp_path: Path) -> None:
    values = {"OUT": tmp_path / "кошка", "PICTURE": f"data/{LABELS[0]}/{LABELS[0]}0.png"}
    for line in COMMANDS.strip().splitlines():
        ends_well(called(data, *(values.get(word, word) for word in line.split())))
    assert "\\u" in ends_well(called(data, "predict", values["OUT"], values["PICTURE"]))
    assert [row["label"] for row in read_json(values["OUT"] / "classes.json")["classes"]] == sorted(LABELS)
    assert "\\u" not in (values["OUT"] / "split.json").read_text(encoding="utf-8")
    assert LABELS[1] in (values["OUT"] / "report.html").read_text(encoding="utf-8")
    missing = called(data, "predict", values["OUT"], "нет.png")
    assert ends_well(missing, code=2) == ""
    assert len(missing.stderr.splitlines()) == 1
