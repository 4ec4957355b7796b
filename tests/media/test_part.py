"""Parts of videos: names with times, their frames, and media without parts."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from made import encode, pictures, write_frames, write_image, write_timed
from media_files import read_all
from messages import refuses
from platforms import symlink
from texthead.errors import MediaError
from texthead.media.find import find_media
from texthead.media.paths import MediaPath, Span
from texthead.media.reader import Part
from texthead.media.video import Video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 60 distinct frames at 10 fps, with a keyframe every 12 frames."""
    frames = [np.roll(pictures("red", 1, 0)[0], 2 * i, axis=1) for i in range(60)]
    return encode(tmp_path_factory.mktemp("part") / "a.mp4", frames, rate=10, gop=12, b_frames=2)


@pytest.mark.parametrize(
    ("name", "span", "same"),
    [
        ("a.mp4#t=3,7.5", Span(3, 7.5), "a.mp4#t=3,7.5"),
        ("a.mp4#t=3", Span(3, math.inf), "a.mp4#t=3"),
        ("a.mp4#t=3,", Span(3, math.inf), "a.mp4#t=3"),
        ("a.mp4#t=,7.50", Span(0, 7.5), "a.mp4#t=,7.5"),
        ("a.mp4#t=0", Span(), "a.mp4"),
        ("a.mp4", Span(), "a.mp4"),
    ],
)
def test_a_part_has_one_name_for_the_same_times(name: str, span: Span, same: str) -> None:
    media = MediaPath(Path("clips") / name)
    assert (media.span, media.file) == (span, Path("clips/a.mp4"))
    assert media.part(media.span) == MediaPath(Path("clips") / same)
    assert Span.read(*media.span.cells()) == span


@pytest.mark.parametrize("times", ["x", "1,2,3", "-1", "4,3", "3,3", "nan", "inf"])
def test_times_that_break_a_rule(times: str) -> None:
    with refuses(MediaError, f"#t={times}", "#t=3,7.5"):
        _ = MediaPath(f"a.mp4#t={times}").span


def test_what_a_name_tells_of_a_part(video: Path) -> None:
    part = MediaPath(video).part(Span(0.5, 2))
    assert part.is_part
    assert not MediaPath(video).is_part
    assert not MediaPath(Path("a.mp4#t=1,2") / "b.mp4").is_part, "a folder"
    assert part.is_media
    assert part.reader.kind == "video"
    assert not part.is_image
    assert part.clip() == part
    part.check()
    named_so = video.with_name("a#t=0,1.mp4")
    named_so.touch()
    with refuses(MediaError, named_so, "#t=0,1.mp4"):
        MediaPath(named_so).open()
    assert not MediaPath(video.with_name("b.mp4#t=1,2")).exists()
    assert find_media([part.path]) == [str(part.path)]
    link = video.with_name("link.mp4")
    symlink(link, video)
    assert MediaPath(link).part(Span(0.5, 2)).resolved() == part.resolved()
    link.unlink()


def test_frames_of_a_part_are_those_shown_in_it() -> None:
    times = [i / 10 for i in range(60)]
    assert MediaPath("a.mp4#t=0.5,2").frames(times) == range(5, 20)
    assert MediaPath("a.mp4#t=0,1.25").frames(times) == range(13)
    with refuses(MediaError, "5.95", "5.9"):
        MediaPath("a.mp4#t=5.95").frames(times)


@pytest.mark.parametrize("digits", [3, 4, 6, 15])
@pytest.mark.parametrize("rate", [16, 30, 30000 / 1001, 80])
def test_times_are_compared_as_manifests_write_them(rate: float, digits: int) -> None:
    """Manifests round times to a millisecond, or do not round; each frame must be in exactly one of the two parts."""
    times = [i / rate for i in range(30)]
    for cut in range(1, 29):
        before, behind = (MediaPath(f"a.mp4#t={{}}{times[cut]:.{digits}f}".format(start)) for start in (",", ""))
        assert (before.frames(times), behind.frames(times)) == (range(cut), range(cut, 30))


@pytest.mark.parametrize(
    ("start", "end", "first", "stop"), [(0, 0.3, 0, 3), (1.3, 3.71, 13, 38), (4, math.inf, 40, 60)]
)
def test_frames_of_a_part_are_the_files_own(video: Path, start: float, end: float, first: int, stop: int) -> None:
    with MediaPath(video).open() as whole:
        frames, times = whole.frames_at(range(60)), list(whole.times)
    media = MediaPath(video).part(Span(start, end))
    with media.open() as part:
        assert isinstance(part, Part)
        assert (part.path, part.num_frames, part.frames) == (media.path, stop - first, range(first, stop))
        assert torch.equal(part.frames_at(range(part.num_frames)), frames[first:stop])
        assert torch.equal(part.frames_at([1, 0, 1]), frames[[first + 1, first, first + 1]])
        assert part.times == pytest.approx([time - times[first] for time in times[first:stop]])
        assert part.duration_seconds == pytest.approx((stop - first) / 10)
        assert part.start_seconds == times[first]
        assert part.has_times
        shown = [(seconds, take()) for seconds, take in part.in_order()]
        assert [seconds for seconds, _ in shown] == part.times
        assert np.array_equal([picture.transpose(2, 0, 1) for _, picture in shown], frames[first:stop])
        assert dict(part.checked_frames({2}))[2].shape == (48, 48, 3)
    assert read_all(media.open()) == stop - first


