"""Write RESULTS.md and a self-contained HTML page from the stored results; needs no data and no encoder."""

import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from statistics import fmean
from typing import get_args

from paper.claims import CLAIMS, EDITIONS, LEVEL, LOOKS, MARGIN, QUOTED, Answer
from paper.data import Runtime
from paper.deciding import LookResult, last_look
from paper.experiments import NAMES, label, module
from paper.results import Store
from paper.running import Setting, follow, outline, seeds_of
from paper.section import Section, Table, Verdict
from paper.simulating import verdict_rate
from paper.worlds import Scale
from texthead.errors import RunError
from texthead.files import replacing
from texthead.report import render, write_html

STAND_IN_HEADERS = ("in the paper", "here")
STAND_INS = (
    ("Kinetics-400, UCF-101, HMDB-51", "moving drawings (motion, 48 classes), moving shapes (shapes, 48 classes), "
     "240-pixel clips of 4 kinds of flying objects (airborne, CC0), start and end photos of 12 kinds of gym exercises "
     "(exercise, Unlicense)"),
    ("ImageNet", "photos of 10 kinds of clothing (clothing, CC0), 20 kinds of objects (objects, Caltech-101), 10 hand "
     "signs (handdigits, Apache-2.0)"),
    ("CLIP ViT-B/16 with its text encoder", "ImageNet's EfficientNet-Lite0 (Lite0) and MiniLM, joined by a "
     "closed-form linear map (bridge); where a ViT, a ResNet or a text encoder with gradients is needed: two small "
     "CLIPs, trained here on captioned still shapes"),
    ("DistilBERT", "MiniLM without the bridge"),
    ("an ImageNet-pretrained ViT", "EfficientNet-Lite1 without a bridge"),
    ("ViT-B/16, ViT-L/14 at 224 and 336 (Table 12)", "EfficientNet-Lite0, -Lite1, -Lite2 at 96 and 128 pixels"),
    ("30 epochs of 240,000 clips in batches of 128", "40 to 90 steps of 4 to 32 clips"),
)  # fmt: skip


def write(results: Path, scale: Scale, out: Path, page: Path, *, seeds: int | None = None) -> None:
    """Write the finished rows of a scale to `out` (Markdown) and `page` (HTML).

    Raises:
        RunError: no row of this scale is finished or asked for, or a file cannot be written.
    """
    store = Store(results, scale)
    if not store.lines:
        where = "no finished rows" if results.is_dir() else "no such folder"
        raise RunError(
            f"{store.folder}: {where}; first use `python -m paper run EXPERIMENT --scale {scale} --results {results}`, "
            "or run all (smoke rows do not count)"
        )
    setting = Setting(Runtime(scale), seeds_of(scale, seeds), digests=store.digests)
    sections, keys, counts = [], {}, {}
    for name in NAMES:
        result = _look_result(name, setting, store, fixed=seeds is not None or scale != "mini")
        if not result.section.tables:  # No row at this scale.
            continue
        counts[name] = (len(result.keys & store.lines.keys()), len(result.keys), missing_rows(name, setting))
        keys[name] = result.keys
        sections.append(result.section)
    if not any(finished for finished, *_ in counts.values()):
        raise RunError(f"{store.folder}: no experiment asks for these rows; `python -m paper unused` lists them")
    head = [*heading(store, keys, scale), power_note(sections)]
    with replacing(out) as temporary:
        temporary.write_text(markdown(sections, head, counts, scale), encoding="utf-8")
    write_html(page, html(sections, head, counts, scale))
    print(f"{out} and {page}: {sum(c[0] for c in counts.values())} runs of {len(sections)} experiments")


def _look_result(name: str, setting: Setting, store: Store, *, fixed: bool) -> LookResult:
    """Return an experiment at its last complete look, or with the setting's own seeds if `fixed`."""
    if not fixed:
        return last_look(name, setting, store)
    section, keys = follow(module(name).plan(setting), setting, store, lambda _: None)
    return LookResult(section, set(keys), len(setting.seeds))


