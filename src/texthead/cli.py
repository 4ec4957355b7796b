"""The command line: a name -> a command. Torch is imported by the commands, not by their parsers."""

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from texthead.commands.parser import Parser, add_command, build
from texthead.errors import RunError, TextheadError
from texthead.parallel.startup import begin_server, keep_freed_memory

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
    if apart or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return nullcontext()
    if "LOCAL_RANK" not in os.environ:
        size = os.environ["WORLD_SIZE"]
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


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for a mistake of the user's, 130 for an interrupt, 141 where the output's reader has gone."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # Names of files can hold what no terminal can show.
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = command_line(next(iter(arguments), None))
    options = parser.parse_args(arguments)
    if options.version:
        from texthead import __version__

        print(f"texthead {__version__}")
        return 0
    if options.command is None:
        parser.print_help()
        return 0
    chosen = options[options.command]
    try:
        with _group(options.command, apart=chosen.get("manifest") is not None):
            _run(parser, options.command, chosen, arguments)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        from texthead.commands.console import reader_gone

        return reader_gone()
    except TextheadError as error:
        print(f"texthead: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        begun = options.command == "train" and (Path(chosen.out) / "recipe.json").is_file()
        remedy = f"; `texthead train {chosen.data} --out {chosen.out} --resume` goes on" if begun else ""
        print(f"texthead: interrupted{remedy}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
