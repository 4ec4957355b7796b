"""Interpolate between the pretrained and the fine-tuned weights of an encoder."""

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
    """Set the weights of a fine-tuned encoder, in place, to (1 - mix) * pretrained + mix * fine-tuned.

    Batch-norm statistics are mixed too, but not their batch counts.

    Source: WiSE-FT (Wortsman et al. 2022).
    """
    with torch.no_grad():
        for name, tensor in visual.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(pretrained[name].to(tensor), 1 - mix)


def mixed(run: Run, mix: float) -> Run:
    """Return the run with its encoder mixed with the pretrained one: 1 is the run as saved, 0 the pretrained encoder.

    Temporal module, head and logit scale do not change. The calibration is dropped, since it is for other weights.

    Raises:
        RunError: `mix` is not from 0 to 1, or the run is imported, so that its pretrained encoder is not known.
        EncoderError: the pretrained encoder cannot be loaded.
    """
    if not 0 <= mix <= 1:
        raise RunError(f"mix must be from 0 to 1, got {mix}")
    if run.carries_encoder:
        raise RunError(f"{run.folder}: an imported run has no pretrained encoder to mix with: leave out mix")
    model = copy.deepcopy(run.model)
    mix_weights(model.visual, load_encoder(run.spec.source, allow_download=run.allow_download).visual.state_dict(), mix)
    return replace(run, model=model, calibration=None)


class MixScore(NamedTuple):
    """Top-1 in percent at one mix: on the run's classes, and on unseen classes with text rows."""

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
    """Return the scores of each mix: what fine-tuning gained on seen classes and lost on unseen ones.

    Args:
        seen: held-out items of the run's classes.
        unseen: items of other classes.

    Source: Fig. 1 of WiSE-FT (Wortsman et al. 2022).

    Raises: as `mixed`, and RunError if the run's text encoder was not saved.
    """
    other = run.with_classes(unseen.classes, names=clean_names(unseen.classes)).model.head
    # Features of a mix are not needed again, and engine="auto" would benchmark engines for each mix.
    reading = replace(reading, cache=False, engine="eager" if reading.engine == "auto" else reading.engine)
    scores = []
    for mix in mixes:
        model = mixed(run, mix).model
        pairs = ((model, seen), (model.with_head(other), unseen))
        scores.append(MixScore(mix, *(evaluate(each, items, run.protocol, reading).top1 for each, items in pairs)))
    return scores
