"""`make pictures`: every picture of the README and the docs, from real runs of the commands.

The page, the labelling page and the reports are photographed in chromium; terminals hold what the commands printed.
Reports on real data need the folder DATA; without it their pictures stay as they are, with a message.
"""

import argparse
import csv
import io
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import chdir, suppress
from pathlib import Path

import numpy as np
import PIL.Image
from rich.console import Console
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from texthead.apps.demo import drawn_videos
from tools.browser import chromium, environment, serving_command

ASSETS = Path("docs/assets").absolute()
COLUMNS = 80

# Like Rich's own template, without fonts from the network and without the name of a program above.
_SVG = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>.{unique_id}-matrix {{ font: {char_height}px/{line_height}px monospace; white-space: pre }} {styles}</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""

# What the terminal prints: a run with two labels per class, scored on all test photos of clothing (CC0).
LINES = (
    "texthead train clothing --k 2 --tune none --out run",
    "texthead predict run new.jpg --top 3",
    'texthead predict run new.jpg --classes "footwear, a handbag, an umbrella"',
)

# What the labelling page works on, of the demo's classes.
CLASSES = ("a cat jumping", "a cat spinning", "a car jumping", "a car moving left", "an umbrella spinning")

# By picture: the manifest of a set of free pictures, the command that makes the run, and the height in pixels.
GALLERY: dict[str, tuple[str, tuple[str, ...], int]] = {
    "clothing": ("image/clothing/images.csv", ("train", "--tune", "none"), 1500),
    "exercise": ("video/exercise/clips.csv", ("train", "--tune", "none"), 1500),
}


def run(*arguments: object, cwd: Path) -> str:
    """Return what a command prints, standard output and error as they come, in a terminal 80 columns wide.

    Raises: CalledProcessError, with the output in it.
    """
    command = [sys.executable, "-m", "texthead", *map(str, arguments)]
    # No colours and no moving bars: pipes, as in a log.
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(COLUMNS=str(COLUMNS), PYTHONPATH=str(Path("src").absolute())),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def terminal(path: Path, lines: Sequence[str], *, cwd: Path) -> list[str]:
    """Run command lines in the folder `cwd` and write them with their output as a picture of a terminal (SVG).

    Returns: the picture after each command was typed, and after each was answered.
    """
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False, color_system="truecolor")
    scenes = []

    def keep() -> None:
        scenes.append(console.export_svg(title="", code_format=_SVG, unique_id="terminal", clear=False))

    for number, line in enumerate(lines):
        if number:
            console.print()
        console.print(f"[bold green]$[/] [bold]{line}[/]")
        keep()
        console.print(run(*shlex.split(line)[1:], cwd=cwd).rstrip(), markup=False)
        keep()
    path.write_text(scenes[-1])
    return scenes


def photograph(driver: WebDriver, path: Path, most_height: int = 1400) -> None:
    """Write what the page holds, down to `most_height` pixels of the page, as a WebP picture."""
    height = min(most_height, driver.execute_script("return document.documentElement.scrollHeight"))
    width = driver.execute_script("return innerWidth")
    scale = driver.execute_script("return devicePixelRatio")
    size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    time.sleep(0.5)  # Until the page has the new size.
    picture = PIL.Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    picture.save(path, "WEBP", quality=82, method=6)


