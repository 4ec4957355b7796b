"""`texthead eval`: score a run on labelled data, with its own classes or others."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.cli import console
from texthead.cli.options import (
    ClassesOption,
    LabelledRun,
    ReadingOptions,
    SplitOption,
    ThresholdOption,
    ViewsOption,
)
from texthead.cli.outputs import check_outputs
from texthead.cli.parser import option
from texthead.errors import Share

if TYPE_CHECKING:
    from texthead.prediction.run_evaluation import EvaluationPlan


@dataclass(frozen=True, kw_only=True)
class Eval(LabelledRun, SplitOption, ClassesOption, ThresholdOption, ViewsOption, ReadingOptions):
    """Score a run on labelled data.

    Args:
        mix: share of the trained encoder in its mean with the pretrained one
        per_class: also print each class, and confused pairs
        out: also write a CSV file with one line per item
    """

    PROCESSES: ClassVar = "shared"
    JSON: ClassVar = (
        "run, engine, data, split, methods [method, items, top1, low, high, class_mean, top5, calibration_error], rare "
        "[names, least, most, items, recall], answers [rule, rows [answer, items, share, right]], classes [name, "
        "items, recall, predicted, precision], skipped, notes; rates in percent, class_mean [percent, low, high]; with "
        "several labels per file mean_ap, item_ap, f1, macro_f1, exact in place of top1, class_mean, top5"
    )

    mix: Share = option(1.0, "SHARE")
    per_class: bool = False
    out: str | None = option(None, "FILE")

    def check(self) -> None:
        """Raise DataError or RunError as `LabelledRun`, or if --out cannot be written."""
        super().check()
        check_outputs(self, out=".csv")

    def __call__(self) -> None:
        from texthead.cli.score_table import answers_json, scores_json, show_answers, show_classes, show_scores
        from texthead.parallel.distributed import rank
        from texthead.prediction.run_evaluation import evaluate_run, write_items

        run, items = self.load()
        scores = evaluate_run(
            run,
            items,
            self.protocol_of(run.protocol),
            self.reading(items.paths),
            split=self.split,
            classes=self.classes,
            mix=self.mix,
            at_least=self.at_least,
            cache=True,
            reporter=replace(console.reporter, event=_say_plan),
        )
        console.say_notes(*scores.notes)
        show_scores(scores.table)
        if scores.answers:
            show_answers(scores.answers)
        if self.per_class:
            show_classes(scores.result)
        console.show_json(
            {
                "run": self.run,
                "engine": scores.engine,
                **scores_json(scores.table),
                "answers": scores.answers and answers_json(scores.answers),
            }
        )
        if self.out and rank() == 0:
            write_items(Path(self.out), scores.result)
            (console.notes() if console.prints_json() else console.results()).print(f"items: {self.out}")
        if self.classes is None and self.views == "1x1":  # A report has one view.
            console.next_command("texthead", "report", self.run, *filter(None, [self.data]))


def _say_plan(plan: "EvaluationPlan") -> None:
    """Print what is scored."""
    count, classes, labels = len(plan.items), len(plan.items.classes), (plan.other or plan.run).labels
    among = f" among the {len(labels)} of the head" if len(labels) > classes else ""
    console.remarks().print(f"scoring {count} items ({plan.split}) of {classes} classes{among}")
    if plan.other is not None:
        console.say_names(labels, plan.names, None)
        console.say_other_classes(plan.run, labels, plan.prompts)
        console.say_prompts(labels, plan.other.head.prompts or ())
