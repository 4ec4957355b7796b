"""A server that `texthead ui` starts, and Debian's chromium in front of it; a missing browser is a failure."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import pytest
from selenium import webdriver
from selenium.webdriver.remote.webdriver import WebDriver

from texthead.demo import drawn_videos

CHROMIUM = "/usr/bin/chromium"
DRIVER = "/usr/bin/chromedriver"
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


def environment() -> dict[str, str]:
    """One thread, so that probabilities are equal to the last digit in both processes; no proxy for this machine."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1", "COLUMNS": "200"}


class Served(NamedTuple):
    """A page: its address, and the process of its server."""

    address: str
    pid: int

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Stop the model's process, so that what is asked has no answer before the end."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGSTOP)
        try:
            yield
        finally:
            for child in children:
                os.kill(int(child), signal.SIGCONT)


@contextmanager
def serving(folder: Path, *arguments: object) -> Iterator[Served]:
    """A page that `texthead ui` serves, with its own folder for what is temporary."""
    with serving_command(folder, "ui", *arguments) as served:
        yield served
    assert not [*folder.glob("texthead-ui-*")], "the folder of uploads is left"


@contextmanager
def serving_command(folder: Path, name: str, *arguments: object) -> Iterator[Served]:
    """A page that a command serves; a test may kill it."""
    folder.mkdir()
    command = [sys.executable, "-m", "texthead", name, "--port", "0", *map(str, arguments)]
    with (folder / "err.txt").open("w") as err:
        environ = {**environment(), "TMPDIR": str(folder)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True, env=environ)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = re.search(r"http://[\d.]+:\d+", line)
            assert address, (line, (folder / "err.txt").read_text())
            yield Served(address[0].replace("0.0.0.0", "127.0.0.1"), process.pid)
        finally:
            process.terminate()
            process.wait(60)
    assert process.returncode in (143, -signal.SIGKILL)
    assert "Traceback" not in (folder / "err.txt").read_text()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Callable[..., WebDriver]]:
    """Opens another window of a browser of its own, so many pixels wide."""
    opened: list[WebDriver] = []

    def open_one(width: int = 1200) -> WebDriver:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*_FLAGS, f"--user-data-dir={tmp_path / f'profile-{len(opened)}'}"):
            options.add_argument(flag)
        downloads = {"download.default_directory": str(tmp_path / "downloads")}
        options.add_experimental_option("prefs", downloads)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        opened.append(driver)
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        return driver

    yield open_one
    for driver in opened:
        driver.quit()


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawn files: a video of three things one after the other, a picture, a long video, a broken one."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(5)
    parts = [_clip(name, rng) for name in ("cat", "umbrella", "cat")]
    drawn_videos.write_video(folder / "cat & <b>umbrella.mp4", np.concatenate(parts))
    PIL.Image.fromarray(parts[1][4]).save(folder / "umbrella.png")
    drawn_videos.write_video(folder / "long.mp4", np.concatenate(parts * 4))
    (folder / "broken.mp4").write_bytes((folder / "long.mp4").read_bytes()[:3000])
    return folder


def _clip(name: str, rng: np.random.Generator) -> np.ndarray:
    """Three seconds."""
    picture = drawn_videos.OBJECTS[name].train[0]
    return drawn_videos.draw_clip(name, "moving left", picture, frames=3 * drawn_videos.FPS, size=112, rng=rng)
