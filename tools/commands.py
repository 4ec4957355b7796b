"""Write docs/reference/commands.md, every command and option, from the parser.

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
    """Yield the parser of each command in the order of `--help`, followed by those of its subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield inner
                yield from parsers(inner)


def escaped(text: str) -> str:
    """Return the text as a cell of a Markdown table, without tags or links."""
    return re.sub(r"\s+", " ", text).strip().replace("|", r"\|").replace("<", "&lt;").replace("[", r"\[")


def typed(action: argparse.Action) -> str:
    """Return an option as one types it, with its choices or the name of its value."""
    names = "`, `".join(action.option_strings) or str(action.metavar or action.dest)
    takes_value = action.nargs != 0 and bool(action.option_strings) and not names.startswith("--no-")
    kinds = getattr(action, "_typehint", None)
    choices = getattr(kinds, "__args__", ()) if str(kinds).startswith("typing.Literal") else ()
    values = map(str, choices) if choices else [str(action.metavar or action.dest.rpartition(".")[2].upper())]
    value = " or ".join(f"`{value}`" for value in values if value.isprintable())
    return f"`{names}`" + (f" {value}" if value and takes_value and type(action).__name__ != "ActionYesNo" else "")


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
        # The default of `workers` depends on the machine.
        has_default = default not in (None, False, argparse.SUPPRESS) and action.dest != "workers"
        rows.append(f"| {typed(action)} | {escaped(action.help or '')} | {f'`{default}`' if has_default else ''} |")
    if rows:
        lines += ["| option | meaning | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def page() -> str:
    """Return the page."""
    return _HEAD + "\n" + "\n".join(map(section, parsers(command_line())))


if __name__ == "__main__":
    print(page(), end="")
