"""`texthead timeline`: find events in a video or a stream, with a run or zero-shot."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.apps.timeline.inputs import PIPE, exports, is_live, is_stream
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
from texthead.files import csv_text, unused
from texthead.media import MediaPath

if TYPE_CHECKING:
    from texthead.apps.timeline.events import Event
    from texthead.apps.timeline.timeline import EventChange, Events


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
        if path == PIPE and sys.stdin.isatty():
            raise DataError(
                "- reads a video from a pipe, and this is a terminal: cat clip.mkv | texthead timeline ... -"
            )
        check_outputs(self, srt=".srt", manifest=".csv", overlay=".mp4")
        exports(path, self._files)
        if self.overlay:
            check_extra("plots", "--overlay")

    @property
    def _files(self) -> list[Path]:
        """The files to write."""
        return [Path(file) for file in (self.manifest, self.srt, self.overlay) if file]

    def __call__(self) -> None:
        from texthead.apps.timeline.events import Hysteresis
        from texthead.apps.timeline.timeline import Sliding, find_events, rule_for

        run_folder, path = _run_and_video(self)
        own = {key: value for key in ("enter", "leave") if (value := getattr(self, key)) is not None}
        if "enter" in own:
            own.setdefault("leave", min(Hysteresis.leave, own["enter"]))
        rule, sliding = Hysteresis(**own, min_length=self.min_length), Sliding(self.window, self.rate, self.batch)
        model = self.model.load(run_folder, self.encoding.pick_device())
        printer = _Printer(path, csv=self.printed.csv)
        console.doing("looking for events")
        try:
            events = find_events(
                model,
                path,
                rule=rule if own else rule_for(model.model, rule),
                sliding=sliding,
                engine=self.encoding.engine,
                export=self._files,
                reporter=replace(console.reporter, event=printer.print),
            )
        except MediaError as error:
            if not (printer.begun and is_stream(path)):
                raise
            problem = f"{error.problem}; the events above are from the part before that"
            raise MediaError(error.path, problem, error.fault) from error
        noted_calibration(model, model.protocol)
        for file, kind in exports(path, self._files).items():
            console.notes().print(f"{kind}: {file}")
        if events and not self.overlay and not is_stream(path):
            classes = () if self.model.classes is None else ("--classes", self.model.classes)
            words, source = (*classes, "--overlay", unused(Path("events.mp4"))), self.model.source
            console.next_command("texthead", "timeline", *self.inputs, *words, encoder=source.encoder, text=source.text)


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


class _Printer:
    """Prints events, those of a pipe or stream as soon as they are final.

    For a live stream it prints JSON lines, one as an event begins and one as it ends, unless --csv is given.
    """

    def __init__(self, path: str, *, csv: bool):
        self._csv, self.begun = csv, False
        self._lines = is_live(path) and not csv
        self._live = is_stream(path) and not console.prints_json()

    def print(self, event: "EventChange | Events") -> None:
        """Print what the reporter gets."""
        if isinstance(event, list):
            self._print_result(event)
        elif self._lines:
            self._print_lines(event)
        elif self._live and event.ended:
            self._print_events(event.ended)

    def _print_lines(self, change: "EventChange") -> None:
        lines = [{"event": "end", **event.to_json()} for event in change.ended if event.known]
        lines += [{"event": "begin", "name": name, "start": start} for name, start in change.begun]
        for line in lines:
            console.write(json.dumps(line | {"dropped": change.dropped}, ensure_ascii=False))
        sys.stdout.flush()
        self.begun |= bool(lines)

    def _print_result(self, events: "Events") -> None:
        """Print all events in order, unless they were printed as they came."""
        if not self._lines and console.prints_json():
            console.show_json(events.to_json())
        elif not self._lines and not (self._live and self.begun):
            self._print_events(events.all)
        if not events and not console.prints_json():
            console.notes().print(f"no event: {events.why_none}")

    def _print_events(self, events: "Sequence[Event]") -> None:
        from texthead.apps.timeline.events import Event

        if self._csv:
            rows = [event.cells for event in events]
            console.write(csv_text(rows if self.begun else [Event.COLUMNS, *rows]), end="")
        elif events:
            show = console.results()
            if not self.begun:
                show.print("   start      end   mean   peak  name")
            for each in events:
                mean, peak = (f"{100 * share:3.0f} %" for share in (each.mean, each.peak))
                show.print(f"{each.start:8.2f} {each.end:8.2f}  {mean}  {peak}  {each.name}")
        self.begun = True
        sys.stdout.flush()
