"""The command line fits in a head: few options, each help on one screen, the same words for the same option."""

import pytest

from texthead.cli.main import COMMANDS, command_of
from texthead.cli.parser import actions_of, options_of, parser_of

# What a person must know of a command; a switch that prints and exits, like --help, is no option of it.
MAX_OPTIONS, MAX_OF_ALL, MAX_LINES = 20, 200, 40
PRINTS = {"--print-recipe"}

# These read the same wherever they stand.
SHARED = [
    "--device",
    "--skip-unreadable",
    "--quiet",
    "--verbose",
    "--json",
    "--port",
    "--views",
    "--text",
    "--at-least",
]


def parts_of(name: str) -> list[type]:
    """Return the dataclasses of a command and of its actions."""
    command = command_of(name)
    return [command, *actions_of(command).values()]


def flags_of(name: str) -> list[str]:
    options = [each for part in parts_of(name) for each in options_of(part) if not each.positional]
    return [each.label for each in options if each.label not in PRINTS]


def test_few_options() -> None:
    counts = {name: len(flags_of(name)) for name in COMMANDS}
    assert {name: count for name, count in counts.items() if count > MAX_OPTIONS} == {}
    assert sum(counts.values()) <= MAX_OF_ALL


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_is_a_screen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for part in parts_of(name):
        lines = parser_of(part).format_help().splitlines()
        assert len(lines) <= MAX_LINES, name
        assert max(map(len, lines)) <= 80, name


def test_an_option_reads_the_same_everywhere() -> None:
    texts: dict[str, set[tuple[str, str | None]]] = {}
    for part in (part for name in COMMANDS for part in parts_of(name)):
        for each in options_of(part):
            assert each.text, (part, each.label)
            if each.label in SHARED:
                texts.setdefault(each.label, set()).add((each.text, each.metavar))
    assert {label: found for label, found in texts.items() if len(found) > 1} == {}
