"""Every frame equals sequential decoding bit for bit; damaged files raise MediaError.

The small videos are made here; the real ones, from phones, webcams and old cameras, are in the shared folder.
"""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import PIL.features
import PIL.Image
import pytest
import torch

from made import write_frames
from media_files import (
    HEIGHT,
    RATE,
    WIDTH,
    X264,
    box,
    damage,
    encode,
    heic,
    lossless,
    packet_place,
    read_all,
    remux,
    scene,
    truncate,
    with_matrix,
    write_grey_tiff,
    x264,
)
from messages import refuses
from texthead.errors import DataError, MediaError
from texthead.media import image as images
from texthead.media import limits, video_stream
from texthead.media import video as videos
from texthead.media.image import FrameFolder, Image
from texthead.media.open import media_suffixes
from texthead.media.paths import MediaPath
from texthead.media.reader import Media
from texthead.media.video import Video


def sequential(path: Path) -> list[np.ndarray]:
    """Return all frames in FFmpeg's presentation order."""
    with av.open(str(path)) as container:
        frames = container.decode(container.streams.best("video"))
        return [np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in frames]


def pictures(media: Media, indices: list[int]) -> list[np.ndarray]:
    return [*media.frames_at(indices).permute(0, 2, 3, 1).numpy()]


def catch(read: Callable[..., object], *arguments: object) -> MediaError:
    """Return the MediaError of a call; its text comes partly from FFmpeg, Pillow or the system."""
    with pytest.raises(MediaError) as caught:
        read(*arguments)
    return caught.value


