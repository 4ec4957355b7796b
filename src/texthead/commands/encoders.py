"""`texthead encoders`: list the published encoders, or count the cost of one."""

from dataclasses import MISSING, asdict, astuple, dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Literal

from rich import box
from rich.table import Table

from texthead.cli import console
from texthead.cli.parser import NonNegativeInt, PositiveInt, argument, option
from texthead.errors import EncoderError

if TYPE_CHECKING:
    from texthead.encoders.figures import EncoderFigures
    from texthead.encoders.spec import VisualSpec
    from texthead.models.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """List the encoders, or count the parameters and multiply-adds of one.

    With part of a name, list the matching encoders with input size, parameters, published zero-shot accuracy, licence
    and source of the weights. With an encoder, such as openclip:ViT-B-16, count its parameters and its multiply-adds
    per clip, exactly and in the way of the paper. This downloads nothing.

    Args:
        word: part of a name, such as ViT-B-16; or an encoder, such as mini, openclip:ARCH, hf:FOLDER or timm:NAME
        best_under: list encoders with at most N parameters, image and text side together (100M, 1.5B), the best first
        by: data set of the zero-shot top-1 that --best-under sorts by: ImageNet-1k or Kinetics-400
        frames: number of frames per clip (default: 1, or as many as the encoder takes at once)
        size: side of the square crop, in pixels (default: the encoder's own)
        temporal: temporal module over the frames, at the width in the paper
        layers: number of blocks of the temporal transformer, or self-attention layers of vjepa2
        width: width of the temporal module, such as 256 in the small recipe (with 2 layers)
        classes: number of classes
        measure: also run the model with random weights to measure memory and clips per second
        device: device to compute on: auto, cpu, cuda or cuda:N
    """

    JSON: ClassVar = (
        "a list of encoders with source, weights, kind, parameters, size, imagenet, kinetics, figures, licence, "
        "download; for one encoder source, frames, size, multiply_adds, parameters, paper_multiply_adds, "
        "paper_parameters, clips_per_second, gigabytes"
    )

    word: str | None = argument("WORD", nargs="?")
    best_under: str | None = option(None, "N")
    by: Literal["imagenet", "kinetics"] = "imagenet"
    frames: PositiveInt | None = None
    size: PositiveInt | None = None
    temporal: Literal["mean", "transformer", "attentive", "vjepa2", "conv", "token-conv"] = "mean"
    layers: PositiveInt = 6
    width: PositiveInt | None = None
    classes: NonNegativeInt = 0
    measure: bool = False
    device: str = "auto"

    def __call__(self) -> None:
        console.doing("reading the list of encoders")
        from texthead.encoders.load import names_encoder

        if self.by != "imagenet" and self.best_under is None:
            raise EncoderError(f"--by: {self.by!r} needs --best-under; add it, as --best-under 1B")
        if self.word and names_encoder(self.word) and self.best_under is None:
            self._count(self.word)
        else:
            self._list()

    def _list(self) -> None:
        from texthead.encoders.figures import best_under
        from texthead.encoders.load import forms, published_encoders

        for field in fields(self):
            counts = field.name not in ("word", "best_under", "by")
            if counts and field.default is not MISSING and getattr(self, field.name) != field.default:
                name = field.name.replace("_", "-")
                raise EncoderError(f"--{name} works with one encoder only; give {forms()}")
        encoders = [encoder for encoder in published_encoders() if (self.word or "").lower() in encoder.source.lower()]
        if not encoders:
            raise EncoderError(
                f"no published encoder has {self.word!r} in its name; `texthead encoders` lists them all; to "
                f"measure one, give {forms()}"
            )
        if self.best_under is not None:
            encoders = best_under(encoders, self.best_under, self.by)
            if not encoders:
                raise EncoderError(
                    f"--best-under: no encoder of at most {self.best_under} parameters has a published {self.by} figure"
                    f"{f' and {self.word!r} in its name' if self.word else ''}: take a larger number"
                    f"{' or another word' if self.word else ''}"
                )
        _show(encoders)

    def _count(self, source: str) -> None:
        import torch

        from texthead.encoders.load import spec_of
        from texthead.models.cost import Costs, measure_speed
        from texthead.parallel.device import pick_device

        spec = spec_of(source)
        size, frames = self.size or spec.size, self.frames or spec.frames
        if size != spec.size and not spec.any_size:
            raise EncoderError(f"{source} takes only {spec.size} pixels, got --size {size}; leave out --size")
        console.doing(f"counting {source}")
        with torch.device("meta"):
            cost = Costs.of(_model(spec, self), frames=frames, size=size)
        table = Table("", "multiply-adds, G", "parameters, M", title=f"{source}, {frames}x{size}x{size}")
        table.add_row("true", f"{cost.multiply_adds / 1e9:.2f}", f"{cost.parameters / 1e6:.2f}")
        table.add_row(
            "as the paper counts", f"{cost.paper_multiply_adds / 1e9:.1f}", f"{cost.paper_parameters / 1e6:.1f}"
        )
        show = console.results()
        show.print(table)
        show.print("the paper does not count attention and layer norms")
        if spec.unit == "clip":
            steps, rows, columns = spec.finest or spec.grid
            grid = f"{steps} steps of {rows} x {columns} features" if rows * columns > 1 else f"{steps} features"
            show.print(f"it takes {spec.frames} frames at once and gives {grid} of {spec.dim} numbers")
        document = {"source": source, "frames": frames, "size": size, **vars(cost)}
        if self.measure:
            console.doing(f"measuring {source}")
            speed, gigabytes = measure_speed(_model(spec, self), frames, size, pick_device(self.device))
            show.print(f"forward: {speed:.3g} clips/s, at most {gigabytes:.2f} GB of memory (random weights, one clip)")
            document |= {"clips_per_second": speed, "gigabytes": gigabytes}
        console.show_json(document)
        console.next_command("texthead", "compare", "DATA", "--encoder", source)


