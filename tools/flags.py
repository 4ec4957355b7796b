"""Write tests/golden/flags.txt, every option with its default, from the commands: python -m tools.flags

Look through the diff: names of options are what users type.
"""

from dataclasses import MISSING
from pathlib import Path

from texthead.cli import main as cli
from texthead.cli.parser import Option, options_of

PAGE = Path(__file__).parents[1] / "tests" / "golden" / "flags.txt"


def flags_of(options: list[Option], command: str = "") -> list[str]:
    """Return one line per option and argument, with its default."""
    lines = []
    for each in options:
        default = None if each.default is MISSING else each.default
        name = each.name if each.positional else each.label
        # The default of `workers` depends on the machine.
        lines.append(f"{command} {name}{'' if each.name == 'workers' else f' = {default}'}".strip())
    return lines


def page() -> str:
    """Return the options of all commands, sorted."""
    lines = ["--version = False"]
    for name in cli.COMMANDS:
        lines += flags_of(options_of(cli.command_of(name)), name)
    return "\n".join(sorted(lines)) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
