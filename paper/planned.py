"""Model, schedule and cost of full-scale rows, without data or weights (the model is built on `meta`).

Data set sizes are from the published lists and logs; GPU speeds are derived from the paper's own tables.
"""

import math
import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

import texthead as th
from paper import k600, quoted, table2, table4, table6, tuned
from paper.costs import costs
from paper.data import K600, VIDEOS
from paper.fit import recipe_for
from paper.rows import Job, Row
from texthead import Views
from texthead.data import Pixels
from texthead.encoders import spec_of
from texthead.errors import RunError
from texthead.training import with_margin


class Amount(NamedTuple):
    """Size of a data set: training items, test items and classes."""

    train: int
    test: int
    classes: int


ITEMS: Mapping[str, Amount] = MappingProxyType(
    {
        "k400": Amount(240_513, 19_796, 400),
        "ucf101": Amount(9_537, VIDEOS["ucf101"], 101),
        "ucf101-full": Amount(0, VIDEOS["ucf101-full"], 101),
        "hmdb51": Amount(3_570, 1_530, 51),
        "anet": Amount(12_770, 4_926, 200),
        "imagenet": Amount(1_281_167, 50_000, 1_000),
        **{name: Amount(0, VIDEOS[name], 160) for name in K600},
    }
)

# Training speed in floating-point operations per second. V100: from Table 6's 3.3 days for ViT-B/16, 8 frames, 30
# epochs of Kinetics-400. A100: Table 12 gives 31.3e12 (ViT-B/16), 36.0e12 (L/14) and 29.8e12 (L/14 at 336 pixels).
RATES: Mapping[str, float] = MappingProxyType({"V100": 21.4e12, "A100": 31.3e12})

# A backward pass costs twice a forward pass.
_PASSES = 3

# Sec. 4.1, "for experiments on all datasets".
BATCH, RATE = 128, 5e-6

# TAP where the text says so (vision-only and Table 8) or the accuracy is Table 2's 80.13 (Table 3), T-Trans where it is
# 81.52. Fig. 1, Table 9 and what is not in the paper: as `python -m paper list EXPERIMENT` says.
TEMPORAL: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("fig3", "fig4", "table3", "table8", "table9", "tuned"), "mean"),
        **dict.fromkeys(("fig1", "table1", "table4", "table5", "table6", "table7"), "transformer"),
        **dict.fromkeys(("unfrozen", "ucf_hmdb", "anet", "k600"), "transformer"),
    }
)

# GPU-hours that the paper, or the published code's log, states, by experiment and row.
HOURS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        **{("table6", title): f"{24 * row[2]:.0f} V100" for title, row in table6.PAPER.items()},
        **{("table12", f"{net}, {size}"): f"{24 * row[4]:.0f} A100" for (net, size), row in quoted.TABLE12.items()},
        ("table4", table4.ONE): "80",  # 10 hours on 8 GPUs
        ("k600", k600.MODEL): "216 (log)",
    }
)

# Remarks on the hours of an experiment.
NOTES: Mapping[str, str] = MappingProxyType(
    {
        "table4": "Table 4's 80 hours are the paper's 10 hours on 8 GPUs, which it does not name.",
        "table6": (
            "Counted operations do not explain that the paper's hours double with batch gather: the gather adds four "
            "millionths, the tuned text encoder 2 %. The cause is not known."
        ),
        "k600": (
            "The log: 216 GPU-hours in all, 186 of them training steps (docs/reference/scale.md), with batches of 256. "
            "It does not name its 32 GPUs, so why it took fewer hours than the counted V100-hours is not known."
        ),
    }
)


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


