"""`texthead eval`: score a run on labelled data, with its own classes or others."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from texthead.cli import console
from texthead.cli.options import LabelledRun, common
from texthead.cli.parser import option
from texthead.errors import Share


@dataclass(frozen=True, kw_only=True)
class Eval(LabelledRun):
    """Score a run on labelled data.

    Args:
        mix: weight of the trained encoder when interpolating with the pretrained one (WiSE-FT)
        per_class: also print each class, and confused pairs
        out: also write a CSV file with one line per item
    """

    PROCESSES: ClassVar = "shared"
    JSON: ClassVar = (
        "run, engine, data, split, methods [method, items, top1, low, high, class_mean, top5, calibration_error], "
        "answers [rule, rows [answer, items, fraction, correct]], classes [name, items, recall, predicted, precision], "
        "skipped, notes; rates in percent, class_mean [percent, low, high]; for multi-label data mean_ap, item_ap, f1, "
        "macro_f1, exact in place of top1, class_mean, top5"
    )

    mix: Share = option(1.0, "FRACTION")
    per_class: bool = False
    out: str | None = option(None, "FILE", writes=".csv")
    classes: str | None = common("classes")
    at_least: float | None = common("at_least")
    views: str = common("views")

    def __call__(self) -> None:
        from texthead.cli.model import with_classes
        from texthead.cli.score_table import row_json, scores_json, show_answers, show_classes, show_scores, write_items
        from texthead.parallel.distributed import rank

        run, items = self.load()
        run = run if self.mix == 1 else run.mixed(self.mix)
        chosen = run.eval_items(items, self.split)
        run = with_classes(run, self.classes, chosen.scored.classes, chosen.scored.source).to(run.model.device)
        count, classes, labels = len(chosen.scored), len(chosen.scored.classes), run.labels
        among = f" among the {len(labels)} of the head" if len(labels) > classes else ""
        console.remarks().print(f"scoring {count} items ({chosen.scored_name}) of {classes} classes{among}")
        protocol, reading = run.protocol.with_views(self.views), self.reading(items.paths)
        scores = run.evaluate(chosen, protocol, reading, at_least=self.at_least, reporter=console.reporter)
        console.say_notes(*scores.notes)
        show_scores(scores)
        if scores.answers:
            show_answers(scores.answers)
        if self.per_class:
            show_classes(scores.result)
        answers = scores.answers and {
            "rule": scores.answers.rule,
            "rows": [row_json(row, "fraction", "correct") for row in scores.answers.rows],
        }
        console.show_json({"run": self.run, "engine": scores.engine, **scores_json(scores), "answers": answers})
        if self.out and rank() == 0:
            write_items(Path(self.out), scores.result)
            (console.notes() if console.prints_json() else console.results()).print(f"items: {self.out}")
        if self.classes is None and self.views == "1x1":  # A report has one view.
            console.next_command("texthead", "report", self.run, *filter(None, [self.data]))
