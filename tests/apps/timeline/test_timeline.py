"""Each frame is encoded once, at its time stamp; one window is held, however long the video."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from made import (
    PIXELS,
    SPEC,
    calibrate_run,
    colour_model,
    joined_colours,
    noise,
    pictures,
    tiny_visual,
    write_colour_run,
    write_timed,
)
from media_files import sound_first
from messages import prints, refuses
from paper.temporal_conv import TemporalConv
from texthead.apps.timeline.events import Interval
from texthead.apps.timeline.timeline import Sliding, find_events, intervals_of, open_timed
from texthead.data.protocol import Protocol, Views
from texthead.data.transforms import view_crops
from texthead.errors import DataError
from texthead.evaluation.evaluate import average_views
from texthead.media.paths import MediaPath
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import TemporalTransformer
from texthead.parallel.progress import Reporter
from texthead.prediction.load import load_run
from texthead.prediction.run import Run

PROTOCOL = Protocol(2, PIXELS)


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three colours, two seconds each, ten frames per second; .mkv, which can be read from a pipe."""
    return joined_colours(tmp_path_factory.mktemp("joined") / "a.mkv", ["red", "blue", "green"])


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Return a function that loads a run that classifies colours, calibrated if there are options."""
    bare = load_run(folder := write_colour_run(tmp_path_factory.mktemp("run") / "run"))
    return lambda **options: load_run(calibrate_run(folder, **options)) if options else bare


def ordered_model() -> Recognizer:
    """Return a model that depends on the order of frames."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        temporal = TemporalTransformer(SPEC.dim, layers=1, width=64)
        torch.nn.init.normal_(temporal.project_out.weight, std=0.3)  # pyright: ignore
    head = FrozenHead(noise(3, SPEC.dim), names=["a", "b", "c"], scale=8.0)
    return Recognizer(tiny_visual(), temporal, head).eval()


def score_file(model: Recognizer | Run, path: Path, *, frames: int = 2, **sliding: Any) -> list[Interval]:
    """Return the probabilities over time."""
    run, protocol = (model, None) if isinstance(model, Run) else (Run.from_model(model), Protocol(frames, PIXELS))
    return [*find_events(run, path, Sliding(**sliding, protocol=protocol)).intervals]


def by_hand(model: Recognizer, path: Path, indices: list[int], frames: int, clips: int) -> tuple[float, ...]:
    """Return the scores of these frames, as predict computes them for a video of only those frames."""
    with MediaPath(path).open() as media, torch.inference_mode():
        crops = [view_crops(media.frames_at([i]), PIXELS)[0] for i in indices]
        views = Views(clips, origin="center").frame_indices(len(indices), frames)
        features = torch.cat([model.visual(crop) for crop in crops])[torch.tensor(views)]
        logits = average_views(model.temporal(features)[None], model.head)[0]
    return tuple(logits.softmax(-1).tolist())


@pytest.mark.parametrize("make", [colour_model, ordered_model])
def test_window_matches_predict(joined: Path, make: Callable[[], Recognizer]):
    model = make()
    result = score_file(model, joined, frames=2, window=0.6, rate=10.0)
    assert len(result) == 60 - 6 + 1
    for start in (0, 17, 54):
        assert tuple(result[start].scores) == by_hand(model, joined, list(range(start, start + 6)), frames=2, clips=3)


def test_stretches_cover_video_without_gap(joined: Path):
    result = score_file(colour_model(), joined, window=0.6, rate=10.0)
    assert (result[0].start, result[-1].end) == (0.0, pytest.approx(6.0))
    assert all(before.end == after.start for before, after in zip(result, result[1:], strict=False))
    # Points 0-5 are centered at 0.3 s; the next window is a tenth of a second later.
    assert [s.end for s in result[:3]] == pytest.approx([0.35, 0.45, 0.55])
    assert result[-1].start == pytest.approx(6.0 - 0.35)


