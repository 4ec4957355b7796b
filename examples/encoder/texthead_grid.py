"""An encoder for texthead: `texthead train DATA --encoder grid:2`."""

import torch

from texthead import Encoder, VisualEncoder, VisualSpec


def spec(rest: str) -> VisualSpec:
    """Return what rebuilds the encoder `grid:REST` without its weights."""
    return VisualSpec(
        source=f"grid:{rest}",  # what load_encoder was given
        architecture=f"grid:{rest}",  # the prefix, so that build is called
        dim=3 * int(rest) ** 2,
        size=32,  # side of a test crop, in pixels
        crop=1.0,  # fraction of the short side that it takes
        interpolation="bilinear",
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        activation="none",
        channels_last=False,
        any_size=True,
    )


def build(spec: VisualSpec) -> torch.nn.Module:
    """Return the network of a spec, without trained weights."""
    cells = torch.nn.AdaptiveAvgPool2d(int(spec.architecture.removeprefix("grid:")))
    return torch.nn.Sequential(cells, torch.nn.Flatten(), torch.nn.Linear(spec.dim, spec.dim))


def load(rest: str) -> Encoder:
    """Return the encoder with its trained weights."""
    net = build(spec(rest))
    net[2].load_state_dict({"weight": torch.eye(spec(rest).dim), "bias": torch.zeros(spec(rest).dim)})
    return Encoder(VisualEncoder(net, spec(rest)), None, scale=10.0)
