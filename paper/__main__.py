"""python -m paper list | run EXPERIMENT | report: every table and figure of the paper."""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from paper.data import Place
from paper.experiments import NAMES, label, module
from paper.results import FOLDER, Store
from paper.rows import Job
from paper.running import SEEDS, Setting, outline, run, seeds_of, workers
from paper.worlds import Scale
from texthead.commands.console import reader_gone
from texthead.errors import RunError, TextheadError

SCALES: tuple[Scale, ...] = ("mini", "full")  # that anything can be learned from


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for a mistake of the user's, 130 for an interrupt, 141 where the output's reader has gone."""
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
        else:
            from paper.report import write

            write(options.results, options.scale, options.out, options.page, seeds=options.seeds)
        sys.stdout.flush()
    except BrokenPipeError:
        return reader_gone()
    except TextheadError as error:
        print(f"python -m paper: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("python -m paper: stopped; finished rows are kept, the same command goes on from them", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m paper", description="Every table and figure of the paper.")
    commands = parser.add_subparsers(dest="command", required=True)
    add = partial(commands.add_parser, allow_abbrev=False)
    shown = add("list", help="every experiment: its rows, what it needs, its cost at each scale")
    shown.add_argument("names", nargs="*", metavar="EXPERIMENT", help="the whole label of these alone")
    running = add("run", help="run an experiment, or all; finished rows are skipped")
    running.add_argument("name", metavar="EXPERIMENT", help=f"all, or one of {', '.join(NAMES)}")
    text = "full: the paper's; smoke: two steps a row, to see that it runs; default: mini"
    running.add_argument("--scale", choices=tuple(SEEDS), default="mini", help=text)
    running.add_argument("--data", type=Path, help="folder of data sets; `list` says what is expected in it")
    running.add_argument("--seeds", type=int, help="number of seeds; default: 5 at mini, 1 at smoke and full")
    running.add_argument("--workers", type=int, help="jobs at a time; default: 2, 1 at full")
    running.add_argument(
        "--accumulate", type=int, default=1, help="passes that a step is split into, to fit the memory"
    )
    running.add_argument("--processes", type=int, help="full: GPUs that a row takes, under torchrun; default: all")
    running.add_argument("--dry-run", action="store_true", help="full: rows, schedules and cost; nothing is trained")
    running.add_argument("--again", action="store_true", help="run finished rows again, too")
    running.add_argument(
        "--kept", type=Path, help="folder for drawn data, small CLIPs and features; default: ~/.cache/texthead/paper"
    )
    running.add_argument("--full-length", action="store_true", help="table8: also with epochs as long as full training")
    running.add_argument(
        "--emulate-per-process-draw",
        type=int,
        default=8,
        metavar="N",
        help="table8: also with items drawn by each of N processes, the published code's defect; 0: not",
    )
    deciding = add("decide", help="more seeds for undecided claims at mini, as paper/PLAN.md says, within a budget")
    deciding.add_argument("--data", type=Path, help="folder of data sets; `list` says what is expected in it")
    deciding.add_argument("--hours", type=float, default=6.0, help="core-hours; default: 6")
    deciding.add_argument("--workers", type=int, default=2, help="jobs at a time; default: 2")
    deciding.add_argument(
        "--kept", type=Path, help="folder for drawn data, small CLIPs and features; default: ~/.cache/texthead/paper"
    )
    reporting = add("report", help="RESULTS.md and one page from what has been run")
    reporting.add_argument("--scale", choices=SCALES, default="mini", help="default: mini")
    reporting.add_argument("--seeds", type=int, help="number of seeds; default: 5 at mini, 1 at full")
    reporting.add_argument("--out", type=Path, default=FOLDER.parent / "RESULTS.md")
    reporting.add_argument("--page", type=Path, default=FOLDER.parent / "results.html")
    for command in (running, deciding, reporting):
        command.add_argument(
            "--results", type=Path, default=FOLDER, help="folder of finished rows; default: paper/results"
        )
    return parser


def show_list(names: Sequence[str]) -> None:
    """What can be run: a few lines an experiment, or the whole label and all rows of those that are named."""
    for name in names or NAMES:
        settings = {scale: Setting(Place(scale), seeds_of(scale)) for scale in SCALES}
        jobs = {scale: outline(module(name).plan, settings[scale]) for scale in SCALES}
        needs = {scale: sorted({source for job in jobs[scale] for source in job.row.sources}) for scale in jobs}
        if names:
            print(f"{name}\n\n{label(name)}\n")
            for scale in jobs:
                print(f"rows at {scale}:", *_priced(scale, jobs[scale]), sep="\n  ")
            print()
            continue
        print(f"{name:9} {module(name).TITLE}")
        for scale in SCALES:
            count = len({job.title for job in jobs[scale]})
            rows = f"{count} {'row' if count == 1 else 'rows'}"
            print(f"{'':9}   {scale}: {rows}, data {', '.join(needs[scale])}{_cost(name, scale, jobs[scale])}")


def _priced(scale: str, jobs: Sequence[Job]) -> list[str]:
    """Return the titles of the rows, at full scale with the hours of one GPU for one seed."""
    from paper.planned import RATES, planned

    rows = {job.title: job for job in jobs}
    if scale != "full":
        return list(rows)
    plans = [planned(job) for job in rows.values()]
    return [f"{row.title}: {', '.join(f'{row.hours(gpu):.1f} {gpu}-hours' for gpu in RATES)}" for row in plans]


def _cost(name: str, scale: Scale, jobs: Sequence[Job]) -> str:
    """The time that the rows took, where they have been run; of `full` the label says what it should."""
    store = Store(FOLDER, scale)
    told = Setting(Place(scale), seeds_of(scale), digests=store.digests)
    keys = {told.key(job) for job in jobs if all(map(told.has, job.row.sources))}
    seconds = store.about(keys)[2]
    if seconds:
        small = any(source.startswith("tinyclip") for job in jobs for source in job.row.sources)
        first = "; before that 6 to 8 minutes a small CLIP, once" if small else ""
        return f"; {seconds / 60:.0f} core-minutes with five seeds, rows shared with others included{first}"
    if scale != "full":
        return ""
    from paper.planned import RATES, planned

    rows = [planned(job) for job in {job.title: job for job in jobs}.values()]
    hours = ", ".join(f"{sum(row.hours(gpu) for row in rows):,.0f} {gpu}-hours" for gpu in RATES)
    return f"; about {hours} with one seed, rows shared with others included"


def show_plan(options: argparse.Namespace) -> None:
    """Print every row of full scale: its model, schedule and cost, without data or weights."""
    from rich.console import Console
    from rich.table import Table

    from paper.planned import HEADERS, table

    if options.scale != "full":
        raise RunError(f"--dry-run is for --scale full, got {options.scale}")
    names = NAMES if options.name == "all" else (options.name,)
    for name in names:
        setting = Setting(Place("full"), seeds_of("full"), full_length=options.full_length)
        shown = Table(*HEADERS, title=module(name).TITLE)
        for line in table(outline(module(name).plan, setting)):
            shown.add_row(*line)
        Console(width=None if sys.stdout.isatty() else 240).print(shown)


def _processes(options: argparse.Namespace) -> int:
    """Return the number of processes of a row at full scale: as asked for, else one for each GPU."""
    if options.processes is not None or options.scale != "full":
        return options.processes or 1
    import torch

    return max(1, torch.cuda.device_count())


def decide_all(options: argparse.Namespace) -> None:
    """Run more seeds until claims are decided or the budget is spent."""
    from paper.deciding import decide

    if not options.hours > 0:
        raise RunError(f"--hours must be above 0, got {options.hours}")
    setting = Setting(Place("mini", options.data, options.kept), seeds_of("mini"), options.workers)
    with workers(setting) as pool:
        decide(setting, Store(options.results, "mini"), pool, options.hours, _say)


def run_all(options: argparse.Namespace) -> None:
    """Run one experiment, or all in their order."""
    names = NAMES if options.name == "all" else (options.name,)
    for name in names:
        module(name)
    if options.data is not None and not options.data.is_dir():
        raise RunError(f"--data {options.data}: no such folder; see `python -m paper list {names[0]}`")
    for option, least in (("workers", 1), ("accumulate", 1), ("processes", 1), ("emulate_per_process_draw", 0)):
        value = getattr(options, option)
        if value is not None and value < least:
            raise RunError(f"--{option.replace('_', '-')} must be at least {least}, got {value}")
    place = Place(options.scale, options.data, options.kept, options.accumulate, _processes(options))
    setting = Setting(
        place,
        seeds_of(options.scale, options.seeds),
        options.workers or (1 if options.scale == "full" else 2),
        full_length=options.full_length,
        processes_drawing=options.emulate_per_process_draw,
    )
    store = Store(options.results, options.scale)
    if options.scale == "smoke":
        _say("smoke: two steps a row, whatever its name says; the numbers mean nothing")
    started = time.perf_counter()
    with workers(setting) as pool:
        for name in names:
            begun = time.perf_counter()
            _say_missing(name, setting)
            section = run(name, module(name).plan(setting), setting, store, pool, again=options.again, say=_say)
            _say(f"{name}: done in {(time.perf_counter() - begun) / 60:.1f} minutes")
            for verdict in section.verdicts if options.scale != "smoke" else ():
                _say(f"  claim {verdict.number}, {verdict.claim}: {verdict.answer} ({verdict.why})")
    _say(f"all done in {(time.perf_counter() - started) / 60:.1f} minutes; results in {store.folder}")
    if options.scale != "smoke":
        _say(f"`python -m paper report --scale {options.scale} --results {options.results}` writes their tables")


def _say_missing(name: str, setting: Setting) -> None:
    """Which data sets an experiment would need and has not: rows on them are left out, and said."""
    jobs = outline(module(name).plan, setting)
    missing = sorted({source for job in jobs for source in job.row.sources if not setting.has(source)})
    if missing:
        rows = len({job.title for job in jobs if set(job.row.sources) & set(missing)})
        where = "name their folder with --data" if setting.place.data is None else f"not in {setting.place.data}"
        _say(f"{name}: {rows} rows need {', '.join(missing)} ({where}): left out")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    # So that a job scheduler's stop ends the workers too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
