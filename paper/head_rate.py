"""The head's rate of the vision-only rows: the paper's two, and one that is chosen on training items alone.

The paper states one rate (5e-6, the encoder's) and publishes no vision-only code; its code has a ten times higher one
for new modules. So vision-only is run with its head at both, and with the best of five.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from paper.results import Results
from paper.rows import Job, Row
from paper.running import Setting
from paper.section import Verdict, judged

RATES = (1.0, 3.0, 10.0, 30.0, 100.0)
AT_ONE, AT_TEN, TUNED = "vision-only, head at 1x", "vision-only, head at 10x", "vision-only, head tuned"


def chosen_rate(setting: Setting, row: Row, name: str, *, draws: int = 1) -> Generator[list[Job], Results, float]:
    """The rate, over the encoder's, whose model is best on a fifth of the training items that is held out for it.

    Of so many draws, more where a draw holds out few; of equals the lowest. Where nothing was run it is 10.
    """
    rows = {
        rate: replace(row, head="linear", head_rate=rate, score="held-out", watch=0, views=("1x1",)) for rate in RATES
    }
    titles = {rate: f"choose a head rate: {name}, {rate:g}x" for rate in RATES}
    found = yield setting.jobs({titles[rate]: rows[rate] for rate in RATES}, seeds=setting.seeds[:draws])
    means = [float(np.mean(found.values(titles[rate]) or [0.0])) for rate in RATES]
    return RATES[int(np.argmax(means))] if max(means) else 10.0


def vision_only(row: Row, rate: float, suffix: str = "") -> dict[str, Row]:
    """The three vision-only rows."""
    rates = {AT_ONE: 1.0, AT_TEN: 10.0, TUNED: rate}
    return {title + suffix: replace(row, head="linear", head_rate=own) for title, own in rates.items()}


def strongest(values: Mapping[str, Sequence[float]], among: Sequence[str]) -> tuple[str, Sequence[float]]:
    """(title, values) of the row with the highest mean, on the scored items themselves.

    What is compared with it has the hardest of the baselines to beat, by whatever luck the choice of a rate had.
    """
    best = max(among, key=lambda title: float(np.mean(values[title] or [0.0])))
    return best, values[best]


def ahead(number: int, claim: str, pairs: Sequence[tuple[str, Mapping[str, Sequence[float]]]], text: str) -> Verdict:
    """The verdict on text against the strongest of the three vision-only rows, of each named set of values."""
    told = []
    for name, values in pairs:
        title, best = strongest(values, (AT_ONE, AT_TEN, TUNED))
        told.append((f"{name} ({title.removeprefix('vision-only, ')})", values[text], best))
    return judged(number, claim, told)
