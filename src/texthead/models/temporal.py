"""Temporal modules: the features of a clip's frames -> one feature (Table 2)."""

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
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


def _attention_heads(width: int, heads: int | None) -> int:
    """Return the number of heads, one for each 64 numbers unless given; RunError if it does not divide the width."""
    heads = heads or max(1, width // 64)
    if width % heads:
        raise RunError(f"width {width} is not divisible by {heads} heads: choose another width or number of heads")
    return heads


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

    def forward(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch numbers"]:
        """One feature a clip."""
        return self.frames(features).mean(dim=1)

    def frames(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch frames dim"]:
        """One feature a frame."""
        frames, limit = features.shape[1], self.frame_position_embeddings.num_embeddings
        if frames > limit:
            raise RunError(f"{frames} frames > {limit} learned positions: use at most {limit} frames a clip")
        positions = self.frame_position_embeddings.weight[:frames]
        x = self.transformer["resblocks"](self.project_in(features) + positions)
        return features + self.project_out(x)

    def config(self) -> dict[str, object]:
        """What rebuilds this module."""
        return {"kind": "transformer", **self.options}


class FrameTransformer(TemporalTransformer):
    """`TemporalTransformer` without the mean: the features of a clip's frames, one after another, as one long vector.

    Source: BIKE, whose head weighs frames for each class (`spotting_head`).
    """

    def forward(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch numbers"]:
        """All features of a clip."""
        return self.frames(features).flatten(1)

    def config(self) -> dict[str, object]:
        """What rebuilds this module."""
        return {**super().config(), "kind": "frame-transformer"}


class AttentivePool(nn.Module):
    """A learned query that attends to frames with learned positions, and an MLP; added to the mean over frames.

    Its output starts at zero, so that the module equals MeanPool at the start.

    Args:
        dim: length of a frame's feature.
        width: of query, attention and MLP; None is `dim`.
        heads: attention heads; None is width / 64.
        mlp_ratio: width of the MLP over `width`.
        max_frames: the most frames, or tokens in time, that a clip may have.

    Source: the probe of V-JEPA 2 (Assran et al. 2025): one block of cross-attention.
    Differs: it pools what the encoder gives in time, not every patch; positions and the mean beside it are ours.

    Raises:
        RunError: a width that the heads do not divide, or a clip with more than `max_frames` frames.
    """

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

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw the start anew: N(0, 0.02), positions N(0, 0.3) as of a narrow transformer, 0 for biases and output."""
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
        """One feature a clip."""
        frames = features.shape[1]
        if frames > len(self.positions):
            raise RunError(f"{frames} frames > {len(self.positions)} learned positions: take fewer frames a clip")
        x = self.project_in(features) + self.positions[:frames]
        query = self.query.repeat(len(features), 1, 1)
        query = query + self.attn(query, x, x, need_weights=False)[0]
        pooled = self.project_out(query + self.mlp(query))
        return features.mean(dim=1) + pooled[:, 0]

    def config(self) -> dict[str, object]:
        """What rebuilds this module."""
        return {"kind": "attentive", **self.options}


# --- convolutions over frames inside the encoder

Start = Literal["shift", "identity"]

# A number, or what stands for any number while the model is exported.
Count = int | torch.SymInt


class FrameConv(nn.Module):
    """A convolution over the frames of a clip, channel by channel: kernel 3, zeros beyond the ends, no bias.

    `start` "shift": the first quarter of the channels comes from the next frame, the second from the one before, the
    rest stays. "identity": all stay.
    """

    def __init__(self, channels: int, start: Start):
        super().__init__()
        kernel = torch.zeros(channels, 1, 3)
        quarter = channels // 4 if start == "shift" else 0
        kernel[:quarter, 0, 2] = 1
        kernel[quarter : 2 * quarter, 0, 0] = 1
        kernel[2 * quarter :, 0, 1] = 1
        self.weight = nn.Parameter(kernel)

    def forward(self, x: Float[Tensor, "all_frames channels *place"], frames: Count) -> Tensor:
        """The same shape; `frames` neighbours along the first axis are a clip."""
        clips = x.reshape(-1, frames, x.shape[1], x.shape[2:].numel())
        kernel = self.weight.unsqueeze(-1)
        mixed = F.conv2d(clips.transpose(1, 2), kernel, padding=(1, 0), groups=len(kernel))
        return mixed.transpose(1, 2).reshape(x.shape)


class EncoderConv(nn.Module):
    """Convolutions over frames that reach into an encoder by hooks, then the mean over frames.

    The encoder's own weights and their names stay as they are. It sees its frames as clips only while `over` is
    open; otherwise it is the plain encoder. Where the encoder runs blocks again in the backward pass (gradient
    checkpointing), they see the clips of the last forward pass that recorded gradients.
    """

    kind: ClassVar[str]

    def __init__(self, widths: Sequence[int], start: Start):
        super().__init__()
        self.start: Start = start
        self.convs = nn.ModuleList(FrameConv(width, start) for width in widths)
        self._frames: Count | None = None
        self._recorded: Count | None = None
        self._tokens: dict[int, Tensor] = {}

    @contextmanager
    def over(self, frames: Count) -> Iterator[None]:
        """While this is open, the encoder's input is clips of `frames` frames."""
        before, self._frames = self._frames, frames
        if torch.is_grad_enabled():
            self._recorded = frames
        try:
            yield
        finally:
            self._frames = before
            self._tokens.clear()

    def config(self) -> dict[str, object]:
        """What rebuilds this module on its encoder."""
        return {"kind": self.kind, "start": self.start}

    def _clip(self) -> Count | None:
        if self._frames is not None:
            return self._frames
        if torch._C._current_graph_task_id() == -1:
            # A forward pass of the plain encoder: its blocks run again as they are.
            self._recorded = None
        return self._recorded

    def forward(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch dim"]:
        """One feature a clip."""
        return features.mean(dim=1)


class TemporalConv(EncoderConv):
    """Channel-wise convolutions over frames in the last two stages of a convolutional encoder.

    One in front of the first convolution of every block, inside the residual branch; any number of frames.

    Args:
        visual: open_clip's ResNet, or one of timm's networks with blocks in `layer3`, `layer4`, in `stages`, in
            `blocks`, or in `s3`, `s4`.
        start: "shift" or "identity"; the latter is the plain encoder at the start.

    Source: Table 2, T1D ("in the latter stages (i.e., res4-5) of ResNet").
    Differs: the paper does not say where in a block, nor how it starts.

    Raises:
        RunError: an encoder of another build.
    """

    kind = "conv"

    def __init__(self, visual: nn.Module, start: Start = "shift"):
        places = _first_convs(visual)
        super().__init__([place.in_channels for place in places], start)
        for place, conv in zip(places, self.convs, strict=True):
            place.register_forward_pre_hook(partial(self._before, conv))

    def _before(self, conv: nn.Module, _: nn.Module, args: tuple) -> tuple | None:
        frames = self._clip()
        return None if frames is None else (conv(args[0], frames), *args[1:])


class TokenConv(EncoderConv):
    """Convolutions over the class tokens of a clip's frames, before attention and before the MLP of every block.

    They act on the residual stream itself, both with the block's one kernel; any number of frames.

    Args:
        visual: a ViT with a class token, open_clip's or timm's.
        start: "shift" or "identity"; the latter is the plain encoder at the start.

    Source: Table 2, TokenT1D; places, kernel and start are the published code's.

    Raises:
        RunError: an encoder of another build.
    """

    kind = "token-conv"

    def __init__(self, visual: nn.Module, start: Start = "shift"):
        places = _token_blocks(visual)
        super().__init__([width for _, _, width in places], start)
        for index, (block, branch, _) in enumerate(places):
            block.register_forward_pre_hook(partial(self._before_attention, index))
            branch.register_forward_hook(partial(self._before_mlp, index))

    def _before_attention(self, index: int, _: nn.Module, args: tuple) -> tuple | None:
        frames = self._clip()
        if frames is None:
            return None
        x, *others = args
        token = self._tokens[index] = self.convs[index](x[:, 0], frames)
        return _with_token(x, token), *others

    def _before_mlp(self, index: int, _: nn.Module, __: object, y: Tensor) -> Tensor | None:
        """What attention adds to the stream, so that the class token becomes the convolution of the sum."""
        frames = self._clip()
        if frames is None:
            return None
        token = self._tokens.pop(index)
        return _with_token(y, self.convs[index](token + y[:, 0], frames) - token)


def _with_token(x: Float[Tensor, "frames tokens width"], token: Float[Tensor, "frames width"]) -> Tensor:
    return torch.cat([token[:, None], x[:, 1:]], dim=1)


def network(visual: nn.Module) -> Any:
    """The network inside the wrapping, ours and open_clip's around timm; typed as Any, since it is looked into."""
    net = getattr(visual, "net", visual)
    return getattr(net, "trunk", net)


# What timm's networks call the way around the residual branch.
_SHORTCUT = re.compile("downsample|shortcut|skip")


def _first_convs(visual: nn.Module) -> list[nn.Conv2d]:
    """The first convolution of every block of the last two stages."""
    net = network(visual)
    if hasattr(net, "layer3"):
        stages = [net.layer3, net.layer4]
    elif hasattr(net, "s3"):
        stages = [net.s3, net.s4]
    else:
        found = getattr(net, "stages", None) or getattr(net, "blocks", None) or []
        stages = [getattr(stage, "blocks", stage) for stage in list(found)[-2:]]
    blocks = [block for stage in stages for name, block in stage.named_children() if not _SHORTCUT.search(name)]
    convs = [
        [m for name, m in block.named_modules() if isinstance(m, nn.Conv2d) and not _SHORTCUT.search(name)]
        for block in blocks
    ]
    if not convs or not all(convs):
        raise RunError(
            f"{type(net).__name__} has no two last stages of convolutional blocks: use temporal=conv with a ResNet "
            "or another convolutional encoder; token-conv, transformer or mean with this one"
        )
    return [found[0] for found in convs]


def _token_blocks(visual: nn.Module) -> list[tuple[nn.Module, nn.Module, int]]:
    """(block, what its attention ends in before the sum, width) of every block of a ViT with a class token."""
    net = network(visual)
    if getattr(net, "class_embedding", None) is not None and getattr(getattr(net, "transformer", 0), "batch_first", 0):
        return [(block, block.ls_1, len(block.ln_1.weight)) for block in net.transformer.resblocks]
    from timm.models.beit import Beit
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    # Others have blocks too, of patches alone or of pooled tokens.
    with_token = isinstance(net, VisionTransformer | Beit | Eva) and net.cls_token is not None
    blocks: Any = net.blocks if with_token else []
    if len(blocks) and all(hasattr(block, "drop_path1") for block in blocks):
        return [(block, block.drop_path1, net.embed_dim) for block in blocks]
    raise RunError(
        f"{type(net).__name__} has no blocks over a class token: use temporal=token-conv with a ViT; "
        "conv, transformer or mean with this one"
    )


Temporal = MeanPool | TemporalTransformer | AttentivePool | TemporalConv | TokenConv

# By the kind that `recipe.json` has for them.
_MODULES: dict[str, type[Temporal]] = {
    "mean": MeanPool,
    "transformer": TemporalTransformer,
    "frame-transformer": FrameTransformer,
    "attentive": AttentivePool,
    "conv": TemporalConv,
    "token-conv": TokenConv,
}


def as_temporal(module: nn.Module) -> Temporal:
    """Return the module, if it can be built again from a run folder alone.

    Raises:
        RunError: a module of another class.
    """
    if not isinstance(module, Temporal) or type(module) not in _MODULES.values():
        kinds = ", ".join(kind.__name__ for kind in _MODULES.values())
        raise RunError(f"temporal module is a {type(module).__name__}: a run holds {kinds}")
    return module


def make_temporal(config: dict, visual: nn.Module) -> Temporal:
    """The temporal module that a config describes, on its encoder.

    Raises:
        RunError: an unknown kind or option, or an encoder that the module does not fit.
    """
    options = {key: value for key, value in config.items() if key != "kind"}
    if options.get("start", "shift") not in get_args(Start):
        raise RunError(f"temporal module must start as shift or identity, got {options['start']!r}")
    module = _MODULES.get(str(config.get("kind")))
    if module is None:
        raise RunError(f"temporal module must be one of {', '.join(_MODULES)}, got {config.get('kind')!r}")
    try:
        return module(visual, **options) if issubclass(module, EncoderConv) else module(**options)
    except TypeError as error:
        raise RunError(f"temporal module {config}: {error}") from None
