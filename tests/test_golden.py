"""A run of an earlier version gives the same predictions; files in golden/ that are made from the sources are current."""

import json
import re
from pathlib import Path

import pytest

from golden.draw import draw
from texthead.prediction.load import load_run
from tools import flags, messages

GOLDEN = Path(__file__).parent / "golden"


def test_the_golden_run_predicts_what_it_did_when_it_was_made(tmp_path: Path) -> None:
    expected = json.loads((GOLDEN / "made.json").read_text())["scores"]
    tops = {p.path.name: dict(p.top) for p in load_run(GOLDEN / "run").predict(draw(tmp_path), top=3)}
    assert tops.keys() == expected.keys() == {"picture.png", "clip.mkv"}
    for name, scores in expected.items():
        assert tops[name] == pytest.approx(scores, abs=1e-5)
        assert max(scores.values()) < 0.95, "no score is at its limit, where nothing could move it"
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 2 * 10**6


def test_flags_are_those_of_the_parser() -> None:
    """`make commands` writes the file."""
    assert (GOLDEN / "flags.txt").read_text(encoding="utf-8") == flags.page(), "make commands"


def test_messages_are_those_of_the_sources() -> None:
    """`make messages` writes the file: read its diff."""
    assert (GOLDEN / "messages.txt").read_text(encoding="utf-8") == messages.page(), "make messages"


def test_the_library_names_parameters_not_options() -> None:
    """Messages must also make sense in Python; a whole command is allowed in backticks or as the whole text."""
    for part in (GOLDEN / "messages.txt").read_text(encoding="utf-8").split("\n# ")[1:]:
        file, *lines = part.splitlines()
        if not file.startswith(("commands/", "cli/")) and not file.endswith(
            ("/command.py", "/options.py", "standalone.py")
        ):
            plain = [re.sub(r"`[^`]*`|: texthead .*", "", line) for line in lines]
            assert [line for line in plain if re.search(r"(?<![\w(-])--[a-z]", line)] == [], file
