"""A plain success fits on a small terminal, and its first line is the result."""

import shutil
from pathlib import Path

import pytest

WIDTH, LINES = 80, 8

# The start of the result, and the command.
RESULTS = {
    "train": ("% of", ["train", "IMAGES", "--out", "NEW", "--tune", "none"]),
    "compare": ("text-probe: ", ["compare", "IMAGES"]),
    "eval": ("% of", ["eval", "RUN"]),
    "calibrate": ("temperature", ["calibrate", "COPY"]),
    "report": ("% of", ["report", "COPY", "--saliency", "0"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RESULTS)
def test_a_plain_success_has_eight_lines_and_begins_with_the_result(
    world, works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    result, words = RESULTS[name]
    monkeypatch.chdir(tmp_path)
    values = {"RUN": world.run, "IMAGES": world.images, "NEW": "run"}
    if "COPY" in words:
        values["COPY"] = shutil.copytree(world.run, tmp_path / "copy")
    out, err = works(*(values.get(word, word) for word in words), "--workers", 0)
    lines = [*out.splitlines(), *err.splitlines()]
    assert result in lines[0]
    # A path of a test is longer than a user's.
    short = [line.replace(str(tmp_path), "").replace(str(world.images.parent), "") for line in lines]
    assert sum(max(1, -(-len(line) // WIDTH)) for line in short) <= LINES, "\n".join(lines)


def test_verbose_adds_the_table_the_prompts_and_the_settings(world, works) -> None:
    short, _ = works("eval", world.run, "--workers", 0)
    out, err = works("eval", world.run, "--workers", 0, "--verbose")
    assert out.startswith(short.rstrip("\n"))
    assert "ECE" in out
    assert "ECE" not in short
    assert "scoring 2 items" in err
