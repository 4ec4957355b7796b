"""axe-core on the pages and a report (WCAG 2.2, A and AA): phone and wide screen, light and dark; keyboard use."""

from collections.abc import Callable
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from browser.conftest import fits, press, text, when
from browser.test_page import ask, drop, opened, until
from made import write_image
from tools.browser import serving_command

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "build" / "axe" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
LOOKS = [(390, False), (390, True), (1300, False), (1300, True)]


def violations(driver: WebDriver) -> list[str]:
    """Return the WCAG violations on the current page: each rule and its first elements."""
    driver.execute_script(AXE.read_text())
    result = driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {runOnly: {type: 'tag', values: arguments[0]}}).then(done, error => done(String(error)))",
        RULES,
    )
    assert isinstance(result, dict), result
    assert len(result["passes"]) > 5, "axe has looked at next to nothing"
    return [
        f"{rule['id']}: {rule['help']}: {[node['html'][:150] for node in rule['nodes'][:3]]}"
        for rule in result["violations"]
    ]


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_the_page_its_answers_and_an_error(zero_shot, media, browser, width, dark) -> None:
    driver = opened(browser(width, dark=dark), zero_shot)
    result = violations(driver)
    for file, last in ((media / "cat & <b>umbrella.mp4", ".lanes"), (media / "umbrella.png", ".bars")):
        ask(driver, file, "a cat, an umbrella")
        until(driver, last)
        when(driver, lambda: not driver.find_element(By.ID, "answer").get_attribute("aria-busy"))
        result += violations(driver)
        assert fits(driver)
        opened(driver, zero_shot)
    ask(driver, media / "broken.mp4")
    until(driver, "#error")
    result += violations(driver)
    assert not result, "\n".join(result)


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_a_report(report: str, browser: Callable, width: int, dark: bool) -> None:
    driver = browser(width, dark=dark)
    driver.get(report)
    result = violations(driver)
    assert not result, "\n".join(result)
    assert fits(driver)


def test_the_label_page(browser: Callable, tmp_path: Path) -> None:
    for index in range(6):
        write_image(tmp_path / "files" / f"{index}.png", ("red", "green")[index % 2], seed=index)
    options = ("--classes", "red, green", "--out", tmp_path / "labels.csv")
    with serving_command(tmp_path / "server", "label", tmp_path / "files", *options) as served:
        result = []
        for width, dark in LOOKS:
            driver = browser(width, dark=dark)
            driver.get(served.address)
            when(driver, lambda driver=driver: text(driver, "name"))
            result += [(width, dark, line) for line in violations(driver)]
    assert result == []


def test_a_question_by_keys_alone(zero_shot: str, media: Path, browser: Callable) -> None:
    """Only the file is set by the driver: no page may open the browser's file dialog."""
    driver = opened(browser(), zero_shot)
    drop(driver, media / "umbrella.png")
    for _ in range(40):
        press(driver, Keys.TAB)
        here = driver.switch_to.active_element
        if here.tag_name == "textarea":
            here.send_keys("a cat, an umbrella")
        if here.get_attribute("id") == "ask":
            here.send_keys(Keys.ENTER)
            break
    until(driver, ".bars")
