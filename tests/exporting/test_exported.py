"""Exported folders that a stranger changed: refused in one line, with little memory and time."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from made import tiny_visual, write_image
from messages import prints, refuses
from texthead.data.protocol import Pixels, Protocol
from texthead.errors import RunError
from texthead.exporting import exported, standalone
from texthead.exporting.export import preprocessing
from texthead.exporting.exported import Exported
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
    (found,) = Exported(folder).predict([image], top=2)
    assert [name for name, _ in found.top] == ["hat", "shoes"]


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
    ("resize",): [0, 10, [1, 2], float("nan"), "256"],
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
    """predict.py checks the same rules."""
    change(folder / f"{name}.json", *keys, value=value)
    with refuses(RunError, f"{name}.json", "export it again"):
        Exported(folder)
    if value != 10:  # Only texthead checks the size of the model's crops.
        with pytest.raises(standalone.Unusable, match=rf"{name}\.json"):
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
    with refuses(RunError, "model.onnx", "2 classes"):
        loaded = Exported(folder)
        assert declared is None
        loaded.predict([image], top=1)


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
    with refuses(RunError, f"{folder}/model.onnx"):
        Exported(folder).predict([image], top=1)
    assert capfd.readouterr() == ("", "")


def test_minus_infinity_keeps_a_class_from_being_named(folder, image):
    write_constant(folder, np.array([[1, -np.inf, 2]], np.float32))
    assert Exported(folder).predict([image], top=3)[0].top[-1] == ("hat", 0.0)


def test_onnxruntime_prints_nothing(folder, image, capfd):
    """For a model whose shapes do not fit, and one that fails while running."""
    write_model(folder, [helper.make_node("Identity", ["held"], ["scores"])], {"held": np.ones((1, 300), np.float32)})
    with refuses(RunError, "300"):
        Exported(folder).predict([image], top=1)
    change(folder / "classes.json", "classes", value=[{"label": "dress"}])
    nodes = [
        helper.make_node("Gather", ["clips", "far"], ["taken"]),
        helper.make_node("Cast", ["taken"], ["scores"], to=1),
    ]
    write_model(folder, nodes, {"far": np.array([9])}, shape=None)
    with refuses(RunError, "model.onnx", image):
        Exported(folder).predict([image], top=1)
    assert capfd.readouterr() == ("", "")


# ---- the model's file


def far(name: str) -> onnx.TensorProto:
    """Return a tensor whose values are in another file."""
    tensor = TensorProto(name=name, data_type=1, dims=[1, 3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights")
    return tensor


def held(nodes: list, tensors: list) -> bytes:
    graph = helper.make_graph(nodes, "graph", [INPUT], [helper.make_tensor_value_info("scores", 1, [None, 3])], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


def plain_far() -> bytes:
    return held([helper.make_node("Identity", ["far"], ["scores"])], [far("far")])


def hidden_far() -> bytes:
    """Return an equivalent encoding, with the length of a word in two bytes."""
    old, new = b"\x0a\x08location\x12\x07weights", b"\x0a\x88\x00location\x12\x06weight"
    content = plain_far()
    assert old in content
    return content.replace(old, new)


def constant_far() -> bytes:
    return held([helper.make_node("Constant", [], ["scores"], value=far("far"))], [])


@pytest.mark.parametrize("make", [plain_far, hidden_far, constant_far])
def test_weights_in_other_files(folder, make):
    for name in ("weights", "weight"):
        (folder / name).write_bytes(np.ones((1, 3), np.float32).tobytes())
    (folder / "model.onnx").write_bytes(make())
    with refuses(RunError, "other files"):
        Exported(folder)


def test_a_loop_without_end(folder):
    state = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    scores = [helper.make_tensor_value_info(name, 1, None) for name in ("now", "next")]
    nodes = [helper.make_node("Identity", [a], [b]) for a, b in (("go", "on"), ("now", "next"))]
    number = helper.make_tensor_value_info("step", TensorProto.INT64, [])
    on = helper.make_tensor_value_info("on", TensorProto.BOOL, [])
    body = helper.make_graph(nodes, "body", [number, state, scores[0]], [on, scores[1]])
    loop = helper.make_node("Loop", ["", "true", "start"], ["scores"], body=body)
    write_model(folder, [loop], {"true": np.array(True), "start": np.ones((1, 3), np.float32)})
    with refuses(RunError, "loops or branches"):
        Exported(folder)


def test_memory_is_limited(folder, image, capfd):
    """The model asks for twice the limit; none of that is allocated."""
    nodes = [
        helper.make_node("ConstantOfShape", ["count"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=1),
        helper.make_node("Expand", ["sum", "shape"], ["scores"]),
    ]
    write_model(folder, nodes, {"count": np.array([exported.MOST_MEMORY // 2]), "shape": np.array([1, 3])})
    with refuses(RunError, "model.onnx"):
        Exported(folder).predict([image], top=1)
    assert capfd.readouterr() == ("", "")


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(7 * 10**9)


@pytest.mark.parametrize("put", [os.mkfifo, device, sparse, os.mkdir, Path.exists], ids=lambda put: put.__name__)
def test_a_model_that_is_no_plain_file(folder, put: Callable[[Path], object]):
    (folder / "model.onnx").unlink()
    put(folder / "model.onnx")
    with refuses(RunError, "model.onnx"):
        Exported(folder)


@pytest.mark.parametrize("name", ["classes", "thresholds"])
def test_settings_that_are_a_pipe_or_missing(folder, name):
    (folder / f"{name}.json").unlink()
    with refuses(RunError, f"{name}.json", "export it again"):
        Exported(folder)
    os.mkfifo(folder / f"{name}.json")
    with refuses(RunError, f"{name}.json", "export it again"):
        Exported(folder)
