"""Weights between an encoder as it was pretrained and as it was fine-tuned."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from texthead.data.dataset import Dataset
from texthead.encoders.load import load_encoder
from texthead.errors import RunError
from texthead.evaluation.evaluate import evaluate
from texthead.features.reading import Reading
from texthead.runs.run import Run
from texthead.text.class_names import clean_names


def mix_weights(visual: nn.Module, pretrained: Mapping[str, Tensor], mix: float) -> None:
    """Change the weights of a fine-tuned encoder, in place, to (1 - mix) * pretrained + mix * fine-tuned.

    Statistics of batch norms are mixed too; their counts of batches stay.

    Source: WiSE-FT (Wortsman et al. 2022).
    """
    with torch.no_grad():
        for name, tensor in visual.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(pretrained[name].to(tensor), 1 - mix)


def mixed(run: Run, mix: float) -> Run:
    """Return the run with its encoder mixed with the pretrained one: 1 is the run as saved, 0 the pretrained encoder.

    Temporal module, head and logit scale stay those of the run. Its calibration is of other weights and is left out.

    Raises:
        RunError: a mix that is not from 0 to 1, or an imported run, whose encoder was never seen before training.
        EncoderError: the pretrained encoder cannot be loaded.
    """
    if not 0 <= mix <= 1:
        raise RunError(f"mix must be from 0 to 1, got {mix}")
    if run.carries_encoder:
        raise RunError(f"{run.folder}: an imported run holds no pretrained encoder to mix with: leave out mix")
    model = copy.deepcopy(run.model)
    mix_weights(model.visual, load_encoder(run.spec.source, allow_download=run.allow_download).visual.state_dict(), mix)
    return replace(run, model=model, calibration=None)


class MixScore(NamedTuple):
    """Top-1 in percent at one mix: of the run on its own classes, and with text rows of classes that it never saw."""

    mix: float
    seen: float
    unseen: float


def forgetting(
    run: Run,
    seen: Dataset,
    unseen: Dataset,
    *,
    reading: Reading = Reading(),
    mixes: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
) -> list[MixScore]:
    """Return the scores of each mix, which show what fine-tuning gained on seen classes and lost on unseen ones.

    Args:
        seen: items of the run's classes that it was not trained on.
        unseen: items of other classes.

    Source: Fig. 1 of WiSE-FT (Wortsman et al. 2022).

    Raises: as `mixed`, and RunError if the run's text encoder is not kept.
    """
    other = run.with_classes(unseen.classes, names=clean_names(unseen.classes)).model.head
    # A cache holds features of one encoder, and an engine would be tried for each mix.
    reading = replace(reading, cache=None, engine="eager" if reading.engine == "auto" else reading.engine)
    scores = []
    for mix in mixes:
        model = mixed(run, mix).model
        pairs = ((model, seen), (model.with_head(other), unseen))
        scores.append(MixScore(mix, *(evaluate(each, items, run.protocol, reading).top1 for each, items in pairs)))
    return scores
