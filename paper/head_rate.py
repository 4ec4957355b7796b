"""Learning rate of the vision-only head: 1x and 10x the encoder's, and one tuned on training items.

The paper states one learning rate (5e-6, the encoder's) and publishes no vision-only code; its published code uses ten
times that for new modules. So vision-only is run at both rates and at the best of five.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from paper.results import Results
from paper.rows import Job, Row
from paper.running import Setting
from paper.section import Verdict, judge

RATES = (1.0, 3.0, 10.0, 30.0, 100.0)
AT_ONE, AT_TEN, TUNED = "vision-only, head at 1x", "vision-only, head at 10x", "vision-only, head tuned"


def chosen_rate(setting: Setting, row: Row, name: str, *, draws: int = 1) -> Generator[list[Job], Results, float]:
    """Return the best head rate relative to the encoder's, by accuracy on a held-out fifth of the training items.

    Averages over `draws` draws of the held-out fifth; ties take the lowest rate. Returns 10 if nothing was run.
    """
    rows = {
        rate: replace(row, head="linear", head_rate=rate, score="held-out", watch=0, views=("1x1",)) for rate in RATES
    }
    titles = {rate: f"choose a head rate: {name}, {rate:g}x" for rate in RATES}
    results = yield setting.jobs({titles[rate]: rows[rate] for rate in RATES}, seeds=setting.seeds[:draws])
    means = [float(np.mean(results.values(titles[rate]) or [0.0])) for rate in RATES]
    return RATES[int(np.argmax(means))] if max(means) else 10.0


def vision_only(row: Row, rate: float, suffix: str = "") -> dict[str, Row]:
    """Return the three vision-only rows: head at 1x, at 10x and at the tuned rate."""
    rates = {AT_ONE: 1.0, AT_TEN: 10.0, TUNED: rate}
    return {title + suffix: replace(row, head="linear", head_rate=factor) for title, factor in rates.items()}


def ahead(number: int, claim: str, pairs: Sequence[tuple[str, Mapping[str, Sequence[float]]]], text: str) -> Verdict:
    """Return the verdict on text against each of the three vision-only rows in each named comparison."""
    comparisons = [
        (f"{name} ({title.removeprefix('vision-only, ')})", values[text], values[title])
        for name, values in pairs
        for title in (AT_ONE, AT_TEN, TUNED)
    ]
    return judge(number, claim, comparisons, group=3)
