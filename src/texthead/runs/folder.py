"""The files of a run folder: writing them, and reading them with their sizes checked."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from texthead.data.protocol import Pixels
from texthead.errors import RunError
from texthead.files import MOST_BYTES_OF_LISTS, read_json, replacing, write_json
from texthead.models.build import Head
from texthead.models.heads import FrozenHead, LinearHead, ProbeHead, TemplatesHead, TrainableHead
from texthead.models.prompt_head import PromptHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import Temporal
from texthead.recipes import Recipe

FORMAT = 3

# What recipes of an older format did not hold, since there was nothing else.
OLDER_FORMATS: dict[int, dict[str, object]] = {2: {"patch_dropout": 0.0}}


def describe(model: Recognizer, recipe: Recipe, pixels: Pixels) -> dict[str, object]:
    """What `recipe.json` holds.

    Raises:
        RunError: a head or temporal module that could not be built again from the folder alone.
    """
    head: Head = model.head  # pyright: ignore[reportAssignmentType]
    if type(head) not in get_args(Head):
        kinds = ", ".join(kind.__name__ for kind in get_args(Head))
        raise RunError(
            f"head is a {type(head).__name__}: a run holds {kinds}; "
            "hand your rows to FrozenHead(rows, names=..., kind='...') or TrainableHead"
        )
    if type(model.temporal) not in get_args(Temporal):
        kinds = ", ".join(kind.__name__ for kind in get_args(Temporal))
        raise RunError(f"temporal module is a {type(model.temporal).__name__}: a run holds {kinds}")
    return {
        "format": FORMAT,
        "recipe": recipe.to_json(),
        "encoder": model.visual.spec.to_json(),  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        "pixels": asdict(pixels),
        "temporal": model.temporal.config(),  # pyright: ignore[reportCallIssue]
        "head": {
            "kind": head.kind,
            "type": type(head).__name__,
            "center": getattr(head, "center", None) is not None,
            "text": getattr(head, "text_source", None),
            "text_map": None if getattr(head, "text_map", None) is None else list(head.text_map.shape),  # pyright: ignore
            **_own_options(head),
        },
    }


def _own_options(head: Head) -> dict[str, object]:
    if isinstance(head, TemplatesHead):
        return {"templates": len(head.variants), "draw": head.draw, "pooling": head.pooling}
    if isinstance(head, PromptHead):
        return {"context": list(head.context.shape), "after": head.after}
    return {}


def classes_json(head: Head, names: Sequence[str] | None, template: str | Sequence[str]) -> dict[str, object]:
    """What `classes.json` holds: each label, its class name, and the exact strings behind its row if it is text."""
    prompts: Sequence[object] = getattr(head, "prompts", None) or [None] * len(head.names)
    rows = zip(head.names, names or head.names, prompts, strict=True)
    return {
        "template": template if isinstance(template, str) else list(template),
        "classes": [
            {"label": label, "name": name, "prompt": list(prompt) if isinstance(prompt, tuple) else prompt}
            for label, name, prompt in rows
        ],
    }


def save_model(path: Path, model: nn.Module) -> None:
    """All parameters and buffers into one safetensors file, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(path) as beside:
        save_file(tensors, beside)


def write_run(
    out: Path,
    model: Recognizer,
    recipe: Recipe,
    pixels: Pixels,
    names: Sequence[str],
    split: dict[str, object],
    **about: object,
) -> None:
    """The folder of a run that needs no training loop; what makes it a run comes last.

    Args:
        names: as a text encoder reads the labels.
        split: what `split.json` holds.
        about: what `recipe.json` holds beside the model.
    """
    write_json(out / "split.json", split)
    write_json(out / "classes.json", classes_json(model.head, names, recipe.template))  # pyright: ignore[reportArgumentType]
    save_model(out / "model.safetensors", model)
    write_json(out / "recipe.json", {**describe(model, recipe, pixels), "command": None, **about})


