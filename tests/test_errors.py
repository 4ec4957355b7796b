"""A path in place of what it names, and one text in place of a list, are one line with the rule."""

import subprocess
import sys

import pytest

CALLS = {
    "th.train_run('labels.csv', 'run')": "`data` must be what th.read_dataset returns, got 'labels.csv'",
    "th.compare('clips')": "`data` must be what th.read_dataset returns, got 'clips'",
    "th.evaluate_run('run')": "`run` must be what th.load_run returns, got 'run'",
    "th.find_events('run', 'film.mp4')": "`run` must be what th.load_run returns, got 'run'",
    "th.find_moments('a bird', 'clips', avoid='a plane')": "`avoid` must be a list, got the text 'a plane': write ['a plane']",
    "th.label_pool('clips', 'a bird')": "`classes` must be a list, got the text 'a bird': write ['a bird']",
}


@pytest.mark.slow
def test_arguments_of_the_wrong_kind() -> None:
    """In a process of its own: here every call is checked for types."""
    lines = "import texthead as th\n"
    for call in CALLS:
        lines += f"try:\n    {call}\nexcept th.TextheadError as error:\n    print(error)\n"
    result = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert result.stdout.splitlines() == [*CALLS.values()], result.stderr
