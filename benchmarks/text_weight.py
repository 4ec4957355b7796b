"""Ways to weigh class names against labelled items without validation items, on frozen `mini`.

    python -m benchmarks.text_weight --data ../shared/data [--sets clothing airborne] [--draws 10]

Sets and draws are those of `benchmarks.choosing` (K items per class, top-1) and `benchmarks.unbalanced` (2 in half
of the classes and 20, or all there are, in the others; the mean over classes). The test items choose nothing, except in
the row named oracle. Spanish and German names of clothing are printed and count in no mean. Leads of ours
are paired by draw, with the 95 % t-interval over all draws of all sets.

All methods get the same unit features, minus the mean of the class means, and the same text rows. The constants of our
head were chosen on training items of these sets; those of the others are published, or stated here, and not tuned.

Our head with several weights:
    ours            `text_probe_head` with `familiarity_scaled_rows`
    no text, fixed  weight 0; weight 1 at the middle scale with all names trusted alike
    held-out shot   one of WEIGHTS by the cross-entropy of one held-out item a class (HOSO's idea), then a fit to all
    oracle          the best of these heads on the test items of each draw: an upper bound, not a method
Others, with the temperature of `mini`. Of the papers only abstracts and first pages were found; for CLAP and SS-Text
equations and constants are what their published programs compute.
    HOSO-Adapter    Vorster et al., arXiv:2603.04341: CLIP-Adapter with a blending ratio trained on one held-out item a
                    class, and the adapter on the others. Its settings were not found. Here the ratio is a sigmoid that
                    begins at 0.2, steps are those of CLAP, and neither sees the other's gradient (3 draws: slow).
    CLAP            Silva-Rodriguez et al., CVPR 2024, arXiv:2312.12730: rows begin as text rows and are pulled to them
                    by the mean probability that zero-shot gives to each class's items. Differs: one view an item
                    instead of 20, rows of length 1, no first epoch at a low rate.
    SS-Text         Silva-Rodriguez et al., arXiv:2506.17500: text row + sum of the class's items / temperature
    SS-Text+        its second form: sums weighted by class share, and rows that repel one another
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, one_hot

from benchmarks.choosing import SETS, mean_and_half, read_sets
from benchmarks.unbalanced import drawn, recalls
from texthead.data import splits
from texthead.features.frozen import FrozenItems
from texthead.transfer import linear_probes
from texthead.transfer.linear_probes import SCALES, TextEvidence, class_center, text_probe_head

WEIGHTS, MIDDLE, HOSO_DRAWS = (0.0, 0.25, 0.5, 1.0, 2.0), float(np.median(SCALES)), 3
COLUMNS = ("1", "2", "4", "8", "16", "2/20")
METHODS = ("ours", "no text", "fixed", "held-out shot", "HOSO-Adapter", "CLAP", "SS-Text", "SS-Text+", "oracle")

Scores = Float[Tensor, "tests classes"]
Percents = dict[str, list[float]]  # of each draw, by method


class Names(NamedTuple):
    """Rows of length 1, rows as long as their names are known, labels, and the encoder's temperature."""

    text: Float[Tensor, "classes dim"]
    known: Float[Tensor, "classes dim"]
    labels: Sequence[str]
    scale: float


def weighted(names: Names, rows: Tensor, weight: float | None, items: FrozenItems, tests: Tensor) -> Scores:
    """Return the scores of our head; with a weight, that of the text is not estimated."""
    evidence = linear_probes.text_evidence if weight is None else lambda *_: TextEvidence(MIDDLE, weight)
    with patch.object(linear_probes, "text_evidence", evidence), torch.inference_mode():
        return text_probe_head(rows, items.features, items.targets, names=names.labels)(tests)


def held_out_shot(targets: Int[Tensor, " items"], seed: int) -> Bool[Tensor, " items"] | None:
    """Return a random item of each class; None if a class has only one."""
    if int(targets.bincount().min()) < 2:
        return None
    held = torch.zeros(len(targets), dtype=torch.bool)
    numbers = np.random.default_rng(seed)
    held[[numbers.choice(np.flatnonzero(targets == label)) for label in targets.unique()]] = True
    return held


def trained(parameters: Sequence[Tensor], loss: Callable[[], Tensor], steps: int = 300) -> None:
    """Minimise a loss as CLAP does: SGD of rate 0.1 with momentum, a cosine schedule, all items in each step."""
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()


def clap(text: Tensor, x: Tensor, y: Tensor, tests: Tensor, scale: float) -> Scores:
    """Return the scores of CLAP."""
    zero_shot = (scale * x @ text.T).softmax(1)
    multipliers = torch.stack([zero_shot[y == label, label].mean() for label in range(len(text))])
    rows = text.clone().requires_grad_()

    def loss() -> Tensor:
        pull = (multipliers * (rows - text).square().sum(1)).mean()
        return cross_entropy(scale * x @ normalize(rows, dim=1).T, y) + pull

    trained([rows], loss)
    return tests @ normalize(rows.detach(), dim=1).T


