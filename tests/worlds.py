"""Labelled media of every kind and one run on them, for tests of the command line."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from texthead import cli

COLOURS = {"blue": (30, 30, 220), "green": (30, 200, 40), "red": (220, 30, 30)}


def picture(colour: str, seed: int) -> np.ndarray:
    """A noisy 48x48 picture of one colour."""
    noise = np.random.default_rng(seed).integers(-25, 25, (48, 48, 3))
    return np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)


def video(path: Path, colour: str, seed: int = 0, frames: int = 6) -> Path:
    """A video of noisy pictures of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 48, "yuv420p"
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(colour, 100 * seed + i), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def images(root: Path, colours: list[str], each: int, seed: int = 0) -> Path:
    """Class folders of PNG images."""
    for colour in colours:
        (root / colour).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            Image.fromarray(picture(colour, seed + i)).save(root / colour / f"{i}.png")
    return root


@dataclass(frozen=True)
class World:
    """Data of every kind and one run on the images."""

    root: Path
    images: Path
    videos: Path
    manifest: Path
    run: Path

    def fast(self, out: Path | str) -> list[str]:
        """Options that make a training run quick, and its folder."""
        cache = str(self.root / "cache")
        rates = ["--epochs", "2", "--warmup", "1"]
        return ["--size", "32", *rates, "--workers", "0", "--cache", cache, "--out", str(out)]

    def run_options(self) -> list[str]:
        """Options that make an evaluation quick."""
        return ["--workers", "0", "--cache", str(self.root / "cache")]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("cli")
    pictures = images(root / "images", ["blue", "red"], 5)
    for colour in ("blue", "red"):
        for i in range(3):
            video(root / "videos" / colour / f"{i}.mp4", colour, seed=i)
    rows = ["path,label,split"]
    for colour in ("blue", "red"):
        rows += [f"images/{colour}/{i}.png,{colour},{split}" for i, split in enumerate(["train"] * 3 + ["val", "test"])]
    manifest = root / "items.csv"
    manifest.write_text("\n".join(rows) + "\n")
    made = World(root, pictures, root / "videos", manifest, root / "run")
    assert cli.main(["train", str(pictures), *made.fast(made.run)]) == 0
    return made


@pytest.fixture
def works(say: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[str, str]]:
    """Runs a command that must succeed: (standard output, standard error)."""

    def run(*arguments: object) -> tuple[str, str]:
        code, out, err = say(*arguments)
        assert code == 0, err
        return out, err

    return run


@pytest.fixture
def refused(wrong: Callable[..., str]) -> Callable[..., str]:
    """Runs a command that must fail in a line with a value, or with each value of a tuple; returns the line."""

    def run(parts: object, *arguments: object, **volatile: object) -> str:
        line = wrong(*arguments, **volatile)
        missing = [part for part in (parts if isinstance(parts, tuple) else (parts,)) if str(part) not in line]
        assert not missing, f"{missing} not in: {line}"
        return line

    return run
