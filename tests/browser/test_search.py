"""The page of `texthead find --page` in a real browser: search, keys, marks, the next page, a run, looks."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

from browser.conftest import fits, press, text, when
from browser.test_accessibility import LOOKS, violations
from made import colour_encoder, encode, pictures, write_album, write_image
from served_pages import serving
from texthead.apps.search.app import SearchSession, search_app
from texthead.apps.search.index import Index, open_index

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Photos of three colours, one that no browser shows; a film of all three, and a video that no browser plays."""
    folder = tmp_path_factory.mktemp("search")
    write_album(folder / "files", 30)
    write_image(folder / "files" / "red-scan.tiff", "red", seed=30)
    encode(folder / "files" / "old.avi", pictures("red", 8, 31), "mpeg4", rate=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTHEAD_CACHE", str(folder / "cache"))
        yield open_index(folder / "files", colour_encoder())


@pytest.fixture
def address(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a page of these files; it was started in an empty folder."""
    for name in ("uploads", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    session = SearchSession(index, tmp_path / "uploads", {"words": "red"}, None, None, 20)
    with serving(search_app(session)) as served:
        yield served.link
        assert served.log == []


def stills(driver: WebDriver, part: str = "sure") -> list[WebElement]:
    return driver.find_elements(By.CSS_SELECTOR, f"#{part} .still")


def names(driver: WebDriver, part: str = "sure") -> list[str]:
    script = "return [...document.querySelectorAll(`#${arguments[0]} .still`)].map((still) => still.ariaLabel)"
    return [label.partition(",")[0] for label in driver.execute_script(script, part)]


def opened(driver: WebDriver, address: str) -> WebDriver:
    driver.get(address)
    when(driver, lambda: "hits" in text(driver, "status"))
    return driver


def here(driver: WebDriver) -> str:
    return driver.switch_to.active_element.get_attribute("aria-label") or ""


def test_search_mark_and_search_again_by_keys_alone(address: str, browser: Callable, tmp_path: Path) -> None:
    driver = opened(browser(), address)
    first = names(driver)[0]
    assert here(driver).partition(",")[0] == first
    # To the query and back.
    press(driver, "/", "green", Keys.ENTER)
    when(driver, lambda: names(driver)[0].startswith(("green", "film")))
    press(driver, "/", "red", Keys.ENTER)
    when(driver, lambda: names(driver)[0] == first)
    # Arrows move between stills.
    press(driver, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert here(driver).partition(",")[0] in names(driver)[5:]
    press(driver, Keys.ARROW_UP, Keys.ARROW_LEFT)
    assert here(driver).partition(",")[0] == first
    # Ten marks, each of which moves on.
    for number, name in enumerate(names(driver)[:10], 1):
        press(driver, "h" if name.startswith("red") else "m")
        when(driver, lambda number=number: f"{number} of them new" in text(driver, "marks"))
        assert f"{name}: {'hit' if name.startswith('red') else 'miss'}" in text(driver, "status")
    assert "10 new marks" in text(driver, "status")
    assert "primary" in (driver.find_element(By.ID, "next").get_attribute("class") or "")
    assert stills(driver, "unsure") == []
    press(driver, "u")
    when(driver, lambda: "9 of them new" in text(driver, "marks"))
    press(driver, "y")
    when(driver, lambda: "10 of them new" in text(driver, "marks"))
    press(driver, "r")
    when(driver, lambda: stills(driver, "unsure"))
    assert "to mark" in text(driver, "status")
    assert names(driver)[0].startswith("red")
    assert not {*names(driver, "unsure")} & {name for name in names(driver)[:10] if ", hit" in name}
    # The run is below the folder of the command; the wait is shown beside the button.
    driver.execute_script(
        "window.seen = []; new MutationObserver(() => seen.push(document.getElementById('saved').textContent))"
        ".observe(document.getElementById('saved'), { childList: true, characterData: true, subtree: true })"
    )
    driver.find_element(By.ID, "save").click()
    when(driver, lambda: "texthead predict red FILE" in text(driver, "saved"))
    assert driver.execute_script("return seen[0]") == "Saving \N{HORIZONTAL ELLIPSIS}"
    assert (tmp_path / "here" / "red" / "recipe.json").is_file()
    assert not driver.get_log("browser")


def test_an_undo_that_comes_too_early_is_not_lost(address: str, browser: Callable) -> None:
    driver = opened(browser(), address)
    for number in (1, 2, 3):
        press(driver, "h")
        when(driver, lambda number=number: f"{number} of them new" in text(driver, "marks"))
    press(driver, "u", "u", "u")  # One action at a time: the page takes only the first.
    for _ in range(3):
        time.sleep(0.3)
        press(driver, "u")
    when(driver, lambda: text(driver, "marks").startswith("Mark hits and misses"))


def test_stills_play_at_their_moment(address: str, browser: Callable) -> None:
    driver = opened(browser(), address)
    when(driver, lambda: driver.execute_script("return document.querySelector('.still img').naturalWidth > 0"))
    films = dict(zip(names(driver), stills(driver), strict=True))
    film, old = films["film.mp4"], films["old.avi"]
    driver.execute_script("arguments[0].focus()", film)
    playing = "const [v] = arguments[0].getElementsByTagName('video'); return v ? [v.currentTime, v.paused] : null"
    first = when(driver, lambda: (driver.execute_script(playing, film) or [0])[0])
    assert 0 <= first <= 12
    span = driver.execute_script("return arguments[0].querySelector('video').src", film).partition("#t=")[2]
    start, _, end = span.partition(",")
    for _ in range(20):
        at, _ = driver.execute_script(playing, film)
        assert float(start) - 0.1 <= at <= float(end or 12) + 0.4
        time.sleep(0.1)
    # What the browser cannot play is an animation, and the rest are stills again.
    driver.execute_script("arguments[0].focus()", old)
    when(driver, lambda: "/preview/" in driver.execute_script("return arguments[0].querySelector('img').src", old))
    assert "/still/" in driver.execute_script("return arguments[0].querySelector('img').src", film)
    driver.find_element(By.ID, "words").click()
    when(driver, lambda: "/still/" in driver.execute_script("return arguments[0].querySelector('img').src", old))
    # Enter stops and starts.
    driver.execute_script("arguments[0].focus()", film)
    when(driver, lambda: driver.execute_script(playing, film))
    press(driver, Keys.ENTER)
    when(driver, lambda: not driver.execute_script(playing, film))


def test_keys_work_after_a_click(address: str, browser: Callable) -> None:
    driver = opened(browser(), address)
    film = stills(driver)[names(driver).index("film.mp4")]
    for _ in range(2):
        # It plays while the pointer rests on it; a click stops it.
        ActionChains(driver).move_to_element(film).perform()
        when(driver, lambda: film.find_elements(By.TAG_NAME, "video"))
        ActionChains(driver).click().perform()
        when(driver, lambda: not film.find_elements(By.TAG_NAME, "video"))
        time.sleep(0.3)
        assert not film.find_elements(By.TAG_NAME, "video")
        assert here(driver).startswith("film.mp4")
        ActionChains(driver).move_to_element(driver.find_element(By.ID, "about")).perform()
    press(driver, "m")
    when(driver, lambda: "1 miss" in text(driver, "marks"))
    # Nothing has the focus: keys work on the last still.
    last = here(driver)
    driver.execute_script("document.activeElement.blur()")
    press(driver, "h")
    when(driver, lambda: "1 hit, 1 miss" in text(driver, "marks"))
    assert text(driver, "status").startswith(last.partition(",")[0])
    driver.execute_script("document.activeElement.blur()")
    press(driver, Keys.ARROW_LEFT)
    assert here(driver).startswith(last.partition(",")[0])


def test_an_example_is_dropped_and_more_like_a_hit(address: str, browser: Callable, tmp_path: Path) -> None:
    driver = opened(browser(), address)
    driver.find_element(By.ID, "file").send_keys(str(write_image(tmp_path / "my green.png", "green", seed=80)))
    when(driver, lambda: text(driver, "like").startswith("Like my green.png"))
    when(driver, lambda: names(driver)[0].startswith(("green", "film")))
    last = names(driver)[-1]
    driver.execute_script("arguments[0].focus()", stills(driver)[-1])
    press(driver, "l")
    when(driver, lambda: text(driver, "like").startswith(f"Like {last}"))
    # The example itself is no hit.
    when(driver, lambda: names(driver) and last not in names(driver))
    # Words take the place of the example.
    press(driver, "/", "red", Keys.ENTER)
    when(driver, lambda: names(driver)[0].startswith(("red", "film", "old")))
    assert not driver.find_element(By.ID, "like").is_displayed()


def test_paths_are_copied(address: str, browser: Callable) -> None:
    driver = opened(browser(), address)
    driver.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": address.partition("/?")[0]},
    )
    film = stills(driver)[names(driver).index("film.mp4")]
    driver.execute_script("arguments[0].focus()", film)
    press(driver, "c")
    when(driver, lambda: "film.mp4#t=" in text(driver, "status"))
    assert "Copied" in text(driver, "status")
    copied = driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert "film.mp4#t=" in copied


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_anyone_can_use_it(address: str, browser: Callable, width: int, dark: bool) -> None:
    driver = opened(browser(width, dark=dark), address)
    result = violations(driver)
    for key in "hmhm":
        press(driver, key)
        time.sleep(0.3)
    press(driver, "r")
    when(driver, lambda: stills(driver, "unsure"))
    press(driver, "?")
    assert driver.find_element(By.CSS_SELECTOR, "#help dl").is_displayed()
    assert driver.switch_to.active_element.tag_name == "summary"
    result += violations(driver)
    assert not result, "\n".join(result)
    assert fits(driver)
