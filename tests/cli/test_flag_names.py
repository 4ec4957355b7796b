"""Messages name parameters in one form, which the command line turns into its flags, and what they say to type works."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from made import write_image
from texthead.cli import console, flag_names
from texthead.cli.flag_names import set_active_commands, with_flags
from texthead.cli.main import COMMANDS, command_of
from texthead.cli.parser import options_of
from tools import messages

JSON = {getattr(command_of(name), "JSON", "") for name in COMMANDS}
STRINGS = [(module, text) for module, text in messages.strings() if text not in JSON]


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flag_names, "_commands", [])


@cache
def labels(name: str) -> set[str]:
    """Return the flags of a command."""
    return {option.label for option in options_of(command_of(name))}


def test_parameters_become_flags_of_the_command_or_of_train() -> None:
    text = "class `labels`: `tune=none`, `skip_unreadable` or `center=False`; (`clean=False`) `fine_tune`"
    assert with_flags(text) == text
    set_active_commands(lambda: command_of("eval"), lambda: command_of("train"))
    assert with_flags(text) == (
        "class `labels`: --tune none, --skip-unreadable or --set center=False; (`clean=False`) `fine_tune`"
    )
    assert with_flags("`template='a {}'` and `data`; `split=train`") == "--set template='a {}' and DATA; --split train"
    same = "'`top`' a/`names`.jpg `names`.jpg `names`_2 `path n_frames label` `Dataset` run's top"
    assert with_flags(same) == same


def test_errors_and_notes_have_flags(say, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("`top`", "b"):
        for i in range(3):
            write_image(tmp_path / "data" / name / f"{i}.png", "red", seed=i)
    code, _, err = say("train", tmp_path / "data", "--out", tmp_path / "run", "--set", "accumulate=17")
    assert (code, err) == (2, "texthead: --set accumulate must be from 1 to --set batch (16), got 17\n")
    code, _, err = say("train", tmp_path / "data", "--out", tmp_path / "run", "--k", "3")
    assert (code, err) == (2, "texthead: class '`top`' has 2 items, fewer than --k 3; lower it, or add items\n")
    set_active_commands(lambda: command_of("eval"))
    console.say_notes("pass `split=train`")
    assert capsys.readouterr().err == "note: pass --split train\n"
    console.results().print("90 %  `split`", flags=False)
    assert capsys.readouterr().out == "90 %  `split`\n"


FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
OTHERS = {"--help", "--nproc-per-node", "--local-dir", "--version"}


def test_what_a_message_says_to_type_works() -> None:
    """A command in it exists and has the flags; others are flags of the command whose module prints it."""
    modules = {
        command_of(name).__module__.partition("texthead.")[2].replace(".", "/") + ".py": name for name in COMMANDS
    }
    wrong: list[tuple[str, str]] = []
    for module, text in STRINGS:
        typed = re.findall(
            r"\b(?:texthead|train|or) ([a-z]+)((?: (?!texthead)[\w.{}'\"=/,:-]+)*)", text.replace("`", " ; ")
        )
        typed = [(name, words) for name, words in typed if name in COMMANDS]
        wrong += [
            (module, f"texthead {name}") for name in re.findall(r"`texthead ([a-z]+)", text) if name not in COMMANDS
        ]
        wrong += [(module, text) for name, words in typed if set(FLAG.findall(words)) - labels(name) - OTHERS]
        rest = FLAG.findall(text) if not typed and "texthead" not in text else []
        own = labels(modules[module]) if module in modules else set().union(*map(labels, COMMANDS))
        wrong += [(module, text) for flag in rest if flag not in own | OTHERS]
    assert not wrong, "\n".join(f"{module}: {text}" for module, text in wrong)


def test_the_next_command_has_its_flags() -> None:
    calls = []
    for path in messages.SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("next_command"):
                calls.append([each.value for each in node.args if isinstance(each, ast.Constant)])
    assert len(calls) > 15
    for program, name, *words in calls:
        assert program == "python" or {word for word in words if word.startswith("-")} <= labels(name), name
        assert not {"clip.mp4", "videos"} & {name, *words}, "a file that is not there"
