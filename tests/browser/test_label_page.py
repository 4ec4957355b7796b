"""The page of `texthead label`: a real server, a real browser, keys only, and the files on disk after a kill."""

import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from browser.conftest import fits, press, text, when
from made import write_image, write_video
from texthead.data.reading import read_dataset
from tools.browser import Served, serving_command

pytestmark = pytest.mark.browser

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three colours, one that no browser shows, and videos, one with a codec that no browser plays."""
    folder = tmp_path_factory.mktemp("data") / "files"
    for index in range(18):
        write_image(folder / f"{COLOURS[index % 3]}-{index:02d}.png", COLOURS[index % 3], seed=index)
    write_image(folder / "red-18.tiff", "red", seed=18)
    write_video(folder / "green-19.mp4", "green", frames=10, codec="libx264")
    write_video(folder / "blue-20.mp4", "blue", frames=10, codec="mpeg4")
    return folder


@pytest.fixture
def served(folder: Path, tmp_path: Path) -> Iterator[Served]:
    """A page of these files; the labels are in labels.csv next to the server's folder."""
    options = ("--classes", "red, green", "--out", tmp_path / "labels.csv")
    with serving_command(tmp_path / "server", "label", folder, *options) as page:
        yield page


def opened(driver: WebDriver, address: str) -> WebDriver:
    driver.get(address)
    when(driver, lambda: text(driver, "name"))
    return driver


def choices(driver: WebDriver) -> list[str]:
    return [row.text for row in driver.find_elements(By.CSS_SELECTOR, "#choices li span:not(.share)")]


def answer(driver: WebDriver, *keys: str) -> str:
    """Press keys, wait for another file, and return the name of the one before."""
    before = text(driver, "name")
    press(driver, *keys)
    when(driver, lambda: text(driver, "name") != before)
    return before


def label(driver: WebDriver, name: str) -> None:
    """Label the current file: by number if the name is among the first guesses, else by typing it."""
    guesses = choices(driver)
    answer(driver, *([str(guesses.index(name) + 1)] if name in guesses[:3] else [name, Keys.ENTER]))


def rows(labels_csv: Path, column: str = "label") -> dict[str, str]:
    lines = csv.DictReader(labels_csv.open()) if labels_csv.exists() else ()
    return {Path(row["path"]).name: row[column] for row in lines}


def test_all_by_keys_alone(served: Served, browser: Callable, tmp_path: Path) -> None:
    driver, labels_csv = opened(browser(), served.address), tmp_path / "labels.csv"
    # Type a new class, skip a file, mark one as bad; then undo all three.
    first = answer(driver, "blue", Keys.ENTER)
    assert rows(labels_csv) == {first: "blue"}
    second, third = answer(driver, Keys.SPACE), answer(driver, Keys.DELETE)
    assert third in (tmp_path / "labels.bad.csv").read_text()
    time.sleep(1)
    for name in (third, second, first):
        press(driver, Keys.BACKSPACE)
        when(driver, lambda name=name: text(driver, "name") == name)
    assert rows(labels_csv) == {}
    names = set()
    loaded = "const shown = document.querySelector('#stage > *');return (shown.naturalWidth || shown.videoWidth) > 0"
    for _ in range(21):
        name = text(driver, "name")
        names.add(name)
        when(driver, lambda: driver.execute_script(loaded))
        label(driver, name.partition("-")[0])
        assert rows(labels_csv)[name] == name.partition("-")[0]
    assert len(names) == 21
    assert text(driver, "stage") == "Every file has a label."
    when(driver, lambda: "of the 21 labelled" in text(driver, "accuracy"))
    (line,) = driver.find_elements(By.CSS_SELECTOR, "#curve polyline")
    assert line.is_displayed()
    assert len(read_dataset(labels_csv)) == 21
    # The browser logged no error.
    assert not driver.get_log("browser")


def test_a_wrong_label_is_reviewed(served: Served, browser: Callable, tmp_path: Path) -> None:
    labels_csv = tmp_path / "labels.csv"
    driver = opened(browser(width=390), served.address)
    names = []
    for _ in range(20):
        name = text(driver, "name")
        names.append(name)
        label(driver, "red" if name == "green-04.png" else name.partition("-")[0])
    assert fits(driver)
    when(driver, lambda: text(driver, "review-count"))
    press(driver, Keys.F2)
    when(driver, lambda: text(driver, "name") == "green-04.png")
    assert "green" in text(driver, "why")
    # Keep the label, undo, and correct it.
    assert answer(driver, Keys.SPACE) == "green-04.png"
    press(driver, Keys.BACKSPACE)
    when(driver, lambda: text(driver, "name") == "green-04.png")
    assert "green" in text(driver, "why")
    label(driver, "green")
    when(driver, lambda: rows(labels_csv)["green-04.png"] == "green")
    assert text(driver, "train").startswith("texthead train ")


