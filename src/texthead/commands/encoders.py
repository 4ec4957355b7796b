"""`texthead encoders`: list the encoders on this machine, and those that could be had."""

from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, ClassVar

from rich import box
from rich.table import Table

from texthead.cli import console
from texthead.extensions import find
from texthead.files import cache_dir

if TYPE_CHECKING:
    from texthead.encoders.figures import EncoderFigures


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """List the encoders on this machine, then others that can be used; this downloads nothing.

    A terminal shows of the others those with published accuracy; a pipe gets all, one line each.
    """

    JSON: ClassVar = (
        "a list of encoders with source, weights, kind, parameters, size, imagenet, kinetics, figures, licence, "
        "frames, on_disk, seconds, problem, download"
    )

    def __call__(self) -> None:
        from texthead.encoders.here import encoders_here

        console.status("looking for encoders")
        here = encoders_here()
        if console.results().is_terminal:
            _show_here(here)
        known = {row.source for row in here}
        others = [row for row in published_encoders() if row.source not in known]
        if console.prints_json():
            console.show_json([{**asdict(row), "download": row.download} for row in (*here, *others)])
        elif console.results().is_terminal:
            _show_others(others)
        else:
            for row in (*here, *others):
                console.write("\t".join("" if cell is None else str(cell) for cell in (*astuple(row), row.download)))
        folder = cache_dir() / "features"
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        console.notes().print(f"feature cache: {folder}, {size / 1e9:.2g} GB; delete this folder to empty it")


def published_encoders() -> "list[EncoderFigures]":
    """Return the facts on every published encoder."""
    from texthead.encoders.encoder import BUILT_IN, ENCODER_GROUP
    from texthead.encoders.figures import figures_of

    rows: list[EncoderFigures] = []
    for extension in find(ENCODER_GROUP, BUILT_IN).values():
        package = [(f"{extension.name}:...", f"package {extension.package}")]
        rows += [figures_of(*model) for model in (extension.load().list_models() if extension.ours else package)]
    return rows


def _show_here(rows: "list[EncoderFigures]") -> None:
    """Print the encoders on this machine."""
    table = Table(title="on this machine", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("encoder", overflow="fold")
    for name in ("kind", "frames", "pixels", "MB", "s per\n100 files", "licence"):
        table.add_column(name, justify="left" if name in ("kind", "licence") else "right")
    for row in rows:
        numbers = (row.frames, row.size, f"{(row.on_disk or 0) / 1e6:,.0f}", row.seconds and f"{row.seconds:.3g}")
        table.add_row(row.source, row.kind, *(str(each or "") for each in numbers), row.licence)
    console.results().print(table)
    for row in rows:
        if row.problem:
            console.results().print(f"cannot be used: {row.source}: {row.problem}")


def _show_others(encoders: "list[EncoderFigures]") -> None:
    """Print a table of the encoders with published accuracy that are not on this machine."""
    from texthead.encoders.figures import FIGURE_SOURCES
    from texthead.encoders.load import SHORT_NAMES, forms

    rows = [encoder for encoder in encoders if encoder.figures]
    table = Table(title="to download", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("encoder", overflow="fold")
    for name in ("kind", "parameters\npixels", "zero-shot\ntop-1, %", "licence\ndownload"):
        table.add_column(name, no_wrap=True)
    for encoder in rows:
        figures = (("ImageNet", encoder.imagenet), ("Kinetics", encoder.kinetics))
        shown = [f"{name} {figure:.1f}" for name, figure in figures if figure is not None]
        table.add_row(
            encoder.source,
            encoder.kind.replace(" ", "\n"),
            f"{_short(encoder.parameters, (('B', 10**9), ('M', 10**6)))}\n{encoder.size or ''}",
            "\n".join([*shown, encoder.figures]),
            f"{encoder.licence}\nabout {_short(encoder.download, (('GB', 10**9), ('MB', 10**6)))}",
        )
    console.results().print(table)
    for key in sorted({encoder.figures for encoder in rows} - {""}):
        console.notes().print(f"zero-shot top-1 in percent, {key}: {FIGURE_SOURCES[key]}")
    short = ", ".join(f"{name} is {source}" for name, source in SHORT_NAMES.items())
    console.notes().print(f"short names: {short}")
    others = len(encoders) - len(rows)
    console.notes().print(f"{others:,} others: texthead encoders | grep NAME; texthead train --encoder takes {forms()}")


def _short(value: int | None, units: tuple[tuple[str, int], ...]) -> str:
    """Return three digits of a number and its unit: 150 M, 1.37 B."""
    if value is None:
        return ""
    unit, size = next((each for each in units if value >= each[1]), units[-1])
    return f"{value / size:.3g} {unit}"