def test_each_frame_is_encoded_once(joined: Path):
    """At 20 points per second each frame is used twice but encoded once."""
    model = colour_model()
    seen: list[torch.Tensor] = []
    model.visual.register_forward_pre_hook(lambda _, args: seen.extend(args[0]))
    for rate, windows, encoded in ((10.0, 60 - 10 + 1, 60), (20.0, 120 - 20 + 1, 60), (5.0, 30 - 5 + 1, 30)):
        seen.clear()
        assert len(score_file(model, joined, window=1.0, rate=rate)) == windows
        assert len(seen) == len({frame.numpy().tobytes() for frame in seen}) == encoded


def test_time_stamps_decide_and_not_numbers(tmp_path: Path):
    """Forty red frames in the first second and four blue ones in the next three."""
    red, times = pictures("red", 9, 0), [i / 40 for i in range(40)] + [1.0, 1.75, 2.5, 3.25]
    path = write_timed(tmp_path / "a.mkv", [*(red[i % 9] for i in range(40)), *pictures("blue", 4, 0)], times)
    result = find_events(Run.from_model(colour_model()), path, Sliding(0.5, protocol=PROTOCOL), min_length=0.5)
    assert [event.name for event in result] == ["red", "blue"]
    assert result[1].start == pytest.approx(1.0, abs=1 / 8)
    with open_timed(path) as video:
        assert result[1].end == pytest.approx(video.duration_seconds)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_pictures_that_start_after_the_sound(tmp_path: Path, suffix: str) -> None:
    """Players count from the sound, so subtitles do, too; parts of the file count from its first picture."""
    film = joined_colours(tmp_path / "film.mp4", ("red", "blue"))
    late, notes = sound_first(film, tmp_path / f"late{suffix}", 3), list[str]()
    sliding, reporter = Sliding(0.5, protocol=PROTOCOL), Reporter(note=notes.append)
    own, events = (
        find_events(Run.from_model(colour_model()), path, sliding, reporter=reporter) for path in (film, late)
    )
    assert [event.start for event in events] == pytest.approx([event.start for event in own], abs=0.01)
    assert (own.times.offset, events.times.offset) == (0, pytest.approx(3, abs=0.2))
    with av.open(str(late)) as container:  # As a player counts.
        frames = container.decode(video=0)
        blue = next(each.time or 0 for each in frames if each.to_ndarray(format="rgb24").mean((0, 1)).argmax() == 2)
        blue -= (container.start_time or 0) / av.time_base
    (second,) = (line for line in events.subtitles().splitlines()[4:] if "-->" in line)
    assert float(second[6:12].replace(",", ".")) == pytest.approx(blue, abs=1 / 8)
    assert MediaPath(late).offset_seconds() == events.times.offset
    (note,) = notes
    prints(note, late.name, f"starts {events.times.offset:.2f} s", ".srt")


def test_a_part_has_the_frame_rate_of_its_film(tmp_path: Path) -> None:
    """Times in .mkv are in milliseconds, so that a second of 29.97 frames alone may look like 30 or 29.94."""
    film = write_timed(tmp_path / "a.mkv", pictures("red", 9, 0) * 20, [i * 1001 / 30000 for i in range(180)], 30)
    run, sliding = Run.from_model(colour_model()), Sliding(0.5, protocol=PROTOCOL)
    rates = [find_events(run, f"{film}#t={part}", sliding).times.fps for part in ("4,4.3", "0,6")]
    assert rates == pytest.approx([30000 / 1001] * 2, rel=1e-4)


def test_frame_counts_while_on_screen():
    decoded: list[float] = []
    picture = np.full((48, 48, 3), 90, np.uint8)
    # Points are at 0, 0.25, 0.5 ...: no point shows the frame at 0.1 s; those from 0.5 to 1.25 s show the one at 0.3 s.
    times = (0.0, 0.1, 0.2, 0.3, 1.3, 1.5)
    frames = [(seconds, lambda seconds=seconds: decoded.append(seconds) or picture) for seconds in times]
    result = [*intervals_of(frames, 2.0, colour_model(), PROTOCOL, Sliding(1.0, 4.0))]
    assert decoded == [0.0, 0.2, 0.3, 1.5]
    assert len(result) == 8 - 4 + 1
    assert result[-1].end == 2.0