def missing_rows(name: str, setting: Setting) -> int:
    """Return how many of an experiment's rows need missing data."""
    jobs = outline(module(name).plan, setting)
    return len({job.title for job in jobs if not all(map(setting.has, job.row.sources))})


def heading(store: Store, keys: Mapping[str, Set[str]], scale: str) -> list[str]:
    """Return the paragraphs on names, the decision rule, and how the results were made.

    Args:
        keys: addresses of the results of each experiment.
    """
    used = set().union(*keys.values())
    commits, dates, seconds = store.about(used)
    lines = {key: store.lines[key] for key in used & store.lines.keys()}
    machines = sorted({line["machine"] for line in lines.values()})
    made = (
        f"Run {' to '.join(dict.fromkeys((dates[0], dates[-1])))} on {'; '.join(machines)}; "
        f"{seconds / 3600:.1f} core-hours. Commits (+: with uncommitted changes): {', '.join(commits)}."
    )
    names = NAMES_NOTE
    if scale == "mini":
        names += f" {STAND_IN_NOTE}"
        later = {key for key, line in lines.items() if line["date"] >= EDITIONS[-1]}
        made += (
            f" {len(lines) - len(later):,} of these {len(lines):,} runs are from before {EDITIONS[-1]}: they were "
            "there when the plan's second edition was written, whose rule reads them again."
        )
        if later:
            made += f" Later runs: {', '.join(name for name in keys if keys[name] & later)}."
    return [
        f"{names} `python -m paper run EXPERIMENT --scale {scale}` computes every number except those quoted from "
        "the paper. Identical runs count once.",
        RULE_NOTE,
        ITEMS_NOTE,
        made,
    ]


def ordered(sections: Sequence[Section]) -> list[tuple[str, Verdict]]:
    """Return (experiment, verdict) pairs, by the number of the claim."""
    verdicts = [(section.name, verdict) for section in sections for verdict in section.verdicts]
    return sorted(verdicts, key=lambda entry: entry[1].number)


SUMMARY_HEADERS = ("", "claim", "paper", "here", "verdicts")
SUMMARY_NOTE = (
    "Here: the smallest difference in the first claim of each group, in points of top-1 unless named otherwise, with "
    f"its {100 * LEVEL:.2f} % interval. Verdicts: first that of this claim, then how many of the group's other claims "
    'have which; the table "All claims" has each by itself.'
)
NAMES_NOTE = (
    'Names: "text", "vision-text" and "ours" classify with frozen text embeddings, "vision-only" with learned weights: '
    'its head learns at the encoder\'s rate ("head at 1x"), ten times that ("head at 10x"), or a rate chosen on '
    'training items ("head tuned"). "K = 5": five training items per class; "10%": of the labels; "36 -> 12": trained '
    "on 36 classes, tested on 12 others."
)
STAND_IN_NOTE = (
    "Motion, shapes, airborne and exercise stand in for the paper's videos, clothing, objects and handdigits for its "
    'images (section "Stand-ins"); verdicts are about them, not about the paper\'s data.'
)
RULE_NOTE = (
    "A claim holds if the intervals of all its differences are above zero, and does not hold if one is below. It is "
    f"equivalent if at least one shows no difference of the margin (usually {MARGIN:g} points) or more, nor a clear "
    "smaller one, and the others are above zero; otherwise it is undecided. Claims that two methods are equally good "
    "hold if the difference is shown to be below the margin. The whole rule is in `paper/PLAN.md`: where there is no "
    "difference, at most 5 % of claims get a false verdict if differences between seeds are normal."
)
ITEMS_NOTE = (
    "Intervals are for new seeds on these test items. Read as if for other test items of the same kind, they would "
    "miss the true difference in 18 % of simulated claims instead of 5 % (`python -m paper simulate`): the column "
    '"other items" says which verdicts would stand for those too. The experiments\' own tables have 95 % intervals, '
    "and their rows may differ in seeds."
)
CLAIM_HEADERS = ("", "claim", "here", "verdict", "seeds", "other items", "to decide")
CLAIMS_NOTE = (
    f"Every claim with its comparisons. Seeds: at its last look ({', '.join(map(str, LOOKS))}); 30 (3 x 10): three for "
    "each seed of the look. Other items: whether the verdict would be the same with an interval for new test items of "
    "the same kind too. To decide: how many seeds would decide the claim if means and deviations stay the same, and "
    "what most of the variance of its smallest difference comes from: noise of single test items, which more items "
    "average out, or seeds. Both are unknown for rows that did not store which items are right. Other data may change "
    "any verdict."
)

