"""The command line: find a command by its name and run it. Commands import torch when they run, not for their help."""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Any

from texthead.cli import parser, system
from texthead.cli.flag_names import set_active_commands, with_flags
from texthead.cli.signals import Ending, ended_by_signals
from texthead.errors import DataError, RunError, TextheadError, did_you_mean, line_of
from texthead.extensions import Extension, find
from texthead.extras import extra_of, missing
from texthead.parallel.startup import keep_freed_memory

# In the order of `texthead --help`.
GROUPS = {
    "start": {"demo": "texthead.apps.demo.command:Demo"},
    "data": {
        "doctor": "texthead.apps.doctor.command:Doctor",
        "label": "texthead.apps.label.command:Label",
        "label-studio": "texthead.apps.label_studio.command:LabelStudio",
        "prepare": "texthead.commands.prepare:Prepare",
    },
    "train": {
        "train": "texthead.commands.train:Train",
        "compare": "texthead.commands.compare:Compare",
        "import": "texthead.apps.checkpoints.command:Import",
    },
    "measure": {
        "eval": "texthead.commands.eval:Eval",
        "report": "texthead.commands.report:ReportCommand",
        "calibrate": "texthead.commands.calibrate:Calibrate",
    },
    "use": {
        "predict": "texthead.commands.predict:Predict",
        "bulk": "texthead.apps.bulk.command:Bulk",
        "find": "texthead.apps.search.command:Find",
        "timeline": "texthead.apps.timeline.command:TimelineCommand",
        "ui": "texthead.apps.page.command:Ui",
        "export": "texthead.apps.export.command:Export",
    },
    "inspect": {
        "classes": "texthead.apps.classes.command:Classes",
        "encoders": "texthead.commands.encoders:Encoders",
    },
}
COMMANDS = {name: target for group in GROUPS.values() for name, target in group.items()}

FIRST_SCREEN = """\
texthead trains a classifier for videos and images from class names.

  train     train a classifier on labelled files, one folder per class
  predict   classify files with a trained run, or zero-shot from class names
  compare   see in seconds which method works best on your data
  label     label files in the browser, the most useful ones first
  report    write an HTML page: scores, confusions, mistakes
  ui        open a page: drop a file, type class names, see the top classes

From a folder of class folders (photos/dress/*.jpg, photos/hat/*.jpg) to a
prediction:

  texthead train photos --out run
  texthead predict run new.jpg

No labels yet? Class names are enough:

  texthead predict new.jpg --classes "a dress, a hat, shoes"

texthead --help lists all 19 commands, texthead COMMAND --help their options.
"""


def commands() -> dict[str, Extension]:
    """Return the commands by their names: ours in the order of the help, then those of installed packages."""
    return find("texthead.commands", COMMANDS)


def command_of(name: str) -> type:
    """Return the dataclass of a command.

    Raises:
        DataError: there is no such command.
        RunError: a package brings it and is broken.
    """
    extensions = commands()
    if name not in extensions:
        near = did_you_mean(name, [*extensions])
        raise DataError(f"there is no command '{name}'{near} (see texthead --help)")
    return _loaded(extensions[name])


def _loaded(extension: Extension) -> type:
    """Return the dataclass of an entry; raise RunError if it cannot be imported or is not one."""
    command = extension.load()
    if not is_dataclass(command) or not isinstance(command, type) or "__call__" not in dir(command):
        raise RunError(extension.broken("is not a dataclass with a method __call__"))
    if not extension.ours:
        command.NAME = extension.name  # pyright: ignore[reportAttributeAccessIssue]
    return command


def full_help() -> str:
    """Return what `texthead --help` prints: every command by its group, without making their parsers."""
    lines = ["usage: texthead COMMAND [options]", "", "Class names in, classifier out."]
    extensions = commands()
    strangers = [name for name, command in extensions.items() if not command.ours]
    for title, group in {**GROUPS, **({"from packages": strangers} if strangers else {})}.items():
        lines += ["", f"{title}:"]
        for name in group:
            try:
                text = parser.summary_of(_loaded(extensions[name]))
            except RunError as error:
                text = str(error)
            more = wrap(text, 64) or [""]
            lines += [f"  {name:<14}{more[0]}", *(f"{'':16}{line}" for line in more[1:])]
    lines += ["", "options:", "  --help        print this", "  --version     print the version"]
    return "\n".join([*lines, "", "texthead COMMAND --help lists the options of a command."])


