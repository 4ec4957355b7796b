"""Temporal modules: the features of a clip's frames -> one feature (Table 2)."""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn

from texthead.errors import RunError


class MeanPool(nn.Module):
    """The mean over frames: blind to their order, no parameters.

    Source: Table 2, TAP.
    """

    def forward(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch dim"]:
        """One feature a clip."""
        return features.mean(dim=1)

    def config(self) -> dict[str, object]:
        """What rebuilds this module."""
        return {"kind": "mean"}


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        """The activation, element by element."""
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """One pre-norm transformer block over frames; parameter names are the published ones."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, dropout: float):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width, eps=1e-12)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, mlp_ratio * width),
                gelu=QuickGELU(),
                c_proj=nn.Linear(mlp_ratio * width, width),
            )
        )
        self.ln_2 = nn.LayerNorm(width, eps=1e-12)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch frames width"]) -> Float[Tensor, "batch frames width"]:
        """The residual stream after attention and MLP."""
        y = self.ln_1(x)
        x = x + self.drop(self.attn(y, y, y, need_weights=False)[0])
        return x + self.drop(self.mlp(self.ln_2(x)))


class TemporalTransformer(nn.Module):
    """Frames with learned positions through pre-norm blocks, added to the frames, then their mean.

    Args:
        dim: length of a frame's feature.
        layers: number of blocks.
        width: None runs the blocks at `dim`, as the paper. A smaller width puts a projection before and a
            zero-started one behind them, so that the module equals MeanPool at the start.
        heads: attention heads; None is width / 64.
        mlp_ratio: width of the MLP over the width of the blocks.
        dropout: on the outputs of attention and MLP, in training.
        max_frames: the most frames that a clip may have; positions of the first ones are used.

    Source: Table 2, T-Trans ("a multi-layer (e.g., 6-layer) temporal transformer encoder").
    Differs: `width` is ours: 6 full layers at dim 1280 are 118 M parameters.

    Raises:
        RunError: a width that the heads do not divide, or a clip with more than `max_frames` frames.
    """

    def __init__(
        self,
        dim: int,
        layers: int = 6,
        width: int | None = None,
        *,
        heads: int | None = None,
        mlp_ratio: int = 4,
        dropout: float = 0.0,
        max_frames: int = 77,
    ):
        super().__init__()
        inner = width or dim
        heads = heads or max(1, inner // 64)
        if inner % heads:
            raise RunError(f"width {inner} is not divisible by {heads} heads: choose another width or number of heads")
        self.options = {
            "dim": dim,
            "layers": layers,
            "width": width,
            "heads": heads,
            "mlp_ratio": mlp_ratio,
            "dropout": dropout,
            "max_frames": max_frames,
        }
        self.frame_position_embeddings = nn.Embedding(max_frames, inner)
        blocks = [Block(inner, heads, mlp_ratio, dropout) for _ in range(layers)]
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.Sequential(*blocks)
        self.project_in = nn.Identity() if width is None else nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, inner))
        self.project_out = nn.Identity() if width is None else nn.Linear(inner, dim)
        self.reset()

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw the start anew: N(0, 0.02) for linear layers and positions, 0 for biases and a narrow output.

        Behind the projection of a narrow module features have a size of about 0.7, where positions of 0.02 would not
        be seen: there they are drawn from N(0, 0.3). (Drawn videos, 36 classes: 50 -> 61 % top-1; LOG.md.)
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02, generator=generator)
            if isinstance(module, nn.MultiheadAttention):
                nn.init.xavier_uniform_(module.in_proj_weight, generator=generator)
                nn.init.zeros_(module.in_proj_bias)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        if isinstance(self.project_out, nn.Linear):
            nn.init.zeros_(self.project_out.weight)
            nn.init.normal_(self.frame_position_embeddings.weight, std=0.3, generator=generator)

    def forward(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch dim"]:
        """One feature a clip."""
        frames, limit = features.shape[1], self.frame_position_embeddings.num_embeddings
        if frames > limit:
            raise RunError(f"{frames} frames > {limit} learned positions: use at most {limit} frames a clip")
        positions = self.frame_position_embeddings.weight[:frames]
        x = self.transformer.resblocks(self.project_in(features) + positions)  # pyright: ignore[reportCallIssue]
        return (features + self.project_out(x)).mean(dim=1)

    def config(self) -> dict[str, object]:
        """What rebuilds this module."""
        return {"kind": "transformer", **self.options}


Temporal = MeanPool | TemporalTransformer
