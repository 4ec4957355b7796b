"""Exported folders that are damaged: what predict.py refuses is one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from made import tiny_visual, write_image
from messages import prints
from texthead.apps.export import standalone
from texthead.apps.export.export import preprocessing
from texthead.apps.export.scorer import Scorer
from texthead.data.protocol import Pixels, Protocol
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool

Shape = tuple[int | None, ...] | None

NAMES = ["dress", "hat", "shoes"]
INPUT = helper.make_tensor_value_info("clips", TensorProto.UINT8, 6 * [None])


def write_constant(folder: Path, scores: object, shape: Shape = (None, 3)) -> None:
    """Write a model that gives the same scores for every clip."""
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)]
    nodes = [helper.make_node("Identity", ["held"], ["scores"])]
    graph = helper.make_graph(nodes, "graph", [INPUT], outputs, [numpy_helper.from_array(np.array(scores), "held")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as texthead export writes it, with a model whose scores are 1, 3 and 2."""
    model = Recognizer(tiny_visual(), MeanPool(), torch.nn.Identity())
    (folder := tmp_path / "out").mkdir()
    files = {
        "preprocessing": preprocessing(Scorer(model, Protocol(1, Pixels(32, 36, "bicubic")))),
        "classes": {"template": "{}", "classes": [{"label": name, "name": name, "prompt": None} for name in NAMES]},
        "thresholds": {"temperature": 1.0, "threshold": None, "coverage": None},
    }
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    write_constant(folder, np.array([[1, 3, 2]], np.float32))
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_image(tmp_path / "a.png", "red")


def change(file: Path, *keys: str | int, value: object) -> None:
    """Set a value in a JSON file; `...` removes the key."""
    values = json.loads(file.read_text())
    *parents, last = keys
    node = values
    for parent in parents:
        node = node[parent]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    file.write_text(json.dumps(values))


def fails(folder: Path, image: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """Run predict.py on the folder; check that it prints one line and nothing else, and return it."""
    assert standalone.main([str(image), "--model", str(folder)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    prints(line, folder, "export it again")
    return line


def test_a_model_and_its_scores(folder, image, capfd):
    top = standalone.Predictor(folder).predict(image, 2)["top"]
    assert [pair["name"] for pair in top] == ["hat", "shoes"]
    write_constant(folder, np.array([[1, -np.inf, 2]], np.float32))
    assert standalone.Predictor(folder).predict(image, 3)["top"][-1] == {"name": "hat", "probability": 0.0}
    for scores in (np.full((1, 3), np.nan, np.float32), np.ones((7, 3), np.float32), np.ones(3, np.float32)):
        write_constant(folder, scores, (None, None))
        fails(folder, image, capfd)
    (folder / "model.onnx").write_bytes(b"no file of an export")
    fails(folder, image, capfd)
    write_constant(folder, np.array([[1, 3, 2]], np.float32))
    values = json.loads((folder / "classes.json").read_text())
    change(folder / "classes.json", "classes", value=values["classes"][:2])
    assert "2 classes" in fails(folder, image, capfd)
