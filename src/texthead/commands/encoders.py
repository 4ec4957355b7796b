"""`texthead encoders`: what can be loaded, from where, and what it costs."""

from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from texthead.commands.parser import NonNegativeInt, PositiveInt, argument
from texthead.errors import EncoderError

if TYPE_CHECKING:
    from texthead.encoders.encoder import VisualSpec
    from texthead.models.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """List the encoders by name, or count what one costs.

    A word lists those that hold it in their name, and where their weights are. An encoder, as openclip:ViT-B-16, has
    its parameters and multiply-adds of one clip counted, truly and as the paper does; no weights are needed.

    Args:
        word: a part of a name, as ViT-B-16; or an encoder, as mini, openclip:ARCH, hf:FOLDER or timm:NAME
        frames: frames of a clip (1, or as many as the encoder sees at once)
        size: side of the input in pixels, where the encoder takes any
        temporal: module over the frames, the paper's width
        layers: blocks of the temporal transformer
        width: width of the temporal module, as the small recipe's 256 with 2 layers
        classes: rows of the head
        measure: run it with random weights: memory and clips/s
        device: auto, cpu, cuda or cuda:N
    """

    word: str | None = argument("WORD", nargs="?")
    frames: PositiveInt | None = None
    size: PositiveInt | None = None
    temporal: Literal["mean", "transformer", "attentive", "conv", "token-conv"] = "mean"
    layers: PositiveInt = 6
    width: PositiveInt | None = None
    classes: NonNegativeInt = 0
    measure: bool = False
    device: str = "auto"

    def __call__(self) -> None:
        from texthead.encoders.load import names_encoder

        if self.word and names_encoder(self.word):
            self._count(self.word)
        else:
            self._list()

    def _list(self) -> None:
        from texthead.commands.console import notes
        from texthead.encoders.load import FORMS, known_encoders

        for field in fields(self):
            if field.name != "word" and field.default is not MISSING and getattr(self, field.name) != field.default:
                option = field.name.replace("_", "-")
                raise EncoderError(f"--{option} counts an encoder, and {self.word!r} is a part of names: give {FORMS}")
        found = [(name, place) for name, place in known_encoders() if (self.word or "").lower() in name.lower()]
        if not found:
            raise EncoderError(
                f"no published encoder has {self.word!r} in its name; `texthead encoders` lists them all"
            )
        notes().print(f"{len(found)} published encoders; --encoder takes {FORMS}")
        for name, place in found:
            print(f"{name}\t{place}")

    def _count(self, source: str) -> None:
        import torch
        from rich.table import Table

        from texthead.commands.console import results
        from texthead.encoders.load import spec_of
        from texthead.models.cost import count, measure_speed
        from texthead.parallel.device import pick_device

        spec = spec_of(source)
        size, frames = self.size or spec.size, self.frames or spec.frames
        if size != spec.size and not spec.any_size:
            raise EncoderError(f"{source} takes {spec.size} pixels only, got --size {size}")
        with torch.device("meta"):
            found = count(_model(spec, self), frames=frames, size=size)
        table = Table("", "multiply-adds, G", "parameters, M", title=f"{source}, {frames}x{size}x{size}")
        table.add_row("true", f"{found.multiply_adds / 1e9:.2f}", f"{found.parameters / 1e6:.2f}")
        table.add_row(
            "as the paper counts", f"{found.paper_multiply_adds / 1e9:.1f}", f"{found.paper_parameters / 1e6:.1f}"
        )
        show = results()
        show.print(table)
        show.print("the paper leaves out attention and layer norms")
        if spec.unit == "clip":
            show.print(f"it sees {spec.frames} frames at once and gives {spec.tokens} features of {spec.dim} numbers")
        if self.measure:
            speed, gigabytes = measure_speed(_model(spec, self), frames, size, pick_device(self.device))
            show.print(f"forward: {speed:.3g} clips/s, at most {gigabytes:.2f} GB of memory (random weights, one clip)")


def _model(spec: "VisualSpec", command: Encoders) -> "Recognizer":
    import torch

    from texthead.encoders.encoder import build_visual
    from texthead.models.heads import LinearHead
    from texthead.models.recognizer import Recognizer
    from texthead.models.temporal import make_temporal

    visual = build_visual(spec)
    options: dict[str, Any] = {}
    if command.temporal in ("transformer", "attentive"):
        narrow = {} if command.width is None else {"width": command.width, "mlp_ratio": 2}
        options = {"dim": spec.dim, **narrow}
    if command.temporal == "transformer":
        options["layers"] = command.layers
    temporal = make_temporal({"kind": command.temporal, **options}, visual)
    names = [str(place) for place in range(command.classes)]
    return Recognizer(visual, temporal, LinearHead(spec.dim, names=names) if names else torch.nn.Identity())
