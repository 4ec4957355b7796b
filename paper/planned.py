"""Model, schedule and cost of full-scale rows, without data or weights (the model is built on `meta`).

Data set sizes are from the published lists and logs; GPU speeds are derived from the paper's own tables.
"""

import math
import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import torch

import texthead as th
from paper.fit import recipe_for
from paper.rows import Job, Row
from texthead.data import Pixels, Views
from texthead.encoders import build_visual, spec_of
from texthead.errors import RunError
from texthead.models import cost, make_temporal
from texthead.training import with_margin


class Amount(NamedTuple):
    """Size of a data set: training items, test items and classes."""

    train: int
    test: int
    classes: int


ITEMS: Mapping[str, Amount] = MappingProxyType(
    {
        "k400": Amount(240_513, 19_796, 400),
        "ucf101": Amount(9_537, 3_783, 101),
        "hmdb51": Amount(3_570, 1_530, 51),
        "anet": Amount(12_770, 4_926, 200),
        "imagenet": Amount(1_281_167, 50_000, 1_000),
    }
)

# Training speed in floating-point operations per second. V100: from Table 6's 3.3 days for ViT-B/16, 8 frames, 30
# epochs of Kinetics-400. A100: Table 12 gives 31.3e12 (ViT-B/16), 36.0e12 (L/14) and 29.8e12 (L/14 at 336 pixels).
RATES: Mapping[str, float] = MappingProxyType({"V100": 21.4e12, "A100": 31.3e12})

# A backward pass costs twice a forward pass.
_PASSES = 3


class Planned(NamedTuple):
    """Model, schedule and cost of one full-scale row.

    Attributes:
        items, tested: items per epoch, and test items.
        steps: total optimizer steps; 0 for zero-shot.
        parameters: of the model.
        multiply_adds: of one clip.
        operations: floating-point operations of training and testing.
    """

    title: str
    encoder: str
    recipe: th.Recipe
    pixels: Pixels
    views: tuple[str, ...]
    items: int
    tested: int
    steps: int
    parameters: int
    multiply_adds: float
    operations: float

    def hours(self, gpu: str) -> float:
        """Return the hours on one GPU of a kind in RATES."""
        return self.operations / RATES[gpu] / 3600


def planned(job: Job) -> Planned:
    """Build a row's model on `meta` and count its operations.

    Raises:
        RunError: the title contradicts the row's settings.
    """
    row, amount = job.row, ITEMS[job.row.data]
    items = trained_items(row, amount)
    spec = spec_of(row.encoder)
    recipe = with_margin(recipe_for(row, items, job.seed), spec)
    pixels = spec.pixels(recipe)
    kind = "mean" if recipe.frames == 1 else recipe.temporal
    counts = _counts(row.encoder, kind, recipe.frames, pixels.size, amount.classes)
    steps = 0 if row.k == 0 else recipe.epochs * math.ceil(items / recipe.batch)
    tested = ITEMS[row.scored or row.data].test
    clips = _PASSES * items * (recipe.epochs if steps else 0)
    clips += tested * sum(Views.parse(views).count for views in row.views)
    if row.after:
        before = ITEMS[row.after].train
        clips += _PASSES * before * recipe.epochs
        steps += recipe.epochs * math.ceil(before / recipe.batch)
    plan = Planned(
        title=job.title,
        encoder=row.encoder,
        recipe=recipe,
        pixels=pixels,
        views=row.views,
        items=items,
        tested=tested,
        steps=steps,
        parameters=counts.parameters,
        multiply_adds=counts.multiply_adds,
        operations=2.0 * counts.multiply_adds * clips,
    )
    _check_title(plan)
    return plan


@cache
def _counts(encoder: str, kind: str, frames: int, size: int, classes: int) -> cost.Counts:
    """Count parameters and the multiply-adds of one clip, for an encoder with a temporal module and a head."""
    spec = spec_of(encoder)
    with torch.device("meta"):
        visual = build_visual(spec)
        options = {"dim": spec.dim} if kind == "transformer" else {"start": "shift"} if kind != "mean" else {}
        head = th.LinearHead(spec.dim, names=[str(index) for index in range(classes)])
        model = th.Recognizer(visual, make_temporal({"kind": kind, **options}, visual), head)
    return cost.count(model, frames=frames, size=size)


def trained_items(row: Row, amount: Amount) -> int:
    """Return the number of items per epoch."""
    if row.full_length or not (row.k or row.fraction or row.unseen or row.score == "held-out"):
        return amount.train
    classes = amount.classes - round(row.unseen * amount.classes)
    items = classes * row.k * max(1, row.drawing_processes) if row.k else amount.train * classes / amount.classes
    return round(items * (row.fraction or 1.0) * (0.8 if row.score == "held-out" else 1.0))


def _check_title(plan: Planned) -> None:
    """Raise RunError if frames, pixels or epochs in the title differ from the row's settings."""
    expected = {
        r"(\d+) frames": plan.recipe.frames,
        r"(?:, |at )(224|336)\b": plan.pixels.size,
        r"(\d+) pixels": plan.pixels.size,
        r"(\d+) epochs?\b": plan.recipe.epochs,
    }
    for pattern, value in expected.items():
        number = re.search(pattern, plan.title)
        if number and int(number[1]) != value:
            raise RunError(
                f"row {plan.title!r}: its title says {number[0]}, but its setting is {value}; correct one of them"
            )


def table(jobs: list[Job]) -> list[tuple[str, ...]]:
    """Return the cells of each row, for one seed, and of the sum."""
    lines, total = [], dict.fromkeys(RATES, 0.0)
    for job in {job.title: job for job in jobs}.values():
        row = planned(job)
        r = row.recipe
        for gpu in RATES:
            total[gpu] += row.hours(gpu)
        lines.append(
            (
                row.title,
                row.encoder,
                f"{r.frames}x{row.pixels.size} of {row.pixels.resize}",
                "mean" if r.frames == 1 else r.temporal,
                f"{row.items:,} x {r.epochs}" if row.steps else "-",
                f"{row.steps:,}",
                f"{r.batch}",
                f"{r.lr:g}, {r.lr_new:g}",
                ", ".join(row.views),
                f"{row.parameters / 1e6:.0f}",
                f"{row.multiply_adds / 1e9:.0f}",
                *(f"{row.hours(gpu):.1f}" for gpu in RATES),
            )
        )
    return [*lines, ("all rows, one seed", *[""] * 10, *(f"{hours:.0f}" for hours in total.values()))]


HEADERS = (
    *("row", "encoder", "frames x pixels", "temporal", "items x epochs", "steps", "batch", "rates", "views"),
    *("parameters, M", "multiply-adds per clip, G"),
    *(f"{gpu}-hours" for gpu in RATES),
)
