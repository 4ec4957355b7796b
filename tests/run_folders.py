"""Run folders of small models, and helpers that read and change them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch

from made import COLOURS, PIXELS, SPEC, noise, tiny_visual, write_image, write_video
from texthead import MeanPool, Recognizer
from texthead.files import write_json
from texthead.models.head_table import head_json, head_of_json
from texthead.models.heads import FrozenHead, Head
from texthead.prediction.load import load_run
from texthead.prediction.run import Run
from texthead.recipes import Recipe
from texthead.runs.folder import describe, save_model

RECIPE = Recipe(name="test", frames=3, size=32, resize=36, area=(0.25, 1.0), warmup=0.5, epochs=1, template="a {}.")
CONTENT = {name: hashlib.sha256(b"1" + name.encode()).hexdigest()[:32] for name in "ab"}


def at(name: str) -> str:
    """Return the absolute path of a clip at the root, or of the drive."""
    return str(Path(f"/{name}.mp4").absolute())


def put(folder: Path, model: Recognizer, recipe: Recipe = RECIPE) -> Path:
    """Write the files of a run folder."""
    train = {"train": [at("a"), at("c")], "train_labels": ["x", "x"], "train_content": [CONTENT["a"], ""]}
    train["train_groups"] = [None, None]
    held_out = {"held_out": [at("b")], "held_out_labels": ["x"], "held_out_content": [CONTENT["b"]]}
    split = {"source": "", **train, **held_out, "held_out_groups": [None]}
    write_json(folder / "split.json", split)
    for name, content in zip(("recipe.json", "classes.json"), describe(model, recipe, PIXELS), strict=True):
        write_json(folder / name, content)
    save_model(folder / "model.safetensors", model)
    return folder


def assert_rebuilt(head: Head) -> None:
    """Check that the config of a head of three classes survives JSON and rebuilds it; and a choice of its rows, if any."""
    config, names = json.loads(json.dumps(head_json(head))), list(head.names)
    empty = head_of_json(config, names, dim=SPEC.dim, prompts=head.prompts)
    assert (type(empty), empty.config(), empty.prompts) == (type(head), head.config(), head.prompts)
    rows, features = head.rows(), noise(4, SPEC.dim)
    if rows is not None:
        turned = head.with_rows(rows[[2, 0]], ["x", "y"])
        assert (type(turned), turned.names) == (type(head), ("x", "y"))
        assert torch.allclose(turned(features), head(features)[:, [2, 0]], atol=1e-5)
        assert torch.equal(turned.rows(), rows[[2, 0]])
    assert head.names == tuple(names), "the head itself stays"


def changed(folder: Path, name: str, change: Callable[[dict], object]) -> None:
    """Apply `change` to the value in a JSON file."""
    value = json.loads((folder / name).read_text(encoding="utf-8"))
    change(value)
    (folder / name).write_text(json.dumps(value), encoding="utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    """Return the contents of the files in a folder, by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_media(folder: Path) -> Path:
    """Write ten videos and an image."""
    for i in range(10):
        colour = list(COLOURS)[i % 3]
        write_video(folder / colour / f"{i:02d}.mp4", colour, frames=3 + i % 4, seed=i)
    write_image(folder / "red" / "still.png", "red")
    return folder


def make_run(folder: Path) -> Run:
    """Write and load a run of five classes."""
    names = ("red", "green", "blue", "some, other", "none")
    head = FrozenHead(noise(5, SPEC.dim), names=names, scale=9.0, prompts=[f"a {name}" for name in names])
    return load_run(put(folder, Recognizer(tiny_visual(), MeanPool(), head)))


def write_manifest(folder: Path) -> Path:
    """Write a manifest of all files in the folder, in an unusual order and by relative paths."""
    files = sorted(folder.rglob("*.*"), key=lambda path: path.name[::-1])
    path = folder / "clips.csv"
    path.write_text(
        "path\n" + "".join(f"{file.relative_to(folder)}\n" for file in files if file.suffix in (".mp4", ".png"))
    )
    return path
