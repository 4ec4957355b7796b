"""Temporal modules: the features of a clip's frames -> one feature (Table 2)."""

import json
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
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
    """

    kind: ClassVar[str]
    options: Mapping[str, object] = MappingProxyType({})

    @classmethod
    def from_recipe(cls, recipe: Recipe, visual: VisualEncoder) -> "Temporal":
        """Return the module before training, initialised from the recipe's seed."""
        return cls()

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
        inside = issubclass(module, EncoderConv)
        kinds = TypeError, RuntimeError, AssertionError, ArithmeticError
        with raising(RunError, f"temporal module {config} cannot be made", "restore the file", *kinds):
            return module(visual, **options) if inside else module(**options)  # pyright: ignore[reportArgumentType, reportCallIssue]


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
        0.02, so there positions are drawn from N(0, 0.3). (Drawn videos, 36 classes: 50 -> 61 % top-1; LOG.md.)
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


# --- convolutions over frames inside the encoder

Start = Literal["shift", "identity"]

# An int, or a symbolic int during export.
Count = int | torch.SymInt


class FrameConv(nn.Module):
    """A depthwise convolution over the frames of a clip: kernel 3, zero padding, no bias.

    Initialised by `from_recipe`. "shift": the first quarter of the channels comes from the next frame, the second
    quarter from the previous frame, the rest is unchanged. "identity": all channels are unchanged.
    """

    def __init__(self, channels: int, start: Start):
        super().__init__()
        kernel = torch.zeros(channels, 1, 3)
        quarter = channels // 4 if start == "shift" else 0
        kernel[:quarter, 0, 2] = 1
        kernel[quarter : 2 * quarter, 0, 0] = 1
        kernel[2 * quarter :, 0, 1] = 1
        self.weight = nn.Parameter(kernel)

    def forward(self, x: Float[Tensor, "all_frames channels *grid"], frames: Count) -> Tensor:
        """Return the same shape; each run of `frames` entries along the first axis is a clip."""
        clips = x.reshape(-1, frames, x.shape[1], x.shape[2:].numel())
        kernel = self.weight.unsqueeze(-1)
        mixed = F.conv2d(clips.transpose(1, 2), kernel, padding=(1, 0), groups=len(kernel))
        return mixed.transpose(1, 2).reshape(x.shape)


class EncoderConv(Temporal):
    """Convolutions over frames, hooked into an encoder, then another temporal module over its features.

    The encoder's own weights and their names are unchanged. The hooks are active only within `over`. If gradient
    checkpointing reruns blocks in the backward pass, the hooks use the clip length of the last forward pass that
    recorded gradients.

    Attributes:
        pool: the module that follows; the mean over frames, unless `pool` is the config of another one.
    """

    def __init__(self, widths: Sequence[int], start: Start, pool: dict | None = None):
        super().__init__()
        self.pool: Temporal = MeanPool() if pool is None else Temporal.from_config({**pool}, nn.Identity())
        self.options = {"start": start}
        self.convs = nn.ModuleList(FrameConv(width, start) for width in widths)
        self._frames: Count | None = None
        self._recorded: Count | None = None
        self._tokens: dict[int, Tensor] = {}

    @classmethod
    def from_recipe(cls, recipe: Recipe, visual: nn.Module) -> Temporal:
        """Return the convolutions before training, which shift a quarter of the channels each way."""
        return Temporal.from_config({"kind": cls.kind}, visual)

    @contextmanager
    def over(self, frames: Count) -> Iterator[None]:
        """Treat the encoder's input as clips of `frames` frames within this context."""
        before, self._frames = self._frames, frames
        if torch.is_grad_enabled():
            self._recorded = frames
        try:
            yield
        finally:
            self._frames = before
            self._tokens.clear()

    def config(self) -> dict[str, object]:
        """Return the config that rebuilds this module on its encoder."""
        return super().config() | ({} if type(self.pool) is MeanPool else {"pool": self.pool.config()})

    def _clip_length(self) -> Count | None:
        if self._frames is not None:
            return self._frames
        if torch._C._current_graph_task_id() == -1:
            # Not in a backward pass, so this is a forward pass of the plain encoder, and so will be its rerun.
            self._recorded = None
        return self._recorded

    def forward(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch numbers"]:
        """Return one feature per clip."""
        return self.pool(features)


class TokenConv(EncoderConv):
    """Convolutions over the class tokens of a clip's frames, before attention and before the MLP of every block.

    They act on the residual stream; a block uses one kernel for both. Works for any number of frames.

    Args:
        visual: a ViT with a class token, from open_clip or timm.
        start: "shift" or "identity"; the latter initially equals the plain encoder.
        pool: config of the module over the frames' features; None for their mean.

    Source: Table 2, TokenT1D; positions, kernel and initialisation as in the published code.

    Raises:
        RunError: the encoder has another architecture.
    """

    kind = "token-conv"

    def __init__(self, visual: nn.Module, start: Start = "shift", pool: dict | None = None):
        blocks = _token_blocks(visual)
        super().__init__([width for _, _, width in blocks], start, pool)
        for index, (block, branch, _) in enumerate(blocks):
            block.register_forward_pre_hook(partial(self._before_attention, index))
            branch.register_forward_hook(partial(self._before_mlp, index))

    def _before_attention(self, index: int, _: nn.Module, args: tuple) -> tuple | None:
        frames = self._clip_length()
        if frames is None:
            return None
        x, *others = args
        token = self._tokens[index] = self.convs[index](x[:, 0], frames)
        return _with_token(x, token), *others

    def _before_mlp(self, index: int, _: nn.Module, __: object, y: Tensor) -> Tensor | None:
        """Change what attention adds to the stream, so that the class token becomes the convolution of the sum."""
        frames = self._clip_length()
        if frames is None:
            return None
        token = self._tokens.pop(index)
        return _with_token(y, self.convs[index](token + y[:, 0], frames) - token)


def _with_token(x: Float[Tensor, "frames tokens width"], token: Float[Tensor, "frames width"]) -> Tensor:
    return torch.cat([token[:, None], x[:, 1:]], dim=1)


def network(visual: nn.Module) -> Any:
    """Return the network inside our wrapper, and inside open_clip's wrapper around timm; Any, as its type varies."""
    net = getattr(visual, "net", visual)
    return getattr(net, "trunk", net)


def _token_blocks(visual: nn.Module) -> list[tuple[nn.Module, nn.Module, int]]:
    """Return (block, last module of its attention branch, width) for every block of a ViT with a class token."""
    net = network(visual)
    if getattr(net, "class_embedding", None) is not None and getattr(getattr(net, "transformer", 0), "batch_first", 0):
        return [(block, block.ls_1, len(block.ln_1.weight)) for block in net.transformer.resblocks]
    from timm.models.beit import Beit
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    # Other timm networks have blocks too, but without a class token or with pooled tokens.
    with_token = isinstance(net, VisionTransformer | Beit | Eva) and net.cls_token is not None
    blocks: Any = net.blocks if with_token else []
    if len(blocks) and all(hasattr(block, "drop_path1") for block in blocks):
        return [(block, block.drop_path1, net.embed_dim) for block in blocks]
    raise RunError(
        f"`temporal=token-conv` needs blocks with a class token, which {type(net).__name__} lacks; use a ViT, or "
        "`temporal=transformer` or `temporal=mean`"
    )


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