def assert_random_access_is_exact(path: Path, each: bool = False) -> None:
    """Check that frames read singly, in pairs, in eights and all at once equal sequential decoding.

    With `each`, every frame is also read alone, so that decoding starts where it would for that frame.
    """
    with MediaPath(path).open() as media:
        assert isinstance(media, Video)
        reference = sequential(path)
        n = media.num_frames
        assert n == len(reference)
        assert len(media.times) == n
        assert media.times == sorted(media.times)
        assert media.times[0] == 0
        rng = np.random.default_rng(0)
        requests = [[n - 1], [n // 2], [n // 2, n // 2 - 1], [i * n // 8 for i in range(8)], [n - 1, 0, n - 1]]
        requests += [rng.integers(0, n, 3).tolist() for _ in range(3)] + [list(range(min(n, 64)))]
        requests += [[i] for i in range(n)] if each else []
        for indices in [[max(0, i) for i in request] for request in requests]:
            for index, picture in zip(indices, pictures(media, indices), strict=True):
                assert np.array_equal(picture, reference[index]), (path.name, index, indices)


# ---- names


def test_a_name_says_whether_it_is_media_or_an_image():
    named = ["a.mp4", "A.MP4", "x/y.JPEG", "b.gif", "c.webm", "v1/img_{:05d}.jpg"]
    assert all(MediaPath(name).is_media for name in named)
    assert not any(MediaPath(name).is_media for name in ["a.txt", "mp4", ".mp4", "a.mp4.part", "a", ""])
    assert MediaPath("a/img_00001.JPG").is_image
    assert not any(MediaPath(name).is_image for name in ["a/img_{:05d}.jpg", "a.mp4", "a.gif", "a"])
    assert not Video.suffixes & Image.suffixes
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in media_suffixes())


# ---- videos: exactness


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("videos")


RECIPES = {
    "h264.mp4": lambda path: x264(path),
    "one_gop.mp4": lambda path: x264(path, ":keyint=250:b-pyramid=normal"),
    "open_gop.mp4": lambda path: x264(path, ":open-gop=1"),
    "intra_refresh.mp4": lambda path: x264(path, ":intra-refresh=1:keyint=12:bframes=0", size=(160, 120)),
    "open_gop.ts": lambda path: x264(path, ":open-gop=1"),
    "interlaced.ts": lambda path: x264(path, ":interlaced=1"),
    "h264.avi": lambda path: x264(path),
    "h264.mkv": lambda path: x264(path),
    "raw.h264": lambda path: x264(path),
    "mpeg4.mp4": lambda path: encode(path, "mpeg4", gop=12),
    "mpeg4_b.mp4": lambda path: encode(path, "mpeg4", gop=12, b_frames=2),
    "mpeg4_b.avi": lambda path: encode(path, "mpeg4", gop=12, b_frames=2),
    "intra.avi": lambda path: encode(path, "mpeg4", gop=0),
    "mpeg2_open.ts": lambda path: encode(path, "mpeg2video", gop=12, b_frames=2),
    "mpeg2.mpg": lambda path: encode(path, "mpeg2video", gop=12, b_frames=2),
    "vp8.webm": lambda path: encode(path, "libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    "hevc_open.mp4": lambda path: encode(path, "libx265", {"x265-params": f"open-gop=1:{X264}"}),
    "vfr.mp4": lambda path: x264(path, times=[i + i * i // 8 for i in range(36)]),
    "turned.mp4": lambda path: remux(x264(path.with_suffix(".mov")), path, 90),
    "one_frame.mp4": lambda path: x264(path, count=1),
    "gaps.avi": lambda path: encode(path, "mpeg4", times=[i if i < 20 else i + 7 for i in range(36)]),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("held", [True, False])
def test_random_access_is_exact(folder, monkeypatch, name, held):
    path = folder / name
    if not path.exists():
        RECIPES[name](path)
    if not held:
        monkeypatch.setattr(videos, "_HELD_BYTES", 0)
    assert_random_access_is_exact(path, each=True)
    assert read_all(MediaPath(path).open()) == len(sequential(path))


def test_variable_rate_times_and_duration(folder):
    times = [0, 1, 2, 10, 11, 30]
    with MediaPath(x264(folder / "times.mp4", count=6, times=times)).open() as media:
        assert media.times == pytest.approx([time / RATE for time in times])
        assert media.duration_seconds >= media.times[-1]
    with MediaPath(x264(folder / "second.mp4", count=25)).open() as media:
        assert media.duration_seconds == pytest.approx(1.0)


# Display matrices of a container, and what each does to the stored picture.
MATRICES = {
    (-1, 0, 0, 1): lambda stored: stored.flip(-1),
    (1, 0, 0, -1): lambda stored: stored.flip(-2),
    (-1, 0, 0, -1): lambda stored: stored.flip(-1, -2),
    (0, 1, -1, 0): lambda stored: stored.rot90(-1, (-2, -1)),
    (0, -1, 1, 0): lambda stored: stored.rot90(1, (-2, -1)),
    (0, 1, 1, 0): lambda stored: stored.transpose(-1, -2),
    (0, -1, -1, 0): lambda stored: stored.flip(-1, -2).transpose(-1, -2),
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_turned_and_mirrored_videos_are_upright(tmp_path, matrix):
    """Phones store front-camera videos mirrored; FFmpeg's own player shows them as here."""
    plain = x264(tmp_path / "plain.mp4")
    with MediaPath(plain).open() as stored, MediaPath(with_matrix(plain, tmp_path / "a.mp4", *matrix)).open() as media:
        assert torch.equal(media.frames_at([3])[0], MATRICES[matrix](stored.frames_at([3])[0]))


def test_a_turn_by_another_angle_is_an_error(tmp_path):
    plain = x264(tmp_path / "plain.mp4")
    for path in (remux(plain, tmp_path / "askew.mp4", 30), with_matrix(plain, tmp_path / "zeros.mp4", 0, 0, 0, 0)):
        with MediaPath(path).open() as media:
            assert "multiple of 90" in catch(media.frames_at, [0]).problem


def test_frames_decoded_once(folder, monkeypatch):
    path = x264(folder / "count.mp4", ":bframes=0")
    with MediaPath(path).open() as media:
        spans: list[tuple[int, int]] = []
        decode = Video._decode

        def spy(self: Video, start: int, stop: int, needed=None) -> Iterator[av.VideoFrame]:
            spans.append((start, stop))
            return decode(self, start, stop, needed)

        monkeypatch.setattr(Video, "_decode", spy)
        media.frames_at([25, 3, 25, 22, 0])
        # Keyframes are at 0, 10, 20 and 30, so packets 4..19 and 26..35 are not decoded.
        assert spans == [(0, 4), (20, 26)]


def test_hidden_vp8_pictures_are_no_frames(tmp_path):
    path = encode(tmp_path / "a.webm", "libvpx", {"deadline": "realtime", "cpu-used": "8"}, count=8)
    with av.open(str(path)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0) if packet.size][4]
    hidden = bytes([packet[0] & 0xEF]) + packet[1:]  # bit 4 is show_frame
    path.write_bytes(path.read_bytes().replace(packet, hidden))
    with MediaPath(path).open() as media:
        assert media.num_frames == 7
    assert_random_access_is_exact(path)


@pytest.mark.parametrize("name", ["open_gop.ts", "mpeg2_open.ts"])
def test_a_stream_cut_at_the_front_starts_at_its_first_keyframe(tmp_path, name):
    path = RECIPES[name](tmp_path / name)
    whole, data = len(sequential(path)), path.read_bytes()
    path.write_bytes(data[188 * (len(data) // 188 // 3) :])
    with MediaPath(path).open() as media:
        assert 0 < media.num_frames < whole
    assert_random_access_is_exact(path)


# ---- videos: faults


def test_cut_short_gives_both_numbers(tmp_path):
    path = truncate(x264(tmp_path / "a.mp4", container_options={"movflags": "faststart"}), 0.6)
    assert re.search(r"\b36 frames\D+\d+\b", catch(MediaPath(path).open).problem)
    path = encode(tmp_path / "a.avi", "mpeg4")
    place, size = packet_place(path, 20)
    path.write_bytes(path.read_bytes()[: place + size // 2])
    with refuses(MediaError, "36 frames", 20) as caught:
        MediaPath(path).open()
    assert caught.value.fault == "cut short"
    # Cut between two packets, where no packet is incomplete.
    path.write_bytes(path.read_bytes()[: place - 8])
    with refuses(MediaError, "1.4 s", "0.8 s"):
        MediaPath(path).open()
    path = truncate(x264(tmp_path / "a.mkv"), 0.5)
    assert re.search(r"\b1\.4 s\D+0\.\d s\b", catch(MediaPath(path).open).problem)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_damage_is_seen_where_it_matters(tmp_path, codec):
    path = tmp_path / "a.mp4"
    encode(path, codec, {"x264-params": f"{X264}:bframes=0"} if codec == "libx264" else {}, gop=10)
    damage(path, 13)
    with MediaPath(path).open() as media:
        assert media.num_frames == 36
        media.frames_at([0, 9, 20, 35])
        for index in (13, 19):
            assert catch(media.frames_at, [index]).fault == "damaged"
        # Other frames can still be read after an error.
        media.frames_at([0, 9, 20, 35])
    error = catch(lambda: read_all(MediaPath(path).open()))
    assert error.fault == "damaged"
    assert "0.52 s" in error.problem


def test_giant_pictures_refused(tmp_path, monkeypatch):
    path, image = x264(tmp_path / "a.mp4"), save_picture(tmp_path / "a.png", scene(1)[0])
    claims = [(limits, "MAX_RATIO", 1, "more than 1 times the other")]
    claims.append((PIL.Image, "MAX_IMAGE_PIXELS", 3071, "the limit is "))
    for file, (module, name, limit, message) in itertools.product((path, image), claims):
        with monkeypatch.context() as patch, refuses(MediaError, file, "64x48", message):
            patch.setattr(module, name, limit)
            MediaPath(file).open()
    # A picture can also grow mid-stream, which no header announces.
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(video_stream, "check_size", lambda *_: None)
    with MediaPath(path).open() as media:
        assert catch(media.frames_at, [0]).fault == "damaged"


def test_wrong_indices(folder):
    path = x264(folder / "indices.mp4", count=12)
    with MediaPath(path).open() as media:
        for indices in ([12], [-1], [0, 99], []):
            with refuses(DataError, path, *indices[-1:], "0 to 11"):
                media.frames_at(indices)


# ---- images


def save_picture(path: Path, picture: np.ndarray, **kwargs) -> Path:
    PIL.Image.fromarray(picture).save(path, **kwargs)
    return path


def test_an_image_is_a_clip_of_one_frame(tmp_path):
    path = save_picture(tmp_path / "a.png", scene(1)[0])
    with MediaPath(path).open() as media:
        assert isinstance(media, Image)
        assert media.num_frames == 1
        assert np.array_equal(pictures(media, [0, 0]), scene(1) * 2)


def test_avif_is_read_whatever_its_suffix(tmp_path):
    path = save_picture(tmp_path / "a.avif", scene(1)[0])
    with MediaPath(path.rename(path.with_suffix(".jpg"))).open() as media:
        assert media.frames_at([0]).shape == (1, 3, HEIGHT, WIDTH)


def test_heic_is_read_and_turned(tmp_path):
    pytest.importorskip("pi_heif", reason="the extra heic is not installed")
    plain, turned = heic(tmp_path / "a.heic", scene(1)[0]), heic(tmp_path / "b.jpg", scene(1)[0], box(b"irot", b"\1"))
    with MediaPath(plain).open() as media:
        (picture,) = pictures(media, [0])
    with MediaPath(turned).open() as media:
        assert np.array_equal(pictures(media, [0])[0], np.rot90(picture))
    assert np.abs(picture.astype(int) - scene(1)[0]).mean() < 20  # Colours at half resolution.


def test_transparent_pixels_get_their_stored_colour(tmp_path):
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    pixels[..., 0] = 200
    for suffix, options in ((".png", {}), (".webp", {"lossless": True, "exact": True})):
        with MediaPath(save_picture(tmp_path / f"a{suffix}", pixels, **options)).open() as media:
            assert pictures(media, [0])[0][0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize("suffix", sorted(Image.suffixes - {".heic", ".heif"}))
def test_every_kind_of_image_becomes_rgb(tmp_path, suffix):
    """Of the modes that Pillow writes in its format."""
    written = []
    for mode in ("RGB", "L", "P", "RGBA", "LA", "CMYK", "1"):
        path = tmp_path / f"{mode}{suffix}"
        with contextlib.suppress(OSError, KeyError, ValueError):
            PIL.Image.fromarray(scene(1)[0]).convert(mode).save(path)
            written.append(path)
    for path in written:
        with MediaPath(path).open() as media:
            assert media.frames_at([0]).shape == (1, 3, HEIGHT, WIDTH)
    assert written


@pytest.mark.parametrize(
    ("orientation", "upright"),
    {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: np.rot90(x, -1),
        7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
        8: lambda x: np.rot90(x, 1),
        9: lambda x: x,
    }.items(),
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_orientation_is_applied(tmp_path, suffix, orientation, upright):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    plain, turned = (
        save_picture(tmp_path / f"{name}{suffix}", scene(1)[0], exif=own, lossless=True)
        for name, own in (("plain", PIL.Image.Exif()), ("turned", exif))
    )
    with MediaPath(plain).open() as stored, MediaPath(turned).open() as media:
        assert np.array_equal(pictures(media, [0])[0], upright(pictures(stored, [0])[0]))


@pytest.mark.parametrize(("bits", "white_is_zero"), [(8, False), (8, True), (12, False), (16, False), (16, True)])
def test_grey_of_any_depth_is_the_same_picture(tmp_path, bits, white_is_zero):
    ramp = np.linspace(0, 1, 16 * 40).reshape(16, 40)
    path = write_grey_tiff(tmp_path / "a.tif", ramp, bits, white_is_zero=white_is_zero)
    with MediaPath(path).open() as media:
        grey = pictures(media, [0])[0][..., 0]
    assert np.abs(grey - 255 * ramp).max() <= 1
    with av.open(str(path)) as file:  # FFmpeg reads them too.
        theirs = next(file.decode(video=0)).to_ndarray() >> bits - 8
    assert np.array_equal(grey, theirs)


def test_grey_of_sixteen_bits_in_png_and_of_twelve_whose_zero_is_white(tmp_path):
    steps = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    with MediaPath(save_picture(tmp_path / "a.png", steps)).open() as media:
        assert np.array_equal(pictures(media, [0])[0][..., 0].ravel(), np.arange(256))
    path = write_grey_tiff(tmp_path / "a.tif", np.zeros((16, 40)), 12, white_is_zero=True)
    assert catch(MediaPath(path).open).fault == "unreadable"


def test_scripts_in_image_clothing_are_refused(tmp_path):
    # Pillow would run PostScript in an interpreter.
    path = save_picture(tmp_path / "a.jpg", scene(1)[0], format="EPS")
    assert catch(MediaPath(path).open).fault == "unreadable"


# ---- the shared folder

# Tested in faults/test_damaged_media.py.
BROKEN = {"audio_only.m4a", "bitflips.mp4", "random_bytes.mp4", "text.avi", "zero_bytes.mp4"}
BROKEN |= {"truncated_faststart.mp4", "truncated_no_moov.mp4", "decord_corrupted.mp4"}


@pytest.fixture
def real_files(shared) -> list[Path]:
    return [path for path in sorted((shared / "decode").glob("*/*")) if path.name not in BROKEN]


@pytest.mark.slow
def test_real_files_are_exact(shared, real_files):
    # The large phone videos take seconds each to decode in sequence.
    small = [path for path in real_files if path.stat().st_size < 300_000]
    for path in [*small, *sorted((shared / "video").rglob("*.mp4"))[::60]]:
        assert_random_access_is_exact(path)


@pytest.mark.slow
def test_real_files_are_whole(real_files):
    counts = {path.name: read_all(MediaPath(path).open()) for path in real_files}
    assert len(counts) == 40
    # Intact with fewer frames than the header claims: dropped in recording, or hidden by an edit list.
    assert counts["zamba_cameratrap_4.avi"] == 60
    assert counts["skate_1270x720.mov"] == 30
    assert counts["skate_phone_828x1792_rot90_vfr_fullrange.mov"] == 217


# ---- folders of frames


@pytest.mark.parametrize(
    ("name", "template", "first"),
    [("img_{:05d}.png", "img_{:05d}.png", 0), ("img_{:05d}.png", "img_{:05d}.png", 1), ("t{}.png", "*", 93)],
)
def test_frame_folder_matches_lossless_video(tmp_path, name, template, first):
    reference = scene(12)
    for number, picture in enumerate(reference, first):
        PIL.Image.fromarray(picture).save(tmp_path / name.format(number))
    indices = [7, 0, 7, 11, 3]
    with (
        MediaPath(str(tmp_path / template)).open() as media,
        MediaPath(lossless(tmp_path / "v.mkv", reference)).open() as video,
    ):
        assert isinstance(media, FrameFolder)
        assert media.num_frames == video.num_frames == 12
        frames = media.frames_at(indices)
        assert torch.equal(frames, video.frames_at(indices))
        assert (frames.shape, frames.dtype) == ((5, 3, HEIGHT, WIDTH), torch.uint8)
        assert frames.is_contiguous(memory_format=torch.channels_last)


def test_only_wanted_pictures_are_read_and_each_once(tmp_path, monkeypatch):
    path = write_frames(Path(f"{tmp_path}/{{:03d}}.png"), "red", 9)
    opened = []

    class Counted(Image):
        def __init__(self, path: Path, *how: object):
            opened.append(path.name)
            super().__init__(path, *how)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(images, "Image", Counted)
    with MediaPath(path).open() as media:
        assert opened == []
        media.frames_at([8, 2, 8, 2])
    assert opened == ["003.png", "009.png"]
