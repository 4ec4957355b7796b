"""The decision rule for claims: intervals over all looks together have at least 95 % coverage."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import nct
from scipy.stats import t as student

from paper import deciding
from paper.claims import LEVEL, LOOKS, QUOTED, answer, finding, seeds_needed
from paper.data import Runtime
from paper.report import write
from paper.results import FOLDER, Store
from paper.rows import Job, Row
from paper.running import Setting
from paper.section import Section, judge
from paper.simulating import false_rate, independent, sharing, verdict_rate
from paper.stats import Outcomes, interval
from paper.table1 import equal

PAPER = Path(__file__).parents[2] / "paper"
TEXT = PAPER.parents[1] / "shared" / "paper.txt"
PLAN = (PAPER / "PLAN.md").read_text(encoding="utf-8")


def seeds(mean: float, half: float, count: int = 5) -> list[float]:
    """Return differences whose interval at a look is mean ± half."""
    spread = np.resize([1.0, -1.0], count) if count % 2 == 0 else np.array([*np.resize([1.0, -1.0], count - 1), 0.0])
    _, unit = interval(list(spread), level=LEVEL)
    return list(mean + spread * half / unit)


@pytest.mark.parametrize(
    ("mean", "half", "expected"),
    [(2.3, 1.4, "above"), (-2.3, 1.4, "below"), (0.3, 1.4, "equal"), (1.3, 1.4, "open"), (-1.3, 1.4, "open")],
)
def test_where_an_interval_lies(mean, half, expected):
    assert finding(seeds(mean, half)) == expected
    assert finding([]) == finding([1.0]) == "open"


def test_several_comparisons_refute_only_at_a_higher_level():
    below = seeds(-4.0, 3.5)
    assert (finding(below), finding(below, comparisons=3)) == ("below", "open")
    assert finding(seeds(4.0, 3.5), comparisons=3) == "above"
    assert finding(seeds(-1.0, 0.9), comparisons=3) == "equal", "the margin needs no correction"
    names = [(name, seeds(mean, 3.5), [0.0] * 5) for name, mean in (("a", -4.0), ("b", 5.0), ("c", 6.0))]
    assert [judge(3, "x", names[:count]).answer for count in (1, 2, 3)] == ["does not hold", "undecided", "undecided"]


@pytest.mark.parametrize("comparisons", [1, 3, 6])
@pytest.mark.parametrize("draw", [independent, sharing])
def test_a_claim_without_a_difference_passes_in_5_percent(draw, comparisons):
    repeats = 500
    assert false_rate(draw, comparisons, repeats) <= 0.05 + 1.96 * (0.05 * 0.95 / repeats) ** 0.5


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        (["above", "above"], "holds"),
        (["above", "open"], "undecided"),
        (["below", "open"], "does not hold"),
        (["above", "equal"], "equivalent"),
        (["equal", "below"], "does not hold"),
        ([], "undecided"),
    ],
)
def test_a_claim_is_all_of_its_comparisons(findings, expected):
    assert answer(findings) == expected


@pytest.mark.parametrize(
    ("mean", "half", "expected"),
    [
        (0.3, 1.4, "holds"),
        (1.9, 1.4, "undecided"),
        (4.0, 2.5, "undecided"),
        (4.9, 2.8, "does not hold"),
        (-4.9, 2.8, "does not hold"),
    ],
)
def test_equality_holds_within_the_margin_and_not_beyond_it(mean, half, expected):
    verdict = equal(6, "x", Outcomes(seeds(mean, half)), Outcomes([0.0] * 5))
    assert (verdict.answer, verdict.why) == (expected, f"difference from text: {mean:+.1f} ±{half:.1f}")
    assert (verdict.needed is None) == (expected != "undecided")


def test_seeds_that_would_decide():
    needed = seeds_needed([seeds(4.0, 5.0, 6)])
    assert needed is not None
    deviation = 5.0 / student.ppf((1 + LEVEL) / 2, 5) * 6**0.5
    half = {
        count: student.ppf((1 + LEVEL) / 2, count - 1) * deviation / count**0.5 for count in (needed - 3, needed + 3)
    }
    assert half[needed - 3] > 4.0 > half[needed + 3]
    # A difference of zero is decided by the margin.
    flat = seeds_needed([seeds(0.0, 5.0, 6)])
    assert flat is not None
    assert flat > needed
    assert seeds_needed([[]]) is None
    # One comparison below zero is enough, at the level of two.
    low, zero = seeds(-4.0, 9.0, 6), seeds(0.0, 9.0, 6)
    numbers = [seeds_needed(differences) or 0 for differences in ([low], [low, zero], [zero])]
    assert numbers == sorted(set(numbers))


def test_power_of_the_rule_with_real_differences():
    """Normal differences give what the rule states; skewed ones more; a larger difference is found more often."""
    rng = np.random.default_rng(0)
    normal, skewed = rng.normal(size=40), rng.exponential(size=40)
    assert verdict_rate([normal], 0.0) < 0.065
    assert verdict_rate([skewed], 0.0) > verdict_rate([normal], 0.0)
    powers = [verdict_rate([normal], true) for true in (0.0, 0.2, 0.5, 1.0)]
    assert powers == sorted(powers)
    assert powers[-1] > 0.99
    # By the noncentral t of the last look alone, which is a lower bound.
    degrees, shift = LOOKS[-1] - 1, 0.5 * LOOKS[-1] ** 0.5 / normal.std(ddof=1)
    assert powers[2] >= nct.sf(student.ppf((1 + LEVEL) / 2, degrees), degrees, shift) - 0.03


@pytest.mark.nightly("paper")
def test_the_results_are_those_of_the_stored_rows(tmp_path):
    """Verdicts, intervals, seeds that would decide, tables and sums of RESULTS.md; `python -m paper report` writes it."""
    write(FOLDER, "mini", tmp_path / "RESULTS.md", tmp_path / "page.html")
    assert (tmp_path / "RESULTS.md").read_text("utf-8") == (PAPER / "RESULTS.md").read_text("utf-8")


@pytest.mark.skipif(not TEXT.is_file(), reason=f"{TEXT} is not there")
def test_what_is_quoted_of_the_paper_stands_in_it():
    text = TEXT.read_text(encoding="utf-8")
    numbers = [number for quote in QUOTED.values() for number in re.findall(r"\d+\.\d+", quote)]
    assert len(numbers) > 40
    assert [number for number in numbers if number not in text] == []


def add_runs(store, setting, title, values):
    for seed, value in enumerate(values):
        line = {"result": {"top1": float(value)}, "seconds": 10.0, "title": title}
        store.lines[setting.key(Job(title, seed, ROWS[title]))] = line


ROWS = {title: Row(title) for title in ("base", "early", "late", "never")}


def plan(setting):
    """Three claims, each that a row is better than the base row."""
    results = yield setting.jobs(ROWS)
    section = Section("x", "x")
    base = results.values("base")
    section.verdicts += [judge(1, name, [("a", results.values(name), base)]) for name in list(ROWS)[1:]]
    return section


def test_each_claim_is_examined_when_its_own_rows_have_a_look(monkeypatch, tmp_path):
    monkeypatch.setattr(deciding, "module", lambda name: type("M", (), {"plan": staticmethod(plan)}))
    store, setting = Store(tmp_path, "mini"), Setting(Runtime("mini"), (), digests=dict.fromkeys(ROWS, ""))
    noise = np.resize([1.0, -1.0], 40)
    add_runs(store, setting, "base", [0.0] * 40)
    add_runs(store, setting, "early", 9 + noise[:7])
    for count, answers, looked, following in (
        (4, ["holds", "undecided", "undecided"], [5, 4, 0], 5),
        (9, ["holds", "undecided", "undecided"], [5, 5, 0], 5),
        (10, ["holds", "does not hold", "undecided"], [5, 10, 0], 5),
    ):
        add_runs(store, setting, "late", 3 * noise[:count] - 4)
        result = deciding.last_look("x", setting, store)
        assert [verdict.answer for verdict in result.section.verdicts] == answers
        assert [verdict.looked for verdict in result.section.verdicts] == looked
        assert result.next_look == following
    # At ten seeds three runs of `early` are missing, and all of `never`, whose time is not known.
    assert deciding.cost("x", 10, setting, store) == 3 * 10.0
    add_runs(store, setting, "never", 1.5 + 3 * noise)
    last = deciding.last_look("x", setting, store).section.verdicts[-1]
    assert (last.answer, last.looked) == ("holds", 40)
