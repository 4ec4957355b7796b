"""Installed packages read labelled data in forms of their own; ours stand in the same table."""

import json
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import texthead as th
from installed import Install, example
from made import write_image
from messages import refuses
from texthead.data.sources import check_source
from texthead.errors import DataError, RunError

GROUP = "texthead.sources"
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A file of labelled photos: one JSON object a line."""
    rows = [{"file": f"{i}.png", "label": str(i % 2), "split": "test" if i > 1 else "train"} for i in range(4)]
    for row in rows:
        write_image(tmp_path / "photos" / row["file"], "red")
    path = tmp_path / "photos" / "labels.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_package_reads_data_in_its_own_form(listed: Path, tmp_path: Path, install: Install) -> None:
    with refuses(DataError, listed, "class folders"):
        th.read_dataset(listed)
    install("lines", GROUP, "lines = lines", example("source"))
    data = th.read_dataset(listed)
    rows = [(item.path.name, item.label, item.split) for item in data.items]
    assert rows[1:3] == [("1.png", "1", "train"), ("2.png", "0", "test")]
    (tmp_path / "names.csv").write_text("id,name\n0,a kite\n1,a bird\n")
    named = th.read_dataset(listed, labels=tmp_path / "names.csv", root=tmp_path / "moved")
    assert (named.items[0].label, named.items[0].path) == ("a kite", tmp_path / "moved" / "0.png")
    with refuses(DataError, "suffix", "'.avi'", "remove `suffix`"):
        th.read_dataset(listed, suffix=".avi")
    listed.write_text(listed.read_text() + "\n" + listed.read_text().splitlines()[0])
    with refuses(DataError, listed, "listed 2 times"):
        th.read_dataset(listed)
    listed.write_text("{}")
    with refuses(DataError, f"{listed}:1", "'{}'"):
        th.read_dataset(listed)


def test_a_source_of_a_package_may_be_no_file(install: Install) -> None:
    with refuses(DataError, "shop:photos", "no such file"):
        check_source("shop:photos")
    code = "from pathlib import Path\nimport texthead as th\ndef accepts(source): return source.startswith('shop:')\n"
    code += "def read(source): return th.Dataset((th.Item(Path('a.png'), ('a',)),), source)"
    install("shop", GROUP, "shop = shop", code)
    check_source("shop:photos")
    assert th.read_dataset("shop:photos").source == "shop:photos"


def test_items_of_a_package_are_checked(install: Install) -> None:
    code = "import texthead as th\ndef accepts(source): return source.startswith('shop:')\n"
    code += "def read(source):\n    data = th.Dataset((), source)\n    vars(data)['items'] = (3,)\n    return data"
    install("shop", GROUP, "shop = shop", code)
    with refuses(RunError, "'shop'", "not a Dataset of Items"):
        th.read_dataset("shop:photos")
    for name, value in (("split", "testing"), ("path", "a.png"), ("labels", None)):
        item = th.Item(Path("a.png"), ("a",))
        object.__setattr__(item, name, value)  # Beartype checks the types of arguments before `Item` does.
        with refuses(DataError, f"`{name}`", repr(value)):
            item.__post_init__()


def test_what_our_applications_add_is_installed() -> None:
    """If this fails, `pip install -e .` again."""
    declared = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]
    for group, entries in declared.items():
        installed = {entry.name: entry.value for entry in entry_points(group=group)}
        assert entries.items() <= installed.items()
        assert all(entry.load() for entry in entry_points(group=group) if entry.name in entries)