def test_only_what_a_part_needs_is_decoded(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    decode = Video._decode

    def counted(self: Video, *arguments: object):
        for frame in decode(self, *arguments):  # pyright: ignore[reportArgumentType]
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(Video, "_decode", counted)
    assert read_all(MediaPath(video).part(Span(3.0, 3.2)).open()) == 2
    assert len(decoded) <= 12, "one stretch between keyframes"
    del decoded[:]
    with MediaPath(video).part(Span(3.0, 3.2)).open() as part:
        part.frames_at([0])
    assert len(decoded) <= 12


def test_damage_elsewhere_does_not_matter(video: Path, tmp_path: Path) -> None:
    content = bytearray(video.read_bytes())
    with MediaPath(video).open() as whole:
        assert isinstance(whole, Video)
        at = content.index(bytes(whole._held[30]))  # pyright: ignore[reportOptionalSubscript]
    content[at + 4 : at + 40] = bytes(36)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content)
    assert read_all(MediaPath(broken).part(Span(0, 2)).open()) == 20
    with pytest.raises(MediaError) as caught:
        read_all(MediaPath(broken).part(Span(2, 4)).open())
    assert caught.value.path == MediaPath(broken).part(Span(2, 4)).path


def test_variable_frame_rates(tmp_path: Path) -> None:
    path = write_timed(tmp_path / "a.mkv", pictures("blue", 5, 0), [0, 0.1, 0.5, 2.0, 2.1])
    with MediaPath(path).part(Span(0.2, 2.05)).open() as part:
        assert part.times == pytest.approx([0, 1.5])
        assert part.duration_seconds == pytest.approx(1.6)


def test_what_has_no_parts(video: Path, tmp_path: Path) -> None:
    image, folder = write_image(tmp_path / "a.png", "red"), write_frames(tmp_path / "img_{:05d}.png", "red", 3)
    for path in (image, folder):
        with refuses(MediaError, f"{path.name}#t=1,2", "only videos have parts"):
            MediaPath(path).part(Span(1, 2)).open()
    with refuses(MediaError, "#t=9,10", "5.9"):
        MediaPath(video).part(Span(9, 10)).open()
    missing = tmp_path / "gone.mp4#t=1,2"
    with refuses(MediaError, "gone.mp4#t=1,2", "no such file") as caught:
        MediaPath(missing).open()
    assert (caught.value.path, caught.value.fault) == (missing, "missing")


def test_digests_of_parts(video: Path, tmp_path: Path) -> None:
    copy = tmp_path / "b.mp4"
    copy.write_bytes(video.read_bytes())
    spans = [Span(0, 2), Span(2, 4), Span(1, math.inf), Span()]
    for digest in (MediaPath.fingerprint, MediaPath.digest):
        of = [digest(MediaPath(video).part(span)) for span in spans]
        assert of == [digest(MediaPath(copy).part(span)) for span in spans]
        assert all(a != b for a, b in itertools.combinations(of, 2))
        assert len({len(each) for each in of}) == 1
    assert MediaPath(tmp_path / "gone.mp4#t=1,2").fingerprint() == ""
    assert MediaPath(tmp_path / "b.mp4#t=x").fingerprint() == ""


@pytest.mark.parametrize(
    "name",
    ["h264.ts", "long_gop_bframes.mp4", "mpeg2.mpg", "mpeg4.avi", "prores_422_10bit.mov", "vfr_select.mp4", "vp8.webm"],
)
def test_parts_of_real_videos_in_many_formats(shared: Path, name: str) -> None:
    (path,) = (shared / "decode").rglob(name)
    with MediaPath(path).open() as whole:
        frames, times = whole.frames_at(range(whole.num_frames)), whole.times
    first, stop = len(times) // 3, len(times) // 3 * 2
    with MediaPath(path).part(Span(round(times[first], 3), round(times[stop], 3))).open() as part:
        assert torch.equal(part.frames_at(range(part.num_frames)), frames[first:stop])
        pictures = [take() for _, take in part.in_order()]
    assert torch.equal(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), frames[first:stop])
    assert read_all(MediaPath(part.path).open()) == stop - first
