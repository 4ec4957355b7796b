"""Temporal modules: the features of a clip's frames -> one feature (Table 2)."""

import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from texthead.encoders.encoder import VisualEncoder
from texthead.errors import RunError, raising
from texthead.extensions import find
from texthead.recipes import NAMED, Recipe, temporal_sizes


class Temporal(nn.Module):
    """Base class of the modules that a run can hold.

    Attributes:
        kind: the module's name in `recipe.json`.
        options: the arguments that rebuild the module, as JSON values.
        inside_encoder: whether it works inside the encoder, so that a frame's feature depends on its neighbours. Then
            it is made as `cls(visual, **options)`, and has `over`.
    """

    kind: ClassVar[str]
    inside_encoder: ClassVar[bool] = False
    options: Mapping[str, object] = MappingProxyType({})

    @classmethod
    def from_recipe(cls, recipe: Recipe, visual: VisualEncoder) -> "Temporal":
        """Return the module before training, initialised from the recipe's seed."""
        return cls()

    def over(self, frames: int | torch.SymInt) -> AbstractContextManager[None]:
        """Return a context in which the encoder's input is clips of `frames` frames; symbolic during export."""
        return nullcontext()

    def config(self) -> dict[str, object]:
        """Return the config that rebuilds this module."""
        return {"kind": self.kind, **self.options}

    @staticmethod
    def from_config(config: dict, visual: nn.Module) -> "Temporal":
        """Return the module described by a config, for this encoder.

        Raises:
            RunError: the kind or an option is unknown, or the module does not fit the encoder.
        """
        options = {key: value for key, value in config.items() if key != "kind"}
        module = _module(str(config.get("kind")))
        if module is None:
            raise RunError(
                f"temporal module must be one of {', '.join(NAMED['temporal'][1])}, or from a package that you "
                f"install, got {config.get('kind')!r}"
            )
        kinds = TypeError, RuntimeError, AssertionError, ArithmeticError
        with raising(RunError, f"temporal module {config} cannot be made", "restore the file", *kinds):
            return module(visual, **options) if module.inside_encoder else module(**options)  # pyright: ignore[reportArgumentType, reportCallIssue]


