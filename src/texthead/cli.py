"""The command line: a name -> a command. Torch is imported by the commands, not by their parsers."""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from importlib import import_module
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from texthead.commands.parser import Parser, add_command, build
from texthead.commands.system import check_current_folder, name_files_in_utf8, of_system, open_streams, print_every_name
from texthead.errors import RunError, TextheadError, printable
from texthead.extras import extra_of, missing
from texthead.parallel.signals import Ending, ended_by_signals
from texthead.parallel.startup import begin_server, end_processes, keep_freed_memory

# In the order of `texthead --help`.
COMMANDS = {
    "train": "texthead.commands.train:Train",
    "prepare": "texthead.commands.prepare:Prepare",
    "compare": "texthead.commands.compare:Compare",
    "label": "texthead.commands.label:Label",
    "doctor": "texthead.commands.doctor:Doctor",
    "eval": "texthead.commands.eval:Eval",
    "report": "texthead.commands.report:ReportCommand",
    "calibrate": "texthead.commands.calibrate:Calibrate",
    "predict": "texthead.commands.predict:Predict",
    "timeline": "texthead.commands.timeline:TimelineCommand",
    "classes": "texthead.commands.classes:Classes",
    "head": "texthead.commands.head:HeadCommand",
    "import": "texthead.commands.import_run:Import",
    "export": "texthead.commands.export:Export",
    "encoders": "texthead.commands.encoders:Encoders",
    "ui": "texthead.commands.ui:Ui",
    "demo": "texthead.commands.demo:Demo",
}


def command_of(name: str) -> type:
    """Return the dataclass of a command."""
    module, _, own = COMMANDS[name].partition(":")
    return getattr(import_module(module), own)


def command_line(only: str | None = None) -> ArgumentParser:
    """Return the parser of `texthead` and its commands, or of one of them: all take a while to make."""
    parser = Parser(prog="texthead", description="Class names in, recogniser out.")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subcommands(required=False, dest="command")
    for name in [only] if only in COMMANDS else COMMANDS:
        add_command(commands, command_of(name))
    return parser


# Commands that several processes do together.
_SHARED = ("train", "eval")

# Those whose files are decoded by processes of a loader.
_DECODING = ("train", "eval", "calibrate", "report", "predict", "compare", "label", "demo")


def _group(command: str, *, apart: bool) -> AbstractContextManager[None]:
    """The group of the processes that torchrun has started, if it has; none where each works `apart`.

    Raises:
        RunError: the command is for one process, or the processes were started by something else.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdecimal():
        raise RunError(f"WORLD_SIZE must be a whole number, got {size!r}: start this with torchrun, or unset it")
    if apart or int(size) < 2:
        return nullcontext()
    if "LOCAL_RANK" not in os.environ:
        raise RunError(
            f"WORLD_SIZE is {size} and LOCAL_RANK is not set, so each process would do all the work alone: start it "
            "with torchrun, or unset WORLD_SIZE"
        )
    if command not in _SHARED:
        raise RunError(f"{command} runs in one process: start it without torchrun")
    from texthead.parallel.distributed import launched

    return launched()


def _run(parser: ArgumentParser, command: str, options: Namespace, arguments: list[str]) -> None:
    """Build a command from its options and call it."""
    keep_freed_memory()
    if command == "train":
        from texthead.commands.train import from_options

        # Recipe flags have no defaults: what was typed or configured counts, and nothing else.
        built = from_options(options.as_dict(), parser.parse_args(arguments, defaults=False)["train"].as_dict())
    else:
        built = build(command_of(command), options.as_dict())
    if hasattr(built, "check"):
        built.check()  # What can be said before torch is imported.
    if command in _DECODING and options.workers and getattr(built, "decodes_many", True):
        begin_server()  # It imports what this process does in the meantime.
    built()


def _interrupted(command: str | None = None, chosen: Namespace | None = None) -> str:
    """Return the line of a command that was interrupted; a training that has begun can go on."""
    begun = command == "train" and chosen is not None and (Path(chosen.out) / "recipe.json").is_file()
    remedy = f"; `texthead train {chosen.data} --out {chosen.out} --resume` goes on" if chosen and begun else ""
    return printable(f"texthead: interrupted{remedy}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    It is 0, or 2 for a mistake of the user's, 130, 143 and 129 for Ctrl-C, SIGTERM and SIGHUP, 141 where the output's
    reader has gone.
    """
    if argv is None:
        name_files_in_utf8()
        open_streams()
        # Processes that are started look for modules in the current folder at first: a `random.py` there would run.
        os.environ.setdefault("PYTHONSAFEPATH", "1")
    print_every_name()
    with ended_by_signals(_interrupted) as ending:
        try:
            check_current_folder()
            _call(list(sys.argv[1:] if argv is None else argv), ending)
            sys.stdout.flush()
            return ending.code if ending.number else 0
        except BrokenPipeError:
            from texthead.commands.console import reader_gone

            return reader_gone()
        except (Exception, KeyboardInterrupt) as error:
            # What a signal interrupts, and other processes that it ends, can raise anything.
            if isinstance(error, KeyboardInterrupt) or ending.number:
                if argv is None:
                    end_processes()
                    signal.signal(signal.SIGINT, signal.SIG_IGN)  # It is ending.
                with suppress(OSError):  # The terminal may be gone.
                    print(ending.line(), file=sys.stderr)
                return ending.code
            line = of_system(error) if isinstance(error, OSError) else str(error)
            extra = extra_of(error.name or "") if isinstance(error, ModuleNotFoundError) else None
            if isinstance(error, ModuleNotFoundError) and extra:
                line = missing("this command", error.name or "", extra)
            elif not isinstance(error, TextheadError | OSError):
                raise
            print(f"texthead: {' '.join(line.split())}", file=sys.stderr)
            return 2


def _call(arguments: list[str], ending: Ending) -> None:
    """Call the command of a command line, and tell the ending which it is."""
    parser = command_line(next(iter(arguments), None))
    options = parser.parse_args(arguments)
    if options.version:
        from texthead import __version__

        print(f"texthead {__version__}")
    elif options.command is None:
        parser.print_help()
    else:
        chosen = options[options.command]
        ending.line = partial(_interrupted, options.command, chosen)
        with _group(options.command, apart=chosen.get("manifest") is not None):
            _run(parser, options.command, chosen, arguments)


if __name__ == "__main__":
    sys.exit(main())
