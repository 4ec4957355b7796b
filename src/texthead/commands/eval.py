"""`texthead eval`: score a run on labelled data, with its own classes or others."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.commands.options import BaselineOptions, LabelledRun, SplitName, TemplateOptions
from texthead.commands.outputs import check_outputs
from texthead.commands.parser import option
from texthead.errors import DataError
from texthead.files import write_csv
from texthead.text import prompts

if TYPE_CHECKING:
    from texthead.evaluation import evaluate as evaluation


@dataclass(frozen=True, kw_only=True)
class Eval(LabelledRun):
    """Score a run on labelled data.

    Args:
        classes: score a new text head with these classes: 'a, b', names.txt or classes.json
        zero_shot: score a new text head with the labels of DATA as its classes
        mix: share of the run's encoder weights, 0-1; the rest comes from the pretrained encoder
        split: split of DATA to score (default: test, else val, else the items that the run held out)
        per_class: also print precision and recall of each class, and confused pairs
        out: also write a CSV file with one line per item
    """

    JSON: ClassVar = (
        "run, engine, data, split, methods [method, items, top1, low, high, top5, calibration_error], classes [name, "
        "items, recall, predicted, precision], skipped, notes; rates in percent"
    )

    classes: str | None = option(None, "NAMES")
    zero_shot: bool = False
    prompts: TemplateOptions = TemplateOptions()
    mix: float = 1.0
    split: SplitName | None = None
    beside: BaselineOptions = BaselineOptions()
    per_class: bool = False
    out: str | None = option(None, "FILE")

    def check(self) -> None:
        """Raise DataError or RunError as `LabelledRun`, or if --out cannot be written."""
        super().check()
        check_outputs(self, out=".csv")

    def __call__(self) -> None:
        from texthead.commands.console import (
            bar,
            doing,
            next_command,
            notes,
            prints_json,
            results,
            say_names,
            say_notes,
            say_other_classes,
            say_prompts,
            show_json,
        )

        doing("loading torch")
        from texthead.commands.score_table import calibrated, scores_json, show_classes, show_table
        from texthead.data.division import Division
        from texthead.encoders.load import zero_shot_note
        from texthead.evaluation import evaluate as evaluation
        from texthead.features.reading import engines_text
        from texthead.parallel.distributed import rank
        from texthead.runs.mixture import mixed
        from texthead.runs.scored_items import choose_scored
        from texthead.transfer.baselines import before_training, eval_baselines

        if self.classes is not None and self.zero_shot:
            raise DataError("--classes and --zero-shot both name the classes: give one")
        other = self.classes is not None or self.zero_shot
        self.prompts.check_used(other, "--classes or --zero-shot")
        template = self.prompts.read_template()
        run, protocol = self.load()
        if self.mix != 1:
            run = mixed(run, self.mix)
        reading = self.files.reading()
        dataset, say = self.items(run), notes()
        chosen, split_name = choose_scored(run, dataset, self.split)
        model, labels, names, sentences = run.model, list(run.labels), [], []
        if other:
            labels, names, sentences = prompts.labelled_classes(
                chosen.classes,
                chosen.source,
                self.classes,
                template=self.prompts.template,
                clean=self.prompts.clean,
            )
        # `choose_scored` refuses training items in any other split.
        trained = sum(run.was_trained_on(item.path) for item in chosen.items) if self.split == "train" else 0
        if trained:
            say_notes([f"the run was trained on {trained} of these {len(chosen)} items"])
        among = f" among the {len(labels)} of the head" if len(labels) > len(chosen.classes) else ""
        say.print(f"scoring {len(chosen)} items ({split_name}) of {len(chosen.classes)} classes{among}")
        if other:
            say_names(labels, names, None)
            say_other_classes(run, prompts.class_prompts(template or run.recipe.template, names, sentences))
            new = run.with_classes(labels, names=names, template=template, prompts=sentences)
            model = new.model.to(self.files.pick_device())
            say_prompts(labels, new.head.prompts or ())
        with bar("score", "files") as progress:
            engines: set[str] = set()
            used = replace(reading, used=engines.add)
            result = evaluation.evaluate(model, chosen, protocol, used, progress=progress)
        engine = engines_text(engines)
        temperature, lines = "", []
        if not other:
            result, temperature, lines = calibrated(run, protocol, result, chosen)
        parts = Division(chosen, None, chosen, split_name)
        doing("scoring the baselines")
        cached = replace(reading, cache=self.beside.folder)
        if other:
            table = before_training(run, model, parts, self.beside.baselines, cached, bar)
        else:
            table = eval_baselines(run, parts, self.beside.baselines, cached, bar)
        frames, beside, own = run.recipe.frames, "", ""
        if protocol.views.count > 1:
            beside, own = ", 1 view", f", {self.protocol.views} views, mean of {protocol.pooling}"
        if self.protocol.frames not in (None, frames):
            beside, own = f"{beside}, {frames} frames", f"{own}, {self.protocol.frames} frames"
        own += f", mix {self.mix:g}" if self.mix != 1 else ""
        own += temperature + "".join(f", {name} {value}" for name, value in self.protocol.changes(run.protocol))
        table.rows = [(f"{method}{beside}", score) for method, score in table.rows]
        title = "this run, new text head" if other else f"this run ({run.head.title})"
        table.add(f"{title}{own}", result)
        note = zero_shot_note(run.spec.source, names) if other else None
        table.lines += [*lines, *([note] if note else [])]
        show_table(table)
        if self.per_class:
            show_classes(result)
        show_json({"run": self.run, "engine": engine, **scores_json(table)})
        if self.out and rank() == 0:
            _write_items(Path(self.out), result)
            (say if prints_json() else results()).print(f"items: {self.out}")
        next_command("texthead", "report", self.run, *filter(None, [self.data]))


def _write_items(path: Path, result: "evaluation.Evaluation") -> None:
    """Write one line per item: path, label, the best class, its probability."""
    best = result.scores.softmax(-1).max(-1)
    items = zip(result.paths, result.targets.tolist(), best.indices.tolist(), best.values.tolist(), strict=True)
    rows = ((path, result.names[target], result.names[place], f"{value:.4f}") for path, target, place, value in items)
    write_csv(path, ("path", "label", "predicted", "probability"), rows)
