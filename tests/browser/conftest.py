"""A server started by `texthead ui`, and Debian's chromium in front of it; a missing browser is a failure."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from made import write_image, write_small_run, write_video
from texthead.apps.demo import drawn_videos
from texthead.cli import main as cli
from tools.browser import Served, chromium, serving_command


def when(driver: WebDriver, condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for a condition, and return its value."""
    return WebDriverWait(driver, seconds, poll_frequency=0.05).until(lambda _: condition())


def text(driver: WebDriver, name: str) -> str:
    return driver.find_element(By.ID, name).text


def press(driver: WebDriver, *keys: str) -> None:
    ActionChains(driver).send_keys(*keys).perform()


def fits(driver: WebDriver) -> bool:
    """Return whether the page is no wider than its window."""
    return driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")


@contextmanager
def serving(folder: Path, *arguments: object) -> Iterator[Served]:
    """Serve a page with `texthead ui`, with its own folder for temporary files."""
    with serving_command(folder, "ui", *arguments) as served:
        yield served
    assert not [*folder.glob("texthead-tmp-*")], "the folder of uploads is left"


@pytest.fixture(scope="session")
def zero_shot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page without a run."""
    with serving(tmp_path_factory.mktemp("served") / "ui") as served:
        yield served.address


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Callable[..., WebDriver]]:
    """Return a function that opens a window of a new browser, with the options of `tools.browser.chromium`."""
    opened: list[WebDriver] = []

    def open_one(width: int = 1200, **options: bool) -> WebDriver:
        opened.append(chromium(tmp_path / f"profile-{len(opened)}", width, **options))
        return opened[-1]

    yield open_one
    for driver in opened:
        driver.quit()


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of generated files: a video of three things in turn, a picture, a long video, a broken one."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(5)
    parts = [_clip(name, rng) for name in ("cat", "umbrella", "cat")]
    drawn_videos.write_video(folder / "cat & <b>umbrella.mp4", np.concatenate(parts))
    PIL.Image.fromarray(parts[1][4]).save(folder / "umbrella.png")
    drawn_videos.write_video(folder / "long.mp4", np.concatenate(parts * 4))
    (folder / "broken.mp4").write_bytes((folder / "long.mp4").read_bytes()[:3000])
    return folder


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a run of two classes on a video and images."""
    folder = tmp_path_factory.mktemp("report")
    run = write_small_run(folder / "run")
    write_video(folder / "data" / "a" / "0.mp4", "red")
    for index in range(1, 8):
        write_image(folder / "data" / "ab"[index % 2] / f"{index}.png", ("red", "green")[index % 2], seed=index)
    assert cli.main(["report", str(run), str(folder / "data"), "--workers", "0"]) == 0
    return (run / "report.html").as_uri()


def _clip(name: str, rng: np.random.Generator) -> np.ndarray:
    """Draw a clip of three seconds."""
    picture = drawn_videos.OBJECTS[name].train[0]
    return drawn_videos.draw_clip(picture, "moving left", frames=3 * drawn_videos.FPS, size=112, rng=rng)
