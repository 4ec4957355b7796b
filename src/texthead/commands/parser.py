"""How a command line is read: help that is short, and mistakes in one line. Torch is not imported here."""

import difflib
import re
import shutil
import sys
from argparse import SUPPRESS, Action, ArgumentError
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from texthead.files import check_options

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "tuple": "two numbers, as [0.35, 1.0]",
    "NonNegativeInt": "a whole number, 0 or more",
    "PositiveFloat": "a number above 0",
    "PositiveInt": "a whole number, 1 or more",
}


def _plain(message: str) -> str:
    """The parser's message in one line that names options as they are typed."""
    text = " ".join(message.split())
    if text.startswith('expected "classes.action" to be one of'):
        return "classes RUN needs list, add, rename, remove or merge (see texthead classes --help)"
    if text.startswith("Unexpected config: "):
        # The parser quotes the whole file.
        found = text.removeprefix("Unexpected config: ")
        return f"--config needs lines `option: value`, as --print-config prints them, got {found[:40]!r}"
    required = re.fullmatch(r"the following arguments are required: (\w+(?:\.\w+)?)\.(\w+)", text)
    if required:
        command, name = required[1].replace(".", " RUN "), required[2]
        positional = {"data": "DATA", "run": "RUN", "classes": "CLASSES", "file": "FILE"}
        positional |= {"old": "OLD", "new": "NEW"} | ({"classes": "NAME"} if " RUN " in command else {})
        positional = {k: v for k, v in positional.items() if (command, k) != ("import", "classes")}
        return f"{command} needs {positional.get(name, f'--{name}')} (see texthead {command} --help)"
    option = re.match(r"Subcommand '(\w+)' does not accept option '([\w.]+)'", text)
    if option:
        return f"texthead {option[1]} has no option {option[2]!r} (given in --config)"
    wrong = re.fullmatch(r'Parser key "(?:\w+\.)?(\w+)": (.*)', text)
    if not wrong:
        return text
    option, problem = f"--{wrong[1].replace('_', '-')}", wrong[2]
    kind = re.search(r"Literal\[(.*?)\]|<class '(\w+)'>|Not of type (\w+)|Expected a (tuple)", problem)
    value = re.search(r"(?:[Gg]ot value|Given value|NonNegativeInt|PositiveFloat|PositiveInt): (\S*)", problem)
    if not kind or not value:
        return f"{option}: {problem}"
    *others, last = kind[1].split(", ") if kind[1] else ["", _KINDS[kind[2] or kind[3] or kind[4]]]
    rule = f"{', '.join(others)} or {last}".replace("'", "") if kind[1] else last
    return f"{option} must be {rule}, got {value[1]}"


class _Help(DefaultHelpFormatter):
    """Help without types, and with a default only where there is one to know."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=28, width=min(100, shutil.get_terminal_size().columns - 2))

    def _get_help_string(self, action: Action) -> str:
        shown = action.default not in (None, False, SUPPRESS)
        return f"{action.help or ''}{f' (default: {action.default})' if shown else ''}"


class Parser(ArgumentParser):
    """A parser whose errors are one line, and whose options are never guessed from their beginnings."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", _Help)
        kwargs.setdefault("print_config", "--print-%s")
        super().__init__(*args, **kwargs)

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The options in a file, which is looked at before its reader takes memory for it."""
        try:
            check_options(Path(path))
        except (OSError, ValueError) as error:
            self.error(f"--config {path}: {error}")
        return super().parse_path(path, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Print the message and exit with 2, unless the parser was made to raise it."""
        line = _plain(message)
        if not self.exit_on_error:
            raise ArgumentError(None, line) from ex
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", line)
        near = difflib.get_close_matches(unknown[1], self._option_string_actions, 1) if unknown else []
        line += f": did you mean {near[0]}?" if near else ""
        if re.match(r"unrecognized arguments: [^-]", line):
            line += ": names of files and the like stand together, before the options"
        if "--help)" not in line:
            line += f" (see {self.prog.replace(' [options]', '')} --help)"
        print(f"texthead: {line}", file=sys.stderr)
        sys.exit(2)