def _show(encoders: "list[EncoderFigures]") -> None:
    """Print encoders: a table on a terminal, else one line each with tabs between the columns and plain numbers."""
    from texthead.encoders.figures import FIGURE_SOURCES
    from texthead.encoders.load import forms

    if not encoders[0].source.endswith("..."):
        console.next_command("texthead", "encoders", encoders[0].source)
    if console.prints_json():
        console.show_json([{**asdict(encoder), "download": encoder.download} for encoder in encoders])
        return
    count = "1 encoder" if len(encoders) == 1 else f"{len(encoders)} encoders"
    console.notes().print(f"{count}; texthead train --encoder takes {forms()}")
    if console.results().is_terminal:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 1, 0))
        table.add_column("source\nweights", overflow="fold")
        for name in ("\nkind", "parameters\npixels", "zero-shot\ntop-1, %", "licence\ndownload"):
            table.add_column(name, no_wrap=True)
        for encoder in encoders:
            figures = (("ImageNet", encoder.imagenet), ("Kinetics", encoder.kinetics))
            shown = [f"{name} {figure:.1f}" for name, figure in figures if figure is not None]
            table.add_row(
                f"{encoder.source}\n{encoder.weights}",
                encoder.kind.replace(" ", "\n"),
                f"{_short(encoder.parameters, (('B', 10**9), ('M', 10**6)))}\n{encoder.size or ''}",
                "\n".join([*shown, encoder.figures]),
                f"{encoder.licence}\n{_short(encoder.download, (('GB', 10**9), ('MB', 10**6)), about='about ')}",
            )
        console.results().print(table)
    else:
        for encoder in encoders:
            cells = (*astuple(encoder), encoder.download)
            console.write("\t".join("" if cell is None else str(cell) for cell in cells))
    for key in sorted({encoder.figures for encoder in encoders} - {""}):
        console.notes().print(f"zero-shot top-1 in percent, {key}: {FIGURE_SOURCES[key]}")


def _short(value: int | None, units: tuple[tuple[str, int], ...], about: str = "") -> str:
    """Return three digits of a number and its unit: 150 M, 1.37 B."""
    if value is None:
        return ""
    unit, size = next((each for each in units if value >= each[1]), units[-1])
    return f"{about}{value / size:.3g} {unit}"


def _model(spec: "VisualSpec", command: Encoders) -> "Recognizer":
    import torch

    from texthead.encoders.encoder import build_visual
    from texthead.models.build import make_temporal_for, with_grid_for
    from texthead.models.heads import LinearHead
    from texthead.models.recognizer import Recognizer
    from texthead.recipes import Recipe

    visual = with_grid_for(command.temporal, build_visual(spec))
    frames = command.frames or spec.frames
    recipe = Recipe("", frames=frames, temporal=command.temporal, width=command.width, layers=command.layers)
    temporal = make_temporal_for(recipe, visual)
    names = [str(index) for index in range(command.classes)]
    return Recognizer(visual, temporal, LinearHead(spec.dim, names=names) if names else torch.nn.Identity())
