"""Debian's chromium without a window, and the pages that commands serve, for the browser tests and `make pictures`."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from selenium import webdriver
from selenium.webdriver.remote.webdriver import WebDriver

_CHROMIUM, _DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


def environment(**more: str) -> dict[str, str]:
    """Return variables for a child process: one thread, so that last digits repeat, and no proxy for this machine."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1", "COLUMNS": "200", **more}


def chromium(profile: Path, width: int = 1200, height: int = 1000, scale: int = 1, dark: bool = False) -> WebDriver:
    """Open a window of `width` by `height` pixels, with a new profile in the folder `profile`.

    Args:
        scale: pixels of the picture a pixel of the page.
        dark: prefer the dark colour scheme.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = _CHROMIUM
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(profile.parent / "downloads")})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(_DRIVER))
    size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    return driver


class Served(NamedTuple):
    """A served page: its address, and the process of its server."""

    address: str
    pid: int

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Stop the model's process, so that no question gets an answer before the end."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGSTOP)
        try:
            yield
        finally:
            for child in children:
                os.kill(int(child), signal.SIGCONT)


@contextmanager
def serving_command(folder: Path, name: str, *arguments: object, cwd: Path | None = None) -> Iterator[Served]:
    """Serve the page of a command; `folder` is made, for its temporary files. A test may kill the process."""
    folder.mkdir()
    command = [sys.executable, "-m", "texthead", name, "--port", "0", *map(str, arguments)]
    with (folder / "err.txt").open("w") as err:
        environ = environment(TMPDIR=str(folder))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True, env=environ, cwd=cwd)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = re.search(r"http://\S+", line)
            assert address, (line, (folder / "err.txt").read_text())
            yield Served(address[0], process.pid)
        finally:
            process.terminate()
            process.wait(60)
    assert process.returncode in (143, -signal.SIGKILL)
    assert "Traceback" not in (folder / "err.txt").read_text()