def hoso_adapter(text: Tensor, x: Tensor, y: Tensor, tests: Tensor, scale: float, held: Tensor) -> Scores:
    """Return the scores of HOSO-Adapter."""
    width = x.shape[1]
    torch.manual_seed(0)
    layers = (nn.Linear(width, width // 4, bias=False), nn.ReLU(), nn.Linear(width // 4, width, bias=False), nn.ReLU())
    adapter, ratio = nn.Sequential(*layers), torch.tensor(0.2).logit().requires_grad_()

    def scores(items: Tensor, adapted: Tensor, own: Tensor) -> Tensor:
        return scale * normalize(own * adapted + (1 - own) * items, dim=1) @ text.T

    def loss() -> Tensor:
        adapted, own = adapter(x), ratio.sigmoid()
        of_adapter = cross_entropy(scores(x, adapted, own.detach())[~held], y[~held])
        return of_adapter + cross_entropy(scores(x, adapted.detach(), own)[held], y[held])

    trained([*adapter.parameters(), ratio], loss)
    with torch.inference_mode():
        return scores(tests, adapter(tests), ratio.sigmoid())


def ss_text(text: Tensor, x: Tensor, y: Tensor, tests: Tensor, scale: float, *, plus: bool) -> Scores:
    """Return the scores of SS-Text or SS-Text+."""
    hot = one_hot(y, len(text)).float()
    rows = text + scale * (hot * hot.mean(0) if plus else hot).T @ x
    if plus:
        rows = rows - normalize(2 * rows - rows.mean(0), dim=1)
    return tests @ normalize(rows, dim=1).T


def one_draw(names: Names, items: FrozenItems, tests: Tensor, seed: int) -> tuple[dict[str, Scores], list[Scores]]:
    """Return the scores of each method, and those that the oracle chooses from."""
    center, y = class_center(items.features, items.targets), items.targets
    x, q = (normalize(each - center, dim=1) for each in (items.features, tests))
    grid = [weighted(names, names.known, weight, items, tests) for weight in WEIGHTS]
    scores = {
        "ours": weighted(names, names.known, None, items, tests),
        "no text": grid[0],
        "fixed": weighted(names, names.text, 1.0, items, tests),
        "CLAP": clap(names.text, x, y, q, names.scale),
        "SS-Text": ss_text(names.text, x, y, q, names.scale, plus=False),
        "SS-Text+": ss_text(names.text, x, y, q, names.scale, plus=True),
    }
    held = held_out_shot(y, seed)
    if held is not None:
        kept, out = (items.select(torch.nonzero(each)[:, 0].tolist()) for each in (~held, held))
        shots = [weighted(names, names.known, weight, kept, out.features) for weight in WEIGHTS]
        scores["held-out shot"] = grid[int(np.argmin([float(cross_entropy(each, out.targets)) for each in shots]))]
        if seed < HOSO_DRAWS:
            scores["HOSO-Adapter"] = hoso_adapter(names.text, x, y, q, names.scale, held)
    return scores, [*grid, scores["ours"], scores["fixed"]]


def percent(scores: Scores, truth: Int[np.ndarray, " tests"], even: bool) -> float:
    """Return top-1, or the mean over classes."""
    right = scores.numpy().argmax(1) == truth
    return float(100 * right.mean() if even else recalls(scores.numpy(), truth).mean())


def measured(sets: Sequence[str], data: Path, draws: int) -> Iterator[tuple[str, str, Percents]]:
    """Yield (column, set, percents)."""
    for name, experiment, train, tests in read_sets(sets, data):
        text, known = (
            experiment.encoder.text_rows(experiment.prompts),
            experiment.encoder.familiarity_scaled_rows(experiment.names, experiment.prompts),
        )
        names, truth = Names(text, known.detach(), experiment.labels, experiment.encoder.scale), tests.targets.numpy()
        for column in COLUMNS:
            few, *many = map(int, column.split("/"))
            if not many and few > int(train.targets.bincount().min()):
                continue
            values: Percents = {}
            for seed in range(draws):
                draw = drawn(train.targets.numpy(), few, many[0], seed) if many else None
                draw = draw or splits.k_shot(train.data.label_sets, few, names=train.data.item_names, seed=seed)
                scores, heads = one_draw(names, train.select(draw), tests.features, seed)
                for method, each in scores.items():
                    values.setdefault(method, []).append(percent(each, truth, not many))
                values.setdefault("oracle", []).append(max(percent(each, truth, not many) for each in heads))
            yield column, name, values


def cells(of_sets: list[Percents], method: str) -> tuple[str, str]:
    """Return the mean of a method over sets with its range, and the lead of ours with its interval and worst set."""
    pairs = [np.array(list(zip(each["ours"], each[method], strict=False))).T for each in of_sets if method in each]
    if not pairs:
        return "-", "-"
    means, leads = [float(each[1].mean()) for each in pairs], [each[0] - each[1] for each in pairs]
    mean, half = mean_and_half(np.concatenate(leads).tolist())
    worst = min(float(each.mean()) for each in leads)
    lead = f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f}; worst set {worst:+.1f})"
    return f"{np.mean(means):.1f} ({min(means):.0f} to {max(means):.0f})", lead


def main() -> None:
    """Print the means over sets, and the leads of ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    options = parser.parse_args()
    found: dict[str, list[Percents]] = {column: [] for column in COLUMNS}
    for column, name, values in measured(options.sets, options.data, options.draws):
        if name in SETS:
            found[column].append(values)
        print(f"{name} {column}:", *(f"{method} {np.mean(each):.1f}" for method, each in values.items()), flush=True)
    header = [f"{column} ({len(of_sets)} sets)" for column, of_sets in found.items()]
    for number, title in enumerate(("mean of sets (range)", "lead of ours (95 % interval)")):
        print(f"\n| {title} | {' | '.join(header)} |\n{'|---' * (len(header) + 1)}|")
        for method in METHODS[number:]:
            print(f"| {method} | {' | '.join(cells(of_sets, method)[number] for of_sets in found.values())} |")


if __name__ == "__main__":
    main()