def until(driver: WebDriver, condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait until a condition holds."""
    WebDriverWait(driver, seconds, 0.1, [StaleElementReferenceException]).until(lambda _: condition())


def _visible(driver: WebDriver, selector: str) -> bool:
    return any(element.is_displayed() for element in driver.find_elements(By.CSS_SELECTOR, selector))


def sort_clips(videos: Path, folder: Path) -> None:
    """Copy the demo's clips of CLASSES into a folder per class, named by numbers."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number, clip in enumerate(sorted((videos / name.replace(" ", "-")).iterdir()), 1):
            shutil.copy(clip, folder / name / f"{number:02d}.mp4")


def sort_photos(images: Path, work: Path) -> None:
    """Copy the photos into `clothing/SPLIT/CLASS`, and the first test photo of shoes to `new.jpg` too."""
    for row in csv.DictReader(images.open(encoding="utf-8")):
        folder = work / "clothing" / row["split"] / row["label"].replace("_", " ")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(images.parent / row["path"], folder)
        if (row["label"], row["split"]) == ("shoes", "test") and not (work / "new.jpg").exists():
            shutil.copy(images.parent / row["path"], work / "new.jpg")


def page(work: Path, run_folder: Path, file: Path) -> None:
    """Photograph the page of `texthead ui` with an answer, light and dark, and on a phone."""
    with serving_command(work / "ui", "ui", run_folder) as served:
        for name, width, dark in (("page", 1000, False), ("page-dark", 1000, True), ("page-phone", 390, False)):
            driver = chromium(work / f"profile-{name}", width, dark=dark)
            driver.get(served.address)
            until(driver, lambda driver=driver: _visible(driver, "#ask"))
            driver.find_element(By.ID, "file").send_keys(str(file.absolute()))
            driver.find_element(By.ID, "ask").click()
            until(driver, lambda driver=driver: driver.find_elements(By.CSS_SELECTOR, "#named *"))
            photograph(driver, ASSETS / f"{name}.webp")
            driver.quit()


def label_page(work: Path, videos: Path) -> None:
    """Photograph the page of `texthead label` while somebody labels."""
    files = work / "to label"
    files.mkdir()
    for name in CLASSES:
        for path in sorted((videos / name).iterdir())[:16]:
            shutil.copy(path, files / f"{name}-{path.name}")
    options = ("--classes", ", ".join(CLASSES), "--out", "labels.csv")
    with serving_command(work / "label", "label", files, *options, cwd=work) as served:
        driver = chromium(work / "profile-label", 1300)
        driver.get(served.address)

        def shown() -> str:
            with suppress(Exception):  # Between two files.
                return driver.find_element(By.ID, "name").text
            return ""

        until(driver, shown)
        for _ in range(24):
            name = shown()
            driver.switch_to.active_element.send_keys(name.rpartition("-")[0], Keys.ENTER)
            until(driver, lambda name=name: shown() not in ("", name))
        until(driver, lambda: _visible(driver, "#curve polyline"))
        time.sleep(2)
        photograph(driver, ASSETS / "label.webp", 1000)
        driver.quit()


def draw_films(folder: Path) -> None:
    """Draw films of five things in turn, and photos, all of OpenMoji pictures."""
    rng, names = np.random.default_rng(3), [*drawn_videos.OBJECTS]

    def clip(name: str) -> np.ndarray:
        picture = rng.choice(drawn_videos.OBJECTS[name].train)
        motion = drawn_videos.MOTIONS[rng.integers(len(drawn_videos.MOTIONS))]
        return drawn_videos.draw_clip(picture, motion, frames=4 * drawn_videos.FPS, size=160, rng=rng)

    folder.mkdir()
    for film in range(1, 9):
        parts = [clip(names[number]) for number in rng.permutation(len(names))[:5]]
        drawn_videos.write_video(folder / f"film-{film}.mp4", np.concatenate(parts))
    for number, name in enumerate(names * 4):
        PIL.Image.fromarray(clip(name)[12]).save(folder / f"photo-{number + 1:02d}.jpg")


def search_page(work: Path) -> None:
    """Photograph the page of `texthead find` after ten marks."""
    draw_films(work / "films")
    with chdir(work), serving_command(work / "find", "find", "an umbrella", "films", "--page") as served:
        driver = chromium(work / "profile-find", 1300)
        driver.get(served.address)
        until(driver, lambda: _visible(driver, ".still"))
        for number in range(1, 11):
            driver.switch_to.active_element.send_keys("h" if number < 9 else "m")
            until(driver, lambda number=number: f"{number} of them new" in driver.find_element(By.ID, "marks").text)
        driver.switch_to.active_element.send_keys("r")
        until(driver, lambda: _visible(driver, "#unsure"))
        driver.execute_script("scrollTo(0, 0)")
        time.sleep(2)  # The stills.
        photograph(driver, ASSETS / "find.webp", 900)
        driver.quit()


def report(work: Path, name: str, page: Path, most_height: int = 1500) -> None:
    """Photograph the beginning of an HTML report."""
    driver = chromium(work / f"profile-report-{name}", 1300)
    driver.get(page.absolute().as_uri())
    time.sleep(1)
    photograph(driver, ASSETS / f"gallery-{name}.webp", most_height)
    driver.quit()


def widths(work: Path, page: Path) -> None:
    """Photograph the top of a report on a desk, a tablet and a phone, light above dark, as one picture."""
    sizes, height, gap = (1440, 820, 390), 1000, 16
    sheet = PIL.Image.new("RGB", (sum(sizes) + 2 * gap, 2 * height + gap), "gray")
    for row, dark in enumerate((False, True)):
        for column, width in enumerate(sizes):
            driver = chromium(work / f"profile-{width}-{dark}", width, height, dark=dark)
            driver.get(page.absolute().as_uri())
            time.sleep(1)
            shot = PIL.Image.open(io.BytesIO(driver.get_screenshot_as_png()))
            sheet.paste(shot, (sum(sizes[:column]) + column * gap, row * (height + gap)))
            driver.quit()
    sheet.resize((sheet.width // 2, sheet.height // 2), PIL.Image.Resampling.LANCZOS).save(
        ASSETS / "gallery-widths.webp", "WEBP", quality=82, method=6
    )


def hero(work: Path, scenes: Sequence[str]) -> None:
    """Write the moving picture of the README: the terminal after each step, then the page."""
    box = "width: 980px; height: 700px; overflow: hidden; border-radius: 8px; text-align: center"
    contents = []
    for number, scene in enumerate(scenes):
        (work / f"scene-{number}.svg").write_text(scene)
        contents.append(f'<div style="{box}; background: #292929"><img src="scene-{number}.svg" width="980">')
    page = (ASSETS / "page.webp").as_uri()
    contents.append(
        f'<div style="{box}; border: 1px solid #ccc; box-sizing: border-box"><img src="{page}" width="820">'
    )
    driver = chromium(work / "profile-hero", 1000, 720)
    pictures = []
    for content in contents:
        (work / "hero.html").write_text(f'<!doctype html><body style="margin: 10px">{content}</div>')
        driver.get((work / "hero.html").as_uri())
        time.sleep(0.5)
        pictures.append(PIL.Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB"))
    driver.quit()
    durations = [*[1000, 2500] * (len(scenes) // 2), 4000]  # milliseconds
    pictures[0].save(
        ASSETS / "hero.webp",
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
        quality=80,
        method=6,
    )


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of real data")
    parser.add_argument("--work", type=Path, default=Path("build/pictures"), help="new folder for runs and profiles")
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True)
    run("demo", "--out", work / "demo", cwd=work)
    sort_clips(work / "demo" / "videos", work / "clips")
    label_page(work, work / "clips")
    search_page(work)
    clothing = options.data / GALLERY["clothing"][0]
    if clothing.exists():
        sort_photos(clothing, work)
        scenes = terminal(ASSETS / "terminal.svg", LINES, cwd=work)
        page(work, work / "run", work / "new.jpg")
        hero(work, scenes)
    else:
        print(f"{clothing} does not exist: the pictures of the terminal and the page stay as they are")
    for name, (path, (command, *more), height) in GALLERY.items():
        data = options.data / path
        if not data.exists():
            print(f"{data} does not exist: gallery-{name}.webp stays as it is")
            continue
        run(command, data.absolute(), *more, "--out", work / f"run-{name}", cwd=work)
        run("report", work / f"run-{name}", cwd=work)
        report(work, name, work / f"run-{name}" / "report.html", height)
        if name == "clothing":
            widths(work, work / f"run-{name}" / "report.html")


if __name__ == "__main__":
    main()
