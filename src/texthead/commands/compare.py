"""`texthead compare`: score methods on a frozen encoder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.cli import console
from texthead.cli.encoder_choice import chosen_encoder
from texthead.cli.options import ReadingOptions, TrainingData
from texthead.cli.parser import option
from texthead.errors import NonNegativeInt
from texthead.files import unused

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
    from texthead.transfer.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class Compare(TrainingData, ReadingOptions):
    """Compare methods on a frozen encoder in seconds.

    A text-probe is a linear head from class names and labelled files, which train writes; a probe is logistic
    regression without names; zero-shot uses class names only. Scores are cross-validated, with 95 % confidence
    intervals.

    Args:
        encoder: mini (default), here, clip, openclip:..., hf:...; repeatable
        seed: random seed
    """

    JSON: ClassVar = (
        "data, encoder, engine, items, split, methods [method, cross_validated and scored [items, top1, low, "
        "high, class_mean, top5, calibration_error]]; rates in percent, class_mean [percent, low, high]; for "
        "multi-label data mean_ap, item_ap, f1, macro_f1, exact in place of top1, class_mean, top5"
    )

    encoder: list[str] = option(list, "NAME", repeated=True)
    seed: NonNegativeInt = option(0, "N")

    def __call__(self) -> None:
        from texthead.data.reading import read_dataset

        dataset = read_dataset(self.data)
        sources = self.encoder or ["mini"]
        documents = [self._compare(source, dataset, several=len(sources) > 1) for source in sources]
        console.show_json(documents if len(documents) > 1 else documents[0])

    def _compare(self, source: str, dataset: "Dataset", *, several: bool) -> dict[str, object]:
        """Print the scores on an encoder, and return them as JSON."""
        from texthead.cli.score_table import methods_table
        from texthead.data.dataset import splits_of
        from texthead.runs.scores import score_of
        from texthead.transfer.comparison import compare

        reading = self.reading(dataset.paths, True)
        options = chosen_encoder(self, dataset, source, None if splits_of(dataset) else 0.0, reading)
        encoder = str(options.source)
        console.status(f"loading the encoder {encoder}")
        scores = compare(
            dataset,
            options,
            classes=self.classes,
            k=self.k,
            overrides={"seed": self.seed},
            unlabelled=self.unlabelled,
            reading=reading,
            planned=self._say_plan,
            reporter=console.reporter,
        )
        experiment, engine = scores.experiment, scores.experiment.engine
        console.say_skipped(experiment.skipped)
        if several:
            console.results().print(f"{encoder}:")
        for line in scores.summary():
            console.results().print(line)
        if scores.columns:
            console.results().print(methods_table(scores.columns))
        for line in scores.lines:
            console.results().print(line)
        console.remarks().print(f"frozen encoder: {engine}")
        console.next_command(
            "texthead", "train", self.data, "--out", unused(Path("run")), encoder=encoder, text=self.text
        )
        ways = {"cross_validated": scores.validated, "scored": scores.tested}
        methods = [
            {"method": name}
            | {way: score_of(name, own[name])._asdict() if name in own else None for way, own in ways.items()}
            for name in experiment.methods
        ]
        about = {"data": self.data, "encoder": encoder, "engine": engine, "items": len(experiment.items.data)}
        split = scores.scored_name if scores.tested else None
        return {**about, "split": split, "methods": methods}

    def _say_plan(self, plan: "Experiment") -> None:
        """Print what is compared."""
        data = plan.division
        drawn = f" (K = {self.k}, drawn with seed {self.seed})" if self.k is not None else ""
        held = f", {len(data.scored)} {data.scored_name} items only for the final score" if len(data.scored) else ""
        items = f"{len(data.train)} training items of {len(data.train.classes)} classes{drawn}{held}"
        for line in (items, *plan.changes):
            console.remarks().print(line)
        console.say_names(plan.labels, plan.names)
        if plan.encoder.has_text:
            console.say_prompts(plan.labels, plan.prompts)
