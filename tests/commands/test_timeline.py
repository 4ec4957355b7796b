"""`texthead timeline` as it is typed: what is printed and written, on files and on pipes, and every mistake in a line."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from made import calibrate_run, joined_colours, write_colour_run, write_image
from texthead.media.open import open_media
from texthead.prediction.events import Event, EventFinder, Hysteresis, csv_row, in_order, json_entry
from texthead.prediction.timeline import Sliding, open_timed, scores_over_time
from texthead.runs.run import load_run

Say = Callable[..., tuple[int, str, str]]
SHORT = ("--window", 0.5, "--rate", 10)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows colours, a video of three of them, and the first three quarters of its bytes."""
    root = tmp_path_factory.mktemp("timeline")
    write_colour_run(root / "run")
    whole = joined_colours(root / "a.mkv", ["red", "blue", "green"]).read_bytes()
    (root / "broken.mkv").write_bytes(whole[: len(whole) * 3 // 4])
    return root


def piped(world: Path, *arguments: object, name: str = "a.mkv") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, reading what another process writes."""
    command = [sys.executable, "-m", "texthead", "timeline", *map(str, arguments), "--device", "cpu"]
    with subprocess.Popen(["cat", str(world / name)], stdout=subprocess.PIPE) as cat:
        return subprocess.run(command, stdin=cat.stdout, capture_output=True, text=True, env={**os.environ})


def test_events_are_a_table(world: Path, say: Say):
    code, out, err = say("timeline", world / "run", world / "a.mkv", *SHORT)
    assert code == 0, err
    head, *rows = [line.split() for line in out.splitlines()]
    assert head == ["start", "end", "mean", "peak", "name"]
    assert [row[-1] for row in rows] == ["red", "blue", "green"]
    assert [float(row[0]) for row in rows] == pytest.approx([0, 2, 4], abs=0.3)
    assert [float(row[1]) for row in rows] == pytest.approx([2, 4, 6], abs=0.3)
    assert "10 frames a second, encoded once; windows of 0.5 s are 2 clips of 2" in err


def test_json_csv_and_subtitles_say_the_same(world: Path, say: Say, tmp_path: Path):
    srt = tmp_path / "new" / "a.srt"
    _, printed, _ = say("timeline", world / "run", world / "a.mkv", *SHORT, "--json", "--srt", srt)
    found = json.loads(printed)
    assert found["video"] == str(world / "a.mkv")
    assert found["seconds"] == 6.0
    assert {key: found[key] for key in ("window", "rate")} == {"window": 0.5, "rate": 10.0}
    _, printed, _ = say("timeline", world / "run", world / "a.mkv", *SHORT, "--csv")
    rows = list(csv.DictReader(io.StringIO(printed)))
    told = [(event["name"], event["start"], event["end"]) for event in found["events"]]
    assert [(row["name"], float(row["start"]), float(row["end"])) for row in rows] == told
    cues = [cue.split("\n") for cue in srt.read_text().strip().split("\n\n")]
    assert [cue[2] for cue in cues] == ["red", "blue", "green"]
    assert [cue[1].replace(",", ".") for cue in cues] == [f"00:00:{a:06.3f} --> 00:00:{b:06.3f}" for _, a, b in told]


def test_the_overlay_has_all_frames(world: Path, say: Say, tmp_path: Path):
    code, _, err = say("timeline", world / "run", world / "a.mkv", *SHORT, "--overlay", tmp_path / "b.mp4")
    assert code == 0
    assert f"overlay: {tmp_path / 'b.mp4'}" in err
    with open_media(tmp_path / "b.mp4") as found, open_media(world / "a.mkv") as source:
        assert found.num_frames == source.num_frames == 60
        assert found.frames_at([0]).shape[-2:] == (240, 240)


@pytest.mark.parametrize("extra", [(), *(pytest.param((how,), marks=pytest.mark.slow) for how in ("--csv", "--json"))])
def test_a_pipe_prints_what_a_file_prints(world: Path, say: Say, extra: tuple[str, ...]):
    _, expected, _ = say("timeline", world / "run", world / "a.mkv", *SHORT, *extra, "--device", "cpu")
    done = piped(world, world / "run", "-", *SHORT, *extra)
    assert done.returncode == 0, done.stderr
    assert done.stdout.replace('"video": "-"', f'"video": "{world / "a.mkv"}"') == expected.replace("\r\n", "\n")


@pytest.mark.slow
def test_a_pipe_prints_events_while_the_video_still_runs(world: Path):
    """The writer ends the stream only when the first event has been read."""
    content = (world / "a.mkv").read_bytes()
    command = [sys.executable, "-m", "texthead", "timeline", world / "run", "-", *SHORT, "--csv", "--device", "cpu"]
    with subprocess.Popen([str(x) for x in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # What is held back is less than a second of the six.
        process.stdin.write(content[: -len(content) // 12])
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"start,")
        assert b",red," in process.stdout.readline()
        process.stdin.write(content[-len(content) // 12 :])
        process.stdin.close()
        assert [line.split(b",")[2] for line in process.stdout.read().splitlines()] == [b"blue", b"green"]


def test_zero_shot_needs_no_run(world: Path, say: Say):
    code, out, err = say(
        "timeline", world / "a.mkv", "--classes", "a bird, a strawberry", "--enter", 0, "--leave", 0, "--csv"
    )
    assert code == 0, err
    assert {row["name"] for row in csv.DictReader(io.StringIO(out))} == {"a bird", "a strawberry"}


def test_new_names_behind_a_run(world: Path, wrong: Callable[..., str]):
    """This run's encoder has no text: the line says so, as predict's does."""
    assert "tiny" in wrong("timeline", world / "run", world / "a.mkv", "--classes", "a bird, a cat")


def test_no_event_is_explained(world: Path, say: Say):
    code, out, err = say("timeline", world / "run", world / "a.mkv", *SHORT, "--min-length", 60)
    assert (code, out) == (0, "")
    assert "no event: none lasted --min-length 60 s; the highest was" in err
    _, out, _ = say("timeline", world / "run", world / "a.mkv", *SHORT, "--min-length", 60, "--csv")
    assert out == "start,end,name,mean,peak\r\n"
    _, out, _ = say("timeline", world / "run", world / "a.mkv", *SHORT, "--min-length", 60, "--json")
    assert json.loads(out)["events"] == []


# --- a calibrated run


@pytest.fixture(scope="module")
def unsure(world: Path) -> tuple[Path, list[Event]]:
    """A calibrated run for which half of the windows are none of its classes; what it finds in the video."""
    folder = calibrate_run(write_colour_run(world / "unsure"), temperature=3.0, threshold=0.0)
    sliding = Sliding(0.5, 10.0)
    with open_timed(world / "a.mkv") as video:
        best = sorted(max(stretch.scores) for stretch in scores_over_time(load_run(folder), video, sliding=sliding))
    run = load_run(calibrate_run(folder, temperature=3.0, threshold=best[len(best) // 2]))
    finder = EventFinder(run.model.names, Hysteresis(min_length=0.3))
    with open_timed(world / "a.mkv") as video:
        stretches = scores_over_time(run, video, sliding=sliding)
        found = [event for stretch in stretches for event in finder.add(stretch)] + finder.finish()
    assert {event.known for event in found} == {True, False}
    return folder, in_order(found)


HALF = (*SHORT, "--min-length", 0.3)


def test_a_calibrated_run_says_none_of_these(unsure: tuple[Path, list[Event]], world: Path, say: Say, tmp_path: Path):
    run, expected = unsure
    _, out, err = say("timeline", run, world / "a.mkv", *HALF, "--srt", tmp_path / "a.srt")
    told = [(float(row.split()[0]), row.partition(" %  ")[2].partition(" %  ")[2]) for row in out.splitlines()[1:]]
    assert told == [(pytest.approx(event.start, abs=0.006), event.name) for event in expected]
    assert "note: probabilities are after temperature 3 (calibration.json, 40 items)" in err
    assert "is none of these and makes no event; that threshold was set on whole clips" in " ".join(err.split())
    assert (tmp_path / "a.srt").read_text().count("-->") == sum(event.known for event in expected)
    assert "none of these" not in (tmp_path / "a.srt").read_text()
    found = json.loads(say("timeline", run, world / "a.mkv", *HALF, "--json")[1])
    assert found["temperature"] == 3.0
    assert found["threshold"] == load_run(run).calibration.threshold.probability
    assert found["events"] == [json_entry(event) for event in expected if event.known]
    assert found["none_of_these"] == [json_entry(event) for event in expected if not event.known]
    rows = list(csv.reader(io.StringIO(say("timeline", run, world / "a.mkv", *HALF, "--csv")[1])))
    assert rows[1:] == [list(csv_row(event)) for event in expected]


def test_a_run_without_calibration_says_nothing_of_one(world: Path, say: Say):
    _, out, err = say("timeline", world / "run", world / "a.mkv", *SHORT, "--json")
    assert not {"temperature", "threshold", "none_of_these"} & set(json.loads(out))
    assert "note" not in err


@pytest.mark.slow
def test_a_pipe_says_none_of_these_too(unsure: tuple[Path, list[Event]], world: Path):
    done = piped(world, unsure[0], "-", *HALF, "--csv")
    assert done.returncode == 0, done.stderr
    found = sorted(list(csv.reader(io.StringIO(done.stdout)))[1:], key=lambda row: float(row[0]))
    assert found == [list(csv_row(event)) for event in unsure[1]]


def test_no_event_for_a_threshold_is_explained(world: Path, say: Say):
    run = calibrate_run(write_colour_run(world / "strict"), temperature=1.0, threshold=1.0)
    _, out, err = say("timeline", run, world / "a.mkv", *SHORT)
    assert [row.split()[:2] for row in out.splitlines()[1:]] == [["0.00", "6.00"]]
    assert "no event: none is above the threshold 1.000 of calibration.json; the highest was" in err


def test_no_event_after_a_temperature_is_explained(world: Path, say: Say):
    run = calibrate_run(write_colour_run(world / "warm"), temperature=100.0, threshold=0.0)
    _, _, err = say("timeline", run, world / "a.mkv", *SHORT)
    assert "no event: none reached --enter 0.7 after temperature 100, which lowers all of them: try a lower" in err


# --- mistakes


def test_a_broken_file_gives_no_events(world: Path, say: Say, tmp_path: Path):
    out = tmp_path / "a.srt"
    code, printed, err = say("timeline", world / "run", world / "broken.mkv", *SHORT, "--csv", "--srt", out)
    assert (code, printed) == (2, "")
    assert "cut short" in err.splitlines()[-1]
    assert not out.exists()


@pytest.mark.slow
def test_a_pipe_that_breaks_says_what_its_events_are(world: Path, tmp_path: Path):
    done = piped(world, world / "run", "-", *SHORT, "--srt", tmp_path / "a.srt", name="broken.mkv")
    assert done.returncode == 2
    assert "red" in done.stdout
    assert "green" not in done.stdout
    assert done.stderr.splitlines()[-1].endswith("the events above are of what came before")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a.srt").exists()


@pytest.mark.slow
def test_a_pipe_that_is_no_video(world: Path):
    (world / "text").write_text("no video\n" * 999)
    done = piped(world, world / "run", "-", name="text")
    assert (done.returncode, done.stdout) == (2, "")
    assert "standard input: cannot be read as a video" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_names_that_do_not_go_together(world: Path, wrong: Callable[..., str]):
    run, video = world / "run", world / "a.mkv"
    assert "timeline needs VIDEO" in wrong("timeline")
    assert "is a run: name a video behind it" in wrong("timeline", run)
    assert "is a run: name one run, before the video" in wrong("timeline", run, run)
    assert "--classes is required" in wrong("timeline", video)
    assert "takes one video, got 2" in wrong("timeline", run, video, video)
    assert "is no run: no recipe.json in it" in wrong("timeline", video, video)
    assert "has its own encoder" in wrong("timeline", run, video, "--encoder", "mini")
    assert "no such file" in wrong("timeline", run, world / "none.mkv")
    assert "give one" in wrong("timeline", run, video, "--json", "--csv")
    assert "give --classes too" in wrong("timeline", run, video, "--template", "a {}")
    assert "--leave 0.7 must not be above --enter 0.6" in wrong("timeline", run, video, "--enter", 0.6, "--leave", 0.7)
    assert "--window must be above 0" in wrong("timeline", run, video, "--window", 0)
    assert "--rate must be a number, got fast" in wrong("timeline", run, video, "--rate", "fast")


def test_a_picture_is_named_by_predict(world: Path, wrong: Callable[..., str]):
    picture = write_image(world / "b.png", "red")
    assert "pictures have no times, so there is no timeline" in wrong("timeline", world / "run", picture)


def test_places_that_cannot_be_written(world: Path, wrong: Callable[..., str], tmp_path: Path):
    run, video = world / "run", world / "a.mkv"
    (tmp_path / "file").write_text("a file")
    assert "must be named .mp4" in wrong("timeline", run, video, "--overlay", tmp_path / "b.avi")
    assert "is a folder" in wrong("timeline", run, video, "--srt", tmp_path)
    assert "is the video itself" in wrong("timeline", run, video, "--srt", video)
    assert "its folder cannot be made" in wrong("timeline", run, video, "--srt", tmp_path / "file" / "a.srt")
    assert "save the stream" in wrong("timeline", run, "-", "--overlay", tmp_path / "b.mp4")
    assert video.read_bytes()[:4] == b"\x1a\x45\xdf\xa3"


def test_a_file_that_was_there_is_replaced_whole(world: Path, say: Say, tmp_path: Path):
    (tmp_path / "a.srt").write_text("as before")
    say("timeline", world / "run", world / "a.mkv", *SHORT, "--srt", tmp_path / "a.srt")
    assert (tmp_path / "a.srt").read_text().startswith("1\n00:00:00,000")
    assert [path.name for path in tmp_path.iterdir()] == ["a.srt"]


def test_a_gap_of_hours_is_an_error(world: Path, wrong: Callable[..., str]):
    path = world / "gap.mkv"
    with av.open(str(world / "a.mkv")) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux(video=0) if p.dts is not None):
            late = 7_200_000 if number > 30 else 0
            packet.pts, packet.dts, packet.stream = (packet.pts or 0) + late, (packet.dts or 0) + late, stream
            container.mux(packet)
    said = wrong("timeline", world / "run", path)
    assert f"{path}: a frame at" in said
    assert "times must rise, by an hour at most" in said
