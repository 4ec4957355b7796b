"""Fig. 1: correlation of the classes' rows, of text and of a learned classifier; and of all heads of Table 1.

Command: python -m paper run fig1 --scale full --data DATA
Files:   DATA/k400; openclip:ViT-B-16/openai. The 20 names: paper/fig1_names.json, chosen before looking.
Cost:    10 hours on 8 GPUs for the learned row (the paper's); the others are Table 1's.
Paper:   a picture. Text: names that share a verb correlate, others hardly; learned rows "reveal certain correlations".
Choices: temporal transformer, since the paper doesn't say; Pearson correlation; a pair shares a word if both names hold
         it, articles aside. The relation of two maps is the correlation of their entries off the diagonal; its p is of
         10,000 permutations of the classes of one of them.
Mini:    drawn pictures in motion, 20 of 48 classes (5 objects, 4 motions), frozen Lite0, 90 steps of 32.
"""

from dataclasses import replace

import numpy as np

from paper import worlds
from paper.running import Plan, Setting
from paper.section import Section, Table, Verdict, cell, each, judged
from paper.stats import correlation_gap, map_correlation, permutation_test
from paper.table1 import TEXT, motion_heads
from texthead.report.class_maps import plot_correlations

TITLE = "Fig. 1: inter-class correlation of text rows and of learned rows"
LEARNED = "learned (vision-only)"


def plan(setting: Setting) -> Plan:
    """Table 1's five heads and the learned one."""
    frozen = motion_heads(setting)
    base = worlds.at(setting.scale, full=worlds.KINETICS, mini=worlds.MOTION)
    shown = worlds.mapped_names(base.data)
    rows = {**frozen, LEARNED: replace(frozen[TEXT], head="linear")}
    found = yield setting.jobs(rows)
    maps = {title: [np.array(result["map"]) for result in found.of(title)] for title in rows}
    section = Section("fig1", TITLE)
    section.notes.append(f"Names: {', '.join(shown)}.")
    if not all(maps.values()):
        return section
    text = maps[TEXT][0]
    shared = {title: [correlation_gap(m, shown)[0] for m in maps[title]] for title in rows}
    others = {title: [correlation_gap(m, shown)[1] for m in maps[title]] for title in rows}
    related = {title: [map_correlation(text, m) for m in maps[title]] for title in rows}
    tests = {
        title: [permutation_test(text, m, permutations=10_000, seed=0) for m in maps[title]]
        for title in rows
        if title != TEXT
    }
    pairs, all_pairs = correlation_gap(text, shown)[2], len(shown) * (len(shown) - 1) // 2
    section.tables.append(
        Table(
            f"Mean correlation of rows: {pairs} pairs of names share a word, {all_pairs - pairs} do not. Text rows "
            "have no seed.",
            ["head", "share a word", "others", "with the text map", "p of each seed"],
            [
                [
                    title,
                    cell(shared[title], 2),
                    cell(others[title], 2),
                    "-" if title == TEXT else cell(related[title], 2),
                    "-" if title == TEXT else each(tests[title], 4),
                ]
                for title in rows
            ],
        )
    )
    section.figures.append(
        (plot_correlations({title: maps[title][0] for title in rows}, list(shown)), "Fig. 1 at this scale, first seed.")
    )
    _, p = shared[TEXT][0] - others[TEXT][0], word_test(text, shown)
    section.verdicts.append(
        Verdict(
            1,
            "names that share words have correlated text rows, others do not",
            "holds" if p < 0.05 and abs(others[TEXT][0]) < 0.1 else "does not hold",
            f"share a word {shared[TEXT][0]:.2f}, others {others[TEXT][0]:.2f} (negligible: below 0.1), p = {p:.4f}",
            seeds=len(setting.seeds),
        )
    )
    verdict = judged(
        2,
        "learned rows correlate as text rows do",
        [("correlation of maps", related[LEARNED], [0.0] * len(related[LEARNED]))],
        margin=0.1,
    )
    section.verdicts.append(
        replace(verdict, why=f"{cell(related[LEARNED], 2)}; p of each seed {each(tests[LEARNED], 4)}")
    )
    return section


def word_test(matrix: np.ndarray, shown: tuple[str, ...]) -> float:
    """The permutation p of the map against the map of shared words."""
    apart = {"a", "an", "the", "of"}
    words = [set(name.split()) - apart for name in shown]
    shares = np.array([[float(bool(a & b)) for b in words] for a in words])
    return permutation_test(matrix, shares, permutations=10_000, seed=0)
