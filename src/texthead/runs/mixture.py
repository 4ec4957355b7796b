"""Interpolate between the pretrained and the fine-tuned weights of an encoder."""

import copy
from dataclasses import replace

import torch

from texthead.encoders.load import load_encoder
from texthead.errors import RunError
from texthead.runs.run import Run


def mixed(run: Run, mix: float) -> Run:
    """Return the run with its encoder mixed with the pretrained one: 1 is the run as saved, 0 the pretrained encoder.

    Batch-norm statistics are mixed too, but not their batch counts. Temporal module, head and logit scale stay. The
    calibration is dropped, since it is for other weights.

    Source: WiSE-FT (Wortsman et al. 2022).

    Raises:
        RunError: the run is imported, so that its pretrained encoder is not known.
        EncoderError: the pretrained encoder cannot be loaded.
    """
    if run.carries_encoder:
        raise RunError(f"{run.folder}: an imported run has no pretrained encoder to mix with: leave out `mix`")
    model = copy.deepcopy(run.model)
    pretrained = load_encoder(run.spec.source, allow_download=run.allow_download).visual.state_dict()
    with torch.no_grad():
        for name, tensor in model.visual.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(pretrained[name].to(tensor), 1 - mix)
    return replace(run, model=model, calibration=None)
