"""`texthead profile`: what a recogniser costs, before any weights are there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from texthead.commands.parser import NonNegativeInt, PositiveInt, argument
from texthead.errors import EncoderError

if TYPE_CHECKING:
    from texthead.encoders.encoder import VisualSpec
    from texthead.models.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Count parameters and multiply-adds of one clip.

    Prints both true counts and those of the paper's convention; no weights are needed.

    Args:
        encoder: mini, openclip:ARCH or timm:NAME
        frames: frames of a clip
        size: side of the input in pixels, where the encoder takes any
        temporal: module over the frames, the paper's width
        layers: blocks of the temporal transformer
        width: width of the temporal transformer's blocks, as the small recipe's 256 with 2 layers
        classes: rows of the head
        measure: run it with random weights: memory and clips/s
        device: auto, cpu, cuda or cuda:N
    """

    encoder: str = argument("ENCODER")
    frames: PositiveInt = 1
    size: PositiveInt | None = None
    temporal: Literal["mean", "transformer", "attentive", "conv", "token-conv"] = "mean"
    layers: PositiveInt = 6
    width: PositiveInt | None = None
    classes: NonNegativeInt = 0
    measure: bool = False
    device: str = "auto"

    def __call__(self) -> None:
        import torch
        from rich.table import Table

        from texthead.commands.console import results
        from texthead.encoders.load import spec_of
        from texthead.models.cost import count, measure_speed
        from texthead.parallel.device import pick_device

        spec = spec_of(self.encoder)
        size = self.size or spec.size
        if size != spec.size and not spec.any_size:
            raise EncoderError(f"{self.encoder} takes {spec.size} pixels only, got --size {size}")
        with torch.device("meta"):
            found = count(_model(spec, self), frames=self.frames, size=size)
        table = Table("", "multiply-adds, G", "parameters, M", title=f"{self.encoder}, {self.frames}x{size}x{size}")
        table.add_row("true", f"{found.multiply_adds / 1e9:.2f}", f"{found.parameters / 1e6:.2f}")
        table.add_row(
            "as the paper counts", f"{found.paper_multiply_adds / 1e9:.1f}", f"{found.paper_parameters / 1e6:.1f}"
        )
        show = results()
        show.print(table)
        show.print("the paper leaves out attention and layer norms")
        if self.measure:
            speed, gigabytes = measure_speed(_model(spec, self), self.frames, size, pick_device(self.device))
            show.print(f"forward: {speed:.3g} clips/s, at most {gigabytes:.2f} GB of memory (random weights, one clip)")


def _model(spec: "VisualSpec", command: Profile) -> "Recognizer":
    import torch

    from texthead.encoders.encoder import build_visual
    from texthead.models.heads import LinearHead
    from texthead.models.recognizer import Recognizer
    from texthead.models.temporal import make_temporal

    visual = build_visual(spec)
    transformer: dict[str, Any] = {}
    if command.temporal in ("transformer", "attentive"):
        narrow = {} if command.width is None else {"width": command.width, "mlp_ratio": 2}
        transformer = {"dim": spec.dim, **narrow}
    if command.temporal == "transformer":
        transformer["layers"] = command.layers
    temporal = make_temporal({"kind": command.temporal, **transformer}, visual)
    names = [str(place) for place in range(command.classes)]
    return Recognizer(visual, temporal, LinearHead(spec.dim, names=names) if names else torch.nn.Identity())
