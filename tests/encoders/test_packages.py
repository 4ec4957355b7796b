"""Installed packages add prefixes to `load_encoder` through entry points; the package here is two files in a folder."""

import sys
from pathlib import Path

import pytest
import torch

import texthead as th
from installed import Install, example
from made import frames, noise
from messages import refuses
from run_folders import put
from texthead.commands.encoders import published_encoders
from texthead.encoders.load import load_encoder, spec_of
from texthead.errors import EncoderError

# Features are the mean colours of a grid of cells.
MODULE = example("encoder")


@pytest.fixture
def install(install: Install) -> Install:
    """Return a function that installs a package with an encoder."""

    def write(package: str, prefix: str, code: str = MODULE) -> Path:
        return install(package, "texthead.encoders", f"{prefix} = {package}", code)

    return write


def test_package_encoder_loads_and_a_run_rebuilds_it(install: Install, tmp_path: Path):
    install("grids", "grid")
    encoder = load_encoder("grid:2")
    assert (encoder.source, encoder.dim, spec_of("grid:2")) == ("grid:2", 12, encoder.visual.spec)
    given = frames(2, 32)
    pooled = torch.nn.functional.adaptive_avg_pool2d((given / 255 - 0.5) / 0.25, 2).flatten(1)
    assert torch.allclose(encoder.visual(given), pooled, atol=1e-5)
    model = th.Recognizer(encoder.visual, th.MeanPool(), th.FrozenHead(noise(2, 12), names=["a kite", "a bird"]))
    run = th.load_run(put(tmp_path / "run", model))
    assert run.spec == encoder.visual.spec
    assert torch.equal(run.model.visual(given), encoder.visual(given))
    assert run.encoder().source == "grid:2"


def test_packages_imported_on_use(install: Install):
    install("grids", "grid")
    assert ("grid:...", "package grids") in [(each.source, each.weights) for each in published_encoders()]
    with refuses(EncoderError, "'nobody:x'", "grid:..."):
        load_encoder("nobody:x")
    assert "grids" not in sys.modules
    spec_of("grid:1")
    assert "grids" in sys.modules


# A spec that is not that of the network.
OTHER = "VisualEncoder(net, dataclasses.replace(spec(rest), {}))"


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("return Encoder(VisualEncoder(net, spec(rest)), None, scale=10.0)", "return net", ["Sequential", "visual"]),
        ("torch.nn.Flatten()", "torch.nn.Linear(7, 7)", ["package grids", "failed", "RuntimeError"]),
        ("torch.eye(spec(rest).dim)", "torch.eye(spec(rest).dim) / 0", ["black image", "not finite"]),
        ("VisualEncoder(net, spec(rest))", OTHER.format("dim=19"), ["dim=19"]),
        ("build(", "made(", ["architecture", "build(spec)"]),
        ("VisualEncoder(net, spec(rest))", OTHER.format("architecture='cells'"), ["'cells'", "build(spec)"]),
    ],
)
def test_unloadable_package_refused_before_training(install: Install, old: str, new: str, parts: list[str]):
    install("grids", "grid", "import dataclasses\n" + MODULE.replace(old, new))
    with refuses(EncoderError, "grid", *parts):
        load_encoder("grid:2")
