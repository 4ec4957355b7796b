"""Completion of commands and options in a real bash; the scripts for other shells contain the same words."""

import shutil
import subprocess

import pytest

from texthead.cli import main as cli


@pytest.fixture(scope="module")
def completes(tmp_path_factory: pytest.TempPathFactory):
    """Return a function that completes a command line in bash and returns the words offered for the last one."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    file = tmp_path_factory.mktemp("completion") / "texthead.bash"
    file.write_text(cli.completion("bash"))

    def run(*words: str) -> set[str]:
        program = (
            'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
            '_shtab_texthead texthead "${COMP_WORDS[COMP_CWORD]}"; echo "${COMPREPLY[@]}"'
        )
        command = [bash, "--norc", "-c", program, "bash", str(file), "texthead", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return set(done.stdout.split())

    return run


def test_commands_options_and_values(completes, wrong) -> None:
    assert completes("") >= set(cli.COMMANDS)
    assert completes("pre") == {"prepare", "predict"}
    assert completes("--") == {"--help", "--version", "--print-completion"}
    assert completes("--print-completion", "") == {"bash", "zsh", "fish"}
    assert completes("train", "videos", "--ou") == {"--out"}
    assert completes("train", "videos", "--re") == {"--recipe", "--resume"}
    assert completes("train", "videos", "--tune", "l") == {"lora"}
    assert "--json" not in completes("ui", "--")
    assert completes("classes", "run", "re") == {"rename", "remove"}
    assert completes("classes", "run", "add", "red", "--se") == {"--sentence"}
    assert "fish" in wrong("--print-completion", "tcsh")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_option_is_in_the_script(works, shell: str) -> None:
    out, err = works("--print-completion", shell)
    assert err == ""
    for word in (*cli.COMMANDS, "rename", "quiet", "skip-unreadable", "print-recipe"):
        assert word in out
