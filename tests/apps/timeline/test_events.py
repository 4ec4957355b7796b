"""Hysteresis against a second implementation; text formats of events."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest

from messages import refuses
from texthead.apps.timeline.events import Event, Hysteresis, Interval, events_of
from texthead.apps.timeline.results import Events, VideoTimes
from texthead.errors import DataError


def intervals(*columns: list[float], step: float = 1.0) -> list[Interval]:
    return [Interval(i * step, (i + 1) * step, row) for i, row in enumerate(zip(*columns, strict=True))]


def subtitles(events: Iterable[Event]) -> str:
    return Events([*events], "film.mp4", Hysteresis(), VideoTimes(4000.0)).subtitles()


def in_hindsight(scores: np.ndarray, rule: Hysteresis, step: float) -> list[tuple[float, float]]:
    """Return the same from the whole row at once: grow seeds through scores of at least `leave`, then join them."""
    on = np.zeros(len(scores), bool)
    for seed in np.nonzero(scores >= rule.enter)[0]:
        end = seed
        while end < len(scores) and scores[end] >= rule.leave:
            on[end] = True
            end += 1
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(int), [0]])))
    runs = [[int(a), int(b)] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    joined: list[list[int]] = []
    for run in runs:
        if joined and (run[0] - joined[-1][1]) * step < rule.min_length:
            joined[-1][1] = run[1]
        else:
            joined.append(run)
    return [(a * step, b * step) for a, b in joined if (b - a) * step >= rule.min_length]


def test_mean_and_peak_weighted_by_time():
    rows = [Interval(0.0, 1.0, (0.6,)), Interval(1.0, 1.5, (0.1,)), Interval(1.5, 4.5, (0.9,))]
    (event,) = events_of(rows, ["a"], Hysteresis(0.5, 0.5, 1.0))
    assert event == Event("a", 0.0, 4.5, event.mean, 0.9)
    assert event.mean == pytest.approx((0.6 + 3 * 0.9) / 4)


def test_none_of_these_ends_event():
    rows = [Interval(float(i), i + 1.0, (0.9, 0.1), known) for i, known in enumerate([True, False, False, True])]
    rule = Hysteresis(0.0, 0.0, 1.5)
    assert events_of(rows, ["a", "b"], rule) == []
    result = events_of(rows, ["a", "b"], Hysteresis(0.7, 0.0, 1.0))
    assert [(e.name, e.start, e.end) for e in result] == [("a", 0.0, 1.0), ("a", 3.0, 4.0)]
    # A shorter one is bridged.
    rows = [Interval(float(i), i + 1.0, (0.9,), known) for i, known in enumerate([True, True, False, True])]
    result = events_of(rows, ["a"], Hysteresis(min_length=1.5))
    assert [(e.name, e.start, e.end) for e in result] == [("a", 0.0, 4.0)]


@pytest.mark.parametrize("seed", range(30))
def test_it_equals_hysteresis_in_hindsight(seed: int):
    rng = np.random.default_rng(seed)
    step = 0.25
    # A slow random walk, so that hysteresis meets rises, falls and flicker.
    walk = np.clip(np.cumsum(rng.normal(0, 0.15, (2, 200)), axis=1) % 1 + rng.normal(0, 0.1, (2, 200)), 0, 1)
    leave, enter = sorted(rng.uniform(0.2, 0.9, 2).tolist())
    rule = Hysteresis(enter, leave, float(rng.choice([0, 0.25, 0.5, 1, 2])))
    result = events_of(intervals(*walk.tolist(), step=step), ["a", "b"], rule)
    for name, scores in zip("ab", walk, strict=True):
        assert [(e.start, e.end) for e in result if e.name == name] == in_hindsight(scores, rule, step)
    assert result == sorted(result, key=lambda event: (event.start, event.end, event.name))


@pytest.mark.parametrize(
    "rule",
    [{"leave": 0.5, "enter": 0.4}, {"enter": 1.2}, {"leave": -0.1}, {"enter": float("nan")}, {"min_length": -1.0}],
)
def test_a_rule_that_makes_no_sense(rule: dict[str, float]):
    with refuses(DataError, *rule.values(), next(iter(rule)).partition("_")[0]):
        Hysteresis(**rule)


def test_no_name_forges_a_subtitle(tmp_path: Path) -> None:
    """FFmpeg reads one subtitle per event, with its own times, whatever names contain and although events overlap."""
    names = [
        "00:00:05,000 --> 00:00:09,000",
        "<b>a</b>",
        r"{\an8}b",
        "c\n\n9\n00:00:01,000 --> 00:00:02,000",
        "\x1b[1m\u202ed",
    ]
    path = tmp_path / "a.srt"
    path.write_text(
        subtitles(Event(name, 2.0 * n, 2.0 * n + 3, 0.9, 0.9) for n, name in enumerate(names)), encoding="utf-8"
    )
    with av.open(str(path)) as read:
        result = [(packet.pts, packet.duration, bytes(packet).decode()) for packet in read.demux() if packet.size]
    assert [times for *times, _ in result] == [[2000 * n, 3000] for n in range(len(names))]
    texts = [text.replace("\u2060", "") for *_, text in result]
    assert texts[:3] == names[:3]
    assert texts[3:] == [" ".join(names[3].split()), r"\x1b[1m\u202ed"]


def test_each_class_has_its_threshold() -> None:
    rule = Hysteresis(thresholds={"a": 0.3, "b": 0.8})
    rows = intervals([0.3, 0.4, 0.2, 0.2, 0.2], [0.5, 0.8, 0.9, 0.79, 0.1])
    result = events_of(rows, ["a", "b"], rule)
    assert [(event.name, event.start, event.end) for event in result] == [("a", 0.0, 2.0), ("b", 1.0, 3.0)]


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (25.0, "01:00:02:10"),
        (12.5, "01:00:02:10"),  # editors have no timecode of 12 or 13 frames
        (29.3, "01:00:02:12"),  # the mean of a video of variable rate
        (15.63, "01:00:02:06"),
        (30000 / 1001, "00:59:58:24"),  # non-drop: 3,602.4 s are 107,964 frames
        (24000 / 1001, "00:59:58:19"),
    ],
)
def test_timecodes_of_an_edit_list_are_times_of_the_video(fps: float, expected: str) -> None:
    event = Event("a", 3602.4, 3603.0, 0.9, 0.9)
    text = Events([event], "film.mp4", Hysteresis(), VideoTimes(4000.0, fps=fps)).edit_list()
    (line,) = (line for line in text.splitlines() if line.startswith("001"))
    assert line.split()[4] == expected


def test_files_of_a_part_have_the_times_of_its_film(tmp_path: Path) -> None:
    events = Events([Event("a", 2.0, 3.0, 0.9, 0.9)], "film.mp4#t=60", Hysteresis(), VideoTimes(9.0, begin=60.0))
    for name, start in (("a.csv", "62.000"), ("a.srt", "00:01:02,000"), ("a.edl", "00:01:02:00")):
        events.save(tmp_path / name)
        assert start in (tmp_path / name).read_text(), name