def rename_in_another_tab(driver: WebDriver, old: str) -> None:
    """Rename a class; this tab still shows its old name."""
    driver.execute_async_script("ask('rename', {old: arguments[0], new: 'another'}).then(arguments[1])", old)


def test_a_name_that_is_almost_a_class_is_asked_about(folder: Path, browser: Callable, tmp_path: Path) -> None:
    """Enter takes what is marked: first the class, and after an arrow key the new one. Nine keys choose nine classes."""
    names = "umbrella, lamp, chair, table, shelf, plant, clock, mirror, carpet, sofa"
    options = ("--classes", names, "--out", labels_csv := tmp_path / "labels.csv")
    with serving_command(tmp_path / "server", "label", folder, *options) as served:
        driver = opened(browser(), served.address)

        def saved(*keys: str) -> str:
            file = answer(driver, *keys)
            return rows(labels_csv)[file]

        first = text(driver, "name")
        press(driver, "umbrela", Keys.ENTER)
        assert choices(driver) == ["new class: umbrela", "umbrella"]
        assert "Did you mean umbrella?" in text(driver, "status")
        assert text(driver, "name") == first
        assert saved(Keys.ENTER) == "umbrella"
        press(driver, "Umbrela", Keys.ENTER)
        assert saved(Keys.ARROW_UP, Keys.ENTER) == "Umbrela"
        assert saved("lampshade", Keys.ENTER) == "lampshade"
        guesses = choices(driver)
        assert [saved("9"), len(guesses)] == [guesses[8], 12]
        assert len(driver.find_elements(By.CSS_SELECTOR, "#choices kbd")) == 9
        rename_in_another_tab(driver, old := choices(driver)[0])
        press(driver, "1")
        when(driver, lambda: f"no class '{old}'" in text(driver, "error"))
    assert len(rows(labels_csv)) == 4


def on(driver: WebDriver) -> set[str]:
    rows = driver.find_elements(By.CSS_SELECTOR, '#choices li[aria-selected="true"] > span:not(.share)')
    return {row.text.strip("\u2713 ") for row in rows}


def test_several_labels_are_turned_on_and_off(folder: Path, browser: Callable, tmp_path: Path) -> None:
    labels_csv = tmp_path / "labels.csv"
    options = ("--classes", "red, green", "--multilabel", "--out", labels_csv)
    with serving_command(tmp_path / "server", "label", folder, *options) as served:
        driver = opened(browser(), served.address)
        first, guesses = text(driver, "name"), choices(driver)
        assert text(driver, "done").startswith("None of these")
        press(driver, "1", "2")
        assert on(driver) == set(guesses[:2])
        press(driver, "1")
        assert on(driver) == {guesses[1]}
        # A new class is typed, and turned on.
        press(driver, "sky", Keys.ENTER)
        assert on(driver) == {guesses[1], "sky"}
        assert text(driver, "done").startswith(f"{guesses[1]}; sky")
        assert answer(driver, Keys.ENTER) == first
        assert rows(labels_csv, "labels") == {first: f"{guesses[1]}; sky"}
        # None is an answer too; undo opens the file again.
        assert on(driver) == set()
        second = answer(driver, Keys.ENTER)
        assert rows(labels_csv, "labels")[second] == ""
        time.sleep(1)
        press(driver, Keys.BACKSPACE)
        when(driver, lambda: text(driver, "name") == second)
        press(driver, Keys.BACKSPACE)
        when(driver, lambda: text(driver, "name") == first)
        when(driver, lambda: not labels_csv.exists())
        for _ in range(6):
            name = text(driver, "name")
            press(driver, "1")
            time.sleep(0.5)  # Clicks just after a new file are ignored.
            driver.find_element(By.ID, "done").click()
            when(driver, lambda name=name: text(driver, "name") != name)
        assert len(rows(labels_csv, "labels")) == 6
        assert not driver.find_element(By.ID, "estimates").is_displayed()
        assert not driver.get_log("browser")
        rename_in_another_tab(driver, old := choices(driver)[0])
        press(driver, "1", "sea", Keys.ENTER, Keys.ENTER)
        when(driver, lambda: f"no class '{old}'" in text(driver, "error"))
        assert len(rows(labels_csv, "labels")) == 6
    # The kind of labels is that of the file.
    with serving_command(tmp_path / "again", "label", folder, "--out", labels_csv) as served:
        driver = opened(browser(width=390), served.address)
        assert driver.find_element(By.ID, "done").is_displayed()
        assert fits(driver)
