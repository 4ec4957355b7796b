"""No input file can run a program: every payload through the readers of weights, and one through each library.

`test_architecture.py` finds any other reader: `torch.load` without `weights_only`, `torch.jit.load` and pickles.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from made import traps, write_image
from messages import refuses
from texthead.encoders.load import load_encoder
from texthead.encoders.weights import read_checkpoint, read_tensors
from texthead.errors import TextheadError
from texthead.runs.folder import load_weights

KINDS = sorted(traps(Path()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    "read",
    [
        read_tensors,
        read_checkpoint,
        lambda file: load_weights(file, torch.nn.Linear(2, 2)),
        lambda file: load_encoder(f"openclip:ViT-B-32/{file}"),
        lambda file: load_encoder(f"timm:test_vit/{file}"),
    ],
)
def test_a_file_of_weights(tmp_path: Path, read: Callable[[Path], object], suffix: str, kind: str) -> None:
    file = tmp_path / f"strange{suffix}"
    traps(tmp_path / "ran")[kind](file)
    with refuses(TextheadError, file):
        read(file)
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
def test_a_folder_of_weights(wrong: Callable[..., str], tmp_path: Path, source: str) -> None:
    config, settings, weights = FOLDERS[source]
    folder, picture = tmp_path / "strange", write_image(tmp_path / "a.png", "red")
    folder.mkdir()
    (folder / config).write_text(json.dumps(settings))
    for name in weights:
        traps(tmp_path / "ran")["a torch file"](folder / name)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "CLIPImageProcessor"}))
    option = "--text" if source == "text" else "--encoder"
    wrong("predict", picture, "--classes", "a, b", option, f"{source}:{folder}", "--workers", 0)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("tag", ["object/apply:os.system ['touch {}']", "name:os.system", "module:antigravity"])
def test_options_in_yaml(wrong: Callable[..., str], tmp_path: Path, tag: str) -> None:
    recipe = tmp_path / "options.yaml"
    recipe.write_text(f"template: !!python/{tag.format(tmp_path / 'ran')}\n")
    for label in ("red", "blue"):
        write_image(tmp_path / "data" / label / "a.png", label)
    assert "options.yaml" in wrong("train", tmp_path / "data", "--out", tmp_path / "run", "--recipe", recipe)
    assert {path.name for path in tmp_path.iterdir()} == {"options.yaml", "data"}
