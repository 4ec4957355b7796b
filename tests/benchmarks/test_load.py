"""Small load tests with real kills."""

import json

import pytest

from benchmarks import load


@pytest.mark.nightly("benchmarks/load.py")
@pytest.mark.parametrize(
    "arguments",
    [
        ["page", "--minutes", "0.5", "--clients", "3", "--every", "10"],
        ["label", "--kills", "2", "--every", "3"],
    ],
)
def test_nothing_is_lost_or_wrong(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = load.main(arguments)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (code, result["bad"]) == (0, 0), result
    assert result["kills"] >= 2
    assert result.get("right", result.get("acknowledged", result.get("rows"))) > 10
