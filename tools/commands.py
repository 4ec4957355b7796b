"""The page of every command and option, from the parser; `tools/site.py` adds it to the site."""

import re
from typing import Literal, get_args, get_origin

from texthead.cli.main import COMMANDS, command_of
from texthead.cli.parser import Option, description_of, name_of, options_of, usage_of

_HEAD = """# Commands

Every command and option, as `texthead COMMAND --help` prints them. An error is one line on standard error
with exit code 2. `doctor` ends with exit code 1 if there are serious findings.

Results go to standard output; progress, notes and the next command to standard error. `--quiet` prints only results and
errors. `--json` prints one JSON document with the keys listed below, numbers unrounded and null for what is not finite.
With `NO_COLOR` or `TERM=dumb` there are no colours and no control characters, and a long wait is a plain line every ten
seconds.
"""


def escaped(text: str) -> str:
    """Return the text as a cell of a Markdown table, without tags or links."""
    return re.sub(r"\s+", " ", text).strip().replace("|", r"\|").replace("<", "&lt;").replace("[", r"\[")


def typed(option: Option) -> str:
    """Return an option as one types it, with its choices or the name of its value."""
    choices = get_args(option.hint) if get_origin(option.hint) is Literal else ()
    values = choices or (option.metavar or option.name.upper(),)
    value = "" if option.positional or option.is_switch else " or ".join(f"`{value}`" for value in values)
    return f"`{option.label}` {value}".strip()


def section(command: type) -> str:
    """Return the section of one command."""
    lines = [f"## texthead {name_of(command)}", "", escaped(description_of(command)), ""]
    lines += ["```text", re.sub(r"\n\s+", "\n", usage_of(command)), "```", ""]
    if hasattr(command, "JSON"):
        lines += [f"`--json`: {escaped(command.JSON)}.", ""]
    rows = []
    for option in options_of(command):
        # The default of `workers` depends on the machine.
        default = "" if option.name == "workers" else option.shown_default
        rows.append(f"| {typed(option)} | {escaped(option.text)} | {f'`{default}`' if default else ''} |")
    if rows:
        lines += ["| option | meaning | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def summary(name: str) -> str:
    """Return the description, usage and JSON keys of a command as an item of a list."""
    command = command_of(name)
    keys = f" `--json`: {escaped(command.JSON)}." if hasattr(command, "JSON") else ""
    usage = "` or `".join(line.strip() for line in usage_of(command).splitlines())
    return f"- `{usage}`: {escaped(description_of(command))}{keys}"


def page() -> str:
    """Return the page."""
    return _HEAD + "\n" + "\n".join(section(command_of(name)) for name in COMMANDS)
