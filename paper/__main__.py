"""Command line `python -m paper`: list and run the paper's experiments, add seeds, write the report."""

import argparse
import inspect
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from textwrap import fill

from paper.data import Runtime
from paper.experiments import NAMES, label, module
from paper.questions import TITLES, add_options, inputs, question
from paper.results import FOLDER, Store
from paper.rows import Job
from paper.running import SEEDS, Setting, outline, run, seeds_of, workers
from paper.unused import show
from paper.worlds import Scale
from texthead.errors import RunError, TextheadError
from texthead.extensions import find

SCALES: tuple[Scale, ...] = ("mini", "full")  # smoke runs only test the code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 2 for a usage error, 130 if interrupted, 141 for a closed pipe."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        if options.command == "list":
            show_list(options.names)
        elif options.command == "run" and options.dry_run:
            show_plan(options)
        elif options.command == "run":
            run_all(options)
        elif options.command == "decide":
            decide_all(options)
        elif options.command == "simulate":
            from paper.simulating import table

            if options.repeats < 1:
                raise RunError(f"--repeats must be at least 1, got {options.repeats}")
            for line in table(options.repeats):
                _say(line)
        elif options.command in TITLES:
            show_answer(options)
        elif options.command == "unused":
            show(Store(options.results, options.scale), options.scale, remove=options.remove, say=_say)
        else:
            from paper.report import write

            home = FOLDER.parent if options.results == FOLDER else options.results
            out, page = options.out or home / "RESULTS.md", options.page or home / "results.html"
            write(options.results, options.scale, out, page, seeds=options.seeds)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except TextheadError as error:
        print(f"python -m paper: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        saved = "; finished rows are saved; run the same command to continue"
        print(f"python -m paper: stopped{saved * (options.command in ('run', 'decide'))}", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m paper", description="Reproduce the tables and figures of the paper."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add = partial(commands.add_parser, allow_abbrev=False)
    listing = add("list", help="list the experiments with their rows, data and cost at each scale")
    listing.add_argument("names", nargs="*", metavar="EXPERIMENT", help="print the full description of these only")
    running = add("run", help="run one experiment or all; finished rows are skipped")
    running.add_argument("name", metavar="EXPERIMENT", help=f"all, or one of {', '.join(NAMES)}")
    text = "full: the paper's setting; mini: two CPU cores; smoke: two steps per row, to test the code; default: mini"
    running.add_argument("--scale", choices=tuple(SEEDS), default="mini", help=text)
    running.add_argument("--data", type=Path, help="folder of the data sets; `list` prints its layout")
    running.add_argument("--seeds", type=int, help="number of seeds; default: 5 at mini, 1 at smoke and full")
    running.add_argument("--workers", type=int, help="number of parallel jobs; default: 2, 1 at full")
    running.add_argument(
        "--accumulate", type=int, default=1, help="gradient accumulation passes per step, to save memory; default: 1"
    )
    running.add_argument("--processes", type=int, help="full: GPUs per row, under torchrun; default: all")
    running.add_argument(
        "--least-frames",
        type=int,
        default=0,
        metavar="N",
        help="full: drop training clips of fewer frames, if their list has numbers of frames; default: 0",
    )
    running.add_argument("--dry-run", action="store_true", help="full: print rows, schedules and cost without training")
    running.add_argument("--only", default="", metavar="REGEX", help="run only rows whose titles match")
    running.add_argument("--again", action="store_true", help="rerun finished rows")
    running.add_argument(
        "--kept", type=Path, help="cache for drawn data, small CLIPs and features; default: ~/.cache/texthead/paper"
    )
    running.add_argument(
        "--full-length", action="store_true", help="table8: add rows with epochs as long as full training"
    )
    running.add_argument(
        "--emulate-per-process-draw",
        type=int,
        default=8,
        metavar="N",
        help="table8: processes in the rows that reproduce the published per-process draw; 0: omit; default: 8",
    )
    deciding = add("decide", help="run more seeds for undecided claims at mini, by the rules of paper/PLAN.md")
    deciding.add_argument("--data", type=Path, help="folder of the data sets; `list` prints its layout")
    deciding.add_argument("--hours", type=float, default=6.0, help="budget in core-hours; default: 6")
    deciding.add_argument("--workers", type=int, default=2, help="number of parallel jobs; default: 2")
    deciding.add_argument(
        "--kept", type=Path, help="cache for drawn data, small CLIPs and features; default: ~/.cache/texthead/paper"
    )
    simulating = add("simulate", help="measure how often the rule gives a false verdict where there is no difference")
    simulating.add_argument(
        "--repeats", type=int, default=2000, help="simulated claims per number; default: 2000 (about a minute)"
    )
    for name, (title, _) in TITLES.items():
        add_options(add(name, help=f"open question: {title}"), name)
    reporting = add("report", help="write RESULTS.md and an HTML page from the finished rows")
    reporting.add_argument("--scale", choices=SCALES, default="mini", help="scale to report; default: mini")
    reporting.add_argument(
        "--seeds", type=int, help="number of seeds; default: the last look of each claim at mini, 1 at full"
    )
    place = "in paper, or in the folder of --results"
    reporting.add_argument("--out", type=Path, help=f"Markdown file; default: RESULTS.md {place}")
    reporting.add_argument("--page", type=Path, help=f"HTML file; default: results.html {place}")
    pruning = add("unused", help="list finished rows that no experiment asks for any more")
    pruning.add_argument("--scale", choices=SCALES, default="mini", help="scale of the rows; default: mini")
    pruning.add_argument("--remove", action="store_true", help="remove these rows from their files")
    for command in (running, deciding, reporting, pruning):
        command.add_argument(
            "--results", type=Path, default=FOLDER, help="folder of finished rows; default: paper/results"
        )
    return parser


def show_list(names: Sequence[str]) -> None:
    """Print a summary of every experiment, or the full description and rows of the named ones."""
    for name in names or NAMES:
        if name in TITLES:
            print(f"{name}\n\n{inspect.cleandoc(question(name).__doc__ or '')}\n")
            continue
        settings = {scale: Setting(Runtime(scale), seeds_of(scale)) for scale in SCALES}
        jobs = {scale: outline(module(name).plan, settings[scale]) for scale in SCALES}
        needs = {scale: sorted({source for job in jobs[scale] for source in job.row.sources}) for scale in jobs}
        if names:
            print(f"{name}\n\n{label(name)}\n")
            for scale in jobs:
                print(f"rows at {scale}:", *(_row_lines(name, scale, jobs[scale]) or ["none"]), sep="\n  ")
            print()
            continue
        print(f"{name:9} {module(name).TITLE}")
        for scale in SCALES:
            if not jobs[scale]:
                continue
            count = len({job.title for job in jobs[scale]})
            rows = f"{count} {'row' if count == 1 else 'rows'}"
            print(f"{'':9}   {scale}: {rows}, data {', '.join(needs[scale])}{_cost(name, scale, jobs[scale])}")
    for name, (title, _) in () if names else TITLES.items():
        print(f"{name:9} open question: {title}")
    if not names:
        print("table1    open question: LDA rows from 60 clips per class, encoded by CLIP: its row LDA")


def show_answer(options: argparse.Namespace) -> None:
    """Print the answer to an open question: result, tables, and how to read them."""
    section = question(options.command).answer(inputs(options))
    print(fill(section.title, 110))
    for table in section.tables:
        _print_table(table.caption, table.headers, table.rows)
    stand_in = (
        "" if options.runs else "A stand-in on moving drawings: it shows the command, not what videos would give."
    )
    print(*(fill(note, 110) for note in (*section.notes, stand_in) if note), sep="\n")


def _print_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> None:
    from rich.console import Console
    from rich.table import Table

    printed = Table(*headers, title=title, caption=caption or None, caption_justify="left")
    for line in rows:
        printed.add_row(*line)
    Console(width=None if sys.stdout.isatty() else 240).print(printed)


def _row_lines(name: str, scale: str, jobs: Sequence[Job]) -> list[str]:
    """Return the row titles; at full scale with the GPU-hours of one seed."""
    from paper.planned import RATES, planned

    rows = {job.title: job for job in jobs}
    if scale != "full":
        return list(rows)
    plans = [planned(job, name) for job in rows.values()]
    return [f"{row.title}: {', '.join(f'{row.hours(gpu):.1f} {gpu}-hours' for gpu in RATES)}" for row in plans]


def _cost(name: str, scale: Scale, jobs: Sequence[Job]) -> str:
    """Return the measured time of the finished rows; at full scale the estimate if none has been run."""
    store = Store(FOLDER, scale)
    setting = Setting(Runtime(scale), seeds_of(scale), digests=store.digests)
    keys = {setting.key(job) for job in jobs if all(map(setting.has, job.row.sources))}
    seconds = store.about(keys)[2]
    if seconds:
        small = any(source.startswith("tinyclip") for job in jobs for source in job.row.sources)
        first = ", plus 6 to 8 minutes once per small CLIP" if small else ""
        return f"; {seconds / 60:.0f} core-minutes with five seeds, including rows shared with other experiments{first}"
    if scale != "full":
        return ""
    from paper.planned import RATES, planned

    rows = [planned(job, name) for job in {job.title: job for job in jobs}.values()]
    hours = ", ".join(f"{sum(row.hours(gpu) for row in rows):,.0f} {gpu}-hours" for gpu in RATES)
    return f"; about {hours} with one seed, including rows shared with other experiments"


def show_plan(options: argparse.Namespace) -> None:
    """Print model, schedule and cost of every row at full scale, without data or weights."""
    from paper.planned import CAPTION, HEADERS, NOTES, table

    if options.scale != "full":
        raise RunError(f"--dry-run needs --scale full, got {options.scale}")
    names = NAMES if options.name == "all" else (options.name,)
    for name in names:
        setting = Setting(Runtime("full"), seeds_of("full"), full_length=options.full_length)
        lines = table(outline(module(name).plan, setting), name)
        _print_table(module(name).TITLE, HEADERS, lines, "\n".join((CAPTION, *filter(None, [NOTES.get(name)]))))


def _processes(options: argparse.Namespace) -> int:
    """Return the number of processes per row: --processes if set; else one, at full scale one per GPU."""
    if options.processes is not None or options.scale != "full":
        return options.processes or 1
    import torch

    return max(1, torch.cuda.device_count())


def decide_all(options: argparse.Namespace) -> None:
    """Run more seeds until every claim is decided or the budget is spent."""
    from paper.deciding import decide

    _check_installed()
    if not options.hours > 0:
        raise RunError(f"--hours must be above 0, got {options.hours}")
    setting = Setting(Runtime("mini", options.data, options.kept), seeds_of("mini"), options.workers)
    with workers(setting) as pool:
        decide(setting, Store(options.results, "mini"), pool, options.hours, _say)


def _check_installed() -> None:
    """Raise RunError unless the heads of paper/ are registered, as those of any package are."""
    if not {"normal", "orthogonal", "templates", "prompt"} <= find("texthead.heads").keys():
        raise RunError("the heads of paper/ are not installed: `pip install -e ./paper` in the checkout")


def run_all(options: argparse.Namespace) -> None:
    """Run one experiment, or all in order."""
    _check_installed()
    names = NAMES if options.name == "all" else (options.name,)
    for name in names:
        module(name)
    if options.data is not None and not options.data.is_dir():
        raise RunError(
            f"--data {options.data}: no such folder; `python -m paper list {names[0]}` prints what it must contain"
        )
    least_values = {"workers": 1, "accumulate": 1, "processes": 1, "emulate_per_process_draw": 0, "least_frames": 0}
    for option, least in least_values.items():
        value = getattr(options, option)
        if value is not None and value < least:
            raise RunError(f"--{option.replace('_', '-')} must be at least {least}, got {value}")
    hardware = options.accumulate, _processes(options)
    runtime = Runtime(options.scale, options.data, options.kept, *hardware, least_frames=options.least_frames)
    setting = Setting(
        runtime,
        seeds_of(options.scale, options.seeds),
        options.workers or (1 if options.scale == "full" else 2),
        full_length=options.full_length,
        processes_drawing=options.emulate_per_process_draw,
        only=_pattern(options.only),
    )
    store = Store(options.results, options.scale)
    if options.scale == "smoke":
        _say("smoke: two steps per row, whatever its title says; the numbers mean nothing")
    started = time.perf_counter()
    with workers(setting) as pool:
        for name in names:
            begun = time.perf_counter()
            _report_missing_data(name, setting)
            section = run(name, module(name).plan(setting), setting, store, pool, again=options.again, say=_say)
            _say(f"{name}: done in {(time.perf_counter() - begun) / 60:.1f} minutes")
            for verdict in section.verdicts if options.scale != "smoke" else ():
                _say(f"  claim {verdict.number}, {verdict.claim}: {verdict.answer} ({verdict.why})")
    _say(f"all done in {(time.perf_counter() - started) / 60:.1f} minutes; results in {store.folder}")
    if options.scale != "smoke":
        _say(f"`python -m paper report --scale {options.scale} --results {options.results}` writes the tables")


def _pattern(text: str) -> str:
    """Return the regular expression; raise RunError if it is none."""
    try:
        re.compile(text)
    except re.error as error:
        raise RunError(f"--only {text!r} is no regular expression: {error}") from None
    return text


def _report_missing_data(name: str, setting: Setting) -> None:
    """Print which data sets are missing and how many rows are skipped for it."""
    jobs = outline(module(name).plan, setting)
    missing = sorted({source for job in jobs for source in job.row.sources if not setting.has(source)})
    if missing:
        rows = len({job.title for job in jobs if set(job.row.sources) & set(missing)})
        where = "pass their folder with --data" if setting.runtime.data is None else f"not in {setting.runtime.data}"
        _say(f"{name}: {rows} rows need {', '.join(missing)} ({where}): skipped")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    # A job scheduler's SIGTERM must end the workers too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