# Seeds from which on the differences of a claim can be resampled, and true differences, in points, whose discovery
# is simulated.
RESAMPLED, TRUE = LOOKS[1], (1, 2, 3)


def power_note(sections: Sequence[Section]) -> str:
    """Return how often the rule gives false verdicts, and finds true differences, with the seeds' real differences."""
    verdicts = [verdict for _, verdict in ordered(sections)]
    known = [v for v in verdicts if min(map(len, v.differences), default=0) >= RESAMPLED]
    points = [v for v in known if v.margin == MARGIN]
    undecided = [v.looked for v in verdicts if v.answer == "undecided"]
    if not points:
        return f"No claim has {RESAMPLED} seeds, so how often the rule is wrong and what it finds cannot be simulated."
    false = sorted(((100 * verdict_rate(v.differences, 0.0), v.claim) for v in known), reverse=True)
    worst = " and ".join(f"{rate:.1f} % ({claim})" for rate, claim in false[:2])
    found = (100 * fmean(verdict_rate(v.differences, float(true)) for v in points) for true in TRUE)
    powers = ", ".join(f"{true:g} in {rate:.0f} %" for true, rate in zip(TRUE, found, strict=True))
    last, few = sum(seeds >= LOOKS[-1] for seeds in undecided), sum(seeds <= LOOKS[1] for seeds in undecided)
    return (
        f"Real differences are not quite normal: drawn anew from those of the {len(known)} claims with {RESAMPLED} "
        f"seeds or more, moved to a mean of zero, {fmean(rate for rate, _ in false):.1f} % of plans end in a false "
        f"verdict on average; the worst claims have {worst}. Power: moved to a true difference in all comparisons, up "
        f"to {LOOKS[-1]} seeds decide, by its points, {powers} of plans, on average over {len(points)} claims. So "
        f"undecided does not mean equal: of {len(undecided)} undecided claims {last} had {LOOKS[-1]} seeds, and {few} "
        f"stopped at {LOOKS[1]} or fewer."
    )


def claims(sections: Sequence[Section]) -> list[tuple[str, ...]]:
    """Return the cells of CLAIM_HEADERS for each verdict."""
    lines = []
    for name, v in ordered(sections):
        elsewhere, more = "", ""
        if v.answer != "undecided":
            elsewhere = "unknown" if v.stands is None else "yes" if v.stands else "no"
        elif v.needed is None:
            more = "not examined yet"
        else:
            more = f"about {v.needed} seeds"
            if v.noise is not None:
                more += f"; items {v.noise:.0%}" if v.noise >= 0.5 else f"; seeds {1 - v.noise:.0%}"
        seeds = f"{v.seeds} ({v.times} x {v.looked})" if v.times > 1 else str(v.seeds or "-")
        lines.append((str(v.number), f"{v.claim} ({name})", v.why, v.answer, seeds, elsewhere, more))
    return lines


def summary(sections: Sequence[Section]) -> list[tuple[str, ...]]:
    """Return the cells of SUMMARY_HEADERS: the paper's numbers, ours and the verdicts of each group of claims."""
    lines = []
    for number, group in CLAIMS.items():
        verdicts = [verdict for _, verdict in ordered(sections) if verdict.number == number]
        if verdicts:
            data, colon, _ = verdicts[0].claim.partition(": ")
            here = f"{data}, " if colon else ""
            here += verdicts[0].closest or verdicts[0].why
            lines.append((str(number), group, QUOTED[number], here, group_words(verdicts)))
    return lines


