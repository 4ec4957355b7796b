"""RESULTS.md and one self-contained page, from the finished rows alone: no data and no encoder is needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from paper.claims import LEVEL, LOOKS, MARGIN, QUOTED, Answer
from paper.data import Place
from paper.deciding import Looked, last_look
from paper.experiments import NAMES, label, module
from paper.results import Store
from paper.running import Setting, follow, outline, seeds_of
from paper.section import Section, Table, Verdict
from paper.worlds import Scale
from texthead.errors import RunError
from texthead.files import replacing
from texthead.report.html import Report

STAND_INS = (
    ("Kinetics-400, UCF-101, HMDB-51", "drawn pictures in motion (48 classes), drawn shapes in motion (48 classes), "
     "240-pixel clips of 4 flying things (airborne, CC0), start and end photos of 12 kinds of gym exercises (exercise, "
     "Unlicense)"),
    ("ImageNet", "photos of 10 kinds of clothing (CC0), of 20 kinds of objects (Caltech-101), of ten hand signs "
     "(Apache-2.0)"),
    ("CLIP ViT-B/16 with its text encoder", "mini: ImageNet's EfficientNet-Lite0 and MiniLM, joined by a closed-form "
     "bridge; for rows that need a ViT, a ResNet or a text encoder with gradients: two small CLIPs, trained here on "
     "drawn still shapes with captions"),
    ("DistilBERT", "MiniLM without the bridge"),
    ("an ImageNet-pretrained ViT", "EfficientNet-Lite1 without a bridge"),
    ("ViT-B/16, ViT-L/14 at 224 and 336 (Table 12)", "EfficientNet-Lite0, -Lite1, -Lite2 at 96 and 128 pixels"),
    ("30 epochs of 240,000 clips in batches of 128", "40 to 90 steps of 4 to 32 clips"),
)  # fmt: skip


def write(results: Path, scale: Scale, out: Path, page: Path, *, seeds: int | None = None) -> None:
    """Put what has been run into `out` (Markdown) and `page` (HTML).

    Raises:
        RunError: nothing has been run at this scale, or a file cannot be written.
    """
    store = Store(results, scale)
    if not store.lines:
        where = "no finished rows" if results.is_dir() else "no such folder"
        raise RunError(
            f"{store.folder}: {where}; `python -m paper run EXPERIMENT --scale {scale} --results {results}`, "
            "or run all, makes some (smoke rows do not count)"
        )
    setting = Setting(Place(scale), seeds_of(scale, seeds), digests=store.digests)
    sections, keys, counts = [], set(), {}
    for name in NAMES:
        looked = _looked(name, setting, store, fixed=seeds is not None or scale != "mini")
        counts[name] = (len(looked.keys & store.lines.keys()), len(looked.keys), missing_rows(name, setting))
        keys |= looked.keys
        sections.append(looked.section)
    head = heading(store, keys, scale)
    with replacing(out) as beside:
        beside.write_text(markdown(sections, head, counts, scale), encoding="utf-8")
    html(sections, head, counts, scale).write(page)
    print(f"{out} and {page}: {sum(c[0] for c in counts.values())} rows and seeds of {len(sections)} experiments")


def _looked(name: str, setting: Setting, store: Store, *, fixed: bool) -> Looked:
    """Return an experiment at its last look, or with the setting's own number of seeds."""
    if not fixed:
        return last_look(name, setting, store)
    section, keys = follow(module(name).plan(setting), setting, store, lambda _: None)
    return Looked(section, set(keys), len(setting.seeds))


def missing_rows(name: str, setting: Setting) -> int:
    """How many of an experiment's rows stand on data that was not there."""

    jobs = outline(module(name).plan, setting)
    return len({job.title for job in jobs if not all(map(setting.has, job.row.sources))})