@pytest.mark.parametrize("count", [1, 3])
def test_a_video_shorter_than_a_window_is_one_clip(tmp_path: Path, count: int):
    path = write_timed(tmp_path / "a.mkv", pictures("green", count, 0), [i / 10 for i in range(count)])
    model = colour_model()
    (result,) = score_file(model, path, frames=2, window=2.0, rate=10.0)
    with open_timed(path) as video:
        assert (result.start, result.end) == (0.0, video.duration_seconds)
    assert tuple(result.scores) == by_hand(model, path, list(range(count)), frames=2, clips=10)


def test_convolutions_inside_the_encoder_see_whole_windows(joined: Path):
    visual = tiny_visual()
    with torch.random.fork_rng():
        temporal = TemporalConv(visual)
    model = Recognizer(visual, temporal, FrozenHead(noise(3, SPEC.dim), names=["a", "b", "c"], scale=8.0)).eval()
    result = score_file(model, joined, frames=4, window=0.4, rate=10.0)
    with MediaPath(joined).open() as media, torch.inference_mode():
        crops = torch.cat([view_crops(media.frames_at([i]), PIXELS)[0] for i in range(7, 11)])
        expected = model(crops[None])[0].softmax(-1)
    assert tuple(result[7].scores) == tuple(expected.tolist())


def test_window_answers_match_predict(joined: Path, load: Callable[..., Run]):
    """Scores are logits over the temperature; a window is known if its best probability is above the threshold."""
    bare = score_file(load(), joined, window=0.5, rate=10.0)
    best = sorted(max(np.power(s.scores, 0.25)) / sum(np.power(s.scores, 0.25)) for s in bare)
    # In the widest gap, where last bits decide nothing.
    gap = int(np.diff(best).argmax())
    middle = float(best[gap] + best[gap + 1]) / 2
    result = score_file(load(temperature=4.0, threshold=middle), joined, window=0.5, rate=10.0)
    assert [s[:2] for s in result] == [s[:2] for s in bare]
    for before, after in zip(bare, result, strict=True):
        cooled = np.power(np.array(before.scores), 1 / 4.0)
        assert np.allclose(after.scores, cooled / cooled.sum(), atol=1e-4)
        assert after.accepted == (max(after.scores) > middle)
    assert 0 < sum(s.accepted for s in result) < len(result)
    assert all(s.accepted for s in bare)
    # A threshold for other views is not used, but the temperature is.
    other = score_file(load(temperature=4.0, threshold=1.0, frames=7), joined, window=0.5, rate=10.0)
    assert other == [s._replace(accepted=True) for s in result]


def test_stretches_come_as_soon_as_they_are_known():
    """Results lag a frame by half a window and two points, so no more than these is in memory."""
    picture, now = np.full((48, 48, 3), 90, np.uint8), [0.0]

    def frames() -> Iterator[tuple[float, Callable[[], Any]]]:
        for now[0] in (i / 25 for i in range(500)):
            yield now[0], lambda: picture

    sliding = Sliding(1.0, 10.0)
    lags = [now[0] - each.end for each in intervals_of(frames(), 20.0, colour_model(), PROTOCOL, sliding)]
    assert len(lags) > 180
    assert max(lags) < 0.5 + 2 / 10


def test_times_must_rise_and_not_by_hours():
    picture = np.zeros((48, 48, 3), np.uint8)
    for before, after in ((1.0, 1.0), (1.0, 0.5), (0.0, 3601.0)):
        frames = [(before, lambda: picture), (after, lambda: picture)]
        with refuses(DataError, f"{before:.2f} s", f"{after:.2f} s"):
            [*intervals_of(frames, after + 1, colour_model(), PROTOCOL, Sliding())]


@pytest.mark.parametrize(("name", "value"), [("window", 0.0), ("rate", -1.0), ("rate", float("inf"))])
def test_windows_that_make_no_sense(name: str, value: Any):
    with refuses(DataError, name, value):
        Sliding(**{name: value})
    with refuses(DataError, "window", 108000, 10000):
        Sliding(window=3600.0, rate=30.0)
