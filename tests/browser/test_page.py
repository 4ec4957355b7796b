"""The page as somebody uses it: a real server, a real browser, files that are drawn here."""

import csv
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from browser.conftest import environment, serving
from made import write_small_run

pytestmark = pytest.mark.browser

NAMES = "a cat, an umbrella, a hammer"
VIDEO = "cat & <b>umbrella</b>.mp4"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page without a run, of small limits."""
    limits = ("--most-mb", 1, "--most-seconds", 20, "--waiting", 1)
    with serving(tmp_path_factory.mktemp("served") / "ui", *limits) as address:
        yield address


def opened(driver: WebDriver, address: str) -> WebDriver:
    driver.get(address)
    until(driver, "#ask")
    return driver


def until(driver: WebDriver, selector: str, seconds: float = 120) -> Any:
    """The first visible element that fits, once it is there."""

    def seen(_: WebDriver) -> Any:
        return next((found for found in driver.find_elements(By.CSS_SELECTOR, selector) if found.is_displayed()), None)

    return WebDriverWait(driver, seconds, poll_frequency=0.1).until(seen)


def drop(driver: WebDriver, file: Path) -> None:
    """Choose a file, and wait until it is uploaded."""
    driver.find_element(By.CSS_SELECTOR, "#file input[type=file]").send_keys(str(file))
    until(driver, "#file a[href*='file=']")


def ask(driver: WebDriver, file: Path, names: str = "") -> None:
    drop(driver, file)
    driver.find_element(By.CSS_SELECTOR, "#names textarea").send_keys(names)
    driver.find_element(By.CSS_SELECTOR, "#ask").click()


def shown_names(driver: WebDriver) -> list[tuple[str, str]]:
    rows = driver.find_elements(By.CSS_SELECTOR, ".th-bars tbody tr")
    return [tuple(cell.text for cell in row.find_elements(By.TAG_NAME, "td")) for row in rows]  # pyright: ignore


def saved(driver: WebDriver, title: str, folder: Path) -> Path:
    """What a link of the page downloads."""
    link = driver.find_element(By.LINK_TEXT, title)
    name = link.get_attribute("download")
    link.click()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        done = [path for path in folder.glob("*") if path.suffix == Path(name).suffix]
        if done:
            return done[0]
        time.sleep(0.1)
    raise AssertionError(f"{name} was not downloaded")


def command(*arguments: object) -> str:
    """What a command prints."""
    line = [sys.executable, "-m", "texthead", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=True, env=environment()).stdout


def requested(driver: WebDriver) -> list[str]:
    """The address of every request of this page over a network."""
    log: Any = driver.get_log("performance")  # pyright: ignore[reportAttributeAccessIssue]
    messages = [json.loads(entry["message"])["message"] for entry in log]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if urlsplit(url).scheme not in ("data", "blob", "chrome")]


def test_a_video_is_named_along_its_time_and_taken_away(page: str, media: Path, browser: Callable, tmp_path: Path):
    driver = opened(browser(), page)
    ask(driver, media / VIDEO, NAMES)
    until(driver, ".th-strip")
    expected = json.loads(command("predict", media / VIDEO, "--classes", NAMES, "--json"))[0]
    got = json.loads(saved(driver, "JSON", tmp_path / "downloads").read_text())
    # The browser writes file names without the signs that HTML and file systems give a meaning.
    assert got["top"] == expected["top"]
    assert got["timeline"]["events"] == json.loads(command("timeline", media / VIDEO, "--classes", NAMES, "--json"))["events"]
    assert shown_names(driver) == [(x["name"], f"{100 * x['probability']:.1f} %") for x in expected["top"]]
    assert len(driver.find_elements(By.CSS_SELECTOR, ".th-events tbody tr")) == len(got["timeline"]["events"]) > 0
    table = list(csv.DictReader(saved(driver, "CSV", tmp_path / "downloads").open()))
    assert [row["name"] for row in table] == [x["name"] for x in expected["top"]]
    pictures = driver.find_elements(By.CSS_SELECTOR, ".th-strip img")
    assert len(pictures) == 16
    assert all(driver.execute_script("return arguments[0].naturalWidth", picture) == 224 for picture in pictures)


def test_the_playhead_follows_the_player_and_moves_it(page: str, media: Path, browser: Callable):
    driver = opened(browser(), page)
    ask(driver, media / VIDEO, NAMES)
    until(driver, ".th-lanes")
    video = driver.find_element(By.CSS_SELECTOR, "video.th-media")
    WebDriverWait(driver, 20).until(lambda _: driver.execute_script("return arguments[0].readyState > 0", video))
    assert driver.execute_script("return arguments[0].duration", video) == pytest.approx(9.0, abs=0.01)
    driver.execute_script("arguments[0].currentTime = 6", video)
    head = driver.find_element(By.CSS_SELECTOR, ".th-playhead")
    WebDriverWait(driver, 20).until(lambda _: head.get_attribute("style").startswith("left: 66.6"))
    driver.find_elements(By.CSS_SELECTOR, ".th-events button")[0].click()
    WebDriverWait(driver, 20).until(lambda _: head.get_attribute("style").startswith("left: 0%"))
    driver.find_element(By.CSS_SELECTOR, ".th-lane svg").click()  # A click is in its middle.
    WebDriverWait(driver, 20).until(lambda _: 4.4 < driver.execute_script("return arguments[0].currentTime", video) < 4.6)
    driver.execute_script("arguments[0].play()", video)
    WebDriverWait(driver, 20).until(lambda _: float(head.get_attribute("style")[6:].rstrip("%; ")) > 55)


def test_an_image_is_named_and_has_no_timeline(page: str, media: Path, browser: Callable):
    driver = opened(browser(400), page)
    ask(driver, media / "umbrella.png", NAMES)
    until(driver, ".th-strip")
    assert shown_names(driver)[0][0] == "an umbrella"
    assert not driver.find_elements(By.CSS_SELECTOR, ".th-lanes")
    assert len(driver.find_elements(By.CSS_SELECTOR, ".th-strip figure")) == 1
    # Nothing is wider than a phone.
    assert driver.execute_script("return document.documentElement.scrollWidth") == 400


def test_everything_that_takes_input_has_a_label(page: str, browser: Callable):
    driver = opened(browser(), page)
    told = driver.execute_script(
        "return [...document.querySelectorAll('#names textarea, #closer input, #ask')].map("
        "  (each) => each.labels?.[0]?.innerText || each.getAttribute('aria-label') || each.innerText)"
    )
    assert [line.splitlines()[0].strip() for line in told] == [
        "Names to choose from", "when it happens, in videos", "where in the frames (slower)", "Name it",
    ]  # fmt: skip
    (file,) = driver.find_elements(By.CSS_SELECTOR, "#file button[aria-label]")
    assert file.get_attribute("aria-label")


@pytest.mark.parametrize(
    ("file", "names", "line"),
    [
        ("broken.mp4", NAMES, r"broken.mp4: "),
        ("long.mp4", NAMES, "long.mp4: 36 s long, and this page takes videos of 20 s: cut a part out of it"),
        ("umbrella.png", "", "type the names to choose from: this page has no run with classes of its own"),
        ("umbrella.png", "a cat, a cat", "class name 'a cat' occurs 2 times: names must be unique"),
        ("umbrella.png", "/etc/passwd", None),
    ],
)
def test_what_cannot_be_done_is_one_line(page: str, media: Path, browser: Callable, file: str, names: str, line: str | None):
    driver = opened(browser(), page)
    ask(driver, media / file, names)
    if line is None:
        # A name like any other: no file is read for it.
        until(driver, ".th-bars")
        assert shown_names(driver) == [("/etc/passwd", "100.0 %")]
        return
    error = until(driver, ".th-error")
    assert error.text.startswith(line)
    assert "\n" not in error.text
    assert "Traceback" not in driver.page_source
    assert str(Path("texthead-ui-")) not in error.text
    assert not driver.find_elements(By.CSS_SELECTOR, ".th-bars")


def test_a_file_beyond_the_limit_is_refused(page: str, media: Path, browser: Callable, tmp_path: Path):
    large = tmp_path / "large.mp4"
    large.write_bytes((media / "long.mp4").read_bytes() + bytes(2**20))
    driver = opened(browser(), page)
    driver.find_element(By.CSS_SELECTOR, "#file input[type=file]").send_keys(str(large))
    toast = until(driver, ".toast-body")
    assert "exceeds" in toast.text
    assert "1" in toast.text
