"""Exported folders that are damaged: predict.py refuses them in one line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from made import tiny_visual, write_image
from messages import prints, refuses
from texthead.data.protocol import Pixels, Protocol
from texthead.exporting import standalone
from texthead.exporting.export import preprocessing
from texthead.exporting.scorer import Scorer
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool

Shape = tuple[int | None, ...] | None

NAMES = ["dress", "hat", "shoes"]
INPUT = helper.make_tensor_value_info("clips", TensorProto.UINT8, 6 * [None])


def write_model(folder: Path, nodes: list, tensors: dict[str, object], shape: Shape = (None, 3), kind: int = 1) -> None:
    """Write a model of some nodes and constants that outputs `scores`."""
    constants = [numpy_helper.from_array(np.array(value), name) for name, value in tensors.items()]
    outputs = [helper.make_tensor_value_info("scores", kind, shape)]
    graph = helper.make_graph(nodes, "graph", [INPUT], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def write_constant(folder: Path, scores: object, **options: Any) -> None:
    """Write a model that gives the same scores for every clip."""
    write_model(folder, [helper.make_node("Identity", ["held"], ["scores"])], {"held": scores}, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as texthead export writes it, with a model whose scores are 1, 3 and 2."""
    model = Recognizer(tiny_visual(), MeanPool(), torch.nn.Identity())
    (folder := tmp_path / "out").mkdir()
    files = {
        "preprocessing": preprocessing(Scorer(model, Protocol(1, Pixels(32, 36, "bicubic"))), "onnx"),
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
    place = values
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    file.write_text(json.dumps(values))


def test_a_sound_folder_predicts(folder, image):
    found = standalone.Predictor(folder).predict(image, 2)
    assert [pair["name"] for pair in found["top"]] == ["hat", "shoes"]


SETTINGS = {
    ("format",): [99, True, None],
    ("model",): ["../model.onnx", ["model.onnx"], None],
    ("frames",): [0, -1, 2.5, True, "1", float("nan")],
    ("views",): ["1x1", None, ...],
    ("views", "clips"): [0, "1"],
    ("views", "crops"): [2, True, [1]],
    ("views", "origin"): ["x", 1],
    ("views", "along"): ["height"],
    ("views", "stride"): [-3, 1.5, ...],
    ("resize",): [0, [1, 2], float("nan"), "256"],
    ("squash",): ["no", 0],
    ("interpolation",): ["lanczos", None],
    ("antialias",): ["no", None, ...],
    ("input", "most_frames"): ["x", -1],
    ("in_the_model",): [None],
    ("in_the_model", "size"): ["x", 0],
}
PROBABILITY = {"threshold": [2, "a", float("nan"), {"probability": 2}, {"probability": None}, {}, [], ...]}
THRESHOLDS = {
    "temperature": [0, -1, float("nan"), float("inf"), "x", None, True, 1e-300, ...],
    "coverage": [1, {"quantile": float("nan")}, {"quantile": -1}],
    **PROBABILITY,
}
CASES = [
    *(("preprocessing", keys, value) for keys, values in SETTINGS.items() for value in values),
    *(("thresholds", (key,), value) for key, values in THRESHOLDS.items() for value in values),
    *(("classes", ("classes",), value) for value in ([], {"a": 1}, None, ["a", "b", "c"], ...)),
    *(("classes", ("classes", 1, "label"), value) for value in ("dress", 5, None, "", " ", "a\nb", "\ud800", ["hat"])),
]


@pytest.mark.parametrize(("name", "keys", "value"), CASES)
def test_a_value_that_breaks_its_rule(folder, name, keys, value):
    change(folder / f"{name}.json", *keys, value=value)
    with refuses(standalone.Unusable, f"{name}.json", "export it again"):
        standalone.Predictor(folder)


def test_predict_py_prints_a_broken_rule_as_one_line(folder, image):
    change(folder / "preprocessing.json", "format", value=2)
    command = [sys.executable, standalone.__file__, image, "--model", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    prints(line, "preprocessing.json", "format", "got 2")


@pytest.mark.parametrize("places", [slice(2), slice(1, None)], ids=["first", "last"])
@pytest.mark.parametrize("declared", [3, None])
def test_another_number_of_classes_than_scores(folder, image, places, declared):
    """Refused at load if the model declares its number of scores, else at the first answer."""
    write_constant(folder, np.array([[1, 3, 2]], np.float32), shape=(None, declared))
    values = json.loads((folder / "classes.json").read_text())
    change(folder / "classes.json", "classes", value=values["classes"][places])
    with refuses(standalone.Unusable, "model.onnx", "2 classes"):
        loaded = standalone.Predictor(folder)
        assert declared is None
        loaded.predict(image, 1)


ANSWERS = {
    "NaN": np.full((1, 3), np.nan, np.float32),
    "inf": np.array([[np.inf, 0, -np.inf]], np.float32),
    "all -inf": np.full((1, 3), -np.inf, np.float32),
    "seven items": np.ones((7, 3), np.float32),
    "one axis": np.ones(3, np.float32),
    "whole numbers": np.ones((1, 3), np.int64),
    "texts": np.array([["a", "b", "c"]], object),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_model_that_gives_no_scores(folder, image, capfd, name):
    """The error names the model, not the picture, and onnxruntime prints nothing."""
    kind = {"whole numbers": TensorProto.INT64, "texts": TensorProto.STRING}.get(name, TensorProto.FLOAT)
    write_constant(folder, ANSWERS[name], kind=kind, shape=(None, None))
    with refuses(standalone.Unusable, f"{folder}/model.onnx"):
        standalone.Predictor(folder).predict(image, 1)
    assert capfd.readouterr() == ("", "")


def test_minus_infinity_keeps_a_class_from_being_named(folder, image):
    write_constant(folder, np.array([[1, -np.inf, 2]], np.float32))
    assert standalone.Predictor(folder).predict(image, 3)["top"][-1] == {"name": "hat", "probability": 0.0}


# ---- the model's file


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(7 * 10**9)


@pytest.mark.parametrize("put", [os.mkfifo, device, sparse, os.mkdir, Path.exists], ids=lambda put: put.__name__)
def test_a_model_that_is_no_plain_file(folder, put: Callable[[Path], object]):
    (folder / "model.onnx").unlink()
    put(folder / "model.onnx")
    with refuses(standalone.Unusable, "model.onnx"):
        standalone.Predictor(folder)
