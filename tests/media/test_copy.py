"""Parts of videos copied without decoding: their frames are those of the source, from the keyframe before them."""

from pathlib import Path

import av
import pytest

from made import encode, joined_colours, pictures, write_image
from messages import refuses
from texthead.errors import MediaError
from texthead.media import MediaPath

DECODE = Path(__file__).parents[3] / "shared" / "data" / "decode"


def copied(part: str, out: Path) -> tuple[float, int]:
    """Copy a part; return the seconds before its first frame, and the largest difference of a frame of it."""
    with MediaPath(part).open() as media:
        early = media.copy(out)
        frames = media.frames_at(range(media.num_frames)).int()
        times = media.times
    with MediaPath(out).open() as clip:
        assert clip.check() == clip.num_frames
        shown = [min(range(clip.num_frames), key=lambda i, at=at: abs(clip.times[i] - early - at)) for at in times]
        return early, int((clip.frames_at(shown).int() - frames).abs().max())


def test_a_part_begins_at_the_keyframe_before_it(tmp_path: Path) -> None:
    frames = [picture for seed in range(6) for picture in pictures("red", 5, seed)]
    film = encode(tmp_path / "film.mp4", frames, rate=10, gop=10, b_frames=2, options={"sc_threshold": "0"})
    early, difference = copied(f"{film}#t=1.4,2", tmp_path / "clip.mp4")
    assert (round(early, 3), difference) == (0.4, 0)
    with MediaPath(tmp_path / "clip.mp4").open() as clip:
        assert clip.num_frames == 10
    assert copied(f"{film}#t=2", tmp_path / "end.mkv") == (0.0, 0)


def test_the_sound_of_a_part_is_copied(tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    with (
        av.open(str(joined_colours(tmp_path / "silent.mp4", ["red", "blue"], 1.0))) as silent,
        av.open(str(film), "w") as out,
    ):
        video = out.add_stream_from_template(silent.streams.video[0])
        sound = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        for packet in silent.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        for second in range(0, 16000, 800):
            frame = av.AudioFrame(format="s16", layout="mono", samples=800)
            frame.sample_rate, frame.pts = 8000, second
            out.mux(sound.encode(frame))
    copied(f"{film}#t=1,2", tmp_path / "clip.mkv")
    with av.open(str(tmp_path / "clip.mkv")) as clip:
        assert [stream.type for stream in clip.streams] == ["video", "audio"]
        samples = sum(frame.samples for frame in clip.decode(audio=0))
    assert 7000 <= samples <= 16000


def test_whole_files_are_copied_as_they_are(tmp_path: Path) -> None:
    image = write_image(tmp_path / "red.png", "red")
    with MediaPath(image).open() as media:
        assert media.copy(tmp_path / "copy.png") == 0.0
    assert (tmp_path / "copy.png").read_bytes() == image.read_bytes()


def test_what_cannot_be_copied_is_an_error(tmp_path: Path) -> None:
    film = joined_colours(tmp_path / "film.mp4", ["red", "blue"])
    with MediaPath(f"{film}#t=1,2").open() as media:
        with refuses(MediaError, "clip.xyz"):
            media.copy(tmp_path / "clip.xyz")
        with refuses(MediaError, "clip.gif"):
            media.copy(tmp_path / "clip.gif")
    write_image(tmp_path / "frames" / "1.png", "red")
    with MediaPath(tmp_path / "frames" / "*").open() as media, refuses(MediaError, "not a file"):
        media.copy(tmp_path / "copy.png")


REAL = sorted(
    path
    for path in DECODE.glob("*/*")
    if path.suffix in (".mp4", ".mov", ".mkv", ".avi", ".ts", ".mpg", ".webm", ".asf")
)


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="needs the folder shared/data/decode")
def test_parts_of_real_files_have_the_same_frames(tmp_path: Path) -> None:
    """Damaged files are refused in one line, or their copies are damaged at the same place."""
    failed = {}
    for path in REAL:
        try:
            with MediaPath(path).open() as media:
                seconds = media.duration_seconds
            part = f"{path}#t={0.4 * seconds:.3f},{0.4 * seconds + min(0.3 * seconds, 0.5):.3f}"
            early, difference = copied(part, tmp_path / path.name)
            assert (difference, early >= 0) == (0, True), path
        except MediaError as error:
            failed[path.name] = str(error)
    assert {"bitflips.mp4", "zero_bytes.mp4", "truncated_no_moov.mp4", "text.avi", "random_bytes.mp4"} <= failed.keys()
    assert len(REAL) - len(failed) > 30
    assert all(len(line.splitlines()) == 1 for line in failed.values())
