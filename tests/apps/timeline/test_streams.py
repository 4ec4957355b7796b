"""A video through a pipe gives the frames and times of the file, bit for bit, or an error."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from io import BufferedReader
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from made import pictures, sound, write_timed
from media_files import remux
from messages import refuses
from texthead.apps.timeline import streams
from texthead.apps.timeline.streams import WAITING, LiveStream, PipedVideo
from texthead.apps.timeline.timeline import TimedVideo, open_timed
from texthead.errors import MediaError
from texthead.media import Video

UNEVEN = [0.0, 0.04, 0.4, 0.48, 1.2, 1.24, 2.0, 2.5]


@contextmanager
def piped(*paths: Path) -> Iterator[PipedVideo]:
    """Open a pipe to which `cat` writes the files."""
    with subprocess.Popen(["cat", *map(str, paths)], stdout=subprocess.PIPE) as cat:
        assert isinstance(cat.stdout, BufferedReader)
        with PipedVideo(cat.stdout, Path("pipe")) as video:
            yield video


def read_all(video: TimedVideo) -> tuple[list[tuple[float, bytes, tuple[int, ...]]], float]:
    frames = [(seconds, picture.tobytes(), picture.shape) for seconds, take in video.in_order() for picture in [take()]]
    return frames, video.duration_seconds


def read(*paths: Path) -> None:
    with piped(*paths) as video:
        read_all(video)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of eight frames at uneven times."""
    return write_timed(tmp_path_factory.mktemp("uneven") / "a.mp4", pictures("red", 8, 0), UNEVEN)


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mov", ".mp4"])
def test_a_pipe_gives_frames_and_times_of_the_file(uneven: Path, tmp_path: Path, suffix: str):
    path = remux(uneven, tmp_path / f"b{suffix}")
    with open_timed(path) as video, piped(path) as stream:
        whole = read_all(video)
        assert read_all(stream) == whole
    assert [seconds for seconds, _, _ in whole[0]] == pytest.approx(UNEVEN, abs=0.001)
    assert video.has_times


def test_frames_in_order_are_those_at_all_indices(uneven: Path):
    with open_timed(uneven) as video:
        expected = video.frames_at(range(video.num_frames)).permute(0, 2, 3, 1).numpy()
        found = [(seconds, np.array(take())) for seconds, take in video.in_order()]
    assert [seconds for seconds, _ in found] == video.times
    assert np.array_equal(np.stack([picture for _, picture in found]), expected)


@pytest.mark.slow
def test_real_files_through_a_pipe(shared: Path):
    """Most can be read through a pipe; the others need to seek or have no time stamps in order."""
    same, reasons = 0, []
    for path in sorted((shared / "decode").rglob("*")):
        if path.suffix.lower() not in Video.suffixes:
            continue
        try:
            with open_timed(path) as video:
                expected = read_all(video)
        except MediaError:
            with pytest.raises(MediaError):
                read(path)
            continue
        try:
            with piped(path) as stream:
                assert read_all(stream) == expected, path.name
                same += 1
        except MediaError as error:
            reasons.append(error.problem)
    assert (same, len(reasons)) == (28, 12)
    assert all("a pipe can carry" in reason or "out of order" in reason for reason in reasons), reasons


def test_what_no_pipe_can_give(tmp_path: Path):
    (tmp_path / "text").write_text("no video at all\n" * 1000)
    (tmp_path / "empty").touch()
    index_at_the_end = write_noise(tmp_path / "a.mp4")
    twice = remux(index_at_the_end, tmp_path / "a.ts")
    sound_alone = remux(sound(tmp_path / "b.mp4"), tmp_path / "b.mkv", kind="audio")
    for paths, part in [
        ([index_at_the_end], "faststart"),
        ([twice, twice], "time stamps"),
        ([sound_alone], "sound"),
        ([tmp_path / "text"], "video"),
        ([tmp_path / "empty"], "video"),
    ]:
        with refuses(MediaError, part):
            read(*paths)


def write_noise(path: Path) -> Path:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(60)]
    return write_timed(path, noise, [i / 25 for i in range(60)])


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_stream_that_breaks_off_is_no_whole_video(tmp_path: Path, suffix: str):
    whole = remux(write_noise(tmp_path / "a.mp4"), tmp_path / f"b{suffix}").read_bytes()
    half = tmp_path / f"half{suffix}"
    half.write_bytes(whole[: len(whole) // 2])
    came = 0
    with pytest.raises(MediaError) as caught, piped(half) as video:
        for _ in video.in_order():
            came += 1
    assert 10 < came < 50
    assert caught.value.fault in ("cut short", "damaged")


def test_decreasing_times_are_not_reordered(tmp_path: Path):
    path = remux(write_noise(tmp_path / "a.mp4"), tmp_path / "a.ts")
    twice = tmp_path / "twice.ts"
    twice.write_bytes(path.read_bytes() * 2)
    with open_timed(twice) as video:
        frames, _ = read_all(video)
    assert not video.has_times
    assert [seconds for seconds, _, _ in frames] == pytest.approx([i / 25 for i in range(120)], abs=0.001)
    assert [picture for _, picture, _ in frames[:60]] == [picture for _, picture, _ in frames[60:]]


def test_frames_without_times(tmp_path: Path):
    """Raw h264 has no time stamps: in a file they follow from the frame rate, and `has_times` is False."""
    path = tmp_path / "a.h264"
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"x264-params": "log-level=none:bframes=0"})
        stream.width, stream.height, stream.pix_fmt = 48, 48, "yuv420p"
        for picture in pictures("blue", 6, 0):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with refuses(MediaError, "pipe", "time stamps"):
        read(path)
    with open_timed(path.rename(tmp_path / "a.mpg")) as video:
        frames, _ = read_all(video)
    assert not video.has_times
    assert [seconds for seconds, _, _ in frames] == pytest.approx([i / 25 for i in range(6)], abs=0.001)


@pytest.mark.parametrize("rate", [1000, 10])
def test_a_stream_that_outruns_its_reader_drops_the_oldest(
    rate: int, uneven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its buffer stays within the limit; a stream that is ahead of its clock waits and drops nothing."""
    frames = [VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24") for _ in range(200)]
    for place, frame in enumerate(frames):
        frame.pts, frame.time_base = place, Fraction(1, rate)

    class Camera:
        """Delivers all frames at once, though their times span 0.2 s or 20 s."""

        def __init__(self):
            self.streams = av.open(str(uneven)).streams

        def demux(self, _: object) -> Iterator[SimpleNamespace]:
            return (SimpleNamespace(decode=lambda frame=frame: [frame]) for frame in frames)

    camera = Camera()
    monkeypatch.setattr(streams.av, "open", lambda *_, **__: camera)
    seen: list[float] = []
    with LiveStream("udp://127.0.0.1:9") as stream:
        for seconds, _ in stream.in_order():
            assert stream._waiting.qsize() <= WAITING
            seen.append(seconds)
            time.sleep(0.01 if rate == 1000 else 0)
    assert seen == sorted(seen)
    assert stream.dropped + len(seen) == 200
    assert stream.dropped > 100 if rate == 1000 else stream.dropped == 0
