"""The overlay shows every frame at its own time, labels only the current events, and marks the current position."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageColor

from made import pictures, write_timed
from messages import refuses
from texthead.apps.timeline.events import Event, Stretch
from texthead.apps.timeline.overlay import colours, enlarged, lanes, write_overlay
from texthead.apps.timeline.timeline import open_timed
from texthead.errors import MediaError, RunError
from texthead.media.reader import Media

UNEVEN = [0.0, 0.1, 0.15, 0.6, 1.0, 1.4, 1.5, 1.9]
EVENTS = [Event("a cat", 0.5, 1.45, 0.75, 0.8), Event("a dog", 1.0, 1.95, 0.25, 0.25)]


def drawn(folder: Path, events: list[Event]) -> Path:
    return overlaid(folder, events, write_timed(folder / "a.mp4", pictures("green", 8, 0), UNEVEN))


def overlaid(folder: Path, events: list[Event], source: Path) -> Path:
    stretches = Stretch(0.0, 0.8, (0.5, 0.0)), Stretch(0.8, 1.95, (0.75, 0.25))
    with open_timed(source) as video:
        write_overlay(folder / "out" / "b.mp4", video, events, ["a cat", "a dog"], stretches)
    return folder / "out" / "b.mp4"


def bar_length(frame: np.ndarray, row: int, colour: str) -> float:
    """Return how far the bar of a label line extends, 0 to 1, from the colour of the line's lower edge."""
    edge = frame[19 * row + 16].astype(int)
    near = np.abs(edge - ImageColor.getrgb(colour)).sum(1) < 160
    return near.sum() / len(near)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Media, np.ndarray]]:
    """The overlay of EVENTS and its frames."""
    with open_timed(drawn(tmp_path_factory.mktemp("overlay"), EVENTS)) as video:
        yield video, video.frames_at(range(8)).permute(0, 2, 3, 1).numpy()


def test_it_has_every_frame_at_its_time(shown: tuple[Media, np.ndarray]):
    with open_timed(shown[0].path.parents[1] / "a.mp4") as source:
        assert shown[0].times == pytest.approx(source.times, abs=1e-4)
        assert shown[0].duration_seconds == pytest.approx(source.duration_seconds, abs=1e-4)


def test_names_are_there_while_their_event_is_on(shown: tuple[Media, np.ndarray]):
    frames = shown[1]
    cat, dog = colours(EVENTS).values()
    assert [bar_length(frame, 0, cat) for frame in frames] == pytest.approx([0, 0, 0, 0.5, 0.75, 0.75, 0, 0], abs=0.06)
    # The dog's line is second while the cat is on, then first.
    assert [bar_length(frame, 1, dog) for frame in frames] == pytest.approx([0, 0, 0, 0, 0.25, 0.25, 0, 0], abs=0.06)
    assert [bar_length(frame, 0, dog) for frame in frames[6:]] == pytest.approx([0.25, 0.25], abs=0.06)
    # Without an event, the picture above the timeline is that of the source.
    assert np.abs(frames[0][:200].astype(int) - np.array([40, 190, 60])).mean() < 30


def test_bottom_line_shows_events_and_position(shown: tuple[Media, np.ndarray]):
    frames, whole = shown[1], shown[0].duration_seconds
    for frame, seconds in zip(frames, UNEVEN, strict=True):
        white = np.nonzero(frame[-3:].min((0, 2)) > 180)[0]
        assert white.mean() / 240 == pytest.approx(seconds / whole, abs=0.02)
    cat = np.abs(frames[0][-3].astype(int) - ImageColor.getrgb(colours(EVENTS)["a cat"])).sum(1) < 100
    assert np.nonzero(cat)[0].min() / 240 == pytest.approx(0.5 / whole, abs=0.02)


def test_more_than_three_at_once_are_counted(tmp_path: Path):
    many = [Event("a cat", 0.0, 1.9, 0.5, 0.5)] * 5
    with open_timed(drawn(tmp_path, many)) as result:
        frame = result.frames_at([1])[0].permute(1, 2, 0).numpy()
    cat = colours(many)["a cat"]
    assert [bar_length(frame, row, cat) > 0.4 for row in range(4)] == [True, True, True, False]
    assert frame[19 * 3 + 3 : 19 * 3 + 14, 8:80].max() > 200


@pytest.mark.parametrize(
    ("size", "expected"), [((48, 64), (320, 240)), ((241, 321), (322, 242)), ((300, 31), (256, 2400))]
)
def test_small_and_odd_pictures(size: tuple[int, int], expected: tuple[int, int]):
    """Sizes are (height, width) in and (width, height) out, all even; every pixel becomes a square of pixels."""
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    image = enlarged(picture)
    assert image.size == expected
    assert np.array_equal(np.asarray(image)[[0, -1], [0, -1]], picture[[0, -1], [0, -1]])


def test_even_width_as_h264(tmp_path: Path):
    frames = [np.full((240, 322, 3), 10 * i, np.uint8) for i in range(8)]
    with open_timed(overlaid(tmp_path, EVENTS, write_timed(tmp_path / "a.mp4", frames, UNEVEN))) as result:
        assert result.frames_at([0]).shape[-2:] == (240, 322)


def test_nothing_is_left_of_a_video_that_breaks(tmp_path: Path):
    source = write_timed(tmp_path / "a.mp4", pictures("red", 8, 0), UNEVEN)
    content = bytearray(source.read_bytes())
    middle = content.index(b"mdat") + 900
    content[middle : middle + 400] = bytes(400)
    source.write_bytes(content)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.mp4").write_text("as before")
    with pytest.raises(MediaError):
        overlaid(tmp_path, EVENTS, source)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.mp4"]
    assert (tmp_path / "out" / "b.mp4").read_text() == "as before"


def test_a_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "out").write_text("a file")
    with refuses(RunError, tmp_path / "out"):
        drawn(tmp_path, EVENTS)


def test_events_that_overlap_have_lanes(shown: tuple[Media, np.ndarray]) -> None:
    """The cat's lane is the lowest, the dog's the one above it, six pixels each."""
    assert lanes([*EVENTS, Event("a cat", 1.5, 1.9, 0.5, 0.5)]) == [0, 1, 0]
    assert lanes([Event(name, 0.0, 1.0, 0.5, 0.5) for name in "abcde"]) == [0, 1, 2, 2, 2]
    frame, whole = shown[1][0], shown[0].duration_seconds
    for row, event in zip((-3, -9), EVENTS, strict=True):
        colour = np.array(ImageColor.getrgb(colours(EVENTS)[event.name]))
        on = np.nonzero(np.abs(frame[row].astype(int) - colour).sum(1) < 100)[0]
        assert (on.min() / 240, on.max() / 240) == pytest.approx((event.start / whole, event.end / whole), abs=0.02)
