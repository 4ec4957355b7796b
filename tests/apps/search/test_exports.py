"""Hits as CSV, JSON lines, a contact sheet, clips and tasks of Label Studio."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import av
import PIL.Image
import pytest

from made import encode, joined_colours, pictures, write_broken, write_image
from messages import prints, refuses
from texthead.apps.search.copying import copy
from texthead.apps.search.exports import HIT_COLUMNS, export_hits
from texthead.apps.search.search import Hit
from texthead.data import Dataset, Item, manifest_rows
from texthead.data.prepare import prepare
from texthead.errors import MediaError, RunError
from texthead.media import MediaPath, find_media

ABOUT = {"name": "a red thing", "model": "mini"}


@pytest.fixture
def hits(tmp_path: Path) -> list[Hit]:
    """A part of a film, its end, a whole clip and a photo."""
    files = tmp_path / "files"
    film = joined_colours(_below(files) / "film.mp4", ["red", "green", "blue"])
    clip = encode(files / "clip.avi", pictures("red", 6, 0), "mpeg4", rate=10)
    photo = write_image(files / "photo.png", "red")
    return [
        Hit(film, 2.5, 4.0, 0.31, 0.92, 1, ("a.mp4", "b.mp4#t=2")),
        Hit(film, 4.0, math.inf, 0.3, None, 2, ()),
        Hit(clip, 0.0, math.inf, 0.25, None, 3, ()),
        Hit(photo, 0.0, math.inf, 0.2, 0.125, 4, ()),
    ]


def _below(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def exported(hits: Sequence[Hit], kind: str, out: Path) -> str:
    return export_hits(hits, kind, out, data=hits[0].path.parent, **ABOUT)


def test_a_csv_is_a_manifest(hits: list[Hit], tmp_path: Path) -> None:
    prints(exported(hits, "csv", tmp_path / "hits.csv"), "hits.csv", "4 hits")
    rows = [*csv.DictReader((tmp_path / "hits.csv").open())]
    assert [*rows[0]] == [*HIT_COLUMNS]
    assert [*rows[0].values()] == ["files/film.mp4", "2.5", "4.0", "0.31", "0.92", "a.mp4; b.mp4#t=2"]
    assert (rows[1]["end"], rows[1]["probability"], rows[3]["path"]) == ("", "", "files/photo.png")
    assert len([*manifest_rows(tmp_path / "hits.csv", ("path",))]) == 4


def test_lines_of_json(hits: list[Hit], tmp_path: Path) -> None:
    exported(hits, "jsonl", tmp_path / "hits.jsonl")
    first, second, *_ = map(json.loads, (tmp_path / "hits.jsonl").read_text().splitlines())
    assert first == dict(zip(HIT_COLUMNS, ["files/film.mp4", 2.5, 4.0, 0.31, 0.92, "a.mp4; b.mp4#t=2"], strict=True))
    assert (second["end"], second["probability"]) == (None, None)


def test_a_contact_sheet_has_a_still_for_each_hit(hits: list[Hit], tmp_path: Path) -> None:
    exported(hits * 2, "sheet", tmp_path / "hits.png")
    sheet = PIL.Image.open(tmp_path / "hits.png").convert("RGB")
    assert sheet.width / sheet.height == pytest.approx(5 * 256 / (2 * 236))
    colours = [sheet.getpixel((256 * place + 20, 20)) for place in range(4)]
    assert [colour.index(max(colour)) for colour in colours] == [1, 2, 0, 0]


def test_clips_are_cut_where_they_can_be(hits: list[Hit], tmp_path: Path) -> None:
    broken = Hit(write_broken(tmp_path / "files" / "broken.mp4"), 0.0, 2.0, 0.1, None, 5, ())
    line = exported([*hits, broken], "clips", tmp_path / "clips")
    prints(line, "4 clips and photos", "a clip begins up to 0.5 s early", "skipped", "broken.mp4")
    assert len(line.splitlines()) == 1
    names = ["001-film-2.5-4.mp4", "002-film-4-end.mp4", "003-clip.avi", "004-photo.png"]
    assert sorted(path.name for path in (tmp_path / "clips").iterdir()) == names
    with MediaPath(tmp_path / "clips" / names[0]).open() as clip:
        assert clip.check() == 20
    assert (tmp_path / "clips" / names[3]).read_bytes() == hits[3].path.read_bytes()
    with refuses(RunError, "already exists"):
        exported(hits, "clips", tmp_path / "clips")


def test_clips_in_shards_are_left_out_in_one_line(hits: list[Hit], tmp_path: Path) -> None:
    prepare(Dataset((Item(hits[0].path, "film"), Item(hits[3].path, "photo"))), tmp_path / "shards")
    stored = [hits[0]._replace(path=path, start=0.0, end=math.inf) for path in find_media(tmp_path / "shards")]
    line = exported([hits[1], stored[0], stored[0]._replace(start=1.0), stored[1]], "clips", tmp_path / "clips")
    prints(line, "1 clips and photos", "skipped", f"{stored[0].path}: ", "#t=1: ", f"{stored[1].path}: ")
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["001-film-4-end.mp4"]


def test_tasks_have_the_hits_as_guesses(hits: list[Hit], tmp_path: Path) -> None:
    """Label Studio has photos or videos in a project, not both."""
    line = exported(hits, "label-studio", tmp_path / "hits.json")
    prints(line, "hits.json", "hits-photos.json", "LOCAL_FILES_DOCUMENT_ROOT")
    film, _ = json.loads((tmp_path / "hits.json").read_text())
    ranges = [result["value"]["ranges"] for result in film["predictions"][0]["result"]]
    assert ranges == [[{"start": 26, "end": 40}], [{"start": 41, "end": 60}]]
    (photo,) = json.loads((tmp_path / "hits-photos.json").read_text())
    assert photo["predictions"][0]["score"] == 0.125
    exported(hits[:1], "label-studio", tmp_path / "one.json")
    assert not (tmp_path / "one-photos.json").exists()


def test_clips_of_long_names(tmp_path: Path) -> None:
    film = joined_colours(tmp_path / f"{60 * '日'}{15 * chr(0x1F600)}.mp4", ("red", "blue"))
    exported([Hit(film, 0.0, 1.25, 0.3, None, 0, 0)], "clips", tmp_path / "clips")
    assert len([*(tmp_path / "clips").iterdir()]) == 1


# ---- copies without decoding


def copied(part: str, out: Path) -> tuple[float, int]:
    """Copy a part; return the seconds before its first frame, and the largest difference of a frame of it."""
    with MediaPath(part).open() as media:
        early = copy(media, out)
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
        assert copy(media, tmp_path / "copy.png") == 0.0
    assert (tmp_path / "copy.png").read_bytes() == image.read_bytes()


def test_what_cannot_be_copied_is_an_error(tmp_path: Path) -> None:
    film = joined_colours(tmp_path / "film.mp4", ["red", "blue"])
    with MediaPath(f"{film}#t=1,2").open() as media:
        with refuses(MediaError, "clip.xyz"):
            copy(media, tmp_path / "clip.xyz")
        with refuses(MediaError, "clip.gif"):
            copy(media, tmp_path / "clip.gif")
    write_image(tmp_path / "frames" / "1.png", "red")
    with MediaPath(tmp_path / "frames" / "*").open() as media, refuses(MediaError, "not a file"):
        copy(media, tmp_path / "copy.png")


@pytest.mark.slow
def test_copied_parts_of_real_files_have_the_same_frames(shared: Path, tmp_path: Path) -> None:
    """Damaged files are refused in one line, or their copies are damaged at the same place."""
    suffixes = {".mp4", ".mov", ".mkv", ".avi", ".ts", ".mpg", ".webm", ".asf"}
    paths, failed = [path for path in sorted((shared / "decode").glob("*/*")) if path.suffix in suffixes], {}
    for path in paths:
        try:
            with MediaPath(path).open() as media:
                seconds = media.duration_seconds
            part = f"{path}#t={0.4 * seconds:.3f},{0.4 * seconds + min(0.3 * seconds, 0.5):.3f}"
            early, difference = copied(part, tmp_path / path.name)
            assert (difference, early >= 0) == (0, True), path
        except MediaError as error:
            failed[path.name] = str(error)
    assert {"bitflips.mp4", "zero_bytes.mp4", "truncated_no_moov.mp4", "text.avi", "random_bytes.mp4"} <= failed.keys()
    assert len(paths) - len(failed) > 30
    assert all(len(line.splitlines()) == 1 for line in failed.values())
