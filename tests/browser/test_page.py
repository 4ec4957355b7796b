"""The page as a user sees it: a real server, a real browser, generated files."""

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

from browser.conftest import serving
from made import write_small_run
from tools.browser import Served, environment

pytestmark = pytest.mark.browser

NAMES = "a cat, an umbrella, a hammer"
VIDEO = "cat & <b>umbrella.mp4"


@pytest.fixture(scope="module")
def zero_shot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page without a run."""
    with serving(tmp_path_factory.mktemp("served") / "ui") as served:
        yield served.address


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two classes with a small untrained network."""
    return write_small_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, run: Path) -> Iterator[Served]:
    """A page of the run, with small limits."""
    limits = ("--max-mb", 1, "--max-seconds", 20, "--waiting", 1, "--limit", 40)
    with serving(tmp_path_factory.mktemp("served") / "ui", run, *limits) as served:
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
        return next((found for found in driver.find_elements(By.CSS_SELECTOR, selector) if found.is_displayed()), None)

    return WebDriverWait(driver, seconds, poll_frequency=0.1).until(seen)


def drop(driver: WebDriver, file: Path) -> None:
    """Choose a file and wait until it is uploaded."""
    driver.find_element(By.CSS_SELECTOR, "#file input[type=file]").send_keys(str(file))
    until(driver, "#file a[href*='file=']")


def ask(driver: WebDriver, file: Path, names: str = "", *, where: bool = True) -> None:
    drop(driver, file)
    if not where:
        driver.find_element(By.CSS_SELECTOR, "#closer input[name='where']").click()
    driver.find_element(By.CSS_SELECTOR, "#names textarea").send_keys(names)
    driver.find_element(By.CSS_SELECTOR, "#ask").click()


def shown_names(driver: WebDriver) -> list[tuple[str, str]]:
    rows = driver.find_elements(By.CSS_SELECTOR, ".th-bars tbody tr")
    return [tuple(cell.text for cell in row.find_elements(By.TAG_NAME, "td")) for row in rows]  # pyright: ignore


def saved(driver: WebDriver, title: str, folder: Path) -> Path:
    """Click a download link and return the file."""
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
    """Return what a command prints."""
    line = [sys.executable, "-m", "texthead", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=True, env=environment()).stdout


def requested(driver: WebDriver) -> list[str]:
    """Return the address of every network request of this page."""
    log: Any = driver.get_log("performance")  # pyright: ignore[reportAttributeAccessIssue]
    messages = [json.loads(entry["message"])["message"] for entry in log]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    # The browser's own first tab sometimes requests internal pages.
    return [url for url in sent if urlsplit(url).scheme not in ("data", "blob", "chrome", "chrome-untrusted")]


def test_a_video_is_named_along_its_time_and_taken_away(zero_shot: str, media: Path, browser: Callable, tmp_path: Path):
    driver = opened(browser(), zero_shot)
    ask(driver, media / VIDEO, NAMES, where=False)
    until(driver, ".th-lanes")
    (expected,) = json.loads(command("predict", media / VIDEO, "--classes", NAMES, "--json"))
    timeline = json.loads(command("timeline", media / VIDEO, "--classes", NAMES, "--json"))
    got = json.loads(saved(driver, "JSON", tmp_path / "downloads").read_text())
    assert got["top"] == expected["top"]
    assert {**got["timeline"], "video": ""} == {**timeline, "video": ""}
    assert shown_names(driver) == [(x["name"], f"{100 * x['probability']:.1f} %") for x in expected["top"]]
    assert len(driver.find_elements(By.CSS_SELECTOR, ".th-events tbody tr")) == len(timeline["events"]) > 0
    table = list(csv.DictReader(saved(driver, "CSV", tmp_path / "downloads").open()))
    # The CSV file rounds to a millionth.
    shares = {row["name"]: float(row["probability"]) for row in table}
    assert shares == pytest.approx({x["name"]: x["probability"] for x in expected["top"]}, abs=1e-6)
    # The file name is shown as text, whatever it contains.
    assert not driver.find_elements(By.CSS_SELECTOR, "#answer-named b")
    outside = [url for url in requested(driver) if not url.startswith(f"{zero_shot}/")]
    assert not outside


def test_names_are_never_files(zero_shot: str, media: Path, browser: Callable):
    driver = opened(browser(), zero_shot)
    ask(driver, media / "umbrella.png", "/etc/passwd\na <b>hat</b>", where=False)
    until(driver, ".th-bars")
    assert {name for name, _ in shown_names(driver)} == {"/etc/passwd", "a <b>hat</b>"}


def test_an_image_is_named_and_lit_on_a_phone(page: str, run: Path, media: Path, browser: Callable):
    driver = opened(browser(400), page)
    ask(driver, media / "umbrella.png")
    until(driver, ".th-strip")
    (expected,) = json.loads(command("predict", run, media / "umbrella.png", "--json"))
    assert shown_names(driver) == [(x["name"], f"{100 * x['probability']:.1f} %") for x in expected["top"]]
    assert not driver.find_elements(By.CSS_SELECTOR, ".th-lanes")
    pictures = driver.find_elements(By.CSS_SELECTOR, ".th-strip figure img")
    widths = [driver.execute_script("return arguments[0].naturalWidth", picture) for picture in pictures]
    assert widths == [32, 32]
    assert driver.execute_script("return document.documentElement.scrollWidth") == 400


def test_what_a_file_may_be_is_read_whole_on_a_narrow_phone(zero_shot: str, media: Path, browser: Callable):
    driver = opened(browser(360), zero_shot)
    drop(driver, media / "umbrella.png")
    label, button = (driver.find_element(By.CSS_SELECTOR, f"#file {tag}").rect for tag in ("label", "button"))
    assert label["x"] + label["width"] <= button["x"]


