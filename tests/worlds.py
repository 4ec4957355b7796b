"""Labelled media of every kind and one run trained on them, for tests of the command line."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from made import write_image, write_video
from texthead.cli import main as cli
from texthead.files import write_csv


def video(path: Path, colour: str, seed: int = 0, frames: int = 6) -> Path:
    """Write a video of one colour."""
    return write_video(path, colour, frames, seed, codec="mpeg4")


def images(root: Path, colours: list[str], each: int, seed: int = 0) -> Path:
    """Write class folders of PNG images."""
    for colour in colours:
        for i in range(each):
            write_image(root / colour / f"{i}.png", colour, seed + i)
    return root


def split_colours(root: Path) -> Path:
    """Write five training and four test pictures of each of three colours, and return their manifest."""
    rows = [
        (
            write_image(root / f"{colour}{i}.png", colour, seed=100 * place + i).name,
            colour,
            "train" if i < 5 else "test",
        )
        for place, colour in enumerate(("red", "green", "blue"))
        for i in range(9)
    ]
    write_csv(root / "items.csv", ["path", "label", "split"], rows)
    return root / "items.csv"


@dataclass(frozen=True)
class World:
    """Data of every kind and one run on the images."""

    root: Path
    images: Path
    videos: Path
    manifest: Path
    run: Path

    def fast(self, out: Path | str, tune: str = "all") -> list[str]:
        """Return options for a quick training run into `out`."""
        quick = [word for value in ("size=32", "epochs=2", "warmup=1") for word in ("--set", value)]
        return [*self.run_options(), "--tune", tune, *quick, "--verbose", "--out", str(out)]

    def run_options(self) -> list[str]:
        """Return options for a quick evaluation."""
        return ["--workers", "0"]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("cli")
    images(root / "images", ["blue", "red"], 5)
    rows = ["path,label,split"]
    for colour in ("blue", "red"):
        for i in range(3):
            video(root / "videos" / colour / f"{i}.mp4", colour, seed=i)
        rows += [f"images/{colour}/{i}.png,{colour},{split}" for i, split in enumerate(["train"] * 3 + ["val", "test"])]
    manifest = root / "items.csv"
    manifest.write_text("\n".join(rows) + "\n")
    made = World(root, root / "images", root / "videos", manifest, root / "run")
    assert cli.main(["train", str(made.images), *made.fast(made.run)]) == 0
    return made


@pytest.fixture
def works(say: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[str, str]]:
    """Return a function that runs a command that must succeed and returns (standard output, standard error)."""

    def run(*arguments: object) -> tuple[str, str]:
        code, out, err = say(*arguments)
        assert code == 0, err
        return out, err

    return run


@pytest.fixture
def refused(wrong: Callable[..., str]) -> Callable[..., str]:
    """Return a function that runs a command that must fail and returns its error line, which must contain `parts`."""

    def run(parts: object, *arguments: object) -> str:
        line = wrong(*arguments)
        missing = [part for part in (parts if isinstance(parts, tuple) else (parts,)) if str(part) not in line]
        assert not missing, f"{missing} not in: {line}"
        return line

    return run
