"""Answers as HTML: names are escaped, curves and ticks are in place."""

import re
from pathlib import Path

import numpy as np
import pytest

from messages import prints
from pages import Page
from texthead.apps.page.answers import About, TopClasses, VideoEvents
from texthead.apps.page.html import STEPS, page_html, timeline_html, top_classes_html
from texthead.apps.timeline.events import Event, Hysteresis
from texthead.apps.timeline.results import Events, VideoTimes
from texthead.evaluation.calibration import NONE, Calibration, Threshold
from texthead.prediction.predictions import Prediction

EVIL = """<img src=x onerror="alert(1)"> & 'q'"""
CALIBRATION = Calibration(1.5, 40, Threshold(0.05, 0.8, 19))


def named(name: str = "a cat", path: str = "clip.mp4") -> TopClasses:
    return TopClasses(Prediction(Path(path), ((name, 0.75), ("b", 0.25))), 2.0, 20, (name, "b"))


def timed(*events: Event, names: tuple[str, ...] = ("a cat", "b")) -> VideoEvents:
    scores = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    result = Events(events, "clip.mp4", Hysteresis(0.5, 0.5, 0.5), VideoTimes(2.0), calibration=CALIBRATION)
    return VideoEvents(result, names, np.array([1.0, 4.0], np.float32), scores)


def test_every_name_is_text() -> None:
    event = Event(EVIL, 0.0, 1.0, 0.9, 0.9)
    for html in (
        page_html(About(EVIL, (EVIL,)), [".mp4"]),
        top_classes_html(named(EVIL, f"{EVIL}.png")),
        timeline_html(timed(event, names=(EVIL, "b"))),
    ):
        page = Page(html)
        assert page.attributes("onerror") == []
        assert "x" not in page.attributes("src")
        # The page's content policy forbids styles and scripts in the markup.
        assert page.attributes("style") == []
        assert {script["src"] for script in page.all("script")} <= {"/page.js"}


def test_bars_are_as_long_as_their_numbers() -> None:
    page = Page(top_classes_html(named()))
    assert page.attributes("width") == ["75.0", "25.0"]
    prints(page.text, "2.0 s", 20)
    assert "clip.mp4" in page.strings
    assert "20 frames" in Page(top_classes_html(named(path="a.dcm")._replace(seconds=0.0))).text
    assert "image" in Page(top_classes_html(named(path="a.png"))).strings


def test_for_none_of_these_no_bar_is_the_answer() -> None:
    result = Prediction(Path("clip.mp4"), (("a cat", 0.75), ("b", 0.25)), accepted=False)
    unsure = named()._replace(prediction=result, calibration=CALIBRATION)
    html = top_classes_html(unsure)
    prints(Page(html).text, NONE)
    prints(Page(html).text, 1.5)
    assert 'class="first"' not in html
    assert 'class="first"' in top_classes_html(named())
    assert NONE not in top_classes_html(named())


def test_an_event_stands_where_it_happens() -> None:
    page = Page(timeline_html(timed(Event("a cat", 0.0, 1.0, 0.9, 0.91), Event("b", 1.0, 4.0, 0.8, 0.81))))
    assert [(box["x"], box["width"]) for box in page.all("rect")] == [("0.0", "250.0"), ("250.0", "750.0")]
    assert [lane["aria-label"] for lane in page.all("svg") if "aria-label" in lane] == [
        "a cat: 0.0 to 1.0 s",
        "b: 1.0 to 4.0 s",
    ]
    assert page.attributes("data-seek") == ["0.000", "1.000"]
    assert "1.00 – 4.00" in page.text


def test_a_curve_is_the_area_below_the_scores() -> None:
    def curve(ends: np.ndarray, scores: np.ndarray) -> str:
        (path,) = Page(timeline_html(timed()._replace(ends=ends, scores=scores[:, None]))).attributes("d")
        return path

    assert curve(np.array([1.0, 2.0]), np.array([0.5, 1.0])) == "M0,100 V50.0 H500.0 V0.0 H1000.0 V100 Z"
    # A long curve keeps its peaks.
    ends, scores = np.arange(1.0, 10_001.0), np.zeros(10_000)
    scores[7_777] = 1.0
    path = curve(ends, scores)
    assert path.count("V") == STEPS + 1
    assert path.count("V0.0 ") == 1
    (x,) = re.findall(r"V0\.0 H([\d.]+)", path)
    assert float(x) == pytest.approx(777.8, abs=1000 / STEPS)
