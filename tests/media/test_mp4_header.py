"""Counts claimed by headers agree with FFmpeg's; other files claim nothing."""

import io
import struct
import sys
from pathlib import Path

import av
import pytest
from av.error import FFmpegError

from made import write_video, write_with_sound
from media_files import box
from messages import refuses
from texthead.errors import MediaError
from texthead.media import mp4_header
from texthead.media.mp4_header import claimed_samples
from texthead.media.paths import MediaPath
from texthead.media.video import Video


def count_claimed(path: Path) -> int:
    with path.open("rb") as file:
        return claimed_samples(file)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".avi", ".mkv", ".ts", ".flv"])
def test_frame_count_of_mp4_only(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"a{suffix}", "red", frames=9)
    assert count_claimed(path) == (9 if suffix in (".mp4", ".mov") else 0)


def test_sound_that_is_not_compressed_counts_in_pieces(tmp_path: Path) -> None:
    """Five million sound samples have far fewer index entries."""
    path = write_with_sound(tmp_path / "a.mov", 105)
    with av.open(str(path)) as container:
        samples = container.streams.audio[0].frames
        found = sum(len(stream.index_entries) for stream in container.streams.get())
    assert samples == 105 * 48_000
    assert found <= count_claimed(path) < 2 * found
    with MediaPath(path).open() as media:
        assert media.num_frames == 1


def test_real_videos_claim_what_they_hold(shared: Path) -> None:
    paths = [path for path in sorted((shared / "decode").rglob("*")) if path.suffix in (".mp4", ".mov")]
    paths += sorted((shared / "video").rglob("*.mp4"))[::3]
    for path in paths:
        try:
            with av.open(str(path)) as container:
                found = sum(stream.frames for stream in container.streams.get())
        except FFmpegError:
            continue
        assert count_claimed(path) == found, path
    assert len(paths) > 100


def test_a_packed_header_or_one_of_ever_so_many_boxes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = box(b"ftyp", b"qt  ") + box(b"moov", box(b"cmov", box(b"cmvd", b"....")))
    assert claimed_samples(io.BytesIO(packed)) == sys.maxsize
    monkeypatch.setattr(mp4_header, "MOST_BOXES", 1000)
    many = box(b"moov", 1000 * box(b"trak", b""))
    assert claimed_samples(io.BytesIO(many[:-8])) == 0
    assert claimed_samples(io.BytesIO(many)) == sys.maxsize
    for content in (packed, many):
        with refuses(MediaError, "a.mp4", "compressed or too long"):
            Video(Path("a.mp4"), content)


def test_boxes_within_boxes_end_where_ffmpeg_ends() -> None:
    deep = box(b"stsz", struct.pack(">III", 0, 1, 5))
    for depth in range(5000):
        deep = box(b"moov", deep) if depth else box(b"trak", deep)
    assert claimed_samples(io.BytesIO(deep)) == 0


@pytest.mark.parametrize("content", [b"", b"\0", bytes(64), b"\0\0\0\1moov", b"\0\0\0\4moov" * 3, b"\xff" * 40])
def test_what_is_cut_or_no_box_claims_nothing(content: bytes) -> None:
    assert claimed_samples(io.BytesIO(content)) == 0
