"""A video through a pipe gives the frames and times of the file, bit for bit; what no pipe can tell is an error."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from io import BufferedReader
from pathlib import Path

import av
import numpy as np
import pytest

from made import pictures, sound, write_timed
from texthead.errors import MediaError
from texthead.streams import PipedVideo
from texthead.timeline import Source, open_timed
from texthead.videos import VIDEO_SUFFIXES

UNEVEN = [0.0, 0.04, 0.4, 0.48, 1.2, 1.24, 2.0, 2.5]


@contextmanager
def piped(*paths: Path) -> Iterator[PipedVideo]:
    """What `cat` writes of the files, read by another process than wrote it."""
    with subprocess.Popen(["cat", *map(str, paths)], stdout=subprocess.PIPE) as cat:
        assert isinstance(cat.stdout, BufferedReader)
        with PipedVideo(cat.stdout, Path("pipe")) as video:
            yield video


def everything(video: Source) -> tuple[list[tuple[float, bytes, tuple[int, ...]]], float]:
    frames = [(seconds, picture.tobytes(), picture.shape) for seconds, take in video.in_order() for picture in [take()]]
    return frames, video.duration_seconds


def told(*paths: Path) -> str:
    with pytest.raises(MediaError) as caught, piped(*paths) as video:
        everything(video)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def remuxed(source: Path, target: Path, options: dict[str, str] | None = None) -> Path:
    """The same packets in another container."""
    with av.open(str(source)) as opened, av.open(str(target), "w", options=options or {}) as container:
        stream = container.add_stream_from_template(opened.streams.video[0])
        for packet in opened.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return target


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of eight frames at uneven times."""
    return write_timed(tmp_path_factory.mktemp("uneven") / "a.mp4", pictures("red", 8, 0), UNEVEN)


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mov", ".mp4"])
def test_a_pipe_gives_frames_and_times_of_the_file(uneven: Path, tmp_path: Path, suffix: str):
    options = {"movflags": "+faststart"} if suffix in (".mov", ".mp4") else {}
    path = remuxed(uneven, tmp_path / f"b{suffix}", options)
    with open_timed(path) as video, piped(path) as stream:
        whole = everything(video)
        assert everything(stream) == whole
    assert [seconds for seconds, _, _ in whole[0]] == pytest.approx(UNEVEN, abs=0.001)
    assert video.has_times


def test_frames_in_order_are_those_at_all_indices(uneven: Path):
    with open_timed(uneven) as video:
        expected = video.frames_at(range(video.num_frames)).permute(0, 2, 3, 1).numpy()
        found = [(seconds, np.array(take())) for seconds, take in video.in_order()]
    assert [seconds for seconds, _ in found] == video.pts_seconds
    assert np.array_equal(np.stack([picture for _, picture in found]), expected)


@pytest.mark.slow
def test_real_files_through_a_pipe(shared: Path):
    """Those that a pipe can be read of; of the others a line says why."""
    same, reasons = 0, []
    for path in sorted((shared / "decode").rglob("*")):
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            continue
        try:
            with open_timed(path) as video:
                expected = everything(video)
        except MediaError:
            told(path)
            continue
        try:
            with piped(path) as stream:
                assert everything(stream) == expected, path.name
                same += 1
        except MediaError as error:
            reasons.append(error.problem)
    assert (same, len(reasons)) == (28, 12)
    assert all("through a pipe" in reason or "step back" in reason for reason in reasons), reasons


def test_an_index_at_the_end_is_said_with_the_remedy(tmp_path: Path):
    assert "index in front (-movflags +faststart)" in told(long_one(tmp_path / "a.mp4"))


def test_what_is_no_video(tmp_path: Path):
    (tmp_path / "text").write_text("no video at all\n" * 1000)
    (tmp_path / "empty").touch()
    assert "cannot be read as a video" in told(tmp_path / "text")
    assert "cannot be read as a video" in told(tmp_path / "empty")
    assert "sound only" in told(remux_sound(tmp_path))


def remux_sound(folder: Path) -> Path:
    """Sound alone in a container that a pipe can be read of."""
    source, target = sound(folder / "a.mp4"), folder / "a.mkv"
    with av.open(str(source)) as opened, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(opened.streams.audio[0])
        for packet in opened.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return target


def long_one(path: Path) -> Path:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(60)]
    return write_timed(path, noise, [i / 25 for i in range(60)])


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_stream_that_breaks_off_is_no_whole_video(tmp_path: Path, suffix: str):
    options = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    whole = remuxed(long_one(tmp_path / "a.mp4"), tmp_path / f"b{suffix}", options).read_bytes()
    half = tmp_path / f"half{suffix}"
    half.write_bytes(whole[: len(whole) // 2])
    came = 0
    with pytest.raises(MediaError) as caught, piped(half) as video:
        for _ in video.in_order():
            came += 1
    assert 10 < came < 50
    assert caught.value.fault in ("cut short", "damaged")


def test_two_videos_one_after_the_other_are_not_one(tmp_path: Path):
    path = remuxed(long_one(tmp_path / "a.mp4"), tmp_path / "a.ts")
    assert "its time stamps step back" in told(path, path)


def test_a_file_whose_times_step_back_is_not_put_in_another_order(tmp_path: Path):
    path = remuxed(long_one(tmp_path / "a.mp4"), tmp_path / "a.ts")
    twice = tmp_path / "twice.ts"
    twice.write_bytes(path.read_bytes() * 2)
    with open_timed(twice) as video:
        if video.has_times:
            with pytest.raises(MediaError, match="step back"):
                everything(video)


def test_frames_without_times(tmp_path: Path):
    """A raw h264 stream has none: a file's are counted from its frame rate, and that is told."""
    path = tmp_path / "a.h264"
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"x264-params": "log-level=none:bframes=0"})
        stream.width, stream.height, stream.pix_fmt = 48, 48, "yuv420p"
        for picture in pictures("blue", 6, 0):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert "no time stamps" in told(path)
    with open_timed(path.rename(tmp_path / "a.mpg")) as video:
        frames, _ = everything(video)
    assert not video.has_times
    assert [seconds for seconds, _, _ in frames] == pytest.approx([i / 25 for i in range(6)], abs=0.001)