class MeanPool(Temporal):
    """The mean over frames; ignores their order, has no parameters.

    Source: Table 2, TAP.
    """

    kind = "mean"

    def forward(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch dim"]:
        """Return one feature per clip."""
        return features.mean(dim=1)


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the element-wise activation."""
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """A pre-norm transformer block over frames, with the published parameter names."""

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
        """Return the residual stream after attention and MLP."""
        y = self.ln_1(x)
        x = x + self.drop(self.attn(y, y, y, need_weights=False)[0])
        return x + self.drop(self.mlp(self.ln_2(x)))


def _attention_heads(width: int, heads: int | None) -> int:
    """Return the number of heads, width / 64 by default; raise RunError if it does not divide the width."""
    heads = heads or max(1, width // 64)
    if width % heads:
        raise RunError(f"`width={width}` is not divisible by {heads} heads; choose another width or number of heads")
    return heads


def _positions(
    learned: Float[Tensor, "most width"], features: Float[Tensor, "batch frames dim"]
) -> Float[Tensor, "frames width"]:
    """Return the positions of the features of a clip; raise RunError if there are more features than positions."""
    frames, limit = features.shape[1], len(learned)
    if frames > limit:
        raise RunError(f"{frames} features > {limit} learned positions; use fewer frames per clip")
    return learned[:frames]


def _sizes(recipe: Recipe) -> dict[str, int]:
    """Return the options of a module for the recipe's sizes: a narrow module has a narrow MLP."""
    _, sizes = temporal_sizes(recipe.temporal)
    return sizes | {"mlp_ratio": 2 if "width" in sizes else 4}


def _drawn(module: Any, recipe: Recipe) -> Temporal:
    """Return the module, initialised from the recipe's seed."""
    module.reset(torch.Generator().manual_seed(recipe.seed))
    return module


class TemporalTransformer(Temporal):
    """Pre-norm transformer blocks over frames with learned positions, a residual connection, then the mean over frames.

    Args:
        dim: dimension of a frame's feature.
        layers: number of blocks.
        width: width of the blocks; None for `dim`, as in the paper. A smaller width adds a projection before the blocks
            and a zero-initialised one after them, so that the module initially equals MeanPool.
        heads: attention heads; None for width / 64.
        mlp_ratio: width of the MLP over the width of the blocks.
        dropout: on the outputs of attention and MLP, in training.
        max_frames: maximum number of frames per clip; shorter clips use the first positions.

    Source: Table 2, T-Trans ("a multi-layer (e.g., 6-layer) temporal transformer encoder").
    Differs: `width` is ours: 6 full layers at dim 1280 have 118 M parameters.

    Raises:
        RunError: the heads do not divide the width, or a clip has more than `max_frames` frames.
    """

    kind = "transformer"

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
        heads = _attention_heads(inner, heads)
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
        self.transformer = nn.ModuleDict({"resblocks": nn.Sequential(*blocks)})
        self.project_in = nn.Identity() if width is None else nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, inner))
        self.project_out = nn.Identity() if width is None else nn.Linear(inner, dim)
        self.reset()

    @classmethod
    def from_recipe(cls, recipe: Recipe, visual: VisualEncoder) -> "Temporal":
        """Return the module before training, initialised from the recipe's seed.

        Source: published code: a head per 64 of the text tower's width, so 8 for RN50, whose features have 1024.
        """
        sizes, dim, heads = _sizes(recipe), visual.spec.dim, None
        width = json.loads(visual.spec.config).get("text_width")
        if width is not None and "width" not in sizes and dim % max(1, width // 64) == 0:
            heads = max(1, width // 64)
        return _drawn(cls(dim, heads=heads, **sizes), recipe)

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Initialise the parameters: N(0, 0.02) for linear layers and positions, 0 for biases and a narrow output.

        After the projection of a narrow module, features have a magnitude of about 0.7 and would swamp positions of
        0.02, so there positions are drawn from N(0, 0.3). (Drawn videos, 36 classes: 50 -> 61 % top-1;
        docs/decisions.md.)
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

    def forward(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch numbers"]:
        """Return one feature per clip."""
        return self.frames(features).mean(dim=1)

    def frames(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch frames dim"]:
        """Return one feature per frame."""
        positions = _positions(self.frame_position_embeddings.weight, features)
        x = self.transformer["resblocks"](self.project_in(features) + positions)
        return features + self.project_out(x)


class AttentivePool(Temporal):
    """The mean over features plus a learned query that attends to features with learned positions, and an MLP.

    The features are those of frames, or the grid of an encoder of clips, in which each step, row and column has its own
    position. The output projection is zero-initialised, so that the module initially equals MeanPool.

    Args:
        dim: dimension of a feature.
        width: width of query, attention and MLP; None for `dim`.
        heads: attention heads; None for width / 64.
        mlp_ratio: width of the MLP over `width`.
        max_frames: maximum number of features per clip.

    Source: the probe of V-JEPA (Bardes et al. 2024): one block of cross-attention.
    Differs: positions and the added mean are ours.

    Raises:
        RunError: the heads do not divide the width, or a clip has more than `max_frames` features.
    """

    kind = "attentive"

    def __init__(
        self,
        dim: int,
        width: int | None = None,
        *,
        heads: int | None = None,
        mlp_ratio: int = 4,
        max_frames: int = 128,
    ):
        super().__init__()
        inner = width or dim
        heads = _attention_heads(inner, heads)
        self.options = {"dim": dim, "width": width, "heads": heads, "mlp_ratio": mlp_ratio, "max_frames": max_frames}
        self.query = nn.Parameter(torch.zeros(1, 1, inner))
        self.positions = nn.Parameter(torch.zeros(max_frames, inner))
        self.project_in = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, inner))
        self.attn = nn.MultiheadAttention(inner, heads, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(inner), nn.Linear(inner, mlp_ratio * inner), nn.GELU(), nn.Linear(mlp_ratio * inner, inner)
        )
        self.project_out = nn.Linear(inner, dim)
        self.reset()

    @classmethod
    def from_recipe(cls, recipe: Recipe, visual: VisualEncoder) -> "Temporal":
        """Return the module before training, initialised from the recipe's seed."""
        tokens = visual.spec.tokens * max(1, recipe.frames // visual.spec.frames)
        return _drawn(cls(visual.spec.dim, max_frames=max(128, tokens), **_sizes(recipe)), recipe)

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Initialise: N(0, 0.02), positions N(0, 0.3) as in a narrow transformer, 0 for biases and output."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02, generator=generator)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.query, std=0.02, generator=generator)
        nn.init.normal_(self.positions, std=0.3, generator=generator)
        nn.init.xavier_uniform_(self.attn.in_proj_weight, generator=generator)
        nn.init.zeros_(self.attn.in_proj_bias)
        nn.init.zeros_(self.project_out.weight)

    def forward(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch dim"]:
        """Return one feature per clip."""
        x = self.project_in(features) + _positions(self.positions, features)
        query = self.query.repeat(features.shape[0], 1, 1)
        query = query + self.attn(query, x, x, need_weights=False)[0]
        pooled = self.project_out(query + self.mlp(query))
        return features.mean(dim=1) + pooled[:, 0]


class VJEPA2Pool(Temporal):
    """V-JEPA 2's attentive probe: self-attention layers over all features, then a learned query attends to them.

    It has no positions of its own: those in the encoder's features tell them apart. The layers are those of
    transformers' `VJEPA2AttentivePooler`.

    Args:
        dim: dimension of a feature.
        layers: number of self-attention layers; 3 in the published probes.
        heads: attention heads; None for 16 as in the published probes, or for dim / 64 if 16 does not divide it.

    Source: V-JEPA 2 (Assran et al. 2025), a probe of four layers; its code for the start and the norms' epsilon.

    Raises:
        RunError: the heads do not divide the dimension.
    """

    kind = "vjepa2"

    def __init__(self, dim: int, layers: int = 3, *, heads: int | None = None):
        # The import takes seconds.
        from transformers import VJEPA2Config
        from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2AttentivePooler

        super().__init__()
        heads = _attention_heads(dim, heads or (None if dim % 16 else 16))
        self.options = {"dim": dim, "layers": layers, "heads": heads}
        config = VJEPA2Config(hidden_size=dim, num_attention_heads=heads, num_pooler_layers=layers, layer_norm_eps=1e-5)
        config._attn_implementation = "sdpa"
        pooler = VJEPA2AttentivePooler(config)
        self.query_tokens = pooler.query_tokens
        self.cross_attention_layer = pooler.cross_attention_layer
        self.self_attention_layers = pooler.self_attention_layers
        self.reset()

    @classmethod
    def from_recipe(cls, recipe: Recipe, visual: VisualEncoder) -> "Temporal":
        """Return the module before training, initialised from the recipe's seed."""
        return _drawn(cls(visual.spec.dim, **temporal_sizes(recipe.temporal)[1]), recipe)

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Initialise: N(0, 0.02) without its tails, 0 for biases; output layers smaller with depth."""
        nn.init.trunc_normal_(self.query_tokens, std=0.02, generator=generator)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                layers = max(1, len(self.self_attention_layers))
                depth = int(name.split(".")[1]) + 1 if name.startswith("self") else layers
                shrunk = name.endswith(("fc2", "out_proj"))
                std = 0.02 / math.sqrt(2 * depth) if shrunk else 0.02
                nn.init.trunc_normal_(module.weight, std=std, generator=generator)
                nn.init.zeros_(module.bias)

    def forward(self, features: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch dim"]:
        """Return one feature per clip."""
        for layer in self.self_attention_layers:
            features = layer(features, attention_mask=None)[0]
        return self.cross_attention_layer(self.query_tokens.repeat(features.shape[0], 1, 1), features)[0][:, 0]


def network(visual: nn.Module) -> Any:
    """Return the network inside our wrapper, and inside open_clip's wrapper around timm; Any, as its type varies."""
    net = getattr(visual, "net", visual)
    return getattr(net, "trunk", net)


def _module(kind: str) -> type[Temporal] | None:
    """Return the module of this kind, texthead's own or an installed package's; None if there is none.

    Raises:
        RunError: the package is broken.
    """
    entry = find(*NAMED["temporal"]).get(kind)
    return entry and entry.load(base=Temporal)


def as_temporal(module: nn.Module) -> Temporal:
    """Return the module if it can be restored from a run folder.

    Raises:
        RunError: the module is of another class.
    """
    if not isinstance(module, Temporal) or type(module) is not _module(getattr(module, "kind", "")):
        raise RunError(
            f"a {type(module).__name__} cannot be saved in a run: use a temporal module of texthead, or install your "
            f"class as an entry point of the group {NAMED['temporal'][0]}, under its `kind`"
        )
    return module
