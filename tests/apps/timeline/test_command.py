"""`texthead timeline`: what is printed and written, and every user error in one line."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from made import (
    calibrate_run,
    colour_model,
    joined_colours,
    pictures,
    side_by_side,
    write_colour_run,
    write_image,
    write_several_run,
    write_timed,
    write_untrained,
)
from messages import prints
from texthead.models.multilabel_head import MultiLabelHead

SHORT = ("--window", 0.5)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that classifies colours, a video of three of them, and the first three quarters of its bytes."""
    root = tmp_path_factory.mktemp("timeline")
    write_colour_run(root / "run")
    whole = joined_colours(root / "a.mkv", ["red", "blue", "green"]).read_bytes()
    (root / "broken.mkv").write_bytes(whole[: len(whole) * 3 // 4])
    return root


@pytest.fixture
def timeline(world: Path, works) -> Callable[..., tuple[str, str]]:
    """Return a function that runs the command on the video and returns (standard output, standard error)."""
    return lambda run, *options: works("timeline", world / run, world / "a.mkv", *options)


def test_events_are_a_table(timeline):
    out, err = timeline("run", *SHORT)
    head, *rows = [line.split() for line in out.splitlines()]
    assert head == ["start", "end", "mean", "peak", "name"]
    assert [row[-1] for row in rows] == ["red", "blue", "green"]
    assert [float(row[0]) for row in rows] == pytest.approx([0, 2, 4], abs=0.3)
    assert [float(row[1]) for row in rows] == pytest.approx([2, 4, 6], abs=0.3)
    prints(err, 8, "0.5 s", 2)


def test_json_subtitles_and_cuts_hold_the_same(world, timeline, tmp_path):
    srt, edl = tmp_path / "new" / "a.srt", tmp_path / "a.edl"
    out, err = timeline("run", *SHORT, "--json", "--out", srt)
    content = json.loads(out)
    assert (content["video"], content["seconds"]) == (str(world / "a.mkv"), 6.0)
    assert (content["window"], content["rate"]) == (0.5, 8.0)
    assert not {"temperature", "threshold"} & set(content)
    prints(err, "note: ", world / "run", "not calibrated")
    assert str(srt) in err
    events = [(event["name"], event["start"], event["end"]) for event in content["events"]]
    cues = [cue.split("\n") for cue in srt.read_text().strip().split("\n\n")]
    assert [cue[2] for cue in cues] == ["red", "blue", "green"]
    assert [cue[1].replace(",", ".") for cue in cues] == [f"00:00:{a:06.3f} --> 00:00:{b:06.3f}" for _, a, b in events]
    timeline("run", *SHORT, "--out", edl)
    title, _, _, *cuts = edl.read_text().splitlines()
    assert title == "TITLE: a.mkv"
    cuts = [line.split() for line in cuts if line[:3].isdigit()]
    assert [cut[:4] for cut in cuts] == [[f"00{number}", "AX", "V", "C"] for number in (1, 2, 3)]
    codes = [
        [f"00:00:{frame // 10:02d}:{frame % 10:02d}" for frame in (round(a * 10), round(b * 10))] for _, a, b in events
    ]
    assert [cut[4:6] for cut in cuts] == codes, "ten frames per second"
    assert [cut[6] for cut in cuts[1:]] == [cut[7] for cut in cuts[:-1]], "one after the other"


def test_zero_shot_needs_no_run(world, works):
    rule = ("--enter", 0, "--leave", 0, "--window", 2)
    out, _ = works("timeline", world / "a.mkv", "--classes", "a bird, a strawberry", *rule, "--json")
    assert {event["name"] for event in json.loads(out)["events"]} == {"a bird", "a strawberry"}


def no_event(err: str) -> str:
    """Return the line that explains why there is no event."""
    (line,) = (line for line in err.splitlines() if line.startswith("no event: "))
    return line


def test_no_event_by_threshold_temperature_or_length(world, timeline, tmp_path):
    run = calibrate_run(write_colour_run(world / "strict"), temperature=1.0, threshold=1.0)
    out, err = timeline(run, *SHORT)
    assert out == ""
    line = no_event(err)
    prints(line, "at 0.00 s", "calibration.json")
    content = json.loads(timeline(run, *SHORT, "--json", "--out", tmp_path / "a.srt")[0])
    assert (content["threshold"], content["temperature"], content["events"]) == (1.0, 1.0, [])
    assert (tmp_path / "a.srt").read_text() == ""
    prints(timeline("run", *SHORT, "--min-length", 60)[1], "no event: ", "min-length")
    run = calibrate_run(write_colour_run(world / "warm"), temperature=100.0, threshold=0.0)
    line = no_event(timeline(run, *SHORT)[1])
    prints(line, "0.427", "enter")


def test_names_that_do_not_go_together(world, refused):
    run, video = world / "run", world / "a.mkv"
    for parts, *arguments in (
        ("VIDEO",),
        (run, run),
        ("classes", video),
        (2, run, video, video),
        ((video, "recipe.json"), video, video),
        (world / "none.mkv", run, world / "none.mkv"),
        (("leave", 0.7, "enter", 0.6), run, video, "--enter", 0.6, "--leave", 0.7),
        (("window", "long"), run, video, "--window", "long"),
        (("out", "b.avi", ".edl"), run, video, "--out", world / "b.avi"),
        # This run's encoder has no text.
        ("'tiny'", run, video, "--classes", "a bird, a cat"),
        (world / "b.png", run, write_image(world / "b.png", "red")),
    ):
        refused(parts, "timeline", *arguments)


@pytest.fixture(scope="module")
def multilabel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multi-label run, and a video that is red, then red and green side by side, then blue; 2 s each."""
    root = tmp_path_factory.mktemp("several")
    write_several_run(root / "run")
    stills = [pictures("red", 1, 9)[0], side_by_side("red", "green", 1, 9)[0], pictures("blue", 1, 9)[0]]
    frames = [still for still in stills for _ in range(20)]
    write_timed(root / "a.mkv", frames, [i / 10 for i in range(60)], 10)
    return root


def test_events_of_several_labels_overlap(multilabel: Path, works, tmp_path: Path) -> None:
    out, err = works(
        "timeline", multilabel / "run", multilabel / "a.mkv", "--json", *SHORT, "--out", tmp_path / "a.srt"
    )
    content = json.loads(out)
    assert content["thresholds"] == {"red": 0.5, "green": 0.5, "blue": 0.5}
    assert not {"enter", "leave", "threshold"} & set(content)
    assert "calibrat" not in err
    events = [(event["name"], event["start"], event["end"]) for event in content["events"]]
    assert [name for name, _, _ in events] == ["red", "green", "blue"]
    for (_, *times), expected in zip(events, ([0, 4], [2, 4], [4, 6]), strict=True):
        assert times == pytest.approx(expected, abs=0.4)
    assert (tmp_path / "a.srt").read_text().count("-->") == 3
    # The thresholds of classes give way to those that are named.
    out, _ = works("timeline", multilabel / "run", multilabel / "a.mkv", "--json", *SHORT, "--enter", 0.99)
    content = json.loads(out)
    assert (content["enter"], content["leave"], "thresholds" in content) == (0.99, 0.4, False)
    out, err = works("timeline", multilabel / "run", multilabel / "a.mkv", *SHORT, "--min-length", 5)
    prints(err, "no event", "min-length")


def test_the_advice_for_several_labels_gives_an_event(multilabel: Path, works, tmp_path: Path) -> None:
    """Below the thresholds of the classes, 0.7 or less of `enter` is no lower value."""
    model = colour_model(scale=2.0)
    head = MultiLabelHead(model.head, bias=torch.full((3,), -1.0), thresholds=torch.full((3,), 9.0))
    command = ("timeline", write_untrained(tmp_path / "run", model.with_head(head)), multilabel / "a.mkv", *SHORT)
    (share,) = re.findall(r"set --enter below (\d\.\d+)", no_event(works(*command)[1]))
    assert "no event" not in works(*command, "--enter", float(share) - 0.001)[1]
