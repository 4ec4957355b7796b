"""Convolutions over frames in the last stages of a convolutional encoder (T1D of Table 2)."""

import re
from functools import partial
from typing import Any, Literal

from torch import nn

from texthead.errors import RunError
from texthead.models import EncoderConv


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

    def __init__(self, visual: nn.Module, start: Literal["shift", "identity"] = "shift"):
        first_convs = _first_convs(visual)
        super().__init__([first_conv.in_channels for first_conv in first_convs], start)
        for first_conv, conv in zip(first_convs, self.convs, strict=True):
            first_conv.register_forward_pre_hook(partial(self._before, conv))

    def _before(self, conv: nn.Module, _: nn.Module, args: tuple) -> tuple | None:
        frames = self._clip_length()
        return None if frames is None else (conv(args[0], frames), *args[1:])


# Names of the shortcut around the residual branch in timm.
_SHORTCUT = re.compile("downsample|shortcut|skip")


def _first_convs(visual: nn.Module) -> list[nn.Conv2d]:
    """Return the first convolution of every block of the last two stages."""
    net: Any = getattr(visual, "net", visual)
    net = getattr(net, "trunk", net)
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
