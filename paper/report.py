"""Write RESULTS.md and a self-contained HTML page from the stored results; needs no data and no encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from paper.claims import CLAIMS, LEVEL, LOOKS, MARGIN, QUOTED, Answer
from paper.data import Runtime
from paper.deciding import LookResult, last_look
from paper.experiments import NAMES, label, module
from paper.results import Store
from paper.running import Setting, follow, outline, seeds_of
from paper.section import Section, Table, Verdict
from paper.worlds import Scale
from texthead.errors import RunError
from texthead.files import replacing
from texthead.report import Report

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
        RunError: no row of this scale is finished, or a file cannot be written.
    """
    store = Store(results, scale)
    if not store.lines:
        where = "no finished rows" if results.is_dir() else "no such folder"
        raise RunError(
            f"{store.folder}: {where}; first use `python -m paper run EXPERIMENT --scale {scale} --results {results}`, "
            "or run all (smoke rows do not count)"
        )
    setting = Setting(Runtime(scale), seeds_of(scale, seeds), digests=store.digests)
    sections, keys, counts = [], set(), {}
    for name in NAMES:
        result = _look_result(name, setting, store, fixed=seeds is not None or scale != "mini")
        if not result.section.tables:  # No row at this scale.
            continue
        counts[name] = (len(result.keys & store.lines.keys()), len(result.keys), missing_rows(name, setting))
        keys |= result.keys
        sections.append(result.section)
    head = heading(store, keys, scale)
    with replacing(out) as temporary:
        temporary.write_text(markdown(sections, head, counts, scale), encoding="utf-8")
    html(sections, head, counts, scale).write(page)
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


def heading(store: Store, keys: set[str], scale: str) -> list[str]:
    """Return the paragraphs on how to read the results, how they were made, and the decision rule."""
    commits, dates, seconds = store.about(keys)
    machines = sorted({store.lines[key]["machine"] for key in keys if key in store.lines})
    return [
        f"Scale `{scale}`: `python -m paper run EXPERIMENT --scale {scale}` computes every number except those quoted "
        "from the paper. Rows are the weight vectors of a classifier, one per class, such as frozen text embeddings "
        '("text", "vision-text", "ours") or learned weights ("vision-only").',
        "`paper/PLAN.md` states the decision rule, fixed in advance except that seeds already run became the first "
        f"test. Differences are paired by seed and tested after {', '.join(map(str, LOOKS[:-1]))} and {LOOKS[-1]} "
        f"seeds, each time with a t-interval at level {100 * LEVEL:.2f} %. A claim holds if every interval is above "
        "zero and does not hold if one is below. It is equivalent if at least one lies within the margin around zero, "
        f"usually {MARGIN:g} points, and the others are above zero. Otherwise it is undecided. Claims that two methods "
        "are equally good hold within the margin. The experiments' tables have 95 % intervals. Verdicts at this scale "
        "are about the stand-ins, not the paper's data.",
        f"Run {' to '.join(dict.fromkeys((dates[0], dates[-1])))} on {'; '.join(machines)}; "
        f"{seconds / 3600:.1f} core-hours. Commits (+: with uncommitted changes): {', '.join(commits)}.",
    ]


def ordered(sections: Sequence[Section]) -> list[tuple[str, Verdict]]:
    """Return (experiment, verdict) pairs, by the number of the claim."""
    verdicts = [(section.name, verdict) for section in sections for verdict in section.verdicts]
    return sorted(verdicts, key=lambda entry: entry[1].number)


SUMMARY_HEADERS = ("", "claims", "experiments", *get_args(Answer))
CLAIM_HEADERS = ("", "claim", "paper", "here", "verdict", "seeds", "seeds to decide")
CLAIMS_NOTE = (
    "Every claim with its comparisons. The last column estimates how many seeds would decide the claim if means and "
    "deviations stay the same. Other data may change any verdict."
)


