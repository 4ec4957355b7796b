"""No input file can run a program: every payload through the readers of weights, and one through every command."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from made import COLOURS, traps, write_image
from messages import refuses
from texthead.encoders.weights import read_checkpoint, read_tensors
from texthead.errors import TextheadError
from texthead.runs.folder import load_weights

KINDS = sorted(traps(Path()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures of two classes, an encoder's weights and a run trained on them."""
    from texthead.cli.main import main

    root = tmp_path_factory.mktemp("untrusted")
    for colour in list(COLOURS)[:2]:
        for number in range(3):
            write_image(root / "data" / colour / f"{number}.png", colour, seed=number)
    torch.manual_seed(0)
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), root / "vit.safetensors")
    words = ["train", str(root / "data"), "--encoder", f"timm:test_vit/{root / 'vit.safetensors'}"]
    words += ["--tune", "all", "--head", "linear", "--set", "epochs=1", "--set", "warmup=0", "--workers", "0"]
    assert main([*words, "--out", str(root / "run")]) == 0
    return root


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    "read", [read_tensors, read_checkpoint, lambda file: load_weights(file, torch.nn.Linear(2, 2))]
)
def test_a_file_of_weights(tmp_path: Path, read: Callable[[Path], object], suffix: str, kind: str) -> None:
    file = tmp_path / f"strange{suffix}"
    traps(tmp_path / "ran")[kind](file)
    with refuses(TextheadError, file):
        read(file)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


FILES = [
    "import {file} --classes a,b --out {out}",
    "predict {data} --classes a,b --encoder openclip:ViT-B-32/{file} --workers 0",
    "train {data} --tune all --head linear --encoder timm:test_vit/{file} --out {out}",
    "compare {data} --encoder timm:test_vit/{file}",
]


@pytest.mark.parametrize("command", FILES)
def test_a_command_that_reads_weights(trained: Path, wrong: Callable, tmp_path: Path, command: str) -> None:
    file = tmp_path / "strange.pt"
    traps(tmp_path / "ran")["a torch file"](file)
    assert str(file) in wrong(*command.format(file=file, data=trained / "data", out=tmp_path / "out").split())
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


TOWERS = {"vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}, "text_cfg": {}}
OPENCLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
# The settings are valid; the weights carry the payload.
FOLDERS = {
    "hf": ("config.json", {"model_type": "clip"}, ["pytorch_model.bin"]),
    "text": ("config.json", {"model_type": "bert", "hidden_size": 8}, ["pytorch_model.bin"]),
    "openclip:local-dir": ("open_clip_config.json", {"model_cfg": {"embed_dim": 8, **TOWERS}}, OPENCLIP),
}


@pytest.mark.parametrize("source", FOLDERS)
def test_a_folder_of_weights(trained: Path, wrong: Callable[..., str], tmp_path: Path, source: str) -> None:
    config, settings, weights = FOLDERS[source]
    folder = tmp_path / "strange"
    folder.mkdir()
    (folder / config).write_text(json.dumps(settings))
    for name in weights:
        traps(tmp_path / "ran")["a torch file"](folder / name)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "CLIPImageProcessor"}))
    option = "--text" if source == "text" else "--encoder"
    wrong("predict", trained / "data", "--classes", "a, b", option, f"{source}:{folder}", "--workers", 0)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("words", "name"),
    # All other commands on a run also read it by `load_run`.
    [
        ("predict {run} {data} --workers 0", "model.safetensors"),
        ("classes {run} rename red rot --out {out}", "model.safetensors"),
        ("train {data} --out {run} --resume", "state/last.safetensors"),
    ],
)
def test_the_weights_of_a_run(trained: Path, wrong: Callable[..., str], tmp_path: Path, words: str, name: str) -> None:
    run = Path(shutil.copytree(trained / "run", tmp_path / "run"))
    (run / name).unlink()
    traps(tmp_path / "ran")["a torch file"](run / name)
    assert str(run / name) in wrong(*words.format(run=run, data=trained / "data", out=tmp_path / "out").split())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("tag", ["object/apply:os.system ['touch {}']", "name:os.system", "module:antigravity"])
def test_options_in_yaml(trained: Path, wrong: Callable[..., str], tmp_path: Path, tag: str) -> None:
    recipe = tmp_path / "options.yaml"
    recipe.write_text(f"template: !!python/{tag.format(tmp_path / 'ran')}\n")
    assert "options.yaml" in wrong("train", trained / "data", "--out", tmp_path / "run", "--recipe", recipe)
    assert [path.name for path in tmp_path.iterdir()] == ["options.yaml"]
