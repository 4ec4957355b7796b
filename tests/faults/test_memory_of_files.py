"""What a file more takes where a folder is predicted or a data set is scored: its name and its scores."""

import multiprocessing
import shutil
import tempfile
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from made import PIXELS, SPEC, noise, tiny_visual, write_image
from texthead.data.protocol import Protocol
from texthead.data.reading import read_dataset
from texthead.evaluation.evaluate import evaluate
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.prediction.predict import predictions

# Whole parts, of which one is held at a time.
FEW, MANY = 2000, 3000
# Features of 256 numbers take a kilobyte, a prediction with its objects as much.
MOST = 200


def folder_of(root: Path, count: int) -> Path:
    """Make class folders with so many copies of a picture."""
    picture = write_image(root / "picture.png", "red")
    for number in range(count):
        path = root / str(count) / f"kind {number % 3}" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, path)
    return root / str(count)


def peak(call: Callable[[], object]) -> int:
    """Return the most bytes of Python's and numpy's that were held at once during the call, above those before it."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder whose own name is short: each file's whole path counts."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def peaks(what: str, root: Path) -> dict[int, int]:
    """Return the most bytes that are held at once of each number of files."""
    names = [f"kind {number}" for number in range(3)]
    model = Recognizer(tiny_visual(), MeanPool(), FrozenHead(noise(3, SPEC.dim), names=names))
    protocol, sizes = Protocol(1, PIXELS), {}
    for count in (1000, FEW, MANY):  # The first call fills caches.
        folder = folder_of(root, count)
        if what == "predictions":
            sizes[count] = peak(lambda folder=folder: deque(predictions(model, [folder], protocol), maxlen=0))
        else:
            # The items themselves, half a kilobyte each, are there before.
            data = read_dataset(folder)
            sizes[count] = peak(lambda data=data: evaluate(model, data, protocol))
    return sizes


@pytest.mark.slow
@pytest.mark.parametrize("what", ["predictions", "evaluate"])
def test_a_file_takes_at_most_200_bytes(what: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A process of its own: beside the objects of other tests garbage is collected more seldom, and counts meanwhile.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        sizes = pool.submit(peaks, what, root).result()
    each = (sizes[MANY] - sizes[FEW]) / (MANY - FEW)
    with capsys.disabled():
        print(f"{what}: {each:.0f} bytes a file")
    assert each <= MOST