def words(verdicts: Sequence[Verdict]) -> str:
    """Return how many claims have each verdict, without those that none has: "holds 1, undecided 3"."""
    answers = [verdict.answer for verdict in verdicts]
    return ", ".join(f"{answer} {answers.count(answer)}" for answer in get_args(Answer) if answer in answers)


def group_words(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts of a group, the first claim's by itself if they differ: "holds; others: undecided 3"."""
    if len({verdict.answer for verdict in verdicts}) == 1:
        return words(verdicts)
    return f"{verdicts[0].answer}; others: {words(verdicts[1:])}"


def tally(sections: Sequence[Section]) -> str:
    """Return the number of claims with each verdict, in a sentence."""
    verdicts = [verdict for _, verdict in ordered(sections)]
    return f"{len(verdicts)} claims in {len({verdict.number for verdict in verdicts})} groups: {words(verdicts)}."


def markdown(sections: Sequence[Section], head: Sequence[str], counts: dict, scale: str) -> str:
    """Return the whole of RESULTS.md."""
    lines = [
        "# Results",
        "",
        tally(sections),
        "",
    ]
    lines += [text for line in head for text in (line, "")]
    lines += ["## All claims", "", CLAIMS_NOTE, "", *_table(Table("", CLAIM_HEADERS, claims(sections))), ""]
    if scale == "mini":
        lines += ["## Stand-ins", "", *_table(Table("", STAND_IN_HEADERS, STAND_INS)), ""]
    listed = [section for section in sections if any(not table.page_only for table in section.tables)]
    for section in listed:
        command = f"`python -m paper run {section.name}`: {_finished(counts[section.name])}"
        # The description from its "Paper:" line on: the paper's numbers, choices and stand-ins.
        _, begun, rest = label(section.name).partition("Paper:")
        tables = [table for table in section.tables if not table.page_only]
        captions = [table.caption for table in tables]
        described = re.sub(r"(?<!\.)\n(?=\w+:)", ". ", (begun + rest).rstrip(".")) + "." if begun else ""
        about = [command, " ".join(described.split()), *section.notes, *captions[:1]]
        lines += [f"## {section.title}", "", " ".join(filter(None, about)), ""]
        for table, caption in zip(tables, ["", *captions[1:]], strict=True):
            lines += [*([caption, ""] if caption else []), *_table(table), ""]
    if left := [section.title for section in sections if section not in listed]:
        lines.append(f"Without a claim, on the page that `python -m paper report` writes alone: {'; '.join(left)}.")
    return "\n".join(lines).rstrip() + "\n"


def _finished(counts: tuple[int, int, int]) -> str:
    finished, planned, missing = counts
    skipped = f" {missing} settings were skipped because their data was missing." if missing else ""
    return f"{finished} of {planned} runs (settings x seeds) are finished.{skipped}"


def _table(table: Table) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(table.headers), "|" + "---|" * len(table.headers), *map(line, table.rows)]


def html(sections: Sequence[Section], head: Sequence[str], counts: dict, scale: str) -> str:
    """Return the same report as an HTML page, with figures."""
    blocks: list[tuple[str, object]] = [("text", line.replace("`", "")) for line in head]
    if scale == "mini":
        blocks += [("section", "Stand-ins"), ("table", (STAND_IN_HEADERS, STAND_INS))]
    blocks += [("section", "Claims"), ("text", tally(sections)), ("text", SUMMARY_NOTE)]
    blocks += [("table", (SUMMARY_HEADERS, summary(sections))), ("text", CLAIMS_NOTE)]
    blocks += [("table", (CLAIM_HEADERS, claims(sections)))]
    for section in sections:
        blocks += [("section", section.title), ("text", _finished(counts[section.name]))]
        blocks += [("text", note) for note in section.notes]
        blocks += [("table", (table.headers, table.rows, "", table.caption)) for table in section.tables]
        blocks += [("figure", figure) for figure in section.figures]
    title, subtitle = "Every table and figure", f"texthead at scale {scale}"
    return render("blocks.html", title=title, subtitle=subtitle, blocks=blocks)
