"""The sound of a video is copied into its overlay if .mp4 can hold it, and stays in sync."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from made import taken
from messages import prints
from texthead.media.open import open_media
from texthead.media.video import Video
from texthead.prediction.events import Event
from texthead.prediction.overlay import Curve, write_overlay
from texthead.prediction.soundtrack import Sound

RATE = 25
# During this second the picture is white and a tone plays.
ON, OFF = 1.0, 2.0


def write_heard(
    path: Path,
    codec: str,
    *,
    rate: int = 48_000,
    layout: str = "stereo",
    late: float = 0.0,
    early: float = 0.0,
    sounds: int = 1,
    seconds: float = 3.0,
) -> Path:
    """Write a video that is white, with a tone, during its second second.

    The sound starts `late` seconds after the pictures, the pictures `early` seconds after the sound.
    """
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=RATE, options={"x264-params": "bframes=0:log-level=none"})
        picture.width, picture.height, picture.pix_fmt = 48, 48, "yuv420p"
        heard = [container.add_stream(codec, rate=rate, layout=layout) for _ in range(sounds)]
        for i in range(round(seconds * RATE)):
            white = 255 * (ON <= i / RATE < OFF)
            frame = av.VideoFrame.from_ndarray(np.full((48, 48, 3), white, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i + round(early * RATE), Fraction(1, RATE)
            container.mux(picture.encode(frame))
            for stream in heard:
                container.mux(stream.encode(part(i, rate, layout, late, early)))
        container.mux(picture.encode(None))
        for stream in heard:
            container.mux(stream.encode(None))
    return path


def part(number: int, rate: int, layout: str, late: float, early: float) -> av.AudioFrame | None:
    """Return the sound that plays during a frame."""
    count = rate // RATE
    times = (np.arange(count) + number * count) / rate + late - early
    tone = 0.5 * np.sin(2 * np.pi * 440 * times) * ((times >= ON) & (times < OFF))
    channels = av.AudioLayout(layout).nb_channels
    frame = av.AudioFrame.from_ndarray((32767 * tone).astype(np.int16).repeat(channels)[None], "s16", layout)
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), number * count + round(late * rate)
    return frame


def overlaid(source: Path) -> tuple[Path, str | None]:
    curve = Curve()
    curve.add(9.0, (0.5,))
    out = source.parent / "out" / "b.mp4"
    with open_media(source) as video:
        assert isinstance(video, Video)
        return out, write_overlay(out, video, [Event("a cat", 0.0, 1.0, 0.5, 0.5)], ["a cat"], curve)


def tone(path: Path) -> tuple[str, float, float]:
    """Return (codec, start and end of the tone, in seconds after the picture turns white)."""
    with open_media(path) as video:
        assert isinstance(video, Video)
        frames = video.frames_at(range(video.num_frames))
        # Names are drawn above this region and the line of events below it.
        middle = frames[:, :, frames.shape[2] // 3 : frames.shape[2] // 2].float().mean((1, 2, 3))
        white = video.begin_seconds + video.times[int((middle > 128).nonzero()[0])]
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        times: list[float] = []
        flat = av.AudioResampler("fltp")
        for frame in (each for decoded in container.decode(stream) for each in flat.resample(decoded)):
            loud = np.nonzero(np.abs(frame.to_ndarray()[0]) > 0.2)[0]
            times += [float((frame.pts or 0) * frame.time_base) + i / frame.sample_rate for i in loud]
        return stream.codec_context.codec.canonical_name, min(times) - white, max(times) - white


@pytest.mark.parametrize(
    ("suffix", "codec", "kept"),
    [
        (".mp4", "aac", "aac"),
        (".ts", "aac", "aac"),
        (".mkv", "aac", "aac"),
        (".mkv", "libopus", "opus"),
        (".mkv", "flac", "flac"),
        (".avi", "libmp3lame", "mp3"),
        (".mkv", "ac3", "ac3"),
    ],
)
def test_what_goes_into_mp4_is_copied_and_in_time(tmp_path: Path, suffix: str, codec: str, kept: str):
    source = write_heard(tmp_path / f"a{suffix}", codec)
    out, note = overlaid(source)
    assert note is None
    name, begin, end = tone(out)
    assert name == kept
    assert (begin, end) == pytest.approx(tone(source)[1:], abs=0.03)
    assert (begin, end) == pytest.approx((0.0, 1.0), abs=0.06)


@pytest.mark.parametrize(
    ("suffix", "codec", "rate", "layout", "called"),
    [(".avi", "pcm_s16le", 48_000, "stereo", "pcm_s16le"), (".avi", "libmp3lame", 8_000, "mono", "mp3")],
)
def test_anything_else_is_left_out(tmp_path: Path, suffix: str, codec: str, rate: int, layout: str, called: str):
    source = write_heard(tmp_path / f"a{suffix}", codec, rate=rate, layout=layout)
    out, note = overlaid(source)
    prints(note or "", called)
    with av.open(str(out)) as container:
        assert (len(container.streams.video), len(container.streams.audio)) == (1, 0)


@pytest.mark.parametrize(("late", "early"), [(0.6, 0.0), (0.0, 0.6)])
def test_a_sound_that_begins_later_or_sooner_stays_in_time(tmp_path: Path, late: float, early: float):
    source = write_heard(tmp_path / "a.mkv", "aac", late=late, early=early)
    out, _ = overlaid(source)
    assert tone(out)[1:] == pytest.approx(tone(source)[1:], abs=0.03)
    assert tone(out)[1:] == pytest.approx((0.0, 1.0), abs=0.06)


def test_it_is_whole_where_it_is_longer_than_the_pictures(tmp_path: Path):
    source = write_heard(tmp_path / "a.mkv", "aac", seconds=3.0, late=1.5)
    with av.open(str(overlaid(source)[0])) as container:
        assert sum(packet.duration or 0 for packet in container.demux(audio=0)) / 48_000 == pytest.approx(3.0, abs=0.1)
        assert float((container.streams.audio[0].start_time or 0) * container.streams.audio[0].time_base) > 1.4


def test_the_first_of_several_is_taken_and_it_is_said(tmp_path: Path):
    out, note = overlaid(write_heard(tmp_path / "a.mkv", "aac", sounds=3))
    prints(note or "", 3)
    with av.open(str(out)) as container:
        assert (len(container.streams.video), len(container.streams.audio)) == (1, 1)


def changed(folder: Path, change: Callable[[av.Packet, float], bool]) -> Path:
    """Copy the packets of a video with a tone; `change` gets each sound packet and its seconds.

    A packet is kept if `change` returns True.
    """
    whole, source = write_heard(folder / "whole.mkv", "aac"), folder / "a.mkv"
    with av.open(str(whole)) as read, av.open(str(source), "w") as written:
        streams = {stream.index: written.add_stream_from_template(stream) for stream in read.streams}
        for packet in (packet for packet in read.demux() if packet.size):
            if packet.stream.type == "video" or change(packet, float(packet.pts * packet.time_base)):
                packet.stream = streams[packet.stream.index]
                written.mux(packet)
    return source


def test_a_gap_in_the_sound_stays_a_gap(tmp_path: Path):
    """The sound between 0.2 and 0.8 s is lost; the tone at 1 s still plays at 1 s."""
    source = changed(tmp_path, lambda _, seconds: not 0.2 < seconds < 0.8)
    assert tone(overlaid(source)[0])[1:] == pytest.approx((0.0, 1.0), abs=0.06)


def delay(packet: av.Packet, seconds: float) -> bool:
    """Pause the sound for 50 s after the tone, and move the last packets hours later."""
    if seconds > 2.2:
        late = round((50 if seconds < 2.8 else 9000) / packet.time_base)
        packet.pts, packet.dts = packet.pts + late, packet.dts + late
    return True


def jump(packet: av.Packet, seconds: float) -> bool:
    """Move one packet before the tone 0.2 s later, so that those after it seem too early."""
    if 0.5 < seconds < 0.52:
        packet.pts += round(0.2 / packet.time_base)
    return True


@pytest.mark.parametrize(("change", "whole"), [(delay, 52.8), (jump, 3.0)])
def test_a_pause_is_silent_and_wrong_times_are_left_out(tmp_path: Path, change: Callable, whole: float):
    out, note = overlaid(changed(tmp_path, change))
    prints(note or "", "damaged")
    assert tone(out)[1:] == pytest.approx((0.0, 1.0), abs=0.06)
    with av.open(str(out)) as container:
        assert (container.duration or 0) / av.time_base == pytest.approx(whole, abs=0.2)


def test_a_video_without_sound_has_none(tmp_path: Path):
    out, note = overlaid(write_heard(tmp_path / "a.mkv", "aac", sounds=0))
    assert note is None
    with av.open(str(out)) as container:
        assert not container.streams.audio


@pytest.mark.slow
def test_memory_does_not_grow_with_the_sound(tmp_path: Path):
    """A minute of stereo at 96 kHz is 23 MB."""
    grown = {}
    for seconds in (5.0, 60.0):
        source = write_heard(tmp_path / f"{seconds:g}.mkv", "flac", rate=96_000, seconds=seconds)
        error, grown[seconds] = taken(lambda source=source: copy(source))
        assert error == "no error"
    assert grown[60.0] < grown[5.0] + 6e6, grown


def copy(source: Path) -> None:
    with (
        open_media(source) as video,
        av.open(str(source.with_suffix(".mp4")), "w") as container,
        Sound(video, container) as sound,
    ):
        for packet in sound.packets():
            sound.write(packet)
