"""Pages that are started again at one address: the pictures and films that a browser shows, and tabs left open."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

from browser.conftest import press, text, when
from browser.test_label_page import label, rows
from browser.test_label_page import opened as opened_label
from browser.test_search import names, opened, stills
from made import colour_encoder, encode
from served_pages import serving
from texthead.apps.search.app import SearchSession, search_app
from texthead.apps.search.index import open_index
from tools.browser import serving_command

pytestmark = pytest.mark.browser


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def photo(path: Path, width: int) -> Path:
    """Write a picture of coloured squares that its width tells from all others."""
    path.parent.mkdir(exist_ok=True)
    squares = np.random.default_rng(width).integers(0, 256, (3, 3, 3), np.uint8)
    PIL.Image.fromarray(squares).resize((width, 48), PIL.Image.Resampling.NEAREST).save(path)
    return path


def film(path: Path, width: int) -> Path:
    """Write a film that its width tells from all others."""
    squares = PIL.Image.open(photo(path.with_suffix(".png"), width))
    path.with_suffix(".png").unlink()
    return encode(path, [np.asarray(squares)] * 8, rate=4)


def widths(driver: WebDriver, count: int) -> dict[str, int]:
    """Skip so many files, and return the width of the picture that is shown under each name."""
    width = "const [image] = document.querySelectorAll('#stage img'); return image && image.naturalWidth"
    shown = dict[str, int]()
    for _ in range(count):
        name = text(driver, "name")
        shown[name] = when(driver, lambda: driver.execute_script(width))
        press(driver, Keys.SPACE)
        when(driver, lambda name=name: text(driver, "name") != name)
    return shown


def test_label_after_a_restart(browser: Callable, tmp_path: Path) -> None:
    folder, other, port, driver = tmp_path / "files", tmp_path / "other", free_port(), browser()
    of = {
        name: {f"{letter}.png": 40 + 2 * ord(letter) + more for letter in letters}
        for name, letters, more in (("before", "bcdefgh", 0), ("after", "abcdefgh", 0), ("other", "abcdefgh", 1))
    }
    tabs = []
    for run, (start, data) in enumerate((("before", folder), ("after", folder), ("other", other))):
        for name, width in of[start].items():
            if not (data / name).exists():
                photo(data / name, width)
        labels_csv = tmp_path / f"labels-{run}.csv"
        options = ("--classes", "red, green", "--out", labels_csv)
        with serving_command(tmp_path / str(run), "label", data, *options, port=port) as served:
            # The browser still has the pictures and the tabs of the starts before.
            driver.switch_to.new_window("tab")
            opened_label(driver, served.address)
            assert widths(driver, len(of[start])) == of[start]
            label(driver, "red")
            labels = labels_csv.read_text()
            now = driver.current_window_handle
            for tab in tabs:
                driver.switch_to.window(tab)
                name = text(driver, "name")
                for keys in (["1"], [Keys.SPACE], [Keys.DELETE], [Keys.BACKSPACE], [Keys.F2], ["new", Keys.ENTER]):
                    driver.execute_script("document.getElementById('error').hidden = true")
                    press(driver, *keys)
                    when(driver, lambda: "reload the page" in text(driver, "error"))
                    press(driver, Keys.ESCAPE)
                assert text(driver, "name") == name
            assert labels_csv.read_text() == labels
            assert not labels_csv.with_suffix(".bad.csv").exists()
            driver.switch_to.window(now)
            tabs.append(now)
            if run == 2:
                # A tab that is loaded again works.
                driver.switch_to.window(tabs[0])
                driver.refresh()
                when(driver, lambda: text(driver, "name"))
                label(driver, "green")
                assert sorted(rows(labels_csv).values()) == ["green", "red"]


def played(driver: WebDriver, still: WebElement) -> tuple[int, int]:
    """Return the width of a still, and that of the film that plays in its place while the pointer rests on it."""
    image = "const [image] = arguments[0].getElementsByTagName('img'); return image && image.naturalWidth"
    film = "const [film] = arguments[0].getElementsByTagName('video'); return film && film.videoWidth"
    pointer = "arguments[0].dispatchEvent(new MouseEvent(arguments[1]))"
    driver.execute_script(pointer, still, "mouseleave")
    width = when(driver, lambda: driver.execute_script(image, still))
    driver.execute_script(pointer, still, "mouseenter")
    return width, when(driver, lambda: driver.execute_script(film, still))


def test_find_after_a_restart(browser: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))
    port, driver, tabs = free_port(), browser(), []
    for number, more in ((0, 0), (1, 100)):
        data, scratch, marks = (tmp_path / f"{name}-{number}" for name in ("films", "scratch", "marks.csv"))
        scratch.mkdir()
        marks = marks.with_suffix(".csv")
        of = {f"{letter}.mp4": 40 + more + 2 * place for place, letter in enumerate("abcdef")}
        for name, width in of.items():
            film(data / name, width)
        session = SearchSession(open_index(data, colour_encoder()), scratch, {"words": "red"}, marks, None, 20)
        with serving(search_app(session), port) as served:
            driver.switch_to.new_window("tab")
            opened(driver, served.link)
            shown = {name: played(driver, still) for name, still in zip(names(driver), stills(driver), strict=True)}
            assert shown == {name: (width, width) for name, width in of.items()}
            press(driver, "h")
            when(driver, lambda: "1 hit" in text(driver, "marks"))
            kept, now = marks.read_text(), driver.current_window_handle
            for tab in tabs:
                driver.switch_to.window(tab)
                for key in "hmr":
                    driver.execute_script("document.getElementById('error').hidden = true")
                    press(driver, key)
                    when(driver, lambda: "reload the page" in text(driver, "error"))
            assert marks.read_text() == kept
            driver.switch_to.window(now)
            tabs.append(now)
        assert served.log == []


def test_the_link_alone_opens_the_page(browser: Callable, tmp_path: Path) -> None:
    driver, links = browser(), list[str]()
    with ExitStack() as stack:
        for number in range(2):
            photo(tmp_path / f"files-{number}" / f"{number}.png", 50 + number)
            options = ("--classes", "red", "--out", tmp_path / f"{number}.csv")
            command = serving_command(tmp_path / f"server-{number}", "label", tmp_path / f"files-{number}", *options)
            links.append(stack.enter_context(command).address)
        for link in links:
            address = link.partition("?")[0]
            for refused in (address, f"{address}?token=x", f"{address}label.js"):
                driver.get(refused)
                assert driver.find_element(By.TAG_NAME, "body").text.startswith(
                    "open the link that texthead has printed"
                )
        for link in links:
            opened_label(driver, link)
        # After the first visit the cookie is enough; no script can read it.
        for number, link in enumerate(links):
            opened_label(driver, link.partition("?")[0])
            assert text(driver, "name") == f"{number}.png"
            assert driver.execute_script("return document.cookie") == ""
