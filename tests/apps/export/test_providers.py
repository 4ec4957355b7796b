"""predict.py with other execution providers of onnxruntime than the CPU's; OpenVINO's is tried, if pip installs it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from made import SMALL, write_image
from messages import prints
from texthead.apps.export import export, standalone
from texthead.data.protocol import Pixels
from texthead.features import engine as engines
from texthead.models.temporal import MeanPool
from texthead.runs.folder import write_run
from texthead.runs.run import load_run
from training_runs import NAMES, make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder as texthead export writes it."""
    path = tmp_path_factory.mktemp("exported")
    write_run(path / "run", make_model(temporal=MeanPool()), SMALL, Pixels(32, 36, "bicubic"), NAMES, {})
    export(load_run(path / "run"), path / "out")
    return path / "out"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_image(tmp_path / "a.png", "red")


def test_the_engines_are_texthead_s():
    assert engines.PROVIDERS == standalone.PROVIDERS


def test_a_provider_that_is_not_installed(folder, image, capfd):
    assert standalone.main([str(image), "--model", str(folder), "--engine", "onnxruntime:directml"]) == 2
    out, err = capfd.readouterr()
    (line,) = err.splitlines()
    assert out == ""
    prints(line, "predict.py", "DmlExecutionProvider", "CPUExecutionProvider", "install onnxruntime-directml")


@pytest.mark.parametrize(("gap", "code"), [(0.0, 0), (0.1, 2)])
def test_another_engine_must_agree_with_the_cpu(folder, image, capfd, monkeypatch, gap, code):
    load = standalone.load_model

    def other(file, engine="onnxruntime"):
        model, shift = load(file), np.float32([gap, 0])
        return model if engine == "onnxruntime" else lambda clips: model(clips) + shift

    monkeypatch.setattr(standalone, "load_model", other)
    assert standalone.main([str(image), "--model", str(folder), "--engine", "onnxruntime:cuda"]) == code
    out, err = capfd.readouterr()
    assert bool(out) != bool(err)
    if code:
        prints(err, "differ from the CPU's by", "above 1e-04")


def test_a_torch_program_has_no_provider(tmp_path):
    with pytest.raises(standalone.Unusable, match=r"model\.pt2"):
        standalone.load_model(tmp_path / "model.pt2", "onnxruntime:cuda")


OPENVINO = """
import sys
import onnxruntime
import torch
from texthead.apps.export import standalone
from texthead.encoders import load_encoder
from texthead.features.engine import Engine

assert "OpenVINOExecutionProvider" in onnxruntime.get_available_providers()
visual = load_encoder("mini").visual
encode = Engine(visual, "onnxruntime:openvino")
for count in (8, 1, 3):
    frames = torch.randint(256, (count, 3, 224, 224), dtype=torch.uint8)
    with torch.inference_mode():
        cosine = torch.cosine_similarity(encode(frames).double(), visual(frames).double())
    assert 1 - cosine.min() <= 1e-6, cosine
assert encode.name == "onnxruntime:openvino"
sys.exit(standalone.main([sys.argv[2], "--model", sys.argv[1], "--engine", "onnxruntime:openvino"]))
"""


@pytest.mark.nightly("src/texthead/features/engine.py", "src/texthead/apps/export/standalone.py", "pyproject.toml")
def test_openvino_gives_the_same_features_and_predictions(folder, image, tmp_path):
    """onnxruntime-openvino replaces the module onnxruntime, so it is installed in a folder of its own."""
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(site), "onnxruntime-openvino"]
    installed = subprocess.run(pip, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"pip cannot install onnxruntime-openvino: {installed.stderr.strip()[-300:]}")
    environment = os.environ | {"PYTHONPATH": str(site), "TEXTHEAD_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", OPENVINO, str(folder), str(image)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    expected = standalone.as_text(standalone.Predictor(folder).predict(image, 5))
    assert done.stdout.strip() == expected
