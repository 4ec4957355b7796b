"""`texthead calibrate`: fit temperature, rejection threshold and prediction sets on held-out items."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.cli import console
from texthead.cli.options import LabelledRun, SplitName, common
from texthead.cli.parser import option
from texthead.errors import OpenShare, listed

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
    from texthead.prediction.run import RunCalibration


@dataclass(frozen=True, kw_only=True)
class Calibrate(LabelledRun):
    """Fit a temperature, a rejection threshold and prediction sets on held-out items, and write them into the run.

    A run with broader names above its classes also gets a level: predict answers with the most specific name that
    reaches it.

    Args:
        split: train, val or test (default: val, else test, else held out); of train, the items that --k left out
        unknown: files of other classes than the run's: a folder, CSV or YAML file
        false_accept: fraction of unknown items that may get a class
        coverage: fraction of prediction sets that must contain the true class
        wrong: highest fraction of wrong answers, for runs with broader names
    """

    JSON: ClassVar = (
        "run, calibration, format, classes, items, source, temperature, threshold, coverage, level, protocol, "
        "measured [before, after, unknown_accepted, known_rejected, covered, mean_set_size]"
    )

    split: SplitName | None = option(None, "NAME")
    unknown: str | None = option(None, "DATA2")
    false_accept: OpenShare = option(0.05, "RATE")
    coverage: OpenShare = option(0.9, "RATE")
    wrong: OpenShare = option(0.05, "RATE")
    views: str = common("views")

    def __call__(self) -> None:
        from texthead.cli.score_table import show_answers
        from texthead.data.dataset import splits_of
        from texthead.runs.folder import CALIBRATION

        run, items = self.load()
        plan = run.calibration_items(items, None if self.unknown is None else _unknown(self.unknown), self.split)
        count = f"{len(plan.items)} items ({plan.split}) of {len(plan.items.classes)}"
        console.remarks().print(f"{count} of the run's {len(run.labels)} classes")
        console.say_notes(*plan.notes)
        if len(plan.unknown):
            classes = listed(plan.unknown.classes)
            console.say_notes(f"{len(plan.unknown)} unknown items are of other classes: {classes}")
        if plan.copies:
            console.say_notes(f"excluded as copies of other items: {plan.copies}")
        protocol, reading = run.protocol.with_views(self.views), self.reading(items.paths)
        rates = {"false_accept": self.false_accept, "coverage": self.coverage, "wrong": self.wrong}
        made = run.calibrate(plan, protocol, reading, **rates, reporter=console.reporter)
        for line in (*_fitted(made), *made.lines):
            console.results().print(line)
        if answers := made.calibration.answered(made.scores, made.targets, made.items.groups):
            show_answers(answers)
        console.results().print(f"calibration: {run.folder / CALIBRATION} (predict and eval use it)")
        document = {key: value for key, value in made.calibration.to_json().items() if key != "content"}
        console.show_json({"run": self.run, "calibration": run.folder / CALIBRATION, **document})
        if splits_of(made.items):
            items = f"{len(made.items)} items ({made.split})"
            console.say_notes(
                f"these {items} cannot test the calibration, which is fitted to them: pass others to eval and report"
            )
        if made.split == "val" and self.data:  # The data has other items, which can test the calibration.
            views = ["--views", self.views] if self.views != "1x1" else []
            console.next_command("texthead", "eval", self.run, self.data, *views)
        else:
            console.next_command("texthead", "predict", self.run, (*plan.unknown.items, *made.items.items)[0].path)


def _fitted(made: "RunCalibration") -> list[str]:
    """Return lines on the temperature, and on what the threshold promises and costs."""
    from texthead.evaluation.calibration import worst_false_accept

    fitted = made.calibration
    if made.unscaled:
        lines = [f"temperature 1: {made.unscaled}"]
    else:
        how = "too confident" if fitted.temperature > 1 else "not confident enough"
        before, after, chance = made.errors
        lines = [
            f"temperature {fitted.temperature:.3g} on {fitted.items} items ({made.split}; the run was {how}): "
            f"calibration error {before:.1f} points before, {after:.1f} after, cross-validated "
            f"({chance:.1f} with perfect calibration)"
        ]
    if fitted.threshold and not fitted.level:  # A level decides in place of the threshold.
        rate, limit, unknown = fitted.threshold
        lines.append(
            f"threshold {limit:.3f} from {fitted.unknown_text}: at most {100 * rate:g} % of unknown items like these "
            f"get a class (on average; at most {100 * worst_false_accept(unknown, rate):.1f} % with 90 % confidence)"
        )
    return [*lines, *fitted.effects(made.scores, made.targets, made.items.groups)]


def _unknown(source: str) -> "Dataset":
    """Return labelled files, as `read_dataset`; those of a folder of files are of one class, named like the folder."""
    from texthead.data.manifest import SUFFIXES
    from texthead.data.reading import read_dataset, read_files

    folder, described = Path(source), (*SUFFIXES, ".json")
    if not folder.is_dir() or any(p.is_dir() or p.suffix.lower() in described for p in folder.iterdir()):
        return read_dataset(source)
    files, name = read_files(source), folder.resolve().name
    return replace(files, items=tuple(replace(item, labels=(name,)) for item in files.items))