def test_the_playhead_follows_the_player_and_moves_it(page: str, media: Path, browser: Callable):
    driver = opened(browser(), page)
    ask(driver, media / VIDEO, where=False)
    until(driver, ".th-lanes")
    video = driver.find_element(By.CSS_SELECTOR, "video.th-media")

    def follows(seconds: float) -> None:
        """Wait until the player is at `seconds` of its 9 s and the playhead at the same share of the timeline."""
        at = "return [arguments[0].currentTime, parseFloat(document.querySelector('.th-playhead').style.left)]"
        wait = WebDriverWait(driver, 30, poll_frequency=0.2)
        wait.until(lambda _: driver.execute_script(at, video) == pytest.approx([seconds, seconds / 0.09], abs=0.6))

    WebDriverWait(driver, 30).until(lambda _: driver.execute_script("return arguments[0].duration", video) == 9)
    driver.execute_script("arguments[0].currentTime = 6", video)
    follows(6)
    event = driver.find_elements(By.CSS_SELECTOR, ".th-events button")[-1]
    event.click()
    follows(float(event.get_attribute("data-seek")))
    driver.find_element(By.CSS_SELECTOR, ".th-lane svg").click()  # Clicks the middle.
    follows(4.5)
    driver.execute_script("arguments[0].playbackRate = 4; arguments[0].play()", video)
    follows(9)


def test_everything_that_takes_input_has_a_label(page: str, browser: Callable):
    driver = opened(browser(), page)
    labels = driver.execute_script(
        "return [...document.querySelectorAll('#names textarea, #closer input, #ask')].map("
        "  (each) => each.labels?.[0]?.innerText || each.getAttribute('aria-label') || each.innerText)"
    )
    assert len(labels) == 4
    assert all(label.strip() for label in labels)
    (file,) = driver.find_elements(By.CSS_SELECTOR, "#file button[aria-dropeffect]")
    assert file.accessible_name.strip()


@pytest.mark.parametrize(
    ("file", "names", "parts"),
    [
        ("broken.mp4", "", ["broken.mp4: "]),
        ("long.mp4", "", ["long.mp4: ", "36 s", "20 s"]),
        ("umbrella.png", "a cat, a cat", ["'a cat'", " 2 "]),
        ("umbrella.png", "a cat, , a dog", [" 2 of 3 "]),
    ],
)
def test_a_mistake_is_one_line(page: str, media: Path, browser: Callable, file: str, names: str, parts: list[str]):
    driver = opened(browser(), page)
    ask(driver, media / file, names)
    error = until(driver, ".th-error")
    assert all(part in error.text for part in parts)
    assert "\n" not in error.text
    assert "texthead-ui-" not in error.text
    assert "Traceback" not in driver.page_source
    assert not driver.find_elements(By.CSS_SELECTOR, ".th-bars, .toast-body")


def test_nothing_is_asked_without_a_file(page: str, browser: Callable):
    driver = opened(browser(), page)
    driver.find_element(By.CSS_SELECTOR, "#ask").click()
    assert until(driver, ".th-error").text


def test_a_file_beyond_the_limit_is_refused(page: str, media: Path, browser: Callable, tmp_path: Path):
    large = tmp_path / "large.mp4"
    large.write_bytes((media / "long.mp4").read_bytes() + bytes(2**20))
    driver = opened(browser(), page)
    driver.find_element(By.CSS_SELECTOR, "#file input[type=file]").send_keys(str(large))
    toast = until(driver, ".toast-body")
    assert "1.0 M" in toast.text


def test_a_request_beyond_those_that_may_wait_is_refused_as_busy(served: Served, media: Path, browser: Callable):
    first, second, third = (opened(browser(), served.address) for _ in range(3))
    for driver in (first, second, third):
        drop(driver, media / VIDEO)
    with served.holding():
        for driver in (first, second, third):
            driver.find_element(By.CSS_SELECTOR, "#ask").click()
            time.sleep(1)  # Send the requests in the order of the clicks.
        toast = until(third, ".toast-body")
        assert "busy" in toast.text
    # The others get their answers.
    for driver in (first, second):
        until(driver, ".th-strip")


def test_nothing_but_uploads_is_served(page: str, run: Path):
    for path in ("/etc/passwd", run / "recipe.json", Path(__file__)):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{page}/gradio_api/file={path}", timeout=20)


def test_a_request_by_hand_cannot_name_a_file_of_this_machine(page: str, media: Path):
    for number, path in enumerate([media / "umbrella.png", "/etc/passwd", "http://127.0.0.1:9/x.png"]):
        file = {"path": str(path), "orig_name": "umbrella.png", "meta": {"_type": "gradio.FileData"}}
        for place in range(3):
            data: list[Any] = [None, "", []]
            data[place] = file
            session = f"by-hand-{number}-{place}"
            body = json.dumps({"data": data, "fn_index": 0, "session_hash": session}).encode()
            join = urllib.request.Request(f"{page}/gradio_api/queue/join", body, {"Content-Type": "application/json"})
            if place:
                with pytest.raises(urllib.error.HTTPError, match="400"):
                    urllib.request.urlopen(join, timeout=20)
                continue
            urllib.request.urlopen(join, timeout=20).read()
            with urllib.request.urlopen(f"{page}/gradio_api/queue/data?session_hash={session}", timeout=60) as answer:
                events = answer.read().decode()
            assert "upload" in events
            assert "th-bars" not in events
