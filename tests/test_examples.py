"""The packages in examples/ install into a texthead that knows nothing of them, and each is used as its page says."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from installed import EXAMPLES, example
from made import pictures, write_image

FOLDERS = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")
MAX_LINES = 60


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_example_is_short_and_the_page_includes_it(folder: str) -> None:
    assert len(example(folder).splitlines()) <= MAX_LINES
    (module,) = (EXAMPLES / folder).glob("*.py")
    assert f'```python\n--8<-- "examples/{folder}/{module.name}"\n```' in PAGE
    assert f"`{folder}`" in PAGE
    assert f"`{folder}`" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


def test_there_is_an_example_for_each_group() -> None:
    files = [*(EXAMPLES / folder / "pyproject.toml" for folder in FOLDERS), ROOT / "paper" / "pyproject.toml"]
    projects = [tomllib.loads(file.read_text(encoding="utf-8")) for file in files]
    groups = {group for project in projects for group in project["project"]["entry-points"]}
    assert groups == set(re.findall(r"`(texthead\.\w+)` \|", PAGE))


Use = Callable[..., str]


@pytest.fixture(scope="module")
def use(tmp_path_factory: pytest.TempPathFactory) -> Use:
    """Return a function that runs `texthead` in a new environment, into which all examples are installed."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python, (packages,) = folder / "bin" / "python", folder.glob("lib/*/site-packages")
    # What this environment has, texthead and torch among them, is there too; nothing is downloaded.
    (packages / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    install = [sys.executable, "-m", "pip", "--python", python, "install", *options]
    subprocess.run([*install, *(str(EXAMPLES / folder) for folder in FOLDERS)], check=True)
    settings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}

    def texthead(*words: object) -> str:
        command = [python, "-m", "texthead", *map(str, words)]
        done = subprocess.run(command, env=settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return texthead


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of photos, and the same labels as JSON lines."""
    folder, lines = tmp_path_factory.mktemp("data") / "photos", []
    for label, colour in (("a kite", "red"), ("a bird", "green")):
        for seed in range(4):
            path = write_image(folder / label / f"{seed}.png", colour, seed=seed)
            lines.append(json.dumps({"file": f"photos/{label}/{path.name}", "label": label}))
    (folder.parent / "photos.jsonl").write_text("\n".join(lines))
    return folder


SETTINGS = ("epochs=1", "warmup=0", "frames=1", "size=32", "test_size=32", "batch=4")
QUICK = ["--tune", "all", *(word for setting in SETTINGS for word in ("--set", setting))]


@pytest.mark.slow
def test_all_examples_together(use: Use, photos: Path, tmp_path: Path) -> None:
    """Rows on its encoder, and a head that all commands use; the command counts what the source reads."""
    image, run = photos / "a kite" / "0.png", tmp_path / "run"
    use("train", photos, "--encoder", "grid:2", "--head", "signs", "--out", tmp_path / "rows", *QUICK, "--workers", 0)
    about = json.loads((tmp_path / "rows" / "recipe.json").read_text())
    assert (about["head"]["kind"], about["encoder"]["source"]) == ("signs", "grid:2")
    use("train", photos, "--head", "biased", "--out", run, *QUICK, "--workers", 0)
    assert json.loads((run / "recipe.json").read_text())["head"]["type"] == "biased"
    assert "images are correct" in use("eval", run, photos, "--workers", 0)
    for each in (tmp_path / "rows", run):
        assert "a kite" in use("predict", each, image, "--workers", 0)
    use("report", run, "--workers", 0)
    use("export", run, "--out", tmp_path / "exported")
    assert "count" in use("--help")
    assert use("count", photos) == use("count", photos.with_suffix(".jsonl")) == "a bird: 4\na kite: 4\n"


@pytest.mark.slow
def test_files_of_a_packages_type_are_trained_on_by_workers(use: Use, tmp_path: Path) -> None:
    for label, colour in (("a kite", "red"), ("a bird", "green")):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for seed in range(3):
            np.save(tmp_path / "clips" / label / f"{seed}.npy", np.stack(pictures(colour, 6, seed)))
    run, clip = tmp_path / "run", tmp_path / "clips" / "a kite" / "0.npy"
    use("train", tmp_path / "clips", "--out", run, *QUICK, "--workers", 2)
    assert str(clip) in use("predict", run, clip, "--json")
