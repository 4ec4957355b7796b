"""Steps in order from the command line: predict, eval and timeline score them, everything else refuses them."""

import json
from pathlib import Path

import pytest

from made import PIXELS, colour_model, joined_colours
from texthead.apps.timeline.events import Hysteresis
from texthead.apps.timeline.timeline import Sliding, find_events
from texthead.data.protocol import Protocol
from texthead.models.heads import StepsHead
from texthead.text.prompts import Steps

ORDERS = {"forth": ("red", "blue"), "back": ("blue", "red")}


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.json"
    path.write_text(
        json.dumps({name: {"steps": [f"a {each} wall" for each in order]} for name, order in ORDERS.items()})
    )
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A manifest of a video for each order."""
    for name, order in ORDERS.items():
        joined_colours(tmp_path / f"{name}.mkv", order)
    path = tmp_path / "clips.csv"
    path.write_text("path,label\nforth.mkv,forth\nback.mkv,back\n")
    return path


def test_predict_and_eval(world, works, classes, clips):
    videos = [clips.parent / f"{name}.mkv" for name in ORDERS]
    for model in ([], [world.run]):
        out, err = works("predict", *model, *videos, "--classes", classes, "--set", "frames=4", "--json", "--verbose")
        answers = [file["top"] for file in json.loads(out)]
        assert [[pair["name"] for pair in top] for top in answers] == [["forth", "back"], ["back", "forth"]]
        assert "'a red wall' > 'a blue wall'" in err
    options = ["--classes", classes, "--set", "frames=4", "--json", *world.run_options()]
    (method,) = json.loads(works("eval", world.run, clips, *options)[0])["methods"]
    assert (method["items"], method["top1"]) == (2, 100)


SLOW = [pytest.param(command, marks=pytest.mark.slow) for command in ("compare", "doctor")]


@pytest.mark.parametrize("command", ["train", *SLOW])
def test_what_averages_frames_refuses_steps(refused, classes, clips, command, tmp_path):
    out = ["--out", tmp_path / "run", "--held-out", "0"] if command == "train" else []
    refused(("steps in order", "a list of sentences"), command, clips, "--classes", classes, *out)
    assert not (tmp_path / "run").exists()


def test_export_refuses_steps(refused, world, classes, tmp_path):
    refused("steps in order cannot be exported", "export", world.run, "--classes", classes, "--out", tmp_path / "out")


def test_a_timeline_finds_each_order(tmp_path):
    """Windows of four seconds hold two colours of two seconds each; their middles are at 2, 4 and 6 s."""
    video = joined_colours(tmp_path / "a.mkv", ["red", "blue", "red", "blue"])
    plain = colour_model()
    rows = dict(zip(plain.names, plain.head.weight, strict=True))
    head = StepsHead(
        [plain.head.weight.new_tensor([rows[each].tolist() for each in order]) for order in ORDERS.values()],
        names=[*ORDERS],
        prompts=[Steps(order) for order in ORDERS.values()],
        scale=30.0,
        center=plain.head.center,
    )
    sliding, protocol = Sliding(window=4.0, rate=5.0), Protocol(4, PIXELS)
    rule = Hysteresis(enter=0.6, leave=0.55)
    events = find_events(plain.with_head(head), video, sliding=sliding, rule=rule, protocol=protocol)
    assert [event.name for event in events] == ["forth", "back", "forth"]
    for event, middle in zip(events, (2, 4, 6), strict=True):
        assert event.start <= middle <= event.end