def heading(store: Store, keys: set[str], scale: str) -> list[str]:
    """What was run, when, on what and from which commit."""
    commits, dates, seconds = store.about(keys)
    machines = sorted({store.lines[key]["machine"] for key in keys if key in store.lines})
    return [
        f"Scale `{scale}`. Every number is from `python -m paper run EXPERIMENT --scale "
        f"{scale}`, unless it stands under the word paper: those are the paper's, quoted.",
        f"Run {' to '.join(dict.fromkeys((dates[0], dates[-1])))} on {'; '.join(machines)}; "
        f"{seconds / 3600:.1f} core-hours. Commits: {', '.join(commits)} (a plus: with changes not yet committed).",
        "Claims are decided as `paper/PLAN.md` says, which was written before: differences are paired by seed, looks "
        f"are after {', '.join(map(str, LOOKS[:-1]))} and {LOOKS[-1]} seeds, each with a t-interval of "
        f"{100 * LEVEL:.2f} %, and the margin that matters is {MARGIN:g} points. In the experiments' tables intervals "
        "have 95 %. At this scale a verdict speaks of the stand-ins, not of the paper's data.",
    ]


def ordered(sections: Sequence[Section]) -> list[tuple[str, Verdict]]:
    """All verdicts with their experiment, by the number of the claim."""
    found = [(section.name, verdict) for section in sections for verdict in section.verdicts]
    return sorted(found, key=lambda entry: entry[1].number)


CLAIM_HEADERS = ("", "claim", "paper", "here", "verdict", "seeds", "what would change it")


def claims(sections: Sequence[Section]) -> list[tuple[str, ...]]:
    """Return a line for each claim, with the cells of CLAIM_HEADERS."""
    lines = []
    for name, v in ordered(sections):
        more = "it is decided here; other data may differ"
        if v.answer == "undecided":
            about = "runs of it" if v.needed is None else f"about {v.needed} seeds"
            more = f"{about}, if means and deviations stay"
        cells = (str(v.number), f"{v.claim} ({name})", QUOTED[v.number], v.why, v.answer, str(v.seeds or "-"), more)
        lines.append(cells)
    return lines


def tally(sections: Sequence[Section]) -> str:
    """Return how many claims have each answer, in a sentence."""
    answers = [verdict.answer for _, verdict in ordered(sections)]
    parts = [f"{each} {answers.count(each)}" for each in get_args(Answer)]
    return f"Of {len(answers)} claims: {', '.join(parts)}."


def markdown(sections: Sequence[Section], head: Sequence[str], counts: dict, scale: str) -> str:
    """The whole of RESULTS.md."""
    lines = ["# Results", "", tally(sections), "", *_table(Table("", CLAIM_HEADERS, claims(sections))), ""]
    lines += [part for line in head for part in (line, "")]
    if scale == "mini":
        lines += ["## Stand-ins", "", *_table(Table("", ("the paper's", "here"), STAND_INS)), ""]
    for section in sections:
        lines += [f"## {section.title}", "", f"`python -m paper run {section.name}`", ""]
        lines += [_block(label(section.name)), "", f"{_done(counts[section.name])}", ""]
        lines += [part for note in section.notes for part in (note, "")]
        for table in section.tables:
            lines += [table.caption, "", *_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def _done(counts: tuple[int, int, int]) -> str:
    done, wanted, absent = counts
    left = f" {absent} rows stand on data that was not there." if absent else ""
    return f"{done} of {wanted} rows and seeds were run; what coincides is counted once.{left}"


def _block(text: str) -> str:
    """The label's lines from Paper on, which say what is quoted, chosen and stood in."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("Paper:")), len(lines))
    return "\n".join(["```", *lines[start:], "```"])


def _table(table: Table) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(table.headers), "|" + "---|" * len(table.headers), *map(line, table.rows)]


def html(sections: Sequence[Section], head: Sequence[str], counts: dict, scale: str) -> Report:
    """The page: the same with figures."""
    page = Report("Every table and figure", f"texthead at scale {scale}")
    for line in head:
        page.text(line.replace("`", ""))
    if scale == "mini":
        page.section("Stand-ins")
        page.table(["the paper's", "here"], [list(row) for row in STAND_INS])
    page.section("Claims")
    page.text(tally(sections))
    page.table(list(CLAIM_HEADERS), [list(line) for line in claims(sections)])
    for section in sections:
        page.section(section.title)
        page.text(_done(counts[section.name]))
        for note in section.notes:
            page.text(note)
        for table in section.tables:
            page.table(list(table.headers), [list(row) for row in table.rows], caption=table.caption)
        for figure, caption in section.figures:
            page.figure(figure, caption)
    return page
