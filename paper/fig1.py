"""Fig. 1: inter-class correlation of text embeddings, of a learned classifier, and of all heads of Table 1.

Command: python -m paper run fig1 --scale full --data DATA
Files:   DATA/k400; openclip:ViT-B-16/openai. The 20 names: paper/fig1_names.json, fixed beforehand.
Cost:    10 hours on 8 GPUs for the learned row (the paper's number); the other rows are Table 1's.
Paper:   an image without numbers. Text: names that share a verb correlate, others hardly; learned rows "reveal certain
         correlations".
Choices: temporal transformer (the paper states none); Pearson correlation; two names share a word other than an article
         or "of". Two maps are compared by the correlation of their off-diagonal entries, with a p-value from 10,000
         permutations of the classes of one map.
Mini:    moving drawings, 20 of 48 classes (5 objects, 4 motions), frozen Lite0, 90 steps with batch size 32.
"""

from dataclasses import replace

import numpy as np

from paper import worlds
from paper.maps import correlation_limit, plot_correlations
from paper.running import Plan, Setting
from paper.section import Section, Table, Verdict, cell, judge
from paper.stats import correlation_gap, map_correlation, permutation_test
from paper.table1 import TEXT, motion_heads

TITLE = "Fig. 1: inter-class correlation of text rows and learned rows"
LEARNED = "learned (vision-only)"


def plan(setting: Setting) -> Plan:
    """Run Table 1's five heads and the learned one."""
    frozen = motion_heads(setting)
    base = worlds.at(setting.scale, full=worlds.KINETICS, mini=worlds.MOTION)
    names = worlds.mapped_names(base.data)
    rows = {**frozen, LEARNED: replace(frozen[TEXT], head="linear")}
    results = yield setting.jobs(rows)
    maps = {title: [np.array(result["map"]) for result in results.with_title(title)] for title in rows}
    section = Section("fig1", TITLE)
    section.notes.append(f"Names: {', '.join(names)}.")
    if not all(maps.values()):
        return section
    text = maps[TEXT][0]
    shared = {title: [correlation_gap(m, names)[0] for m in maps[title]] for title in rows}
    others = {title: [correlation_gap(m, names)[1] for m in maps[title]] for title in rows}
    related = {title: [map_correlation(text, m) for m in maps[title]] for title in rows}
    tests = {
        title: [permutation_test(text, m, permutations=10_000, seed=0) for m in maps[title]]
        for title in rows
        if title != TEXT
    }
    pairs, all_pairs = correlation_gap(text, names)[2], len(names) * (len(names) - 1) // 2
    section.tables.append(
        Table(
            f"Mean correlation of classifier rows. {pairs} pairs of names share a word, {all_pairs - pairs} do not. "
            "Text rows do not depend on the seed.",
            ["head", "pairs that share a word", "other pairs", "correlation with the text map", "largest p"],
            [
                [
                    title,
                    cell(shared[title], 2),
                    cell(others[title], 2),
                    "-" if title == TEXT else cell(related[title], 2),
                    f"{max(tests[title]):.4f}" if title != TEXT and tests[title] else "-",
                ]
                for title in rows
            ],
        )
    )
    limit = correlation_limit(maps[title][0] for title in rows)
    section.figures += [
        (plot_correlations(maps[title][0], list(names), title, limit), f"Fig. 1 at this scale, first seed: {title}.")
        for title in rows
    ]
    _, p = shared[TEXT][0] - others[TEXT][0], word_test(text, names)
    section.verdicts.append(
        Verdict(
            1,
            "class names that share a word have correlated text rows, others do not",
            "holds" if p < 0.05 and abs(others[TEXT][0]) < 0.1 else "does not hold",
            f"share a word {shared[TEXT][0]:.2f}, others {others[TEXT][0]:.2f} (below 0.1 is negligible), p = {p:.4f}",
            seeds=len(maps[TEXT]),
            stands=True,  # No test item is used.
        )
    )
    verdict = judge(
        2,
        "learned rows have class correlations like those of text rows",
        [("correlation of maps", related[LEARNED], [0.0] * len(related[LEARNED]))],
        margin=0.1,
    )
    section.verdicts.append(
        replace(
            verdict,
            why=f"correlation of the maps {cell(related[LEARNED], 2)}; largest p {max(tests[LEARNED], default=1):.4f}",
            stands=True,
        )
    )
    return section


def word_test(matrix: np.ndarray, names: tuple[str, ...]) -> float:
    """Return the permutation p-value of the map against the 0/1 map of shared words."""
    ignored = {"a", "an", "the", "of"}
    words = [set(name.split()) - ignored for name in names]
    shares = np.array([[float(bool(a & b)) for b in words] for a in words])
    return permutation_test(matrix, shares, permutations=10_000, seed=0)