def rows_digest(rows: Float[Tensor, "classes dim"]) -> str:
    """Return a digest of a head's rows, to the bit: a calibration holds for these rows alone."""
    return hashlib.sha256(rows.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()[:32]


def saved_split(folder: Path) -> dict[str, Any]:
    """Return what `split.json` holds: the files that were trained on and held out, and their labels.

    A label is None where an edit removed the item's class.

    Raises:
        RunError: it is missing, or its lists of paths and labels are of different lengths.
    """
    split = read_json(folder / "split.json", most=MOST_BYTES_OF_LISTS)
    for part in ("train", "held_out"):
        paths, labels = split.get(part, []), split.get(f"{part}_labels", [])
        if len(paths) != len(labels) and labels:
            raise RunError(
                f"{folder}/split.json: {part} has {len(paths)} paths and {len(labels)} labels: restore it from a copy"
            )
    return split


def load_weights(path: Path, model: nn.Module) -> None:
    """Fill a model from a safetensors file of exactly its keys and shapes.

    Raises:
        RunError: the file is missing, damaged, of another model, or holds NaN or inf.
    """
    shapes = saved_shapes(path)
    try:
        expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
        for key in sorted(set(shapes) | set(expected)):
            if shapes.get(key) != expected.get(key):
                raise RunError(
                    f"{path}: {key!r} has shape {shapes.get(key, 'none')}, this model needs "
                    f"{expected.get(key, 'none')}: the file belongs to another model"
                )
        weights = load_file(path)
        for key, tensor in weights.items():
            # Minus infinity keeps a class from being named.
            if not (tensor < math.inf).all():
                raise RunError(f"{path}: {key!r} holds NaN or inf: restore it from a copy or train again")
        model.load_state_dict(weights)
    except (OSError, MemoryError, RuntimeError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be read ({error}); restore it from a copy or train again") from None


def saved_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a safetensors file, by name.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError
        with safe_open(path, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise RunError(f"{path}: missing; {path.parent} is no finished run (continue it with resume)") from None
    except (OSError, MemoryError, RuntimeError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be read ({error}); restore it from a copy or train again") from None


def empty_head(about: dict, classes: dict, dim: int) -> Head:
    """A head of the right shape, to load weights into."""
    names = [entry["label"] for entry in classes["classes"]]
    if about["type"] == "LinearHead":
        return LinearHead(dim, names=names)
    if about["type"] == "ProbeHead":
        empty = torch.zeros(len(names), dim)
        return ProbeHead(empty, bias=empty[:, 0], center=torch.zeros(dim), names=names, kind=about["kind"])
    prompts = [entry["prompt"] for entry in classes["classes"]]
    options = {
        "center": torch.zeros(dim) if about["center"] else None,
        "text_source": about["text"],
        "text_map": None if about["text_map"] is None else torch.zeros(about["text_map"]),
    }
    if about["type"] == "PromptHead":
        context, read = torch.zeros(about["context"]), [entry["name"] for entry in classes["classes"]]
        rows = torch.ones(len(names), dim)
        return PromptHead(None, names, context=context, after=about["after"], read=read, rows=rows, **options)
    options |= {"names": names, "kind": about["kind"], "prompts": None if None in prompts else prompts}
    if about["type"] == "TemplatesHead":
        variants = torch.ones(about["templates"], len(names), dim)
        return TemplatesHead(variants, draw=about["draw"], pooling=about["pooling"], **options)
    make = {"FrozenHead": FrozenHead, "TrainableHead": TrainableHead}[about["type"]]
    return make(torch.ones(len(names), dim), **options)


def check_head_size(about: dict, classes: dict, dim: int, shapes: dict[str, tuple[int, ...]]) -> None:
    """Nothing, if the head that is described has no more numbers than the file.

    Raises:
        RunError: it has more.
    """
    rows = [about.get("templates", 1), len(classes["classes"]), dim]
    asked = sum(math.prod(shape) for shape in (rows, about.get("text_map") or [0], about.get("context") or [0]))
    held = sum(map(math.prod, shapes.values()))
    if asked > held:
        raise RunError(f"its head has {asked:,} numbers, model.safetensors {held:,}: they do not belong together")


def was_edited(classes: Mapping[str, Any]) -> bool:
    """Return whether `classes.json` holds other classes than training left.

    Earlier versions edited a run in place, with a `history` of the edits; now an edit writes another run.
    """
    return bool(classes.get("edited") or classes.get("history"))


def check_not_edited(folder: Path) -> None:
    """Raise RunError if the classes of a run are not those that training began with."""
    if was_edited(read_json(folder / "classes.json")):
        raise RunError(
            f"{folder}: its classes were edited after training, so it cannot be resumed. Resume the run that it was "
            "made from, or train into another folder"
        )


def check_edit_is_whole(
    folder: Path, classes: Mapping[str, Any], split: Mapping[str, Any], rows: Float[Tensor, "classes dim"]
) -> None:
    """Raise RunError if an earlier version, which edited classes in place, was stopped while it did."""
    written = classes.get("rows") in (None, rows_digest(rows))
    if not written or split.get("edits", 0) != len(classes.get("history", ())):
        raise RunError(
            f"{folder}: an edit of its classes was interrupted, so classes.json, split.json and model.safetensors "
            "disagree. Restore all three from one copy, or repeat the edit with the version of texthead that began it"
        )
