"""--quiet and --json of every command: one JSON document with the documented keys, and nothing else."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from texthead.cli import console
from texthead.cli import main as cli

COMMANDS = {
    "predict": ["predict", "RUN", "IMAGE"],
    "bulk": ["bulk", "RUN", "IMAGES", "--out", "NEW", "--processes", "1"],
    "timeline": ["timeline", "RUN", "VIDEO"],
    "eval": ["eval", "RUN", "IMAGES", "--per-class"],
    "report": ["report", "COPY"],
    "calibrate": ["calibrate", "COPY", "IMAGES"],
    "classes list": ["classes", "RUN", "list"],
    "classes remove": ["classes", "RUN", "remove", "red", "--out", "NEW"],
    "encoders": ["encoders"],
    "doctor": ["doctor", "IMAGES", "--quick"],
    "label": ["label", "IMAGES", "--classes", "red, blue", "--next", "2"],
    "prepare": ["prepare", "VIDEOS", "--out", "NEW"],
    "compare": ["compare", "IMAGES"],
    "train": ["train", "IMAGES", "--out", "NEW", "--tune", "none"],
    "export": ["export", "RUN", "--out", "NEW"],
}
SLOW = {"bulk", "export"}


def documented(command: str) -> set[str]:
    """Return the JSON keys that a command documents."""
    kind: Any = cli.command_of(command.split()[0])
    return set(re.findall(r"\w+", kind.JSON))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in COMMANDS]
)
def test_json_is_one_document_with_the_documented_keys(world, say, tmp_path: Path, name: str) -> None:
    values = {"RUN": world.run, "IMAGE": world.images / "red" / "0.png", "IMAGES": world.images}
    values |= {"VIDEOS": world.videos, "VIDEO": world.videos / "red" / "0.mp4", "NEW": tmp_path / "new"}
    words = COMMANDS[name]
    if "COPY" in words:
        values["COPY"] = shutil.copytree(world.run, tmp_path / "copy")
    workers = ["--workers", "0"] if name in {"predict", "eval", "doctor", "prepare", "compare", "train"} else []
    code, out, err = say(*(values.get(word, word) for word in words), *workers, "--json", "--quiet")
    assert (code, err) == (0, "")
    document = json.loads(out, parse_constant=pytest.fail)
    (entry, *_) = document if isinstance(document, list) else [document]
    assert set(entry) <= documented(name)


def test_numbers_are_unrounded_and_finite(capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np
    import torch

    with console.screen(json=True):
        console.show_json(
            {"a": 1 / 3, "b": float("nan"), "c": torch.tensor([0.5, float("inf")]), "d": np.float64(2), 5: Path("x")}
        )
    assert json.loads(capsys.readouterr().out) == {"a": 1 / 3, "b": None, "c": [0.5, None], "d": 2.0, "5": "x"}


def test_quiet_leaves_the_result_and_the_skipped_files(world, say, tmp_path: Path) -> None:
    image, broken = world.images / "red" / "0.png", tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    _, whole, notes = say("predict", world.run, image, "--workers", 0)
    assert say("predict", world.run, image, "--workers", 0, "--quiet") == (0, whole, "")
    assert [line.partition(":")[0] for line in notes.splitlines()] == ["note", "next"]
    _, _, err = say("doctor", tmp_path, "--quick", "--quiet", "--workers", 0)
    assert err.startswith("texthead: ")


def test_first_screen_fits_a_terminal(say) -> None:
    code, out, err = say()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    shown = re.findall(r"^  (\w[\w-]*) {2,}\S", out, re.MULTILINE)
    assert shown == ["train", "predict", "compare", "label", "report", "ui"]
    assert f"all {len(cli.COMMANDS)} commands" in out


@pytest.mark.parametrize("word", ["--help", "help"])
def test_help_lists_every_command_in_its_group(say, word: str) -> None:
    code, out, err = say(word)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert re.findall(r"^  (\w[\w-]*) {2,}\S", out, re.MULTILINE) == list(cli.COMMANDS)
    assert [line[:-1] for line in out.splitlines() if re.fullmatch(r"[a-z ]+:", line)] == [*cli.GROUPS, "options"]


def test_verbose_adds_the_table_the_prompts_and_the_settings(world, works) -> None:
    short, _ = works("eval", world.run, "--workers", 0)
    out, err = works("eval", world.run, "--workers", 0, "--verbose")
    assert out.startswith(short.rstrip("\n"))
    assert "95 % CI)  test items" in out or "held-out items" in out
    assert "scoring 2 items" in err
