"""`texthead head`: the rows of a head and how alike they are."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from texthead.commands.console import bar, check_template_fills, notes, read_data, results, say_names, say_prompts
from texthead.data import dataset as datasets
from texthead.data.dataset import splits_of
from texthead.data.protocol import Protocol, Views
from texthead.encoders.encoder import Encoder
from texthead.encoders.load import load_encoder
from texthead.errors import DataError
from texthead.features.cache import FeatureCache, encoder_key
from texthead.features.reading import Reading
from texthead.features.views import Pretrained, own_pixels
from texthead.files import replacing
from texthead.models.build import make_head
from texthead.models.head_rows import class_correlation, text_rows
from texthead.recipes import Recipe
from texthead.text import prompts
from texthead.text.class_names import clean_names


def head(options: Any) -> None:
    """`texthead head`."""
    if options.plot and Path(options.plot).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise DataError(f"--plot must end in .png, .svg or .pdf, got {Path(options.plot).name!r}")
    classes = prompts.read_classes(options.classes)
    given = list(classes)
    names = clean_names(given) if options.names == "clean" else given
    if (options.init == "lda") != bool(options.data):
        raise DataError("--init lda and --data go together: LDA's rows come from the features of labelled items")
    for option in ("labels", "root", "frame_template", "suffix"):
        if not options.data and options[option] is not None:
            flag = f"--{option.replace('_', '-')}"
            raise DataError(f"{flag} {options[option]!r} says how --data is read: give --data too")
    if options.init != "text" and any(classes.values()):
        raise DataError(f"--init {options.init} makes rows without text: leave out the sentences of {options.classes}")
    check_template_fills(None if options.template == "{}" else options.template, classes)
    template = prompts.read_template(options.template)
    shown = prompts.class_prompts(template, names, list(classes.values()))
    encoder = load_encoder(options.encoder)
    recipe = Recipe(name="head", template=template, seed=options.seed)
    found = targets = None
    if options.init == "lda":
        found, targets = _lda_ground(options, given, encoder)
    if options.init == "text":
        say_names(given, names, None if any(classes.values()) else template)
        if any(classes.values()):
            say_prompts(given, shown)
        rows = text_rows(encoder, shown)
    else:
        made = make_head(options.init, encoder, given, recipe, features=found, targets=targets)
        rows = made.weight.detach()  # pyright: ignore[reportCallIssue]
    correlation = class_correlation(rows)
    show = results()
    show.print(f"{len(rows)} {'row' if len(rows) == 1 else 'rows'} of {rows.shape[1]} numbers ({options.init})")
    upper = torch.triu_indices(len(rows), len(rows), 1)
    order = correlation[upper[0], upper[1]].argsort(descending=True)
    table = Table("correlation", "class", "class", title="most alike pairs")
    for pair in order[:10].tolist():
        a, b = int(upper[0, pair]), int(upper[1, pair])
        table.add_row(f"{correlation[a, b]:.3f}", given[a], given[b])
    if len(rows) > 1:
        show.print(table)
    if options.plot:
        _save_plot(Path(options.plot), correlation, given, options.init)
    if options.out:
        with replacing(Path(options.out)) as beside:
            from safetensors.torch import save_file

            save_file(
                {"weight": rows.contiguous()}, beside, metadata={"names": json.dumps(given), "init": options.init}
            )
        show.print(f"rows: {options.out}")


def _lda_ground(options: Any, labels: Sequence[str], encoder: Encoder) -> tuple[torch.Tensor, torch.Tensor]:
    """Pretrained features and label places of the training items (of all, where the data has no splits)."""
    dataset = read_data(options, options.data)
    for line in dataset.notes:
        notes().print(f"note: {line}")
    items = dataset.split("train") if splits_of(dataset) else dataset
    targets = torch.tensor(datasets.label_indices(items, labels))
    pixels = own_pixels(encoder.visual.spec)
    protocol = Protocol(1 if items.only_images else 8, pixels, Views(origin="centre"))
    cache = FeatureCache(encoder_key(encoder.visual, pixels))
    reading = Reading(workers=options.workers, cache=cache, skip_unreadable=options.skip_unreadable)
    found, positions, errors = Pretrained(encoder, protocol, reading, bar).features(items, "encode items")
    for error in errors:
        notes().print(f"skipped: {error}")
    return found, targets[positions]


def _save_plot(path: Path, correlation: torch.Tensor, names: Sequence[str], init: str) -> None:
    from texthead.report.class_maps import plot_correlation

    figure = plot_correlation(correlation.numpy(), names, f"inter-class correlation, {init} rows")
    with replacing(path) as beside:
        figure.savefig(beside, format=path.suffix[1:].lower(), dpi=150, bbox_inches="tight")
    results().print(f"plot: {path}")
