"""Memory per file when predicting a folder or scoring a data set: only its name and its scores."""

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
from texthead.data import Protocol, read_dataset
from texthead.evaluation.evaluate import evaluate
from texthead.models import MeanPool, Recognizer
from texthead.models.heads import FrozenHead
from texthead.prediction.predict import predictions

# Complete parts, of which one is in memory at a time.
FEW, MANY = 1000, 2000
# For comparison: 256 features take a kilobyte, and so does a prediction object.
MOST = 200


def folder_of(root: Path, count: int) -> Path:
    """Make class folders with `count` copies of a picture."""
    picture = write_image(root / "picture.png", "red")
    for number in range(count):
        path = root / str(count) / f"kind {number % 3}" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, path)
    return root / str(count)


def peak(call: Callable[[], object]) -> int:
    """Return the peak of Python's and numpy's memory during a call, in bytes above the start."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder with a short name, because each file's whole path takes memory."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def peaks(what: str, root: Path) -> dict[int, int]:
    """Return the peak memory for each number of files, in bytes."""
    names = [f"kind {number}" for number in range(3)]
    model = Recognizer(tiny_visual(), MeanPool(), FrozenHead(noise(3, SPEC.dim), names=names))
    protocol, sizes = Protocol(1, PIXELS), {}
    for count in (100, FEW, MANY):  # The first call fills caches.
        folder = folder_of(root, count)
        if what == "predictions":
            sizes[count] = peak(lambda folder=folder: deque(predictions(model, [folder], protocol), maxlen=0))
        else:
            # The items themselves (half a kilobyte each) are not counted.
            data = read_dataset(folder)
            sizes[count] = peak(lambda data=data: evaluate(model, data, protocol))
    return sizes


@pytest.mark.slow
@pytest.mark.parametrize("what", ["predictions", "evaluate"])
def test_a_file_takes_at_most_200_bytes(what: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A new process: with other tests' objects around, garbage is collected less often and would be counted.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        sizes = pool.submit(peaks, what, root).result()
    each = (sizes[MANY] - sizes[FEW]) / (MANY - FEW)
    with capsys.disabled():
        print(f"{what}: {each:.0f} bytes a file")
    assert each <= MOST
