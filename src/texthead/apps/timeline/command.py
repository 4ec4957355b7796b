"""`texthead timeline`: find events in a video or a stream, with a run or zero-shot."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.apps.timeline.inputs import PIPE, is_live, is_stream
from texthead.cli import (
    EncodingOptions,
    ModelOptions,
    PositiveInt,
    PrintOptions,
    argument,
    check_outputs,
    console,
    noted_calibration,
    option,
    run_argument,
)
from texthead.errors import DataError, MediaError
from texthead.extras import check_extra
from texthead.files import csv_text, replacing, unused, write_csv
from texthead.media import MediaPath

if TYPE_CHECKING:
    from texthead.apps.timeline.events import Event, EventFinder, Hysteresis, Stretch
    from texthead.apps.timeline.overlay import Curve
    from texthead.apps.timeline.timeline import Sliding, TimedVideo
    from texthead.data import Protocol
    from texthead.evaluation import Calibration
    from texthead.models import Recognizer
    from texthead.runs import Run


@dataclass(frozen=True, kw_only=True)
class TimelineCommand:
    """Find the events in a video: their class, start and end, in seconds.

    A window slides over the video, or over a part of it (match.mp4#t=3,7.5, in seconds). With - the video comes from a
    pipe, and events are printed as they end. With a camera or stream (/dev/video0, rtsp://...) events are JSON lines,
    printed as they begin and end; frames that this machine is too slow for are dropped and counted.

    Args:
        inputs: a run folder or hub:ORG/NAME (optional), then a video, camera or address; - reads from a pipe
        window: length of the window that is scored, in seconds
        rate: number of frames encoded per second of video
        batch: number of frames encoded at once; more is faster on a GPU and may change the last digits
        enter: probability at which an event begins, 0-1 (default: 0.7; with several labels the threshold of its class,
            unless leave is given)
        leave: probability below which an event ends, 0-1 (default: 0.4, or enter if that is lower; with several labels
            the threshold of its class, unless enter is given)
        min_length: shortest event, in seconds; shorter gaps within an event are bridged first
        srt: also write the events as subtitles
        manifest: also write the events as labelled parts of the video, a CSV file that train, eval and doctor read
        overlay: also write the video with names and probabilities drawn in; it has no audio
    """

    JSON: ClassVar = (
        "video, seconds, window, rate, enter, leave, min_length, temperature, threshold, events [name, start, end, "
        "mean, peak], none_of_these; for several labels, thresholds {name: probability} instead of enter, leave"
    )

    USAGE: ClassVar = (
        "texthead timeline [RUN] VIDEO [--classes NAMES] [options]\n"
        "       texthead timeline [RUN] rtsp://HOST/PATH [--classes NAMES] [options]\n"
        "       ... | texthead timeline [RUN] - [--classes NAMES] [options]"
    )

    inputs: list[str] = argument("RUN_OR_VIDEO", nargs="*", read=run_argument)
    model: ModelOptions = ModelOptions()
    window: float = option(1.0, "SECONDS")
    rate: float = option(8.0, "FRAMES")
    batch: PositiveInt = 1
    enter: float | None = option(None, "PROBABILITY")
    leave: float | None = option(None, "PROBABILITY")
    min_length: float = option(1.0, "SECONDS")
    printed: PrintOptions = PrintOptions()
    srt: str | None = option(None, "FILE")
    manifest: str | None = option(None, "FILE.csv")
    overlay: str | None = option(None, "FILE.mp4")
    encoding: EncodingOptions = EncodingOptions()

    def check(self) -> None:
        """Raise DataError or RunError if a path does not exist or options exclude each other."""
        path = _run_and_video(self)[1]
        self.printed.check()
        if not is_stream(path):
            MediaPath(path).check()
        elif self.overlay:
            problem = "reads the video twice, which a stream does not allow"
            raise DataError(f"--overlay {problem}; save the stream and give its file")
        elif self.manifest:
            raise DataError("--manifest lists parts of a file, not of a stream; save the stream and give its file")
        check_outputs(self, srt=".srt", manifest=".csv", overlay=".mp4")
        if self.overlay:
            check_extra("plots", "--overlay")

    def __call__(self) -> None:
        from texthead.apps.timeline.events import EventFinder, Hysteresis, in_order
        from texthead.apps.timeline.overlay import Curve
        from texthead.apps.timeline.streams import LiveStream
        from texthead.apps.timeline.timeline import Sliding, rule_for, scores_over_time, timeline_json
        from texthead.data import check_no_separator

        run_folder, path = _run_and_video(self)
        sliding = Sliding(self.window, self.rate, self.batch)
        own = {key: value for key in ("enter", "leave") if (value := getattr(self, key)) is not None}
        if "enter" in own:
            own.setdefault("leave", min(Hysteresis.leave, own["enter"]))
        rule = Hysteresis(**own, min_length=self.min_length)
        with _opened(path) as video:
            model = self.model.load(run_folder, self.encoding.pick_device())
            recognizer, protocol = model.model, model.protocol
            names = recognizer.names
            if self.manifest:
                check_no_separator(names)
            rule = rule if own else rule_for(recognizer, rule)
            _print_protocol(recognizer, protocol, sliding, video)
            calibration = _noted_calibration(model, protocol)
            printer = _Printer(self, video)
            curve = Curve() if self.overlay else None
            console.doing("looking for events")
            engine, reporter = self.encoding.engine, console.reporter
            stretches = scores_over_time(model, video, sliding=sliding, engine=engine, reporter=reporter)
            best = _watch(stretches, video, EventFinder(names, rule), printer, curve)
            seconds = video.duration_seconds
        events = in_order(printer.events)
        if isinstance(video, LiveStream) and video.dropped:
            console.say_notes(f"{video.dropped} frames were dropped to keep up with {path}")
        if isinstance(video, LiveStream) and video.fault:
            console.say_notes(f"{path} ended with a fault ({video.fault})")
        if printer.lines or not console.prints_json():
            printer.rest(events)
        else:
            console.show_json(timeline_json(path, seconds, sliding, rule, events, calibration))
        events = [event for event in events if event.known]
        if not events and not console.prints_json():
            console.notes().print(f"no event: {_no_event(names, best, rule, calibration)}")
        if self.manifest:
            _write_manifest(self, video, events, several=recognizer.several)
        _write_files(self, path, events, names, curve)
        if events and not self.overlay and not is_stream(path):
            classes = () if self.model.classes is None else ("--classes", self.model.classes)
            overlay = unused(Path("events.mp4"))
            console.next_command("texthead", "timeline", *self.inputs, *classes, "--overlay", overlay)


def _run_and_video(command: TimelineCommand) -> tuple[str | None, str]:
    """Return (the run or None, the video).

    Raises:
        DataError: no video, more than one, or as `ModelOptions.split`.
    """
    if not command.inputs:
        raise DataError("timeline needs VIDEO, or - for a pipe (see texthead timeline --help)")
    first, rest = command.model.split(command.inputs, "the video")
    if not rest:
        raise DataError(f"{first} is a run: name a video after it, or - for a pipe (see texthead timeline --help)")
    if len(rest) > 1:
        raise DataError(f"timeline takes one video, got {len(rest)}: run it once for each")
    return first, rest[0]


def _opened(path: str) -> "TimedVideo":
    from texthead.apps.timeline.streams import LiveStream, PipedVideo
    from texthead.apps.timeline.timeline import open_timed

    if is_live(path):
        return LiveStream(path)
    if path != PIPE:
        return open_timed(path)
    if sys.stdin.isatty():
        raise DataError("- reads a video from a pipe, and this is a terminal: cat clip.mkv | texthead timeline ... -")
    return PipedVideo(open(sys.stdin.fileno(), "rb", closefd=False), Path("standard input"))


def _noted_calibration(model: "Run | Recognizer", protocol: "Protocol") -> "Calibration | None":
    """Return the part of the run's calibration that holds here, with notes on it."""
    from texthead.evaluation import NONE

    calibration = noted_calibration(model, protocol)
    if calibration is not None and calibration.threshold is not None:
        console.say_notes(
            f"windows whose best probability is not above {calibration.threshold.probability:.3f} are {NONE} and "
            "make no event; the threshold was set on whole clips, so its rate may not hold for windows"
        )
    return calibration


def _print_protocol(recognizer: "Recognizer", protocol: "Protocol", sliding: "Sliding", video: "TimedVideo") -> None:
    """Print how the video is scored, and note what makes that slow or inexact."""
    say = console.notes()
    views = sliding.views(protocol.frames)
    clips = f"{views.clips} clips" if views.clips > 1 else "one clip"
    clips = f"{clips} of {protocol.frames} frames"
    once = ", encoded once" if recognizer.sees_frames_apart else ""
    say.print(f"{sliding.rate:g} frames a second{once}; each window of {sliding.window:g} s is {clips}")
    if not recognizer.sees_frames_apart:
        inside = "the encoder" if recognizer.sees_clips else type(recognizer.temporal).__name__
        console.say_notes(
            f"{inside} sees several frames at once, so each window is encoded whole: "
            f"{views.clips * protocol.frames} times the work"
        )
    if not video.has_times:
        console.say_notes(f"{video.path} has no time stamps: times are counted from its frame rate")


class _Printer:
    """Prints events, those of a pipe as soon as they are final, and holds all of them.

    For a live stream it prints JSON `lines`, one as an event begins and one as it ends, unless --csv is given.
    """

    def __init__(self, command: TimelineCommand, video: "TimedVideo"):
        from texthead.apps.timeline.streams import LiveStream
        from texthead.media import Media

        self.events: list[Event] = []
        self._csv = command.printed.csv
        self._video = video
        self.lines = isinstance(video, LiveStream) and not self._csv
        self._live = not isinstance(video, Media) and not console.prints_json()
        self.begun = False

    def add(self, events: "Sequence[Event]", open_events: Sequence[tuple[str, float]] = ()) -> None:
        """Add final events, and the name and start of those that have begun."""
        from texthead.apps.timeline.events import event_json

        self.events += events
        if self.lines:
            lines = [{"event": "end", **event_json(event)} for event in events if event.known]
            lines += [{"event": "begin", "name": name, "start": start} for name, start in open_events]
            for line in lines:
                line["dropped"] = getattr(self._video, "dropped", 0)
                console.write(json.dumps(line, ensure_ascii=False))
            sys.stdout.flush()
            self.begun |= bool(lines)
        elif self._live and events:
            self._print(events)

    def rest(self, events: "Sequence[Event]") -> None:
        """Print all events in order, unless they were printed as they came."""
        if not self.lines and (not self._live or not self.begun):
            self._print(events)

    def _print(self, events: "Sequence[Event]") -> None:
        from texthead.apps.timeline.events import Event

        if self._csv:
            console.write(
                csv_text([*([] if self.begun else [Event.COLUMNS]), *(event.cells for event in events)]), end=""
            )
        elif events:
            show = console.results()
            if not self.begun:
                show.print("   start      end   mean   peak  name")
            for each in events:
                mean, peak = (f"{100 * share:3.0f} %" for share in (each.mean, each.peak))
                show.print(f"{each.start:8.2f} {each.end:8.2f}  {mean}  {peak}  {each.name}")
        self.begun = True
        sys.stdout.flush()


def _watch(
    stretches: "Iterable[Stretch]",
    video: "TimedVideo",
    finder: "EventFinder",
    printer: _Printer,
    curve: "Curve | None",
) -> "Stretch":
    """Pass all stretches to the finder, the printer and the curve; return the one with the highest score.

    A stretch that is known comes before one that is not.

    Raises:
        MediaError: the video cannot be read to its end.
    """
    from texthead.apps.timeline.events import Stretch

    best: Stretch | None = None
    try:
        for stretch in stretches:
            printer.add(finder.add(stretch), finder.open_events())
            best = stretch if best is None or _height(stretch) > _height(best) else best
            if curve is not None:
                curve.add(stretch.end, stretch.scores)
    except MediaError as error:
        if not printer.begun:
            raise
        raise MediaError(
            error.path, f"{error.problem}; the events above are from the part before that", error.fault
        ) from error
    printer.add(finder.finish())
    assert best is not None, "every video has one stretch at least"
    return best


def _height(stretch: "Stretch") -> tuple[bool, float]:
    return stretch.known, max(stretch.scores)


def _no_event(names: Sequence[str], best: "Stretch", rule: "Hysteresis", calibration: "Calibration | None") -> str:
    """Return why there is no event."""
    top = max(best.scores)
    if not best.known and calibration is not None and calibration.threshold is not None:
        why = f"none is above the threshold {calibration.threshold.probability:.3f} of calibration.json"
    elif rule.thresholds is not None:
        why = f"none stayed above the threshold of its class for --min-length {rule.min_length:g} s"
    elif top >= rule.enter:
        why = f"none lasted --min-length {rule.min_length:g} s"
    else:
        why = f"none reached --enter {rule.enter:g}"
        if calibration is not None and calibration.temperature > 1:
            why += f" after temperature {calibration.temperature:.3g}, which lowers all probabilities; lower --enter"
    return f"{why}; the highest was {names[best.scores.index(top)]!r} with {top:.3f} at {best.start:.2f} s"


def _write_manifest(command: TimelineCommand, video: "TimedVideo", events: "Sequence[Event]", *, several: bool) -> None:
    """Write the events as labelled parts of the video."""
    from texthead.apps.timeline.events import of_all_classes
    from texthead.media import Part

    out = Path(command.manifest or "")
    begin = video.start_seconds if isinstance(video, Part) else 0.0
    file = MediaPath(MediaPath(video.path).file).text_below(out.parent)
    parts = of_all_classes(events, command.min_length) if several else events
    rows = [
        (file, f"{begin + part.start:.3f}", f"{begin + part.end:.3f}", part.name, f"{part.mean:.6f}") for part in parts
    ]
    write_csv(out, ("path", "start", "end", "labels" if several else "label", "probability"), rows)
    console.notes().print(f"manifest: {out}")


def _write_files(
    command: TimelineCommand, path: str, events: "Sequence[Event]", names: Sequence[str], curve: "Curve | None"
) -> None:
    """Write the subtitles and the video with the events drawn in, if asked for."""
    from texthead.apps.timeline.events import subtitles
    from texthead.apps.timeline.overlay import write_overlay
    from texthead.apps.timeline.timeline import open_timed
    from texthead.report import without_glyph

    say = console.notes()
    if command.srt:
        with replacing(Path(command.srt)) as temp:
            temp.write_text(subtitles(events), encoding="utf-8")
        say.print(f"subtitles: {command.srt}")
    if curve is None or command.overlay is None:
        return
    missing = without_glyph(sorted({event.name for event in events}))
    if missing:
        console.say_notes(f"the overlay's font has no letters for {', '.join(missing)}: it draws boxes instead")
    with open_timed(path) as video:
        write_overlay(Path(command.overlay), video, events, names, curve, reporter=console.reporter)
    say.print(f"overlay: {command.overlay}")
