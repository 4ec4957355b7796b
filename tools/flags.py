"""Write tests/golden/flags.txt, every option with its default, from the parser: python -m tools.flags

Options that are added or removed belong in CHANGELOG.md.
"""

from argparse import ArgumentParser, _HelpAction, _SubParsersAction
from pathlib import Path

from texthead.cli import command_line

PAGE = Path(__file__).parents[1] / "tests" / "golden" / "flags.txt"


def flags_of(parser: ArgumentParser, command: str = "") -> list[str]:
    """Return one line per option and argument of the commands, with its default."""
    lines: list[str] = []
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for name, inner in action.choices.items():
                lines += flags_of(inner, f"{command} {name}".strip())
        elif not isinstance(action, _HelpAction):
            name = " ".join(action.option_strings) or action.dest.rpartition(".")[2]
            # The default of `workers` depends on the machine.
            default = "" if action.dest == "workers" else f" = {action.default}"
            lines.append(f"{command} {name}{default}".strip())
    return lines


def page() -> str:
    """Return the options of all commands, sorted."""
    return "\n".join(sorted(flags_of(command_line()))) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