def claims(sections: Sequence[Section]) -> list[tuple[str, ...]]:
    """Return the cells of CLAIM_HEADERS for each verdict."""
    lines = []
    for name, v in ordered(sections):
        more = "decided"
        if v.answer == "undecided":
            more = "not run" if v.needed is None else f"about {v.needed}"
        cells = (str(v.number), f"{v.claim} ({name})", QUOTED[v.number], v.why, v.answer, str(v.seeds or "-"), more)
        lines.append(cells)
    return lines


def summary(sections: Sequence[Section]) -> list[tuple[str, ...]]:
    """Return the cells of SUMMARY_HEADERS: how many claims of each group have each verdict."""
    lines = []
    for number, group in CLAIMS.items():
        verdicts = [(name, verdict.answer) for name, verdict in ordered(sections) if verdict.number == number]
        answers = [answer for _, answer in verdicts]
        counts = (str(answers.count(answer) or "") for answer in get_args(Answer))
        if verdicts:
            lines.append((str(number), group, ", ".join(dict.fromkeys(name for name, _ in verdicts)), *counts))
    return lines


def tally(sections: Sequence[Section]) -> str:
    """Return the number of claims with each verdict, in a sentence."""
    answers = [verdict.answer for _, verdict in ordered(sections)]
    counts = [f"{answer} {answers.count(answer)}" for answer in get_args(Answer)]
    groups = len({verdict.number for _, verdict in ordered(sections)})
    return f"{len(answers)} claims in {groups} groups: {', '.join(counts)}."


def markdown(sections: Sequence[Section], head: Sequence[str], counts: dict, scale: str) -> str:
    """Return the whole of RESULTS.md."""
    lines = ["# Results", "", tally(sections), "", *_table(Table("", SUMMARY_HEADERS, summary(sections))), ""]
    lines += [text for line in head for text in (line, "")]
    lines += ["## All claims", "", CLAIMS_NOTE, "", *_table(Table("", CLAIM_HEADERS, claims(sections))), ""]
    if scale == "mini":
        lines += ["## Stand-ins", "", *_table(Table("", STAND_IN_HEADERS, STAND_INS)), ""]
    for section in sections:
        lines += [f"## {section.title}", "", f"`python -m paper run {section.name}`", ""]
        lines += [_block(label(section.name)), "", _finished(counts[section.name]), ""]
        lines += [text for note in section.notes for text in (note, "")]
        for table in section.tables:
            lines += [table.caption, "", *_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def _finished(counts: tuple[int, int, int]) -> str:
    finished, planned, missing = counts
    skipped = f" {missing} settings were skipped because their data was missing." if missing else ""
    return f"{finished} of {planned} runs (settings x seeds) are finished; identical runs count once.{skipped}"


def _block(text: str) -> str:
    """Format the description from its "Paper:" line on: the paper's numbers, choices and stand-ins."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("Paper:")), len(lines))
    return "\n".join(["```", *lines[start:], "```"])


def _table(table: Table) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(table.headers), "|" + "---|" * len(table.headers), *map(line, table.rows)]


def html(sections: Sequence[Section], head: Sequence[str], counts: dict, scale: str) -> Report:
    """Return the same report as an HTML page, with figures."""
    page = Report("Every table and figure", f"texthead at scale {scale}")
    for line in head:
        page.text(line.replace("`", ""))
    if scale == "mini":
        page.section("Stand-ins")
        page.table(list(STAND_IN_HEADERS), [list(row) for row in STAND_INS])
    page.section("Claims")
    page.text(tally(sections))
    page.table(list(SUMMARY_HEADERS), [list(line) for line in summary(sections)])
    page.text(CLAIMS_NOTE)
    page.table(list(CLAIM_HEADERS), [list(line) for line in claims(sections)])
    for section in sections:
        page.section(section.title)
        page.text(_finished(counts[section.name]))
        for note in section.notes:
            page.text(note)
        for table in section.tables:
            page.table(list(table.headers), [list(row) for row in table.rows], caption=table.caption)
        for figure, caption in section.figures:
            page.figure(figure, caption)
    return page
