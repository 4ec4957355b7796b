"""`texthead head`: make the rows of a head and print how similar they are."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.commands.options import DataOptions, NameOptions, ReadingOptions
from texthead.commands.outputs import check_outputs
from texthead.commands.parser import argument, option
from texthead.errors import DataError
from texthead.extras import check_extra
from texthead.files import replacing
from texthead.recipes import InitKind, Recipe
from texthead.text import prompts
from texthead.text.class_names import clean_names

if TYPE_CHECKING:
    import torch

    from texthead.encoders.encoder import Encoder


@dataclass(frozen=True, kw_only=True)
class HeadCommand:
    """Make the rows of a head, one weight vector per class, and print how similar they are.

    Args:
        classes: class names: 'a, b, c', names.txt or classes.json
        init: how the rows are made
        data: labelled items whose features make the rows, for --init lda
        encoder: encoder to use: mini, openclip:..., hf:..., timm:... (texthead encoders lists them)
        template: prompt with one {} for the class name, or a .txt file with one prompt per line
        plot: also draw the correlation of the rows, as PNG, SVG or PDF
        out: also write the rows, as safetensors
        seed: random seed
    """

    JSON: ClassVar = "classes, init, dim, pairs [correlation, classes], plot, rows"

    classes: str = argument("CLASSES")
    init: InitKind = "text"
    data: str | None = None
    labelled: DataOptions = DataOptions()
    encoder: str = "mini"
    template: str = "{}"
    naming: NameOptions = NameOptions()
    plot: str | None = option(None, "FILE")
    out: str | None = option(None, "FILE")
    seed: int = 0
    files: ReadingOptions = ReadingOptions()

    def check(self) -> None:
        """Raise DataError if a file cannot be written."""
        check_outputs(self, plot=".png .svg .pdf", out=".safetensors")
        if self.plot:
            check_extra("plots", "--plot")

    def __call__(self) -> None:
        from texthead.commands.console import cell, doing, next_command, results, say_names, say_prompts, show_json

        doing("loading torch")
        import torch
        from rich.table import Table

        from texthead.encoders.load import load_encoder
        from texthead.models.build import make_head
        from texthead.models.head_rows import ROW_KINDS, RowInputs, class_correlation

        classes = prompts.read_classes(self.classes)
        labels = list(classes)
        names = clean_names(labels) if self.naming.clean else labels
        of_items = [kind for kind, rows in ROW_KINDS.items() if rows.items]
        if (self.init in of_items) != bool(self.data):
            kinds = " or ".join(of_items)
            raise DataError(f"--init {kinds} and --data go together: the rows are made from features of labelled items")
        for name, value in asdict(self.labelled).items():
            if not self.data and value is not None:
                raise DataError(f"--{name.replace('_', '-')} {value!r} has no effect without --data; add --data")
        if self.init != "text" and any(classes.values()):
            raise DataError(f"--init {self.init} makes rows without text: leave out the sentences of {self.classes}")
        prompts.check_template_fills(None if self.template == "{}" else self.template, classes)
        template = prompts.read_template(self.template)
        by_class = prompts.class_prompts(template, names, list(classes.values()))
        doing(f"loading the encoder {self.encoder}")
        encoder = load_encoder(self.encoder)
        recipe = Recipe(name="head", template=template, seed=self.seed)
        features = targets = None
        if self.init in of_items:
            features, targets = _training_features(self, labels, encoder)
        if self.init == "text":
            say_names(labels, names, None if any(classes.values()) else template)
            if any(classes.values()):
                say_prompts(labels, by_class)
        doing("making the rows")
        inputs = RowInputs(
            encoder, labels, recipe, names=names, sentences=list(classes.values()), features=features, targets=targets
        )
        rows = make_head(self.init, inputs).weight.detach()
        correlation = class_correlation(rows)
        show = results()
        show.print(f"{len(rows)} {'row' if len(rows) == 1 else 'rows'} of {rows.shape[1]} numbers ({self.init})")
        upper = torch.triu_indices(len(rows), len(rows), 1)
        order = correlation[upper[0], upper[1]].argsort(descending=True)
        table = Table("correlation", "class", "class", title="most similar pairs")
        pairs = []
        for pair in order[:10].tolist():
            a, b = int(upper[0, pair]), int(upper[1, pair])
            table.add_row(f"{correlation[a, b]:.3f}", cell(labels[a]), cell(labels[b]))
            pairs.append({"correlation": correlation[a, b], "classes": [labels[a], labels[b]]})
        if len(rows) > 1:
            show.print(table)
        if self.plot:
            doing("drawing the plot")
            _save_plot(Path(self.plot), correlation, labels, self.init)
        if self.out:
            with replacing(Path(self.out)) as beside:
                from safetensors.torch import save_file

                save_file(
                    {"weight": rows.contiguous()}, beside, metadata={"names": json.dumps(labels), "init": self.init}
                )
            show.print(f"rows: {self.out}")
        about = {"classes": labels, "init": self.init, "dim": rows.shape[1], "pairs": pairs}
        show_json({**about, "plot": self.plot, "rows": self.out})
        next_command("texthead", "predict", "clip.mp4", "--classes", self.classes)


def _training_features(
    command: HeadCommand, labels: Sequence[str], encoder: "Encoder"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return (the pretrained features, the label indices) of the training items, or of all if there are no splits."""
    from texthead.commands.console import bar, say_skipped
    from texthead.data.dataset import splits_of
    from texthead.features.frozen import FrozenEncoder

    assert command.data is not None
    dataset = command.labelled.read_noted(command.data)
    items = dataset.split("train") if splits_of(dataset) else dataset
    protocol = encoder.visual.spec.protocol(frames=1 if items.only_images else 8)
    encoded = FrozenEncoder(encoder, protocol, command.files.reading(True), bar).items(items, labels)
    say_skipped(encoded.skipped)
    return encoded.features, encoded.targets


def _save_plot(path: Path, correlation: "torch.Tensor", names: Sequence[str], init: str) -> None:
    from texthead.commands.console import results
    from texthead.report.class_maps import plot_correlation

    figure = plot_correlation(correlation.numpy(), names, f"inter-class correlation, {init} rows")
    with replacing(path) as beside:
        figure.savefig(beside, format=path.suffix[1:].lower(), dpi=150, bbox_inches="tight")
    results().print(f"plot: {path}")
