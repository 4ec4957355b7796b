"""Counts follow the layers' definitions; the paper's convention reproduces its numbers."""

import open_clip
import pytest
import torch
from torch import nn

from paper.costs import Costs
from texthead import MeanPool, Recognizer
from texthead.encoders import ClipModel, build_visual
from texthead.models import Temporal
from texthead.models.heads import FrozenHead, LinearHead


def model(name: str, temporal: str = "mean", classes: int = 0) -> Recognizer:
    spec = ClipModel(f"openclip:{name}", open_clip.get_model_config(name) or {}).spec
    with torch.device("meta"):
        visual = build_visual(spec)
        head = LinearHead(spec.dim, names=[str(i) for i in range(classes)]) if classes else nn.Identity()
        options = {"dim": spec.dim} if temporal == "transformer" else {}
        return Recognizer(visual, Temporal.from_config({"kind": temporal, **options}, visual), head)


@pytest.mark.parametrize(
    ("name", "size", "true", "paper"),
    [
        ("ViT-B-32", 224, (4.41, 87.85), (2.95, 59.03)),
        ("ViT-B-16", 224, (17.56, 86.19), (11.27, 57.26)),
        ("ViT-L-14", 224, (81.01, 303.97), (51.90, 202.05)),
        ("ViT-L-14-336", 336, (190.96, 304.29), (116.51, 202.05)),
        ("RN50", 224, (6.11, 38.32), (5.42, 23.53)),
    ],
)
def test_the_paper_s_towers(name: str, size: int, true: tuple, paper: tuple) -> None:
    """Table 12 prints 11.3 / 57.3, 51.9 / 202.1 and 116.5 / 202.1, in billions and millions."""
    result = Costs.from_model(model(name), frames=1, size=size)
    assert (result.multiply_adds / 1e9, result.parameters / 1e6) == pytest.approx(true, abs=0.01)
    assert (result.paper_multiply_adds / 1e9, result.paper_parameters / 1e6) == pytest.approx(paper, abs=0.01)


def test_the_paper_s_largest_model() -> None:
    """Table 7 prints 1662 / 230.7."""
    result = Costs.from_model(model("ViT-L-14", temporal="transformer", classes=400), frames=32, size=224)
    assert result.paper_multiply_adds / 1e9 == pytest.approx(1661.5, abs=0.5)
    assert result.paper_parameters / 1e6 == pytest.approx(230.69, abs=0.01)


def test_convolutions_inside_the_encoder_are_counted() -> None:
    """The first blocks of res4 and res5 get 28x28 and 14x14 inputs, the others 14x14 and 7x7."""
    channels = 512 + 5 * 1024 + 1024 + 2 * 2048
    values = 512 * 28**2 + 5 * 1024 * 14**2 + 1024 * 14**2 + 2 * 2048 * 7**2
    plain, result = (Costs.from_model(model("RN50", kind), frames=8, size=224) for kind in ("mean", "conv"))
    assert result.parameters - plain.parameters == result.paper_parameters - plain.paper_parameters == 3 * channels
    added = result.paper_multiply_adds - plain.paper_multiply_adds
    assert added == result.multiply_adds - plain.multiply_adds == 8 * 3 * values


def test_a_model_that_can_be_counted_by_hand() -> None:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.LayerNorm(4), nn.Linear(4, 5, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.norm(self.conv(x).mean((2, 3))))

    for head, rows in ((FrozenHead(torch.ones(7, 5), names=list("abcdefg")), 35), (nn.Identity(), 0)):
        result = Costs.from_model(Recognizer(Net(), MeanPool(), head), frames=2, size=6)
        conv, linear = 2 * 36 * 4 * 27, 2 * 4 * 5
        assert result.multiply_adds == result.paper_multiply_adds == conv + linear + rows
        assert result.paper_parameters == (4 * 27 + 4) + 20 + rows
        assert result.parameters == (4 * 27 + 4) + 8 + 20 + rows + (1 if rows else 0)
