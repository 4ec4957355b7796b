"""Install small packages for a test: a module and the metadata that pip would write, in a folder on sys.path."""

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from texthead import extensions

EXAMPLES = Path(__file__).parents[1] / "examples"

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that installs a package with one module and one entry point."""
    monkeypatch.setattr(extensions, "_installed", lambda group: entry_points(group=group))
    folder = tmp_path_factory.mktemp("packages")
    monkeypatch.syspath_prepend(folder)

    def write(package: str, group: str, entry: str, code: str) -> Path:
        """Install `package`, whose module of the same name has the code, and return the folder for sys.path.

        Args:
            entry: a line such as `mine = module:object`.
        """
        module = package.replace("-", "_")
        (folder / f"{module}.py").write_text(code)
        about = folder / f"{module}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        return folder

    return write


def example(folder: str) -> str:
    """Return the code of the only module of an example package."""
    (module,) = (EXAMPLES / folder).glob("*.py")
    return module.read_text(encoding="utf-8")
