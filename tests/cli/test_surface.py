"""The command line fits in a head: few options, each help on one screen."""

import pytest

from texthead.cli.main import COMMANDS, command_of
from texthead.cli.parser import options_of, parser_of

# What a person must know of a command; a switch that prints and exits, like --help, is no option of it.
MAX_OPTIONS, MAX_OF_ALL, MAX_LINES = 20, 200, 40
PRINTS = {"--print-recipe"}


def test_few_options() -> None:
    options = {name: [each.label for each in options_of(command_of(name)) if not each.positional] for name in COMMANDS}
    counts = {name: len(set(labels) - PRINTS) for name, labels in options.items()}
    assert {name: count for name, count in counts.items() if count > MAX_OPTIONS} == {}
    assert sum(counts.values()) <= MAX_OF_ALL


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_is_a_screen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = parser_of(command_of(name)).format_help().splitlines()
    assert len(lines) <= MAX_LINES
    assert max(map(len, lines)) <= 80
