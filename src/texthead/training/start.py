"""Before the first step: validate model, data and recipe, and create or reopen the run folder."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from texthead.data.dataset import Dataset
from texthead.data.labels import log_ratio
from texthead.encoders.lazy import weights_digest
from texthead.errors import DataError, RunError
from texthead.files import locked, write_json
from texthead.media.paths import fingerprints
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import broadcast_tensors, check_same, raise_on_all_ranks, rank
from texthead.recipes import Recipe
from texthead.runs.folder import describe
from texthead.runs.saved import is_run
from texthead.training.checkpoints import check_as_started, load_state
from texthead.training.objective import Objective


@dataclass(frozen=True)
class RunInfo:
    """Metadata for the run folder that training itself does not need.

    Args:
        names: class names of the labels, as the text encoder reads them; the labels themselves if None.
        held_out: items for a later test.
        command: options of the command that calls `train`.
    """

    names: Sequence[str] | None = None
    held_out: Dataset | None = None
    command: dict[str, object] | None = None


def logit_adjustment(
    model: Recognizer, train_set: Dataset, val_set: Dataset | None, recipe: Recipe
) -> Float[Tensor, " classes"]:
    """Return log(label frequency / class share), which the loss adds to the logits, after validating the items.

    So the logits themselves become those of items that are as frequent as `class_shares` says. It is zero for "labels",
    as in the paper, and for multi-label data, where class frequencies do not add up to 1.

    Source: logit-adjusted loss (Menon et al., ICLR 2021).

    Raises:
        DataError: there is no item, or the head is for other items or lacks one of their labels.
    """
    if not len(train_set):
        raise DataError(f"{train_set.source}: no item to train on; it may have no split train, or none of the classes")
    if train_set.multilabel != model.multilabel:
        kinds = ("multi-label", "single-label")
        files, head = kinds if train_set.multilabel else reversed(kinds)
        raise DataError(f"{train_set.source}: its files are {files}, and the head is {head}: change one of the two")
    for dataset in [train_set] if val_set is None else [train_set, val_set]:
        dataset.targets(model.names)  # Checks that the head has all labels.
    counts, shares = train_set.counts, "labels" if train_set.multilabel else recipe.class_shares
    return -torch.from_numpy(log_ratio(shares, np.array([counts[name] for name in model.names]))).float()


@contextmanager
def run_folder(
    out: Path,
    model: Recognizer,
    train_set: Dataset,
    recipe: Recipe,
    objective: Objective | None,
    info: RunInfo,
    *,
    resume: bool,
    checkpoint_every: int | None,
) -> Iterator[dict[str, int] | None]:
    """Lock the run folder in the first process, and yield the state to resume from, None for a new run.

    All processes take the weights of the first.

    Raises: RunError as `train`, or if the processes have different runs or options.
    """
    pixels = model.spec.pixels(recipe)
    objective_json = (
        {} if objective is None else {"objective": {**objective.config(), "trains_text": objective.trains_text}}
    )
    about, classes = describe(model, recipe, pixels, info.names)
    about = json.loads(json.dumps({**about, "command": info.command, **objective_json}))
    check_same("recipes, models or training items", (about, classes, train_set.items, resume, checkpoint_every))
    for module in [model] if objective is None else [model, objective.to(model.device)]:
        broadcast_tensors(module.state_dict().values())
    if recipe.frozen:  # Else a checkpoint has its weights.
        visual = model.visual_encoder
        about["encoder_weights"] = weights_digest(visual) if visual.identity is None else None
    state = None
    with ExitStack() as stack:
        with raise_on_all_ranks():
            if rank() == 0:
                stack.enter_context(locked(out))
                split = split_json(train_set, info.held_out)
                if resume:
                    check_as_started(out, about, split, classes)
                    state = load_state(out)
                elif is_run(out):
                    raise RunError(
                        f"{out}: already contains a run; pass `resume` to continue it, or choose another folder"
                    )
                # Items to score may have changed since a stop, and `scores.json` will be of those.
                if state is None or info.held_out is not None:
                    write_json(out / "split.json", split)
                if state is None:
                    write_json(out / "classes.json", classes)
                    write_json(out / "recipe.json", about)
                    (out / "metrics.jsonl").unlink(missing_ok=True)
                del split  # With many items it is large.
        if resume and rank() > 0:
            state = load_state(out)
        yield state


def split_json(train_set: Dataset, held_out: Dataset | None) -> dict:
    """Return the content of `split.json`."""
    held_out_items = held_out.items if held_out else ()
    return {
        "source": train_set.source,
        "train": [str(item.media.resolved()) for item in train_set.items],
        "train_labels": [item.label for item in train_set.items],
        "train_content": fingerprints([item.path for item in train_set.items]),
        "train_groups": [item.group for item in train_set.items],
        "held_out": [str(item.media.resolved()) for item in held_out_items],
        "held_out_labels": [item.label for item in held_out_items],
        "held_out_content": fingerprints([item.path for item in held_out_items]),
        "held_out_groups": [item.group for item in held_out_items],
        **({"several": True} if train_set.multilabel else {}),
    }
