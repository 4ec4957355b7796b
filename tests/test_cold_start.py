"""What a command imports: no heavy module before it is needed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from made import write_image
from texthead.encoders.encoder import LazyVisual
from texthead.exporting.export import export
from texthead.features import engine as engines
from texthead.runs.run import keep_graph, load_run

# Heavy modules besides torch, numpy and av.
NETWORKS = {"timm", "torchvision", "transformers", "open_clip", "torch._dynamo", "onnx", "onnxscript"}
OTHERS = {"sklearn", "scipy", "matplotlib", "starlette", "uvicorn", "pandas", "huggingface_hub"}
WORKERS = {"multiprocessing.forkserver"}
HEAVY = NETWORKS | OTHERS | WORKERS | {"torch", "numpy", "av", "onnxruntime", "PIL", "fsspec"}


def imported(arguments: list[object], unwanted: set[str], cache: Path, code: int = 0) -> subprocess.CompletedProcess:
    """Run a command in a new process and check that it imports none of the unwanted modules."""
    program = (
        "import sys\n"
        "from texthead.cli import main\n"
        "try:\n    code = main(sys.argv[1:])\n"
        "except SystemExit as stop:\n    code = stop.code\n"
        f"print(sorted(set({sorted(unwanted)!r}) & set(sys.modules)), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    environment = {**os.environ, "TEXTHEAD_CACHE": str(cache)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
    return done


def test_classes_are_listed_without_torch_and_numpy(world, tmp_path):
    done = imported(["classes", world.run, "list"], HEAVY, tmp_path)
    assert "red" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["predict", "RUN", "gone.mp4"], "gone.mp4"),
        (["predict", "gone", "IMAGE"], "gone"),
        (["predict", "RUN", "IMAGE", "--top", "0"], "--top"),
        (["timeline", "RUN", "gone.mp4"], "gone.mp4"),
        (["eval", "RUN", "gone"], "gone"),
        (["eval", "IMAGES", "RUN"], "RUN comes before DATA"),
        (["calibrate", "gone", "IMAGES"], "gone"),
        (["report", "gone"], "gone"),
        (["export", "gone", "--out", "out"], "gone"),
        (["classes", "gone", "remove", "red", "--out", "out"], "gone"),
        (["compare", "gone"], "gone"),
        (["train", "gone", "--out", "out"], "gone"),
        (["doctor", "gone.txt"], "gone.txt"),
        (["prepare", "gone", "--out", "out"], "gone"),
    ],
)
def test_what_is_not_there_is_said_before_torch_is_imported(world, tmp_path, arguments, problem):
    named = {"RUN": world.run, "IMAGE": world.images / "red" / "0.png", "IMAGES": world.images}
    done = imported([named.get(each, each) for each in arguments], HEAVY, tmp_path, code=2)
    (line,) = done.stderr.splitlines()[:-1]
    assert problem in line


@pytest.fixture(scope="module")
def cache(world, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the graph of the run's encoder, as a first prediction writes it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTHEAD_CACHE", str(folder))
        patch.setattr(engines, "_seconds", lambda tried, _: {each: 1.0 + (each == "eager") for each in tried})
        keep_graph(load_run(world.run))
    return folder


@pytest.mark.slow
def test_a_later_prediction_of_a_run_builds_no_network_and_starts_no_process(world, cache, works):
    files = sorted(world.images.rglob("*.png"))[:3]
    done = imported(["predict", world.run, *files], NETWORKS | OTHERS | WORKERS, cache)
    assert done.stdout == works("predict", world.run, *files, "--engine", "eager")[0]


def test_a_run_that_changed_is_loaded_anew(world, cache, monkeypatch):
    monkeypatch.setenv("TEXTHEAD_CACHE", str(cache))
    assert isinstance(load_run(world.run).model.visual, LazyVisual)
    weights = world.run / "model.safetensors"
    os.utime(weights)
    run = load_run(world.run)
    assert not isinstance(run.model.visual, LazyVisual)
    keep_graph(run)
    late = load_run(world.run).model
    assert isinstance(late.visual, LazyVisual)
    ours, theirs = late.state_dict(), run.model.state_dict()
    assert list(ours) == list(theirs)
    assert all((ours[key] == theirs[key]).all() for key in ours)


@pytest.fixture(scope="module")
def exported(world, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "out"
    export(load_run(world.run), folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_an_exported_folder_predicts_as_its_run_without_torch(world, exported, works, tmp_path, form):
    files = [*sorted(world.images.rglob("*.png"))[:2], world.videos / "red" / "0.mp4"]
    done = imported(
        ["predict", exported, *files, *form], (NETWORKS | OTHERS | WORKERS | {"torch"}) - {"onnx"}, tmp_path
    )
    there = works("predict", world.run, *files, *form, "--engine", "eager")[0].replace("\r\n", "\n")
    ours, theirs = (re.sub(r"\d\.\d+(e-\d+)?", _to_4_digits, text) if form else text for text in (done.stdout, there))
    assert ours == theirs


def _to_4_digits(number: re.Match[str]) -> str:
    return f"{float(number[0]):.4f}"


def test_of_an_exported_folder_classes_and_protocol_are_its_own(world, exported, wrong, works, tmp_path):
    image = write_image(tmp_path / "a.png", "red")
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert "classes" in wrong("predict", exported, image, "--classes", "a, b", volatile=[exported])
    assert "frames" in wrong("predict", exported, image, "--frames", 2, volatile=[exported])
    assert "sets" in wrong("predict", exported, image, "--sets")
    assert str(exported) in wrong("predict", exported, volatile=[exported])
    assert "b.png" in wrong("predict", exported, tmp_path / "b.png")
    assert "not read" in works("predict", exported, tmp_path, "--skip-unreadable")[0]


@pytest.mark.parametrize("damage", ["model", "settings", "external", "torch"])
def test_a_damaged_or_foreign_export_is_refused(exported, wrong, tmp_path, damage):
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    image = write_image(tmp_path / "a.png", "red")
    settings = json.loads((folder / "preprocessing.json").read_text())
    if damage == "model":
        (folder / "model.onnx").write_bytes(b"no graph")
    elif damage == "external":
        onnx.save(onnx.load(folder / "model.onnx"), folder / "model.onnx", save_as_external_data=True)
    else:
        changed = {"frames": 10**9} if damage == "settings" else {"model": "model.pt2"}
        (folder / "preprocessing.json").write_text(json.dumps({**settings, **changed}))
    wrong("predict", folder, image)
