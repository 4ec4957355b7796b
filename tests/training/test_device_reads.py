"""Training reads no value from its device within a step: on a GPU, each read waits for all the work queued before it."""

from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from made import SPEC, write_image
from texthead.data.dataset import Dataset, Item
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.several_head import SeveralHead
from texthead.recipes import Recipe
from texthead.training.execution import Execution
from texthead.training.matching import Matching
from texthead.training.train import READ_EVERY, train
from training_runs import NAMES, RECIPE, draw, make_model

# The package offers the function under this name.
training = import_module("texthead.training.train")


@pytest.mark.parametrize("kind", ["one label", "several labels", "matching", "cached features"])
def test_a_value_is_read_every_ten_steps(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of the device meta have no values: the first call that needs one raises."""
    passes: list[None] = []

    def to_meta(model: Recognizer, clips: object, batches: object, recipe: Recipe, *_: object, **__: object) -> Recipe:
        model.to("meta").temporal.register_forward_hook(lambda *_: passes.append(None))
        return recipe

    monkeypatch.setattr(training, "choose_precision", to_meta)  # The clips are made by then.
    # Neither autocast nor fused kernels know meta.
    adamw = torch.optim.AdamW
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, fused, **options: adamw(groups, **options))
    several = kind == "several labels"
    head = FrozenHead(draw(2, SPEC.dim), names=NAMES, scale=10.0)
    model = make_model(head=head)
    if several:
        model.head = SeveralHead(head, bias=torch.zeros(2), thresholds=torch.zeros(2))
    items = (Item(write_image(tmp_path / f"{i}.png", NAMES[i % 2]), NAMES[i % 2], "train") for i in range(2))
    data = Dataset(tuple(items), "made here", several=several).repeat(2 * READ_EVERY)
    recipe = replace(RECIPE, batch=2, accumulate=2, epochs=1, warmup=0.5, freeze_encoder=kind == "cached features")
    with pytest.raises(NotImplementedError, match="meta"):
        train(
            model,
            data,
            None,
            recipe,
            out=tmp_path / "run",
            objective=Matching() if kind == "matching" else None,
            execution=Execution(checkpoint_every=0),
        )
    assert len(passes) == 2 * READ_EVERY
