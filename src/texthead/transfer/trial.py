"""Whether fine-tuning is worth it: tried on training items, beside the quick recogniser on the same items."""

import copy
import tempfile
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from texthead.data.dataset import Dataset
from texthead.data.protocol import Protocol
from texthead.evaluation.evaluate import evaluate
from texthead.evaluation.intervals import lead_interval
from texthead.features.reading import Reading
from texthead.models.build import make_recognizer
from texthead.models.head_rows import RowInputs
from texthead.parallel.progress import Bar, no_bar
from texthead.training.execution import Callbacks, Execution
from texthead.training.train import train
from texthead.transfer.methods import FrozenItems, Method, cross_validated, folds

# With fewer items in a class the quick recogniser was ahead on every set but one that was measured (LOG.md).
FEWEST_TO_TUNE = 5

# Items that are scored before the trial ends: each further one costs training time.
ENOUGH = 100


@dataclass(frozen=True)
class Trial:
    """Which training items two recognisers name rightly, each fitted without the items that it is scored on."""

    quick: Bool[np.ndarray, " items"]
    tuned: Bool[np.ndarray, " items"]
    groups: list[str]

    @property
    def tuned_is_ahead(self) -> bool:
        """Whether fine-tuning names more of them rightly."""
        return bool(self.tuned.sum() > self.quick.sum())

    def __str__(self) -> str:
        low, high = lead_interval(self.tuned & ~self.quick, self.quick & ~self.tuned, self.groups)
        quick, tuned = 100 * self.quick.mean(), 100 * self.tuned.mean()
        return (
            f"on {len(self.quick)} training items that neither was fitted to: fine-tuning {tuned:.1f} %, the quick "
            f"recogniser {quick:.1f} % ({tuned - quick:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f})"
        )


def try_tuning(
    quick: Method, items: FrozenItems, inputs: RowInputs, protocol: Protocol, *, workers: int = 0, bar: Bar = no_bar
) -> Trial:
    """Return how fine-tuning with a text head fares beside the quick recogniser, on folds of the training items.

    Folds are tried until enough items are scored; each class needs at least three items.

    Args:
        inputs: what the head is made of, for all items in their order; its encoder is left as it is.
        protocol: how the fine-tuned model looks at items in testing.
    """
    pairs = []
    for pair in folds(items, seed=inputs.recipe.seed).pairs:
        pairs.append(pair)
        if sum(len(scored) for _, scored in pairs) >= ENOUGH:
            break
    assert inputs.features is not None
    assert inputs.targets is not None
    tuned = np.zeros(len(items.data), dtype=bool)
    with bar("try fine-tuning", "clips") as progress:
        for place, (kept, scored) in enumerate(pairs):

            def step(done: int, total: int, place: int = place) -> None:
                progress(place * total + done, len(pairs) * total)

            part = replace(inputs, features=inputs.features[kept], targets=inputs.targets[kept])
            tuned[scored] = _tuned_right(
                part, items.data.pick(kept), items.data.pick(scored), protocol, workers, Callbacks(step)
            )
    positions = [position for _, scored in pairs for position in scored]
    right = cross_validated(quick, items, pairs, lambda: None)
    return Trial(right[positions], tuned[positions], [items.groups[position] for position in positions])


def _tuned_right(
    inputs: RowInputs,
    train_set: Dataset,
    scored: Dataset,
    protocol: Protocol,
    workers: int,
    callbacks: Callbacks,
) -> Bool[np.ndarray, " items"]:
    """Whether a copy of the encoder that is fine-tuned on some items names each of the others rightly."""
    visual = copy.deepcopy(inputs.encoder.visual)
    model = make_recognizer("text", inputs, visual=visual).to(next(visual.parameters()).device)
    with tempfile.TemporaryDirectory() as folder:
        execution = Execution(workers)
        train(model, train_set, None, inputs.recipe, out=folder, execution=execution, callbacks=callbacks)
    return evaluate(model, scored, protocol, Reading(workers=workers)).right
