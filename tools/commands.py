"""docs/reference/commands.md: every command and option, from the parser itself.

python -m tools.commands > docs/reference/commands.md
"""

import argparse
import re
from collections.abc import Iterator

from jsonargparse import ArgumentParser

from texthead.cli import command_line

_HEAD = """# Commands

Every command and option, as `texthead COMMAND --help` prints them. `make commands` generates this page from the parser.
An error is one line on standard error with exit code 2. `doctor` ends with exit code 1 if there are serious findings.

Results go to standard output; progress, notes and the next command to standard error. `--quiet` prints only results and
errors. `--json` prints one JSON document with the keys listed below, numbers unrounded and null for what is not finite.
With `NO_COLOR` or `TERM=dumb` there are no colours and no control characters, and a long wait is a plain line every ten
seconds.

Shells complete commands and options after `eval "$(texthead --print-completion bash)"` (or `zsh`), in fish after
`texthead --print-completion fish | source`.
"""


def parsers(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    """Yield each command's parser in the order of `--help`, followed by those of its actions."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield inner
                yield from parsers(inner)


def escaped(text: str) -> str:
    """Return text in which Markdown sees no cell of a table, tag or link."""
    return re.sub(r"\s+", " ", text).strip().replace("|", r"\|").replace("<", "&lt;").replace("[", r"\[")


def typed(action: argparse.Action) -> str:
    """Return the option as typed on the command line."""
    names = "`, `".join(action.option_strings) or str(action.metavar or action.dest)
    takes_value = action.nargs != 0 and bool(action.option_strings) and not names.startswith("--no-")
    kinds = getattr(action, "_typehint", None)
    choices = getattr(kinds, "__args__", ()) if str(kinds).startswith("typing.Literal") else ()
    values = map(str, choices) if choices else [str(action.metavar or action.dest.rpartition(".")[2].upper())]
    shown = " or ".join(f"`{value}`" for value in values if value.isprintable())
    return f"`{names}`" + (f" {shown}" if shown and takes_value and type(action).__name__ != "ActionYesNo" else "")


def section(parser: ArgumentParser) -> str:
    """Return the section of one command."""
    usage = parser.format_usage().removeprefix("usage: ").strip()
    description = escaped(parser.description or "")
    lines = [f"## {parser.prog.replace(' [options]', '')}", "", description, ""]
    lines += ["```text", re.sub(r"\n\s+", "\n", usage), "```", ""]
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction | argparse._HelpAction) or action.help == argparse.SUPPRESS:
            continue
        default = action.default
        shown = default not in (None, argparse.SUPPRESS) and default is not False and action.dest != "workers"
        rows.append(f"| {typed(action)} | {escaped(action.help or '')} | {f'`{default}`' if shown else ''} |")
    if rows:
        lines += ["| | | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def page() -> str:
    """Return the whole page."""
    return _HEAD + "\n" + "\n".join(map(section, parsers(command_line())))


if __name__ == "__main__":
    print(page(), end="")
