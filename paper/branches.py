"""Two branches mixed with a weight that is not chosen on test scores.

Command: python -m paper branches RUN RUN2 --data DATA/k400
Needs:   two runs of the same classes, such as one file of BIKE imported twice: `--kind bike --interaction vcs` (concept
         spotting) and `--kind bike --interaction dp` (mean of the frames)
Issue:   what mixing BIKE's video branch with its attributes branch gains if no test score is used. How the attributes
         are made is not known here, so the command takes any two runs
Answer:  probabilities at each run's own temperature, mixed with one of 21 weights. Weight and temperatures come from
         the training items that neither run was trained on (an imported run does not know its own); if DATA has none,
         from four fifths of the scored items for the other fifth. The last row is what the best weight on the scored
         items would have claimed.
Here:    not run at full scale: no weights of BIKE are here. Without RUN: two heads on one encoder, a linear one on the
         mean of the frames, and text rows behind a temporal transformer, on moving drawings.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from paper.questions import Inputs, lead, rate
from paper.section import Section, Table
from texthead.errors import RunError
from texthead.evaluation import Evaluation, fit_temperature

WEIGHTS = torch.linspace(0, 1, 21).double()


def best(probabilities: Tensor, targets: Tensor, weights: Tensor = WEIGHTS) -> float:
    """Return the first run's weight with the best top-1, of ties the one nearest 0.5; `mix` explains the input."""
    right = [int((mix(probabilities, weight).argmax(1) == targets).sum()) for weight in weights.tolist()]
    return max(zip(right, (-(weights - 0.5).abs()).tolist(), weights.tolist(), strict=True))[-1]


def mix(probabilities: Tensor, weight: float) -> Tensor:
    """Return the mixture of two (run, item, class) probabilities."""
    return weight * probabilities[0] + (1 - weight) * probabilities[1]


def crossed(scores: Sequence[Tensor], targets: Tensor, fold: Tensor) -> tuple[Tensor, Tensor, Tensor, list[float]]:
    """Mix the items of each fold from 1 with a weight and temperatures from the items of all other folds.

    Returns:
        (probabilities (run, item, class); their mixture; those of the better run, chosen as the weight; the weights).
    """
    both, mixed, better, chosen = torch.stack([*scores]), *(torch.zeros_like(scores[0]) for _ in range(2)), []
    for number in fold[fold > 0].unique().tolist():
        others, own = fold != number, fold == number
        cooled = [table / fit_temperature(table[others], targets[others]) for table in scores]
        probabilities = torch.stack(cooled).softmax(-1)
        chosen.append(best(probabilities[:, others], targets[others]))
        alone = best(probabilities[:, others], targets[others], torch.tensor([0.0, 1.0]))
        mixed[own], better[own] = (mix(probabilities, weight)[own] for weight in (chosen[-1], alone))
        both[:, own] = probabilities[:, own]
    return both, mixed, better, chosen


def answer(inputs: Inputs) -> Section:
    """Score two runs and their mixtures on the same items.

    Raises:
        RunError: the runs have different classes.
    """
    first, second = inputs.runs
    if {*first.labels} != {*second.labels}:
        raise RunError(f"{first.folder} and {second.folder} have different classes; give two runs of the same classes")
    scored, train = inputs.known(inputs.scored), inputs.training
    new = [
        i for i, item in enumerate(train.items) if not any(run.split.was_trained_on(item.path) for run in inputs.runs)
    ]
    items, fold, source = inputs.folded(train.select(new))
    targets, mask = items.targets(first.labels), fold > 0
    columns = [[run.labels.index(label) for label in first.labels] for run in inputs.runs]
    scores = [inputs.scores(run, items).double()[:, own] for run, own in zip(inputs.runs, columns, strict=True)]
    both, mixed, better, chosen = crossed(scores, targets, fold)
    claimed = best(both[:, mask], targets[mask])

    def result(table: Tensor) -> Evaluation:
        paths = [item.path for item in scored.items]
        return Evaluation(first.labels, paths, targets[mask], table[mask], groups=scored.groups)

    base, rows = result(better), []
    for title, weight, table in (
        (f"RUN {first.folder.name} alone", "1", both[0]),
        (f"RUN2 {second.folder.name} alone", "0", both[1]),
        ("the better alone, chosen as the weight", "-", better),
        ("mixed, weight chosen on other items", ", ".join(f"{each:.2f}" for each in chosen), mixed),
        ("mixed, best weight on the scored items themselves", f"{claimed:.2f}", mix(both, claimed)),
    ):
        each = result(table)
        own = lead(*each.lead_over(base, scored.groups))
        rows.append([title, weight, rate(each.right, scored.groups), "-" if table is better else own])
    title = f"Against the better run alone, mixing changes top-1 by {rows[3][3]} points; other items chose the weight."
    notes = [
        f"Weight and temperatures come from {source}{', one weight per fold' * (len(chosen) > 1)}; weight 1 is RUN "
        "alone. The last row claims too much, since its weight was chosen on the items that it is scored on."
    ]
    caption = f"Top-1 in percent, {len(scored)} items ({inputs.where}); 95 % intervals"
    return Section("branches", title, notes, [Table(caption, ["", "weight of RUN", "top-1", "minus the better"], rows)])
