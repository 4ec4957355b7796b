"""A report as a reader uses it: choose a class, sort, enlarge an example, open the items behind a cell, print."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from browser.conftest import fits, when

pytestmark = pytest.mark.browser


def seen(driver: WebDriver, selector: str) -> list:
    return [each for each in driver.find_elements(By.CSS_SELECTOR, selector) if each.is_displayed()]


@pytest.mark.parametrize("width", [390, 1440])
def test_choose_sort_enlarge_and_look_behind_a_cell(report: str, browser: Callable, width: int) -> None:
    driver = browser(width)
    driver.get(report)
    assert len(seen(driver, ".thumbnail")) == 2
    assert fits(driver)

    rows = [row.text for row in seen(driver, ".sorted tbody tr")]
    driver.find_element(By.CSS_SELECTOR, ".sorted th:nth-child(3) button").click()
    assert [row.text for row in seen(driver, ".sorted tbody tr")] == rows[::-1]

    seen(driver, ".thumbnail")[0].click()
    assert len(seen(driver, ".sorted tbody tr")) == 1
    seen(driver, ".thumbnail")[0].click()
    assert len(seen(driver, ".sorted tbody tr")) == 2

    seen(driver, ".card .frames")[0].click()
    when(driver, lambda: seen(driver, "dialog .card .frames img"))
    seen(driver, "dialog > button")[0].click()
    when(driver, lambda: not seen(driver, "dialog"))

    cell = seen(driver, ".matrix [data-items]")[0]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
    count = int(cell.text)
    cell.click()
    assert len(when(driver, lambda: seen(driver, "dialog .items li"))) == count
    assert not driver.get_log("browser")


def test_the_frames_of_a_video_are_played(report: str, browser: Callable) -> None:
    driver = browser()
    driver.get(report)
    card = next(each for each in seen(driver, ".card") if "0.mp4" in each.text)
    card.find_element(By.CSS_SELECTOR, ".frames").click()
    images = when(driver, lambda: driver.find_elements(By.CSS_SELECTOR, "dialog .frames img"))
    assert len(images) > 1
    when(driver, lambda: images[1].is_displayed() and not images[0].is_displayed())


def test_it_prints_on_one_page(report: str, browser: Callable) -> None:
    driver = browser()
    driver.get(report)
    printed = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
    assert base64.b64decode(printed["data"]).count(b"/Type /Page\n") == 1


def test_it_weighs_little_without_pictures(report: str) -> None:
    html = Path(report.removeprefix("file://")).read_text(encoding="utf-8")
    parts = html.split("data:image")
    assert sum(len(part.partition('"')[2]) for part in parts[1:]) + len(parts[0]) < 300_000
