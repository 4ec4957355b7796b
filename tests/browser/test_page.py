"""The page as a user sees it: a real server, a real browser, generated files."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from browser.conftest import serving
from made import write_small_run
from tools.browser import Served, serving_command

pytestmark = pytest.mark.browser

VIDEO = "cat & <b>umbrella.mp4"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two classes with a small untrained network."""
    return write_small_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, run: Path) -> Iterator[Served]:
    """A page of the run."""
    with serving(tmp_path_factory.mktemp("served") / "ui", run) as served:
        yield served


@pytest.fixture(scope="module")
def page(served: Served) -> str:
    """The address of the page."""
    return served.address


def opened(driver: WebDriver, address: str) -> WebDriver:
    driver.get(address)
    until(driver, "#ask")
    return driver


def until(driver: WebDriver, selector: str, seconds: float = 120) -> Any:
    """Wait for a visible element that matches, and return the first."""

    def seen(_: WebDriver) -> Any:
        return next(
            (element for element in driver.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()), None
        )

    # The page may replace an element between the two calls above.
    replaced = [StaleElementReferenceException]
    return WebDriverWait(driver, seconds, poll_frequency=0.1, ignored_exceptions=replaced).until(seen)


def drop(driver: WebDriver, file: Path) -> None:
    """Choose a file and wait until it is uploaded."""
    driver.find_element(By.ID, "file").send_keys(str(file))
    until(driver, "#stage:not(.empty) > *")


def ask(driver: WebDriver, file: Path, names: str = "") -> None:
    drop(driver, file)
    driver.find_element(By.ID, "names").send_keys(names)
    driver.find_element(By.ID, "ask").click()


def test_the_playhead_follows_the_player_and_moves_it(page: str, media: Path, browser: Callable):
    driver = opened(browser(), page)
    ask(driver, media / VIDEO)
    until(driver, ".lanes")
    video = driver.find_element(By.CSS_SELECTOR, "#stage video")

    def follows(seconds: float) -> None:
        """Wait until the player is at `seconds` of its 9 s and the playhead at the same share of the timeline."""
        at = "return [arguments[0].currentTime, parseFloat(document.querySelector('.playhead').style.left)]"
        wait = WebDriverWait(driver, 30, poll_frequency=0.2)
        wait.until(lambda _: driver.execute_script(at, video) == pytest.approx([seconds, seconds / 0.09], abs=0.6))

    WebDriverWait(driver, 30).until(lambda _: driver.execute_script("return arguments[0].duration", video) == 9)
    driver.execute_script("arguments[0].currentTime = 6", video)
    follows(6)
    event = driver.find_elements(By.CSS_SELECTOR, ".events button")[-1]
    event.click()
    follows(float(event.get_attribute("data-seek")))
    driver.find_element(By.CSS_SELECTOR, ".lane svg").click()  # Clicks the middle.
    follows(4.5)
    driver.execute_script("arguments[0].playbackRate = 4; arguments[0].play()", video)
    follows(9)


def test_a_cancelled_request_makes_room(served: Served, media: Path, browser: Callable):
    first, second = (opened(browser(), served.address) for _ in range(2))
    for driver in (first, second):
        drop(driver, media / "umbrella.png")
    with served.holding():
        first.find_element(By.ID, "ask").click()
        time.sleep(1)
        for _ in range(2):
            second.find_element(By.ID, "ask").click()
            until(second, "#cancel").click()
            WebDriverWait(second, 10).until(lambda _: not second.find_element(By.ID, "status").text)
            time.sleep(1)
        assert second.switch_to.active_element.get_attribute("id") == "ask"
        assert not second.find_element(By.ID, "error").text
        second.find_element(By.ID, "ask").click()
        until(second, "#cancel")
    for driver in (first, second):
        until(driver, ".bars")


def test_a_killed_server_is_an_error_on_the_page(run: Path, media: Path, browser: Callable, tmp_path: Path):
    with serving_command(tmp_path / "ui", "ui", run) as served:
        driver = opened(browser(), served.address)
        drop(driver, media / "umbrella.png")
        with served.holding():
            driver.find_element(By.ID, "ask").click()
            until(driver, "#status")
            os.kill(served.pid, signal.SIGKILL)
        assert "still running" in until(driver, "#error").text
        driver.find_element(By.ID, "ask").click()
        assert "still running" in until(driver, "#error").text
