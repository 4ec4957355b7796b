"""Every row of every experiment with two steps: `python -m paper run all --scale smoke`."""

import subprocess
import sys
from pathlib import Path

import pytest

from paper.data import Runtime
from paper.experiments import NAMES, module
from paper.report import html, markdown
from paper.results import Store
from paper.running import Setting, follow, run

ROOT = Path(__file__).parents[2]


@pytest.mark.nightly("paper")
def test_every_row_runs_and_is_kept(tmp_path):
    words = ["run", "all", "--scale", "smoke", "--kept", tmp_path / "kept", "--results", tmp_path / "results"]
    command = [sys.executable, "-m", "paper", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    store = Store(tmp_path / "results", "smoke")
    setting = Setting(Runtime("smoke"), (0,), digests=store.digests)
    sections = []
    for name in NAMES:
        section, keys = follow(module(name).plan(setting), setting, store, lambda _: None)
        sections.append(section)
        run(
            name, module(name).plan(setting), setting, store, None, say=lambda _: None
        )  # Without a pool: fails if anything runs twice.
        assert keys
        assert set(keys) <= set(store.lines), name
        for key in keys:
            result = store.lines[key]["result"]
            assert 0 <= result["top1"] <= result["top5"] <= 100
            assert result["count"] > 0
            zero_shot = store.lines[key]["row"].get("k") == 0
            assert result["steps"] == (0 if zero_shot else 2), store.lines[key]
        assert section.tables
    # Smoke results are not reported, but the report can be written.
    counts = dict.fromkeys(NAMES, (1, 1, 0))
    text = markdown(sections, ["head"], counts, "smoke")
    assert all(f"## {section.title}" in text for section in sections)
    assert html(sections, ["head"], counts, "smoke").count("<h2") == len(NAMES) + 1
