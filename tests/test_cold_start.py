"""What a command imports: no heavy module before it is needed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from texthead.cli import default_workers
from texthead.cli import main as cli
from texthead.encoders.lazy import LazyVisualEncoder
from texthead.prediction.load import cache_encoder_graph, load_run

# Heavy modules besides torch, numpy and av.
NETWORKS = {"timm", "torchvision", "transformers", "open_clip", "torch._dynamo", "onnx", "onnxscript"}
OTHERS = {"sklearn", "scipy", "matplotlib", "starlette", "uvicorn", "pandas", "huggingface_hub"}
WORKERS = {"multiprocessing.forkserver"}
HEAVY = NETWORKS | OTHERS | WORKERS | {"torch", "numpy", "av", "onnxruntime", "PIL", "fsspec"}


PROGRAM = """
import json, sys
from texthead.cli.main import main
commands, unwanted = json.loads(sys.argv[1])
for words in commands:
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    print(code, sorted({*unwanted} & {*sys.modules}), file=sys.stderr)
"""


def imported(commands: Iterable[Sequence[object]], unwanted: set[str], cache: Path, code: int = 0) -> tuple[str, str]:
    """Run commands in a new process, check that they import none of the unwanted modules, and return what they print."""
    given = json.dumps([[[*map(str, words)] for words in commands], sorted(unwanted)])
    environment = {**os.environ, "TEXTHEAD_CACHE": str(cache)}
    command = [sys.executable, "-c", PROGRAM, given]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    ends = [line for line in done.stderr.splitlines() if line.endswith("]")]
    assert ends == [f"{code} []"] * len(ends), done.stderr
    return done.stdout, done.stderr.replace(f"{code} []\n", "")


def test_classes_and_help_need_no_torch_and_numpy(world, tmp_path):
    commands = [["classes", world.run, "list"], [], ["--help"], ["train", "--help"], ["ui", "--help"]]
    out, _ = imported(commands, HEAVY, tmp_path)
    assert "red" in out
    assert all(option in out for option in ("--help", "--recipe", "--port"))


MISSING = {
    "predict RUN gone.mp4": "gone.mp4",
    "predict gone IMAGE": "gone: does not exist",
    "predict RUN IMAGE --top 0": "--top",
    "timeline RUN gone.mp4": "gone.mp4",
    "eval RUN gone": "gone",
    "eval IMAGES RUN": "RUN comes before DATA",
    "eval gone IMAGES": "gone: does not exist",
    "bulk gone IMAGES --out out --classes a,b": "gone: no such file or folder",
    "timeline gone IMAGE": "gone: does not exist",
    "ui gone": "gone: does not exist",
    "calibrate gone IMAGES": "gone: does not exist",
    "report gone": "gone: does not exist",
    "export gone --out out": "gone: does not exist",
    "classes gone list": "gone: does not exist",
    "classes gone remove red --out out": "gone: does not exist",
    "compare gone": "gone",
    "train gone --out out": "gone",
    "doctor gone.txt": "gone.txt",
    "prepare gone --out out": "gone",
}


def test_missing_inputs_reported_before_torch(world, tmp_path):
    named = {"RUN": world.run, "IMAGE": world.images / "red" / "0.png", "IMAGES": world.images}
    commands = [[named.get(word, word) for word in words.split()] for words in MISSING]
    _, err = imported(commands, HEAVY, tmp_path, code=2)
    for line, problem in zip(err.splitlines(), MISSING.values(), strict=True):
        assert problem in line


@pytest.fixture(scope="module")
def cache(world, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the graph of the run's encoder, as a first prediction writes it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTHEAD_CACHE", str(folder))
        run = load_run(world.run)
        cache_encoder_graph(run.folder, run.model, run.pixels.size)
    return folder


@pytest.mark.slow
def test_later_prediction_builds_no_network(world, cache, works):
    files = sorted(world.images.rglob("*.png"))[:3]
    out, _ = imported([["predict", world.run, *files]], NETWORKS | OTHERS | WORKERS, cache)
    assert out == works("predict", world.run, *files)[0]


# Each command with the heavy modules that it uses when no text is new: scipy fits heads, sklearn divides for
# cross-validation, matplotlib draws the report.
LATER = {
    ("train", "IMAGES", "--tune", "none", "--out", "NEW"): {"scipy", "matplotlib"},
    ("compare", "IMAGES"): {"scipy", "sklearn", "pandas"},
    ("eval", "RUN"): {"scipy"},
    ("label", "IMAGES", "--classes", "red, blue", "--next", "3"): set(),
    ("report", "RUN"): {"scipy", "matplotlib"},
}


@pytest.fixture(scope="module")
def used(world, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and with the cache that these commands leave."""
    folder = tmp_path_factory.mktemp("used")
    named = {"IMAGES": world.images, "RUN": folder / "run", "NEW": folder / "run"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTHEAD_CACHE", str(folder / "cache"))
        for words in LATER:
            assert cli.main([str(named.get(word, word)) for word in words]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("words", "needed"), LATER.items(), ids=[words[0] for words in LATER])
def test_a_later_command_builds_no_network_and_starts_no_worker(world, used, tmp_path, words, needed):
    named = {"IMAGES": world.images, "RUN": used / "run", "NEW": tmp_path / "run"}
    imported([[named.get(word, word) for word in words]], (NETWORKS | OTHERS | WORKERS) - needed, used / "cache")


@pytest.mark.slow
def test_a_run_is_loaded_without_its_network_and_libraries_of_text_and_of_data_sets(used):
    program = "import sys, texthead, texthead.data.reading\n"
    program += f"texthead.load_run({str(used / 'run')!r}); print({HEAVY | {'datasets', 'pyarrow'}} & set(sys.modules))"
    environment = {**os.environ, "TEXTHEAD_CACHE": str(used / "cache")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert set(eval(done.stdout)) <= {"torch", "numpy", "av", "PIL", "fsspec"}


def test_workers_start_for_many_bytes_or_unknown_ones(tmp_path):
    few, large = tmp_path / "0.png", tmp_path / "large" / "1.mp4"
    few.write_bytes(b"1")
    large.parent.mkdir()
    large.touch()
    os.truncate(large, 10**9)
    assert default_workers([few] * 100) == 0
    assert default_workers([few] * 10_000) == default_workers([few, large.parent]) == default_workers() > 0
    assert default_workers(["a" * 300]) == default_workers()
    assert default_workers([f"{large}#t=1,2"]) == default_workers([tmp_path / "a.tar" / "clip"]) == default_workers()


def test_a_run_that_changed_is_loaded_anew(world, cache, monkeypatch):
    monkeypatch.setenv("TEXTHEAD_CACHE", str(cache))
    assert isinstance(load_run(world.run).model.visual, LazyVisualEncoder)
    weights = world.run / "model.safetensors"
    os.utime(weights)
    run = load_run(world.run)
    assert not isinstance(run.model.visual, LazyVisualEncoder)
    cache_encoder_graph(run.folder, run.model, run.pixels.size)
    late = load_run(world.run).model
    assert isinstance(late.visual, LazyVisualEncoder)
    ours, theirs = late.state_dict(), run.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all((ours[key] == theirs[key]).all() for key in ours)