def planned(job: Job, experiment: str) -> Planned:
    """Build a row's model on `meta` and count its operations.

    Raises:
        RunError: the title or the paper contradicts the row's settings.
    """
    row, amount = job.row, ITEMS[job.row.data]
    items = trained_items(row, amount)
    spec = spec_of(row.encoder)
    recipe = with_margin(recipe_for(row, items, job.seed), spec)
    pixels = spec.pixels(recipe)
    kind = "mean" if recipe.frames == 1 else recipe.temporal
    shape = {"frames": recipe.frames, "size": pixels.size, "classes": amount.classes}
    counts = costs(row.encoder, **shape, temporal=kind)
    steps = 0 if row.k == 0 else recipe.epochs * math.ceil(items / recipe.batch)
    tested = sum(ITEMS[name].test for name in (row.scored or row.data, *row.zero_shot))
    trained = _PASSES * items * (recipe.epochs if steps else 0)
    clips = trained + tested * sum(Views.parse(views).count for views in row.views)
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
        operations=2.0 * (counts.multiply_adds * clips + _matching(row, recipe.batch) * trained),
    )
    _check_title(plan)
    _check_paper(plan, experiment)
    return plan


def _matching(row: Row, batch: int) -> float:
    """Return the multiply-adds of a clip's prompt and similarities, forwards; 0 for Eq. 3.

    Online encodes a prompt for each clip. With gather each process computes the similarities of the whole batch.
    """
    if row.matching is None:
        return 0.0
    prompt = text_multiply_adds(row.encoder) if row.online else 0
    return prompt + spec_of(row.encoder).dim * batch * (row.processes if row.gather else 1 / row.processes)


@cache
def text_multiply_adds(encoder: str) -> int:
    """Count the multiply-adds of one prompt in the text tower of an open_clip encoder."""
    import open_clip

    config: Any = open_clip.get_model_config(encoder.removeprefix("openclip:").partition("/")[0])
    with torch.device("meta"), FlopCounterMode(display=False) as flops:
        tower = open_clip.CLIP(**config)
        tower.encode_text(torch.zeros(1, tower.context_length, dtype=torch.long))
    return flops.get_total_flops() // 2


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


def _check_paper(plan: Planned, experiment: str) -> None:
    """Raise RunError if batch size, learning rate or temporal module differ from the paper's."""
    recipe = plan.recipe
    module = table2.MODULES.get(plan.title.rpartition(", ")[2]) if experiment == "table2" else TEMPORAL.get(experiment)
    rate = re.search(r"([\d.]+)x rate", plan.title)
    rates = [f for f in (tuned.RATES if experiment == "tuned" else (1,)) if not rate or f"{f:.2g}" == rate[1]]
    stated = {
        "batch": [BATCH],
        "lr": [RATE * factor for factor in rates],
        "temporal": [module if module and recipe.frames > 1 else recipe.temporal],
    }
    for name, values in stated.items():
        if getattr(recipe, name) not in values:
            value, *texts = (f"{each:g}" if name == "lr" else str(each) for each in (getattr(recipe, name), *values))
            raise RunError(
                f"row {plan.title!r} of {experiment}: {name} is {value}, but its title or the paper states "
                f"{' or '.join(texts)}; correct the row, or its entry in paper/planned.py"
            )


def table(jobs: list[Job], experiment: str) -> list[tuple[str, ...]]:
    """Return the cells of each row, for one seed, and of the sum."""
    lines, total = [], dict.fromkeys(RATES, 0.0)
    for job in {job.title: job for job in jobs}.values():
        row = planned(job, experiment)
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
                HOURS.get((experiment, row.title), ""),
            )
        )
    return [*lines, ("all rows, one seed", *[""] * 10, *(f"{hours:.0f}" for hours in total.values()), "")]


HEADERS = (
    *("row", "encoder", "frames x pixels", "temporal", "items x epochs", "steps", "batch", "rates", "views"),
    *("parameters, M", "multiply-adds per clip, G"),
    *(f"{gpu}-hours" for gpu in RATES),
    "stated hours",
)
CAPTION = f"""frames x pixels: "8x224 of 256" is 8 frames, resized to a short side of 256 pixels and cropped to 224x224.
rates: learning rate of the encoder, of new modules. views: clips x crops per test item. multiply-adds: forward pass.
{" and ".join(f"{gpu}-hours" for gpu in RATES)}: operations of training and testing at \
{" and ".join(f"{rate / 1e12:.1f}" for rate in RATES.values())} TFLOP/s, the speeds at which the paper's times result
for Table 6's "ours" (3.3 V100-days) and Table 12's ViT-B/16 (0.5 A100-days). Communication and waiting are not counted.
stated hours: GPU-hours that the paper or a published log states for the row; empty: none stated."""
