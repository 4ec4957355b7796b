"""Parameters in messages, as the command line spells them.

A message of the library writes a parameter in backquotes, as a Python user does: `skip_unreadable`, `tune=none`. The
command line prints its flag: --skip-unreadable, --tune none.
"""

import re
from collections.abc import Callable

from texthead.cli.parser import options_of
from texthead.cli.recipe_file import recipe_options

# In backquotes, and not part of a path (`size`.jpg) or of a quoted value.
PARAMETER = re.compile(r"(?<![^\s(])`([a-z][a-z_0-9]*)(?:=([^`\n]+))?`(?!\.?[^\s.,;:)])")

_commands: list[Callable[[], type]] = []


def set_active_commands(*commands: Callable[[], type]) -> None:
    """Set the commands whose flags stand in messages: the running one, and others for options that it lacks."""
    _commands[:] = commands


def with_flags(text: str) -> str:
    """Return a message with the flags of the running command in place of parameters; other text stays as it is."""
    if "`" not in text:
        return text
    options = {each.name: each for command in reversed(_commands) for each in options_of(command())}

    def flag(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        option = options.get(name)
        if option is None:
            of_recipe = "set" in options and name in recipe_options()
            return f"--set {name}{'' if value is None else f'={value}'}" if of_recipe else match[0]
        return option.label if value is None or option.positional or option.is_switch else f"{option.label} {value}"

    return PARAMETER.sub(flag, text)
