"""Commands of installed packages: listed, run, and when broken an error of one line."""

from pathlib import Path

import pytest

from installed import Install
from messages import refuses
from texthead import extensions
from texthead.cli import main as cli
from texthead.errors import RunError

CODE = '''
from dataclasses import dataclass

from texthead.cli.options import ReadingOptions
from texthead.cli.parser import argument, option
from texthead.errors import PositiveInt


@dataclass(frozen=True, kw_only=True)
class Shout(ReadingOptions):
    """Print words in capitals.

    Args:
        words: words to print
        times: number of lines
    """

    words: list[str] = argument("WORD", nargs="+")
    times: PositiveInt = option(1, "N")

    def __call__(self) -> None:
        for _ in range(self.times):
            print(" ".join(self.words).upper())
'''


@pytest.fixture
def install(install: Install) -> Install:
    """Return a function that installs a package with a command."""

    def write(
        package: str = "loud",
        name: str = "shout",
        code: str = CODE,
        value: str = "loud:Shout",
        group: str = "texthead.commands",
    ) -> Path:
        return install(package, group, f"{name} = {value}", code)

    return write


def test_a_command_of_a_package_is_listed_and_run(install: Install, works, wrong) -> None:
    install()
    assert "from packages:\n  shout         print words in capitals\n" in works("--help")[0]
    assert works("shout", "a", "kite", "--times", "2") == ("A KITE\nA KITE\n", "")
    assert "--times must be a whole number, 1 or more, got 0" in wrong("shout", "a", "--times", "0")
    assert "shout?" in wrong("shuot")


@pytest.mark.parametrize(
    ("code", "value", "problem"),
    [
        ("import no_such_module", "loud:Shout", "no_such_module"),
        (CODE, "loud:Whisper", "Whisper"),
        (CODE, "loud", "not a dataclass"),
        (CODE.replace("def __call__", "def run"), "loud:Shout", "__call__"),
        ("raise SystemExit(0)", "loud:Shout", "SystemExit: 0"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", "loud:Shout", "Odd: odd"),
        (CODE.replace("    words: list", '    JSON = "a"\n    json: int = 3\n    words: list'), "loud:Shout", "--json"),
    ],
)
def test_a_broken_package_is_one_line_that_names_it(install: Install, works, wrong, code, value, problem) -> None:
    install(code=code, value=value)
    line = wrong("shout", "a")
    assert problem in line
    assert "loud" in line
    assert "train" in works("--help")[0]


def test_an_error_of_our_own_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("texthead.commands.encoders.Encoders.__call__", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["encoders"])


def test_an_entry_with_a_name_of_ours_is_ignored_with_a_warning(install, works, world, tmp_path, caplog) -> None:
    names = {"commands": "train", "encoders": "mini", "heads": "text", "sources": "folders", "readers": "PNG"}
    for kind, name in names.items():
        install(f"loud-{kind}", name, "raise SystemExit(3)", f"loud_{kind}", f"texthead.{kind}")
    works("train", world.images, "--out", tmp_path / "run", "--tune", "none")
    for kind, name in names.items():
        about = f"{kind.removesuffix('s')} '{name}' of package loud-{kind}"
        assert f"{about} is ignored: texthead has its own; rename it" in caplog.messages


def test_packages_with_damaged_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(extensions, "_entry_points", extensions._entry_points.__wrapped__)  # Read anew each time.
    about = tmp_path / "later-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: later\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[texthead.heads]\nlater = later:Head\n")
    assert extensions.find("texthead.heads")["later"].packages == ("later",)
    # What an interrupted `pip uninstall` leaves.
    (about / "METADATA").unlink()
    assert extensions.find("texthead.heads")["later"].package == "unknown"
    for damaged in (b"\xff", b"[texthead.heads]\nlater\n"):
        (about / "entry_points.txt").write_bytes(damaged)
        with refuses(RunError, "metadata", "reinstall"):
            extensions.find("texthead.heads")
