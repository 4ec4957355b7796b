"""`texthead encoders`: what can be loaded, from where, and what it costs."""

import json
from dataclasses import MISSING, asdict, astuple, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from texthead.commands.parser import NonNegativeInt, PositiveInt, argument, option
from texthead.errors import EncoderError

if TYPE_CHECKING:
    from texthead.encoders.encoder import VisualSpec
    from texthead.encoders.figures import EncoderFigures
    from texthead.models.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """List the encoders by name, or count what one costs.

    A word lists those that hold it in their name: what each sees, its parameters, published zero-shot figures, licence
    and where its weights are. An encoder, as openclip:ViT-B-16, has its parameters and multiply-adds of one clip
    counted, truly and as the paper does. Nothing is downloaded.

    Args:
        word: a part of a name, as ViT-B-16; or an encoder, as mini, openclip:ARCH, hf:FOLDER or timm:NAME
        best_under: list encoders with at most so many parameters in both halves (100M, 1.5B), the best figure first
        by: the figure that --best-under sorts by, zero-shot top-1 on ImageNet-1k or Kinetics-400
        json: the list as JSON on standard output
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
    best_under: str | None = option(None, "N")
    by: Literal["imagenet", "kinetics"] = "imagenet"
    json: bool = False
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

        if self.by != "imagenet" and self.best_under is None:
            raise EncoderError(f"by: {self.by!r} sorts the encoders of --best-under: add it, as --best-under 1B")
        if self.word and names_encoder(self.word) and self.best_under is None and not self.json:
            self._count(self.word)
        else:
            self._list()

    def _list(self) -> None:
        from texthead.encoders.figures import best_under
        from texthead.encoders.load import forms, published_encoders

        for field in fields(self):
            counts = field.name not in ("word", "best_under", "by", "json")
            if counts and field.default is not MISSING and getattr(self, field.name) != field.default:
                name = field.name.replace("_", "-")
                raise EncoderError(f"--{name} counts one encoder, and this lists them: give {forms()}")
        found = [encoder for encoder in published_encoders() if (self.word or "").lower() in encoder.source.lower()]
        if not found:
            raise EncoderError(
                f"no published encoder has {self.word!r} in its name; `texthead encoders` lists them all, and to count "
                f"one give {forms()}"
            )
        if self.best_under is not None:
            found = best_under(found, self.best_under, self.by)
            if not found:
                raise EncoderError(
                    f"best_under: no encoder of at most {self.best_under} parameters has a published {self.by} figure"
                    f"{f' and {self.word!r} in its name' if self.word else ''}: take a larger number"
                    f"{' or another word' if self.word else ''}"
                )
        _show(found, as_json=self.json)

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


def _show(found: "list[EncoderFigures]", *, as_json: bool) -> None:
    """Print encoders: a table on a terminal, else a line each with tabs between its cells, in plain numbers."""
    from rich import box
    from rich.table import Table

    from texthead.commands.console import notes, results
    from texthead.encoders.figures import SOURCES
    from texthead.encoders.load import forms

    if as_json:
        rows = [{**asdict(encoder), "download": encoder.download} for encoder in found]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    count = "1 encoder" if len(found) == 1 else f"{len(found)} encoders"
    notes().print(f"{count}; --encoder takes {forms()}")
    if results().is_terminal:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 1, 0))
        table.add_column("source\nweights", overflow="fold")
        for name in ("\nkind", "parameters\npixels", "zero-shot\ntop-1, %", "licence\ndownload"):
            table.add_column(name, no_wrap=True)
        for encoder in found:
            figures = (("ImageNet", encoder.imagenet), ("Kinetics", encoder.kinetics))
            shown = [f"{name} {figure:.1f}" for name, figure in figures if figure is not None]
            table.add_row(
                f"{encoder.source}\n{encoder.weights}",
                encoder.kind.replace(" ", "\n"),
                f"{_short(encoder.parameters, (('B', 10**9), ('M', 10**6)))}\n{encoder.size or ''}",
                "\n".join([*shown, encoder.figures]),
                f"{encoder.licence}\n{_short(encoder.download, (('GB', 10**9), ('MB', 10**6)), about='about ')}",
            )
        results().print(table)
    else:
        for encoder in found:
            cells = (*astuple(encoder), encoder.download)
            print("\t".join("" if cell is None else str(cell) for cell in cells))
    for key in sorted({encoder.figures for encoder in found} - {""}):
        notes().print(f"zero-shot top-1 in percent, {key}: {SOURCES[key]}")


def _short(value: int | None, units: tuple[tuple[str, int], ...], about: str = "") -> str:
    """Return three digits of a number and its unit: 150 M, 1.37 B."""
    if value is None:
        return ""
    unit, size = next((each for each in units if value >= each[1]), units[-1])
    return f"{about}{value / size:.3g} {unit}"


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
