"""Test whether fine-tuning beats the text-probe, by cross-validation on the training items."""

import copy
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from texthead.data.class_shares import item_weights, weighted_text
from texthead.data.protocol import Protocol
from texthead.evaluation.evaluate import evaluate
from texthead.evaluation.intervals import lead_interval
from texthead.features.frozen import FrozenItems
from texthead.features.reading import Reading
from texthead.files import scratch_folder
from texthead.models.build import make_recognizer
from texthead.models.head_rows import RowInputs
from texthead.parallel.progress import Reporter, silent
from texthead.training.execution import Execution
from texthead.training.train import train
from texthead.transfer.methods import Fit, cross_validated, folds

# Scored items after which an undecided trial ends, since each further fold needs a training run.
ENOUGH = 100

# Rounding errors of a sum of weights.
ROUNDING = 1e-6


@dataclass(frozen=True)
class TuningTrial:
    """The training items that each recogniser gets right, cross-validated, and what each counts in a mean."""

    quick: Bool[np.ndarray, " items"]
    tuned: Bool[np.ndarray, " items"]
    groups: list[str]
    weights: Float[np.ndarray, " items"]

    @property
    def _lead(self) -> float:
        return float(self.weights[self.tuned].sum() - self.weights[self.quick].sum())

    @property
    def tuned_is_ahead(self) -> bool:
        """Whether fine-tuning gets a greater weight of items right."""
        return self._lead > ROUNDING

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the lead of fine-tuning, in points."""
        return lead_interval(self.tuned & ~self.quick, self.quick & ~self.tuned, self.groups, self.weights)

    def is_decided(self, to_gain: int | float) -> bool:
        """Return whether enough items are scored, the interval excludes 0, or fine-tuning cannot get ahead.

        Args:
            to_gain: weight of the items still to be scored that the text-probe gets wrong.
        """
        low, high = self.interval
        return len(self.quick) >= ENOUGH or low > 0 or high < 0 or self._lead + to_gain <= ROUNDING

    def __str__(self) -> str:
        (low, high), weights = self.interval, self.weights
        quick, tuned = (100 * float(np.average(each, weights=weights)) for each in (self.quick, self.tuned))
        return (
            f"of {len(self.quick)} cross-validated training items, fine-tuning classifies {tuned:.1f} % correctly and "
            f"the text-probe {quick:.1f} % ({tuned - quick:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}"
            f"{weighted_text(weights)})"
        )


def try_tuning(
    quick: Fit,
    items: FrozenItems,
    inputs: RowInputs,
    protocol: Protocol,
    *,
    workers: int = 0,
    reporter: Reporter = Reporter(),
) -> TuningTrial:
    """Compare fine-tuning with a text head to the text-probe, on folds of the training items.

    Folds are tried until one of the two is significantly ahead, enough items are scored, or fine-tuning would not be
    ahead even with all remaining items right. Items are weighted as the recipe's `class_shares` says.

    Args:
        quick: fits the text-probe.
        items: at least MIN_ITEMS of each class.
        inputs: inputs of the head for all items, in their order; its encoder does not change.
        protocol: the test protocol of the fine-tuned model.
        reporter: gets progress, and a message after each fold that decides nothing.
    """
    cv = folds(items, seed=inputs.recipe.seed)
    assert inputs.features is not None
    assert inputs.targets is not None
    weights = item_weights(inputs.recipe.class_shares, len(inputs.labels), items.targets.numpy())
    quick_right, tuned_right = cross_validated(quick, items, cv).right, np.zeros(len(weights), bool)
    to_gain, done = float(weights[~quick_right].sum()), list[int]()
    trial = TuningTrial(quick_right[:0], tuned_right[:0], [], weights[:0])
    with reporter.bar("try fine-tuning", "clips") as progress:
        for fold, (trained, scored) in enumerate(cv.pairs):

            def in_all(clips: int, total: int, fold: int = fold) -> None:
                progress(fold * total + clips, len(cv.pairs) * total)

            train_set = items.data.pick(trained)
            own = {"features": inputs.features[trained], "targets": inputs.targets[trained], "items": train_set.names}
            visual = copy.deepcopy(inputs.encoder.visual)
            model = make_recognizer("text", replace(inputs, **own), visual=visual).to(visual.mean.device)
            execution, silently = Execution(workers, checkpoint_every=0), Reporter().counting(in_all, "train")
            with scratch_folder() as out:
                train(model, train_set, None, inputs.recipe, out=out, execution=execution, reporter=silently)
            tests, silently = items.data.pick(scored), Reporter().counting(silent)
            tuned_right[scored] = evaluate(model, tests, protocol, Reading(workers), reporter=silently).right
            to_gain -= float(weights[scored][~quick_right[scored]].sum())
            done += scored
            groups = [items.groups[position] for position in done]
            trial = TuningTrial(quick_right[done], tuned_right[done], groups, weights[done])
            if trial.is_decided(to_gain):
                break
            reporter.say(f"fold {fold + 1} of at most {len(cv.pairs)}: {trial}")
    return trial
