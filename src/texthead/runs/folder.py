"""The files of a run folder: writing them, and reading them with their sizes checked."""

import hashlib
import math
from collections.abc import Sequence
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
from texthead.files import read_json, replacing, write_json
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
    """A digest of a head's rows, to the bit."""
    return hashlib.sha256(rows.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()[:32]


def saved_classes(folder: Path) -> dict[str, Any]:
    """What `classes.json` says of the rows in `model.safetensors`.

    An edit of the rows writes `classes.json` first, with the classes of the old rows in it as `before`; the new rows
    make it true. So where a crash came between, the old classes stand with the old rows.

    Raises:
        RunError: the file is missing or no JSON object, or it speaks of other rows.
    """
    classes = read_json(folder / "classes.json")
    if not (folder / "model.safetensors").is_file():
        return classes  # As below. Opening a pipe would wait for its other end.
    try:
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            found = rows_digest(file.get_tensor("head.weight"))
    except (OSError, MemoryError, RuntimeError, SafetensorError):
        return classes  # `load_weights` says what is wrong with the file.
    if classes.get("rows", found) == found:
        return {**classes, "rows": found}
    before = classes.get("before")
    if isinstance(before, dict) and before.get("rows") == found:
        history = classes.get("history", [])[: before["edits"]]
        return {**classes, "classes": before["classes"], "history": history, "rows": found}
    raise RunError(
        f"{folder}: classes.json is not about the rows in model.safetensors: restore both from the same copy of the run"
    )


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
        raise RunError(f"{path}: missing; {path.parent} is no finished run (continue it with --resume)") from None
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


def check_not_edited(out: Path) -> None:
    """Nothing, if the classes of the run are those that training began with.

    Raises:
        RunError: they were edited since: the checkpoint is of another head.
    """
    edits = len(read_json(out / "classes.json").get("history", []))
    if edits:
        raise RunError(
            f"{out}: its classes were edited after training ({edits} {'edit' if edits == 1 else 'edits'} in "
            "classes.json), and a resumed run would have the old head: train into another --out"
        )
