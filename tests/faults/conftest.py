"""A few real videos of two colours."""

import pytest

from made import write_video
from texthead.data.dataset import Dataset, Item


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A data set whose source is a folder of class folders."""
    folder = tmp_path_factory.mktemp("data")
    paths = [folder / ("blue", "red")[number % 2] / f"{number}.mp4" for number in range(10)]
    for number, path in enumerate(paths):
        write_video(path, path.parent.name, frames=3 + number % 4, seed=number)
    return Dataset(tuple(Item(path, (path.parent.name,), "train") for path in paths), str(folder))
