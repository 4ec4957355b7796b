"""`texthead encoders`: list the published encoders."""

from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rich import box
from rich.table import Table

from texthead.cli import console
from texthead.cli.parser import argument, option
from texthead.errors import EncoderError

if TYPE_CHECKING:
    from texthead.encoders.figures import EncoderFigures


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """List the published encoders: input size, parameters, zero-shot accuracy, licence and source of the weights.

    This downloads nothing.

    Args:
        word: part of a name, such as ViT-B-16
        best_under: list encoders with at most N parameters, image and text side together (100M, 1.5B), the best first
        by: data set of the zero-shot top-1 that --best-under sorts by: ImageNet-1k or Kinetics-400
    """

    JSON: ClassVar = (
        "a list of encoders with source, weights, kind, parameters, size, imagenet, kinetics, figures, licence, "
        "download"
    )

    word: str | None = argument("WORD", nargs="?")
    best_under: str | None = option(None, "N")
    by: Literal["imagenet", "kinetics"] = "imagenet"

    def __call__(self) -> None:
        console.doing("reading the list of encoders")
        from texthead.encoders.figures import best_under
        from texthead.encoders.load import published_encoders

        if self.by != "imagenet" and self.best_under is None:
            raise EncoderError(f"--by: {self.by!r} needs --best-under; add it, as --best-under 1B")
        encoders = [encoder for encoder in published_encoders() if (self.word or "").lower() in encoder.source.lower()]
        if not encoders:
            raise EncoderError(
                f"no published encoder has {self.word!r} in its name; `texthead encoders` lists them all"
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


def _show(encoders: "list[EncoderFigures]") -> None:
    """Print encoders: a table on a terminal, else one line each with tabs between the columns and plain numbers."""
    from texthead.encoders.figures import FIGURE_SOURCES
    from texthead.encoders.load import forms

    if not encoders[0].source.endswith("..."):
        console.next_command("texthead", "compare", "DATA", "--encoder", encoders[0].source)
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
