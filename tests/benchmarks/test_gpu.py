"""`benchmarks/gpu.py` on a CPU: it runs, counts correctly, and reports a missing GPU."""

import sys

import open_clip
import pytest

from benchmarks import gpu


@pytest.mark.nightly("benchmarks/gpu.py", "src/texthead/training")
def test_the_smoke_run_measures_every_row(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu", "--smoke", "--workers", "1"])
    assert gpu.main() == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| tiny")]
    loops = ["bare", "texthead.train, in memory", "texthead.train, files, 1 workers", "frozen, eager"]
    assert [row[1] for row in rows] == loops
    assert [row[-1] for row in rows if row[1] in ("bare", "frozen, eager")] == ["1.00", "1.00"]
    assert all(float(row[2]) > 0 for row in rows)


@pytest.mark.parametrize(("name", "multiply_adds"), [("ViT-B-32", 4.41), ("ViT-B-16", 17.56), ("ViT-L-14", 81.01)])
def test_operation_count_near_encoder(name, multiply_adds):
    """A step takes 3 x 2 operations per forward multiply-add; docs/reference/recipes.md lists those per frame."""
    config = open_clip.get_model_config(name)
    assert config is not None
    blocks = 6 * 12 * config["embed_dim"] ** 2  # 4 d^2 in attention, 8 d^2 in the MLP; mixing 8 frames is negligible
    assert gpu.step_operations(name, 8) == pytest.approx(6 * 8 * (multiply_adds * 1e9 + blocks), rel=2e-3)
