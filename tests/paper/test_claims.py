"""The decision rule for claims: intervals over all looks together have at least 95 % coverage."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import nct
from scipy.stats import t as student

from paper import deciding
from paper.claims import CLAIMS, EDITIONS, LEVEL, LOOKS, MARGIN, QUOTED, answer, finding, next_look, seeds_needed
from paper.data import Runtime
from paper.report import claims, power_note, summary, tally
from paper.results import Store
from paper.rows import Job, Row
from paper.running import Setting
from paper.section import Section, judge
from paper.simulating import false_rate, independent, sharing, verdict_rate
from paper.stats import Outcomes, interval
from paper.table1 import equal

TEXT = Path(__file__).parents[3] / "shared" / "paper.txt"
PLAN = (Path(__file__).parents[2] / "paper" / "PLAN.md").read_text(encoding="utf-8")


def seeds(mean: float, half: float, count: int = 5) -> list[float]:
    """Return differences whose interval at a look is mean ± half."""
    spread = np.resize([1.0, -1.0], count) if count % 2 == 0 else np.array([*np.resize([1.0, -1.0], count - 1), 0.0])
    _, unit = interval(list(spread), level=LEVEL)
    return list(mean + spread * half / unit)


def pair(name: str, mean: float, half: float, count: int = 5) -> tuple[str, list[float], list[float]]:
    return name, seeds(mean, half, count), [0.0] * count


@pytest.mark.parametrize(
    ("mean", "half", "expected"),
    [(2.3, 1.4, "above"), (-2.3, 1.4, "below"), (0.3, 1.4, "equal"), (1.3, 1.4, "open"), (-1.3, 1.4, "open")],
)
def test_where_an_interval_lies(mean, half, expected):
    assert finding(seeds(mean, half)) == expected


def test_nothing_and_one_seed_are_open():
    assert finding([]) == finding([1.0]) == "open"


def test_several_comparisons_refute_only_at_a_higher_level():
    below = seeds(-4.0, 3.5)
    assert (finding(below), finding(below, comparisons=3)) == ("below", "open")
    assert finding(seeds(4.0, 3.5), comparisons=3) == "above"
    assert finding(seeds(-1.0, 0.9), comparisons=3) == "equal", "the margin needs no correction"
    names = [pair(name, mean, 3.5) for name, mean in (("a", -4.0), ("b", 5.0), ("c", 6.0))]
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
    note = power_note([Section("a", "A", verdicts=[judge(3, "x", [pair("a", 0.1, 5.0, 40)])])])
    assert "the 1 claims with 10 seeds" in note
    assert "of 1 undecided claims 1 had 40 seeds, and 0 stopped at 10 or fewer" in note
    assert "No claim has 10 seeds" in power_note([Section("a", "A")])


def test_looks_follow_one_another():
    assert [next_look(look) for look in LOOKS] == [10, 20, 40, None]


@pytest.mark.skipif(not TEXT.is_file(), reason=f"{TEXT} is not there")
def test_what_is_quoted_of_the_paper_stands_in_it():
    text = TEXT.read_text(encoding="utf-8")
    numbers = [number for quote in QUOTED.values() for number in re.findall(r"\d+\.\d+", quote)]
    assert len(numbers) > 40
    assert [number for number in numbers if number not in text] == []


def test_the_plan_says_what_the_code_does():
    assert f"after {', '.join(map(str, LOOKS[:-1]))} and {LOOKS[-1]} seeds" in PLAN
    assert f"level {100 * LEVEL:.2f} %" in PLAN
    assert f"{MARGIN:g} points of accuracy" in PLAN
    assert (f"first edition ({EDITIONS[0]})" in PLAN, f"Second edition, written on {EDITIONS[1]}" in PLAN) == (
        True,
        True,
    )
    assert f"level 1 - 0.05 / ({len(LOOKS)} m)" in PLAN


def test_a_verdict_says_how_many_seeds_it_has_and_would_need():
    result = judge(3, "x", [pair("a", 4.0, 5.0, 6), pair("b", 9.0, 1.0, 6)])
    assert (result.answer, result.seeds) == ("undecided", 6)
    assert result.needed == seeds_needed([seeds(4.0, 5.0, 6)])
    assert (result.closest, result.stands, result.noise) == ("a: +4.0 ±5.0", None, None)
    assert re.findall(r"[ab]: \+\d\.\d ±\d\.\d", result.why) == ["a: +4.0 ±5.0", "b: +9.0 ±1.0"]
    assert judge(3, "x", [pair("b", 9.0, 1.0, 6)]).needed is None
    refuted = judge(3, "x", [pair("a", -9.0, 20.0), pair("b", -4.0, 1.0)])
    assert (refuted.answer, refuted.closest) == ("does not hold", "b: -4.0 ±1.0")
    groups = judge(3, "x", [pair(name, mean, 1.0) for name, mean in zip("abcd", (3, 2, 5, 7), strict=True)], group=2)
    assert groups.why == "closest of 2 each: b: +2.0 ±1.0; c: +5.0 ±1.0"


def test_the_summary_counts_each_group_of_claims_once():
    assert CLAIMS.keys() == QUOTED.keys()
    first, second = Section("x", "X"), Section("y", "Y")
    first.verdicts += [judge(5, "a", [pair("p", 9.0, 1.0)]), judge(5, "b", [pair("p", 1.0, 9.0)])]
    second.verdicts += [judge(5, "c", [pair("p", 9.0, 1.0)]), judge(3, "d", [pair("p", -9.0, 1.0)])]
    first.verdicts[0] = replace(first.verdicts[0], claim="drawings: a is better")
    assert summary([first, second]) == [
        ("3", CLAIMS[3], QUOTED[3], "p: -9.0 ±1.0", "does not hold 1"),
        ("5", CLAIMS[5], QUOTED[5], "drawings, p: +9.0 ±1.0", "holds; others: holds 1, undecided 1"),
    ]
    assert tally([first, second]) == "4 claims in 2 groups: holds 2, does not hold 1, undecided 1."


def test_each_claim_says_what_items_or_seeds_would_change():
    section, rng = Section("x", "X"), np.random.default_rng(0)
    kinds = ((3.0, 0.0, 0.0), (3.0, 30.0, 0.0), (-3.0, 30.0, 0.0), (0.3, 0.0, 0.0), (0.3, 0.0, 3.0))
    for shift, of_item, of_seed in kinds:
        matrix = shift + 10 * rng.normal(size=(5, 400)) + of_item * np.resize([1.0, -1.0], 400)
        matrix += of_seed * np.arange(-2, 3)[:, None]
        difference = Outcomes(matrix.mean(1), matrix)
        section.verdicts.append(judge(3, "c", [("p", difference, Outcomes([0.0] * 5, np.zeros((5, 400))))], margin=0.1))
    lines = claims([section])
    assert [line[3] for line in lines] == ["holds", "holds", "does not hold", "undecided", "undecided"]
    assert [line[5] for line in lines] == ["yes", "no", "no", "", ""]
    assert re.fullmatch(r"about \d+ seeds; items \d+%", lines[3][6])
    assert re.fullmatch(r"about \d+ seeds; seeds \d+%", lines[4][6])
    section.verdicts = [replace(section.verdicts[0], seeds=30, times=3)]
    assert claims([section])[0][4] == "30 (3 x 10)"


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