def _run(name: str, command: type, values: dict[str, Any]) -> int:
    """Build a command from its options and call it, in the process group that torchrun started; return its exit code.

    Raises:
        RunError: the command runs in one process, or something other than torchrun started the processes.
    """
    from texthead.cli.console import console
    from texthead.cli.outputs import check_outputs

    size, group = os.environ.get("WORLD_SIZE", "1"), nullcontext()
    if size != "1":
        if "LOCAL_RANK" not in os.environ:
            why = "LOCAL_RANK is not set, so each process would do all the work alone"
            raise RunError(f"WORLD_SIZE is {size} and {why}: start it with torchrun, or unset WORLD_SIZE")
        if getattr(command, "PROCESSES", "one") != "shared":
            raise RunError(f"{name} runs in one process: start it without torchrun")
        from texthead.parallel.distributed import process_group

        group = process_group()
    keep_freed_memory()
    flags = {name: bool(values.pop(name, False)) for name in ("quiet", "verbose", "json")}
    with group, console.screen(**flags, skips=bool(values.get("skip_unreadable"))):
        built = parser.build(command, values)
        check_outputs(built)
        if hasattr(built, "check"):
            built.check()  # Report mistakes before the slow import of torch.
        return built() or 0


def _interrupted(run: str = "") -> str:
    """Return the message of an interrupted command; it says how to resume the training of a run that has begun."""
    begun = run and (Path(run) / "recipe.json").is_file()
    return f"texthead: interrupted{'; the same command with --resume continues' if begun else ''}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    It is 0 for success, 1 if doctor finds a serious fault or predict cannot read some of its files, 2 for a mistake of
    the user's, 130, 143 and 129 for Ctrl-C, SIGTERM and SIGHUP, and 141 if the reader of the output has gone.
    """
    if argv is None:
        # Child processes would import modules from the current folder first: a `random.py` there would run.
        os.environ.setdefault("PYTHONSAFEPATH", "1")
        # Apple's GPU lacks some operations, which the CPU then computes.
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
        system.limit_openmp_spinning()
        # Collections find nothing to free while modules are imported, and are a third of the time of `import torch`.
        gc.set_threshold(100_000, 50, 100)
    system.prepare_streams()
    set_active_commands()
    with ended_by_signals(_interrupted) as ending:
        try:
            code = _call(list(sys.argv[1:] if argv is None else argv), ending)
            sys.stdout.flush()
            # A page ends with Ctrl-C as usual.
            return code if ending.number in (None, signal.SIGINT) else ending.code
        except BrokenPipeError:
            return system.broken_pipe_code()
        except BaseException as error:
            # Interrupted code, processes that end and installed packages can raise anything.
            if isinstance(error, KeyboardInterrupt) or ending.number:
                if argv is None:
                    system.end_processes()
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
                    sys.unraisablehook = str  # A loader whose start was interrupted fails in its `__del__`.
                with suppress(OSError):  # The terminal may be gone.
                    sys.stderr.write(f"{ending.line()}\n")  # One write: ranks share the terminal.
                return ending.code
            line = system.os_error_message(error) if isinstance(error, OSError) else str(error)
            extra = extra_of(error.name or "") if isinstance(error, ModuleNotFoundError) else None
            if isinstance(error, ModuleNotFoundError) and extra:
                line = missing("this command", error.name or "", extra)
            elif system.is_out_of_memory(error):
                remedy = "use a smaller `batch` or `size`, fewer `frames`, or less data"
                line = f"not enough memory ({line_of(error)}); {remedy}"
            elif not isinstance(error, TextheadError | OSError):
                raise
            parser.print_error(" ".join(with_flags(line).split()))
            return 2


def _call(arguments: list[str], ending: Ending) -> int:
    """Call the command of a command line and return its exit code; the ending gets the message for an interrupt."""
    if not arguments:
        print(FIRST_SCREEN, end="")
        return 0
    if arguments in (["-h"], ["--help"], ["help"]):
        print(full_help())
        return 0
    if arguments == ["--version"]:
        from texthead import __version__

        print(f"texthead {__version__}")
        return 0
    if arguments[0].startswith("-"):
        raise DataError(f"unrecognized arguments: {' '.join(arguments)} (see texthead --help)")
    name, words = arguments[0], arguments[1:]
    command = command_of(name)
    values = parser.read_words(command, words)
    if values.get("print_recipe"):
        from texthead.cli.recipe_file import recipe_text

        print(recipe_text(parser.build(command, {"data": "", "out": "", **values}).chosen), end="")
        return 0
    parser.check_required(command, values)
    set_active_commands(lambda: command, lambda: command_of("train"))
    ending.line = partial(_interrupted, values["out"] if name == "train" else "")
    return _run(name, command, values)


if __name__ == "__main__":
    sys.exit(main())
