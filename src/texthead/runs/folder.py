"""Write the files of a run folder, and read them with their sizes checked.

Each is written atomically so that a crash never leaves half a file:

recipe.json        hyper-parameters, visual encoder, temporal module, head
classes.json       one entry per class: label, name, prompt; the tree, if any: the broader names above each label; in an
                   edited run also the original run and the edits
split.json         training and held-out files
metrics.jsonl      one line per optimiser step and per validation
model.safetensors  all weights, including the head's rows
state/             the checkpoint to resume from
encoder/           imported runs only: image and text towers of the checkpoint, in open_clip's format
scores.json        final scores of `texthead train`, with baselines
calibration.json   temperature, threshold and prediction sets of `texthead calibrate`
report.html        the report
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from texthead.data.protocol import Pixels
from texthead.encoders.weights import misfit
from texthead.errors import RunError, raising
from texthead.files import MAX_BYTES_OF_LISTS, locked, read_json, replacing, write_json
from texthead.models.head_table import as_head, head_json
from texthead.models.heads import Head
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import as_temporal
from texthead.recipes import Recipe
from texthead.runs.saved import is_run
from texthead.text.class_tree import ClassTree

RUN_FORMAT = 1

# Subfolder for the encoder of an imported run.
ENCODER = "encoder"

# Placeholder for the run folder in the source of an encoder inside it.
HERE = "{run}"

CALIBRATION = "calibration.json"

WEIGHTS = "model.safetensors"

SPLIT_LISTS = (
    *("train", "train_labels", "train_content", "train_groups"),
    *("held_out", "held_out_labels", "held_out_content", "held_out_groups"),
)


def describe(
    model: Recognizer, recipe: Recipe, pixels: Pixels, names: Sequence[str] | None = None
) -> tuple[dict[str, object], dict[str, object]]:
    """Return the contents of `recipe.json` and `classes.json`.

    Args:
        names: the class names, as the text encoder reads them; the labels themselves if None.

    Raises:
        RunError: a head or temporal module that cannot be rebuilt from the folder alone.
    """
    classes = classes_json(as_head(model.head), names, recipe.template)
    about = {
        "format": RUN_FORMAT,
        "recipe": recipe.to_json(),
        "encoder": model.spec.to_json(),
        "pixels": asdict(pixels),
        "temporal": as_temporal(model.temporal).config(),
        "head": head_json(as_head(model.head)),
    }
    return about, classes


def classes_json(head: Head, names: Sequence[str] | None, template: str | Sequence[str]) -> dict[str, object]:
    """Return the content of `classes.json`: each label, its class name, and the prompts of its row if it is text."""
    prompts = head.prompts or [None] * len(head.names)
    rows = zip(head.names, names or head.names, prompts, strict=True)
    return {
        "template": template if isinstance(template, str) else list(template),
        "classes": [
            {"label": label, "name": name, "prompt": list(prompt) if isinstance(prompt, tuple) else prompt}
            for label, name, prompt in rows
        ],
    }


def save_model(path: Path, model: nn.Module) -> None:
    """Write all parameters and buffers to one safetensors file, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(path) as temp:
        save_file(tensors, temp)


def write_run(
    out: Path,
    model: Recognizer,
    recipe: Recipe,
    pixels: Pixels,
    names: Sequence[str],
    split: Mapping[str, object] = MappingProxyType({}),
    **about: object,
) -> None:
    """Write the folder of a run that needs no training loop; `recipe.json`, which makes it a run, comes last.

    Args:
        names: the class names, as the text encoder reads them.
        split: the content of `split.json`; lists that it lacks are empty.
        about: more content of `recipe.json`.
    """
    recipe_json, classes = describe(model, recipe, pixels, names)
    write_json(out / "split.json", {**dict.fromkeys(SPLIT_LISTS, ()), **split})
    write_json(out / "classes.json", classes)
    save_model(out / WEIGHTS, model)
    write_json(out / "recipe.json", {**recipe_json, "command": None, **about})


def rows_digest(rows: Float[Tensor, "classes dim"]) -> str:
    """Return a digest of a head's exact rows: a calibration is valid for these rows only."""
    return hashlib.sha256(rows.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()[:32]


def saved_split(folder: Path) -> dict[str, Any]:
    """Return the content of `split.json`: the training and held-out files and their labels.

    A label is None if an edit removed the item's class.

    Raises:
        RunError: the file is missing, lacks a list, or its lists of paths and labels have different lengths.
    """
    path = folder / "split.json"
    split = read_json(path, most=MAX_BYTES_OF_LISTS)
    for name in SPLIT_LISTS:
        values, files = split.get(name), "held_out" if name.startswith("held_out") else "train"
        may_be_null = name.endswith(("_labels", "_groups"))
        if not isinstance(values, list) or not {*map(type, values)} <= {str, NoneType if may_be_null else str}:
            raise RunError(f"{path}: {name} must be a list of texts: restore it from a copy")
        if name.endswith("_groups") and not values:
            split[name] = [None] * len(split[files])
        elif may_be_null and len(values) != len(split[files]):
            raise RunError(f"{path}: {files} has {len(split[files])} paths and {name} {len(values)} values: restore it")
    return split


def load_weights(path: Path, model: nn.Module, keep: Callable[[str], bool] = bool) -> None:
    """Load the keys to `keep` of a safetensors file into a model; keys and shapes must match exactly.

    Raises:
        RunError: the file is missing, damaged, of another model or type, or holds NaN or inf.
    """
    with opened(path) as file:
        weights = {key: file.get_tensor(key) for key in filter(keep, file.keys())}
        if problem := misfit(model, weights):
            raise RunError(f"{path}: {problem} of the run: restore the file from a copy or train again")
        for key, tensor in weights.items():
            # Minus infinity is valid: it masks a class.
            if not (tensor < math.inf).all():
                raise RunError(f"{path}: {key!r} holds NaN or inf: restore it from a copy or train again")
        model.load_state_dict(weights)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file; raise RunError if it is missing or damaged."""
    if not path.is_file():
        raise RunError(f"{path}: missing; {path.parent} is not a finished run (continue it with `resume`)")
    kinds, remedy = (MemoryError, RuntimeError, SafetensorError), "restore it from a copy or train again"
    with raising(RunError, f"{path}: cannot be read", remedy, *kinds), safe_open(path, framework="pt") as file:
        yield file


def check_resumable(folder: Path) -> None:
    """Raise RunError if a folder holds no run, or the run's classes were edited after training."""
    if not is_run(folder):
        raise RunError(f"{folder}: no run to resume (no recipe.json in it); remove `resume` to start one")
    if read_json(folder / "classes.json").get("edited"):
        raise RunError(
            f"{folder}: its classes were edited after training, so it cannot be resumed. Resume the run that it was "
            "made from, or train into another folder"
        )


def save_tree(folder: Path, tree: ClassTree) -> None:
    """Write the broader names above a run's classes into its `classes.json`."""
    with locked(folder):
        write_json(folder / "classes.json", {**read_json(folder / "classes.json"), "tree": tree.above})
