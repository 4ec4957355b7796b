"""The head's rate of the vision-only rows: the paper's two, and one that is chosen on training items alone.

The paper states one rate (5e-6, the encoder's) and publishes no vision-only code; its code has a ten times higher one
for new modules. So vision-only is run with its head at both, and with the best of five.
"""

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from paper.results import Results
from paper.rows import Job, Row
from paper.running import Setting

RATES = (1.0, 3.0, 10.0, 30.0, 100.0)
AT_ONE, AT_TEN, TUNED = "vision-only, head at 1x", "vision-only, head at 10x", "vision-only, head tuned"


def chosen_rate(setting: Setting, row: Row, name: str) -> Generator[list[Job], Results, float]:
    """The rate, over the encoder's, whose model is best on a fifth of the training items that is held out for it.

    Of the first two seeds; of equals the lowest. Without a class of two items, or without the data, 10.
    """
    rows = {
        rate: replace(row, head="linear", head_rate=rate, score="held-out", watch=0, views=("1x1",)) for rate in RATES
    }
    titles = {rate: f"choose a head rate: {name}, {rate:g}x" for rate in RATES}
    found = yield setting.jobs({titles[rate]: rows[rate] for rate in RATES}, seeds=setting.seeds[:2])
    means = [float(np.mean(found.values(titles[rate]) or [0.0])) for rate in RATES]
    return RATES[int(np.argmax(means))] if max(means) else 10.0


def vision_only(row: Row, rate: float, suffix: str = "") -> dict[str, Row]:
    """The three vision-only rows."""
    rates = {AT_ONE: 1.0, AT_TEN: 10.0, TUNED: rate}
    return {title + suffix: replace(row, head="linear", head_rate=own) for title, own in rates.items()}
