"""Scores of a run beside baselines on the same items: zero-shot, and a probe on frozen features."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from texthead.data.division import Division
from texthead.encoders.load import zero_shot_note
from texthead.evaluation.broader_names import Answers
from texthead.evaluation.classes import class_weights
from texthead.evaluation.results import Evaluation
from texthead.evaluation.summary import sentence, weak_spots
from texthead.recipes import MethodName
from texthead.runs.scores import RunScores, score_of
from texthead.transfer.experiment import Experiment
from texthead.transfer.methods import USES, best_alternative, choose_penalty

# Training items up to which `train` computes baselines.
FEW_ITEMS = 2000


@dataclass
class ScoreTable:
    """Scores of a run on labelled items, after those of other methods on the same items, if any.

    Attributes:
        division: the training items and the scored ones.
        rows: each method with its evaluation; the last row is the run, at its temperature.
        lines: what to print with the scores.
        raw: the run's evaluation without its temperature; None after training, before there is a temperature.
        engine: names of the engines that encoded the items.
        notes: on the choice of the items, labels that are not scored, and why only the temperature of the calibration
            is valid.
        answers: the run's answers with broader names; None without a tree.
    """

    division: Division
    rows: list[tuple[str, Evaluation]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    raw: Evaluation | None = None
    engine: str = ""
    notes: Sequence[str] = ()
    answers: Answers | None = None

    def add_methods(self, experiment: Experiment, methods: Iterable[MethodName]) -> None:
        """Fit methods, and add their results; then a note if zero-shot is weak with this encoder."""
        if experiment.tests is not None:
            self.rows += [(name, experiment.evaluate(name)) for name in methods]
        self.lines += filter(None, [zero_shot_note(experiment.encoder.source, experiment.names)])

    def __repr__(self) -> str:
        rates = (f"{name}: {result.metric} {result.rate[0]:.1f} %" for name, result in self.rows)
        return f"ScoreTable({', '.join(rates)})"

    @property
    def result(self) -> Evaluation:
        """The evaluation of the run."""
        return self.rows[-1][1]

    def summary(self) -> list[str]:
        """Return the result in a few lines: a sentence, a rival that is clearly ahead, and what is weak.

        Raises:
            ValueError: the table is empty.
        """
        *rows, (title, run) = self.rows
        methods = dict(rows)
        if "zero-shot" in methods:  # The line names only the plain one of the two.
            methods.pop("zero-shot-centered", None)
        others = {
            "linear probe" if name == "probe" else name: methods[name] for name in reversed(USES) if name in methods
        }
        name = self.division.scored_name
        where = {"all": "labelled", "val": "held-out"}.get(name, name)
        lines = [sentence(run, where, others, how=title.partition(", ")[2]), *self.leads()]
        lines += filter(None, ["; ".join(weak_spots(run))])
        return [*lines, *self.lines]

    def leads(self) -> list[str]:
        """Return how far a method is ahead of the run, the last row, in the metric or in the mean over classes.

        A lead whose interval contains 0 is left out.
        """
        *others, (_, run) = self.rows
        same = {"this run": run, **{name: r for name, r in others if r.paths == run.paths}}
        means = [(" in the mean over classes", class_weights(run.targets.numpy()))] if run.sizes_differ else []
        for where, weights in (("", None), *means):
            lead = best_alternative(same, run.groups or range(run.count), weights)
            if lead and lead.low > 0:
                text = f"{lead.points:.1f} points{where} (95 % CI {lead.low:.1f} to {lead.high:.1f})"
                return [f"{lead.rival} is ahead of this run by {text}"]
        return []

    def scores(self) -> RunScores:
        """Return the scores as saved in a run folder."""
        return RunScores(self.division.scored_name, tuple(score_of(*row) for row in self.rows))


def add_baselines(table: ScoreTable, experiment: Experiment) -> None:
    """Add zero-shot and a probe on the pretrained encoder's features to the table.

    The probe has the penalty that suits the items, as `train` and `compare` have it. If the recipe centers features,
    also add centered zero-shot.
    """
    others = {"text-probe"} if experiment.recipe.center else {"text-probe", "zero-shot-centered"}
    experiment, _ = choose_penalty(experiment, "probe")
    table.add_methods(experiment, [name for name in experiment.methods if name not in others])
