"""Convolutions over frames inside an encoder: T1D and TokenT1D of Table 2."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from texthead import MeanPool, Recipe
from texthead.errors import RunError
from texthead.models import Temporal

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


class EncoderConv(MeanPool):
    """Convolutions over frames, hooked into an encoder, then the mean over its features.

    The encoder's own weights and their names are unchanged. The hooks are active only within `over`. If gradient
    checkpointing reruns blocks in the backward pass, the hooks use the clip length of the last forward pass that
    recorded gradients.
    """

    inside_encoder = True

    def __init__(self, widths: Sequence[int], start: Start):
        super().__init__()
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

    def _clip_length(self) -> Count | None:
        if self._frames is not None:
            return self._frames
        if torch._C._current_graph_task_id() == -1:
            # Not in a backward pass, so this is a forward pass of the plain encoder, and so will be its rerun.
            self._recorded = None
        return self._recorded


class TemporalConv(EncoderConv):
    """Depthwise convolutions over frames in the last two stages of a convolutional encoder.

    One before the first convolution of every block, inside the residual branch. Works for any number of frames.

    Args:
        visual: open_clip's ResNet, or one of timm's networks with blocks in `layer3`, `layer4`, in `stages`, in
            `blocks`, or in `s3`, `s4`.
        start: "shift" or "identity"; the latter initially equals the plain encoder.

    Source: Table 2, T1D ("in the latter stages (i.e., res4-5) of ResNet").
    Differs: the paper states neither the position within a block nor the initialisation.

    Raises:
        RunError: the encoder has another architecture.
    """

    kind = "conv"

    def __init__(self, visual: nn.Module, start: Start = "shift"):
        first_convs = _first_convs(visual)
        super().__init__([first_conv.in_channels for first_conv in first_convs], start)
        for first_conv, conv in zip(first_convs, self.convs, strict=True):
            first_conv.register_forward_pre_hook(partial(self._before, conv))

    def _before(self, conv: nn.Module, _: nn.Module, args: tuple) -> tuple | None:
        frames = self._clip_length()
        return None if frames is None else (conv(args[0], frames), *args[1:])


def _network(visual: nn.Module) -> Any:
    """Return the network inside texthead's wrapper, and inside open_clip's wrapper around timm."""
    net = getattr(visual, "net", visual)
    return getattr(net, "trunk", net)


# Names of the shortcut around the residual branch in timm.
_SHORTCUT = re.compile("downsample|shortcut|skip")


def _first_convs(visual: nn.Module) -> list[nn.Conv2d]:
    """Return the first convolution of every block of the last two stages."""
    net = _network(visual)
    if hasattr(net, "layer3"):
        stages = [net.layer3, net.layer4]
    elif hasattr(net, "s3"):
        stages = [net.s3, net.s4]
    else:
        all_stages = getattr(net, "stages", None) or getattr(net, "blocks", None) or []
        stages = [getattr(stage, "blocks", stage) for stage in list(all_stages)[-2:]]
    blocks = [block for stage in stages for name, block in stage.named_children() if not _SHORTCUT.search(name)]
    convs = [
        [m for name, m in block.named_modules() if isinstance(m, nn.Conv2d) and not _SHORTCUT.search(name)]
        for block in blocks
    ]
    if not convs or not all(convs):
        raise RunError(
            f"{type(net).__name__} has no stages of convolutional blocks; use `temporal=conv` with a ResNet or another "
            "convolutional encoder, or `temporal=token-conv`, `temporal=transformer` or `temporal=mean` with this one"
        )
    return [block_convs[0] for block_convs in convs]


class TokenConv(EncoderConv):
    """Convolutions over the class tokens of a clip's frames, before attention and before the MLP of every block.

    They act on the residual stream; a block uses one kernel for both. Works for any number of frames.

    Args:
        visual: a ViT with a class token, from open_clip or timm.
        start: "shift" or "identity"; the latter initially equals the plain encoder.

    Source: Table 2, TokenT1D; positions, kernel and initialisation as in the published code.

    Raises:
        RunError: the encoder has another architecture.
    """

    kind = "token-conv"

    def __init__(self, visual: nn.Module, start: Start = "shift"):
        blocks = _token_blocks(visual)
        super().__init__([width for _, _, width in blocks], start)
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


def _token_blocks(visual: nn.Module) -> list[tuple[nn.Module, nn.Module, int]]:
    """Return (block, last module of its attention branch, width) for every block of a ViT with a class token."""
    net = _network(visual)
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
