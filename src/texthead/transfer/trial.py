"""Test whether fine-tuning beats the text-probe, by cross-validation on the training items."""

import copy
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from texthead.data.class_shares import item_weights, weighted_text
from texthead.data.dataset import Dataset
from texthead.data.protocol import Protocol
from texthead.errors import DataError
from texthead.evaluation.evaluate import evaluate
from texthead.evaluation.intervals import lead_interval
from texthead.features.frozen import FrozenItems
from texthead.features.reading import Reading
from texthead.files import scratch_folder
from texthead.models.build import make_recognizer
from texthead.models.head_rows import RowInputs
from texthead.models.recognizer import Recognizer
from texthead.parallel.progress import Reporter, silent
from texthead.recipes import Recipe
from texthead.training.execution import Execution
from texthead.training.inputs import pixel_clips
from texthead.training.train import train
from texthead.transfer.methods import MIN_ITEMS, Fit, evaluation_of, folds

# Scored items after which an undecided trial ends, since each further fold needs a training run.
ENOUGH = 100

# Clips of the pass that estimates how long a trial takes.
TIMED = 8

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


@torch.inference_mode()
def trial_minutes(model: Recognizer, items: FrozenItems, recipe: Recipe) -> int:
    """Estimate how many minutes a whole trial takes, at least 1, from a forward pass of the encoder.

    A training step takes three times as long as a forward pass, since the backward pass computes two products for each
    of the forward pass. Decoding is done by other processes meanwhile.

    Args:
        model: the encoder with any head.
        recipe: the recipe of fine-tuning.
    """
    clips = pixel_clips(model, items.data, recipe).blank.expand(TIMED, -1, -1, -1, -1).to(model.device)
    pairs = folds(items, seed=recipe.seed).pairs
    tried = pairs[: next((n for n in range(1, len(pairs)) if sum(len(own) for _, own in pairs[:n]) >= ENOUGH), None)]
    seconds = 0.0
    for _ in range(2):  # The first pass is slower.
        started = time.perf_counter()
        model.features(clips).sum().item()
        seconds = time.perf_counter() - started
    count = recipe.epochs * sum(len(trained) for trained, _ in tried)
    return max(1, round(3 * seconds / TIMED * count / 60))


def try_tuning(
    quick: Fit,
    items: FrozenItems,
    inputs: RowInputs,
    protocol: Protocol,
    *,
    reading: Reading = Reading(),
    reporter: Reporter = Reporter(),
) -> TuningTrial:
    """Compare fine-tuning with a text head to the text-probe, on folds of the training items.

    Folds are tried until one of the two is significantly ahead, enough items are scored, or fine-tuning would not be
    ahead even with all remaining items right. Items are weighted as the recipe's `class_shares` says.

    Args:
        quick: fits the text-probe.
        inputs: inputs of the head for all items, in their order; its encoder does not change.
        protocol: the test protocol of the fine-tuned model.
        reading: only its workers are used.
        reporter: gets progress, and a message after each fold that decides nothing.

    Raises:
        DataError: a class has too few items for folds.
    """
    pairs = folds(items, seed=inputs.recipe.seed).pairs
    if items.targets.bincount().min() < MIN_ITEMS:
        raise DataError(f"a trial needs at least {MIN_ITEMS} items of each class: use the text-probe")
    assert inputs.features is not None
    assert inputs.targets is not None
    quick_right = [evaluation_of(quick(items.pick(trained)), items.pick(scored)).right for trained, scored in pairs]
    weights = item_weights(inputs.recipe.class_shares, inputs.labels, items.targets.numpy())
    to_gain = [float(weights[scored][~right].sum()) for (_, scored), right in zip(pairs, quick_right, strict=True)]
    trial = TuningTrial(np.zeros(0, bool), np.zeros(0, bool), [], np.zeros(0))
    with reporter.bar("try fine-tuning", "clips") as progress:
        for fold, (trained, scored) in enumerate(pairs):
            train_set, tests = items.data.pick(trained), items.pick(scored)
            features, targets = inputs.features[trained], inputs.targets[trained]
            fold_inputs = replace(inputs, features=features, targets=targets, items=train_set.names)

            def in_all(done: int, total: int, fold: int = fold) -> None:
                progress(fold * total + done, len(pairs) * total)

            tuned = _tuned_right(
                fold_inputs, train_set, tests.data, protocol, reading, Reporter().counting(in_all, "train")
            )
            trial = TuningTrial(
                np.concatenate([trial.quick, quick_right[fold]]),
                np.concatenate([trial.tuned, tuned]),
                [*trial.groups, *tests.groups],
                np.concatenate([trial.weights, weights[scored]]),
            )
            if trial.is_decided(sum(to_gain[fold + 1 :])):
                break
            reporter.say(f"fold {fold + 1} of at most {len(pairs)}: {trial}")
    return trial


def _tuned_right(
    inputs: RowInputs,
    train_set: Dataset,
    scored: Dataset,
    protocol: Protocol,
    reading: Reading,
    reporter: Reporter,
) -> Bool[np.ndarray, " items"]:
    """Fine-tune a copy of the encoder on some items, and return whether it gets each of the others right."""
    visual = copy.deepcopy(inputs.encoder.visual)
    model = make_recognizer("text", inputs, visual=visual).to(visual.mean.device)
    with scratch_folder() as folder:
        execution = Execution(reading.workers, checkpoint_every=0)
        train(model, train_set, None, inputs.recipe, out=folder, execution=execution, reporter=reporter)
    return evaluate(model, scored, protocol, Reading(reading.workers), reporter=Reporter().counting(silent)).right
