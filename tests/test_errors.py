"""Arguments of another type or value than their annotation are one line: the value, the rule and the remedy."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import texthead as th
from messages import refuses
from texthead.errors import DataError, PositiveInt, checked, converted, in_quotes, line_of, listed, reason
from texthead.text import class_prompts

CALLS = {
    "th.compare(3)": "`data` must be what th.read_dataset returns, text or a path, got 3",
    "th.find_events('run', 'film.mp4')": "`run` must be what th.load_run returns, got 'run'",
    "th.search('clips', 'a bird', top=2.0)": "`top` must be a whole number, 1 or more, got 2.0",
    "th.label_pool('clips', 'a bird')": "`classes` must be a list, got the text 'a bird': write ['a bird']",
    "th.label_pool('clips', {'a bird'})": "`classes` must be a list of text, got {'a bird'}",
    "checked(calibrate)(np.zeros((2, 3)), [0, 1])": "`scores` must be of type Float[Tensor, 'items classes'], got float64 of shape (2, 3)",
    "checked(calibrate)(torch.zeros(2, 3), torch.zeros(2).long(), false_accept=1.0)": "`false_accept` must be a number between 0 and 1, got 1.0",
    "th.read_dataset(None)": "`source` must be text or a path, got None",
    "th.load_run(['run'])": "`folder` must be text or a path, got ['run']",
    "th.ReadOptions(engine='fast')": "`engine` must be auto, eager, onnxruntime or onnxruntime:cuda, got 'fast'",
    "th.Views(np.float64(4))": "`clips` must be a whole number, 1 or more, got np.float64(4.0)",
    "th.recipes.small(epochs='3')": "`epochs` must be a whole number, 1 or more, got '3'",
    "th.Recipe('own', epochs='3')": "`epochs` must be a whole number, 1 or more, got '3'",
    "th.ReadOptions(batch=np.int8(0))": "`batch` must be a whole number, 1 or more, got np.int8(0)",
}

# Values of NumPy, and what is stored.
OWN = {
    "th.Views(np.int64(4), np.uint8(3)).clips": "int 4",
    "th.Recipe('own', epochs=np.int32(20)).epochs": "int 20",
    "th.Recipe('own', lr=np.float32(0.5)).lr": "float 0.5",
    "th.Recipe('own', area=[np.float16(0.25), 1]).area": "tuple (0.25, 1)",
    "Hysteresis(thresholds={'dog': np.float32(0.5)}).thresholds['dog']": "float 0.5",
}


def test_arguments_of_the_wrong_kind() -> None:
    """In a process of its own: here every call is checked for types."""
    lines = "import numpy as np\nimport torch\nimport texthead as th\n"
    lines += "from texthead.errors import checked\nfrom texthead.evaluation import calibrate\n"
    lines += "from texthead.apps.timeline.events import Hysteresis\n"
    for call in CALLS:
        lines += f"try:\n    {call}\nexcept th.TextheadError as error:\n    print(error)\n"
    for value in OWN:
        lines += f"value = {value}\nprint(type(value).__name__, value)\n"
    result = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert result.stdout.splitlines() == [*CALLS.values(), *OWN.values()], result.stderr


@checked
def joined(names: list[str], *more: str, times: PositiveInt = 1) -> str:
    return " ".join([*names, *more] * times)


def test_a_checked_function_is_called_as_before() -> None:
    assert joined(["a"], "b", times=np.int64(2)) == "a b a b"
    with refuses(DataError, "`times` must be a whole number, 1 or more, got 0"):
        joined(["a"], times=0)
    with pytest.raises(TypeError, match=r"joined\(\) missing 1 required positional argument"):
        joined()  # pyright: ignore[reportCallIssue]


def test_a_compiled_model_is_of_its_own_kind() -> None:
    compiled = torch.compile(torch.nn.Linear(1, 1))
    assert converted("model", compiled, torch.nn.Linear) is compiled


def test_entries_of_a_folder_are_paths(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with os.scandir(tmp_path) as entries:
        entry = next(entries)
    assert converted("data", entry, str | Path) == tmp_path / "a.png"
    assert converted("data", entry, str) == str(tmp_path / "a.png")
    assert converted("data", tmp_path, str | Path) is tmp_path
    with os.scandir(os.fsencode(tmp_path)) as entries:
        entry = next(entries)
    with refuses(DataError, "`data` must be text or a path, got <DirEntry b'a.png'>"):
        converted("data", entry, str | Path)


def test_paths_of_windows_are_as_they_are_typed() -> None:
    path = r"C:\photos\new.jpg"
    assert in_quotes(path) == rf"'{path}'"
    assert in_quotes(Path("new.jpg")) == "'new.jpg'"
    assert in_quotes(3) == "3"
    refused = PermissionError(13, "Permission denied", path)
    assert reason(refused) == "Permission denied"
    assert line_of(refused, kind=True) == rf"PermissionError: {path}: Permission denied"
    assert reason(ValueError("no time")) == line_of(ValueError("no time")) == "no time"


def test_public_functions_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(th.load_run)) is th.load_run


def test_lists_that_belong_together_have_one_length() -> None:
    with refuses(DataError, "2 in `names` and 1 in `prompts`"):
        class_prompts("{}", ["a", "b"], [None])


def test_what_a_misspelt_name_resembles() -> None:
    assert listed(["frizbee", "cat"], known=["frisbee", "dog"]) == "frizbee: did you mean frisbee?, cat"
