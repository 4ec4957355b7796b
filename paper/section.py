"""Results of one experiment as plain values (tables, figures, notes, verdicts), and helpers to format them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from paper.claims import LEVEL, MARGIN, Answer, Finding, answer, finding, seeds_needed
from paper.stats import Outcomes, interval, noise_share, paired

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """A table of text cells with a caption."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    page_only: bool = False  # Left out of RESULTS.md.


@dataclass(frozen=True)
class Verdict:
    """The verdict on one of the paper's claims at this scale.

    Attributes:
        number: number of the claim in paper/PLAN.md.
        why: the comparisons with their intervals.
        closest: the comparison with the smallest difference.
        seeds: number of seeds that all its rows have.
        needed: estimated number of seeds that would decide an undecided claim.
        times: number of seeds of its rows per seed of a look.
        stands: whether the same verdict would be reached for other test items of the same kind; None if unknown.
        noise: share of the variance of the closest difference that is noise of single test items; None if unknown.
        differences: the differences of each comparison, by seed.
        margin: the equivalence margin.
    """

    number: int
    claim: str
    answer: Answer
    why: str
    closest: str = ""
    seeds: int = 0
    needed: int | None = None
    times: int = 1
    stands: bool | None = None
    noise: float | None = None
    differences: Sequence[Sequence[float]] = ()
    margin: float = MARGIN

    @property
    def looked(self) -> int:
        """Number of seeds, as those of a look are counted."""
        return self.seeds // self.times


@dataclass
class Section:
    """Results of one experiment."""

    name: str
    title: str
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[tuple["Figure", str]] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)


def cell(values: Sequence[float], digits: int = 1) -> str:
    """Format the mean and its 95 % interval: "64.2 ±3.1"; "-" if nothing was run."""
    if not values:
        return "-"
    mean, half = interval(values)
    return f"{mean:.{digits}f}" if len(values) < 2 else f"{mean:.{digits}f} ±{half:.{digits}f}"


def gap(a: Sequence[float], b: Sequence[float], digits: int = 1, *, level: float = 0.95) -> str:
    """Format the mean difference a - b over the seeds that both have, with its interval: "+3.1 ±2.0"."""
    if not a or not b:
        return "-"
    mean, half = paired(a, b, level=level)
    return f"{mean:+.{digits}f}" if min(len(a), len(b)) < 2 else f"{mean:+.{digits}f} ±{half:.{digits}f}"


def with_lead(first: Sequence[float], own: Sequence[float]) -> str:
    """Format a row's values, and the lead of the first row over it if it is another: "64.2 ±3.1, +2.0 ±0.5"."""
    return cell(own) if own is first else f"{cell(own)}, {gap(first, own)}"


def unseen(a: Sequence[float], b: Sequence[float]) -> str:
    """Say why two lists of values give no interval."""
    return f"{gap(a, b)}, one seed gives no interval" if a and b else "not run"


def judge(
    number: int,
    claim: str,
    pairs: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    *,
    margin: float = MARGIN,
    group: int = 1,
    tested: int | None = None,
) -> Verdict:
    """Return the verdict on a claim that a > b in every comparison (name, a, b), for new seeds on these test items.

    A comparison uses the seeds that both rows have. Intervals have the level of a look (`paper.claims`).

    Args:
        group: show only the closest of every so many comparisons.
        tested: number of comparisons to correct for; None: all.
    """
    digits, tested = 1 if margin >= 1 else 2, tested or len(pairs)
    differences = [Outcomes(a) - Outcomes(b) for _, a, b in pairs]
    findings: list[Finding] = [finding(each, margin, tested) for each in differences]
    elsewhere: list[Finding] = [finding(each, margin, tested, new_items=True) for each in differences]
    means = [float(np.mean(each)) if each else 0.0 for each in differences]
    noise = [noise_share(each) for each in differences]
    whys = [
        f"{name}: {gap(a, b, digits, level=LEVEL) if min(len(a), len(b)) > 1 else unseen(a, b)}" for name, a, b in pairs
    ]

    def closest(indices: Sequence[int]) -> int:
        return min(indices, key=lambda index: (findings[index] != "below", means[index]))

    every, verdict = range(len(pairs)), answer(findings)
    shown = [closest(every[start : start + group]) for start in every[::group]]
    main = closest(shown) if shown else None
    return Verdict(
        number,
        claim,
        verdict,
        (f"closest of {group} each: " if group > 1 else "") + "; ".join(whys[index] for index in shown),
        closest="" if main is None else whys[main],
        seeds=min(map(len, differences), default=0),
        needed=seeds_needed(differences, margin, tested) if verdict == "undecided" else None,
        stands=None if None in noise else answer(elsewhere) == verdict,
        noise=None if main is None else noise[main],
        differences=differences,
        margin=margin,
    )
