"""Results of one experiment as plain values (tables, figures, notes, verdicts), and helpers to format them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paper.claims import LEVEL, MARGIN, Answer, answer, finding, seeds_needed
from paper.stats import interval, paired

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """A table of text cells with a caption."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Verdict:
    """The verdict on one of the paper's claims at this scale.

    Attributes:
        number: number of the claim in paper/PLAN.md.
        why: the comparisons with their intervals.
        seeds: number of seeds that all its rows have.
        needed: estimated number of seeds that would decide an undecided claim.
        times: number of seeds of its rows per seed of a look.
    """

    number: int
    claim: str
    answer: Answer
    why: str
    seeds: int = 0
    needed: int | None = None
    times: int = 1

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


def each(values: Sequence[float], digits: int = 1) -> str:
    """Format the value of every seed."""
    return " ".join(f"{value:.{digits}f}" for value in values) or "-"


def gap(a: Sequence[float], b: Sequence[float], digits: int = 1, *, level: float = 0.95) -> str:
    """Format the mean difference a - b over the seeds that both have, with its interval: "+3.1 ±2.0"."""
    if not a or not b:
        return "-"
    mean, half = paired(a, b, level=level)
    return f"{mean:+.{digits}f}" if min(len(a), len(b)) < 2 else f"{mean:+.{digits}f} ±{half:.{digits}f}"


def unseen(a: Sequence[float], b: Sequence[float]) -> str:
    """Say why two lists of values give no interval."""
    return f"{gap(a, b)}, one seed gives no interval" if a and b else "not run"


def judge(
    number: int,
    claim: str,
    pairs: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    *,
    margin: float = MARGIN,
    times: int = 1,
) -> Verdict:
    """Return the verdict on a claim that a > b in every comparison (name, a, b).

    A comparison uses the seeds that both rows have. Intervals have the level of a look (`paper.claims`).
    """
    whys, needed, digits = [], [], 1 if margin >= 1 else 2
    for name, a, b in pairs:
        run = min(len(a), len(b)) > 1
        whys.append(f"{name}: {gap(a, b, digits, level=LEVEL) if run else unseen(a, b)}")
        if finding(a, b, margin) == "open":
            needed.append(seeds_needed(a, b, margin))
    verdict = answer([finding(a, b, margin) for _, a, b in pairs])
    return Verdict(
        number,
        claim,
        verdict,
        "; ".join(whys),
        seeds=min((len(values) for _, *both in pairs for values in both), default=0),
        needed=max((count for count in needed if count is not None), default=None) if verdict == "undecided" else None,
        times=times,
    )
