"""`texthead timeline`: find events in a video, with a run or zero-shot."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from texthead.cli import ModelOptions, common, console, option
from texthead.files import unused


@dataclass(frozen=True, kw_only=True)
class TimelineCommand(ModelOptions):
    """Find the events in a video: their class, start and end, in seconds.

    A window slides over the video, or over a part of it (match.mp4#t=3,7.5, in seconds).

    Args:
        inputs: a run folder or hub:ORG/NAME (optional), then a video
        window: length of the window that is scored, in seconds
        enter: probability at which an event begins, 0-1 (default: 0.7)
        leave: probability below which an event ends, 0-1 (default: 0.4)
        min_length: shortest event, and shortest gap within one, in seconds
        out: also write the events: a CSV of parts, .srt or .edl
    """

    JSON: ClassVar = (
        "video, seconds, window, rate, enter, leave, min_length, temperature, threshold, events [name, start, end, "
        "mean, peak]; for multi-label runs, thresholds {name: probability} instead of enter, leave"
    )

    USAGE: ClassVar = "texthead timeline [RUN] VIDEO [--classes NAMES] [options]"

    inputs: list[str] = common("inputs", metavar="RUN_OR_VIDEO")
    window: float = option(1.0, "SECONDS")
    enter: float | None = option(None, "PROBABILITY")
    leave: float | None = option(None, "PROBABILITY")
    min_length: float = option(1.0, "SECONDS")
    out: str | None = option(None, "FILE.csv|.srt|.edl", writes=".csv .srt .edl")
    encoder: str | None = common("encoder without a run")
    device: str = common("device")

    def check(self) -> None:
        """Raise DataError or RunError if a path does not exist or options exclude each other."""
        self.run_and_files("video", one=True)

    def __call__(self) -> None:
        from texthead.apps.timeline.timeline import Sliding, find_events
        from texthead.parallel import pick_device

        run_folder, (path,) = self.run_and_files("video", one=True)
        run = self.load(run_folder, pick_device(self.device))
        console.status("looking for events")
        rule = {name: getattr(self, name) for name in ("enter", "leave", "min_length")}
        events = find_events(run, path, Sliding(self.window, engine="auto"), **rule, reporter=console.reporter)
        console.show_json(events.to_json())
        if events:
            console.results().print("   start      end   mean   peak  name")
        for each in events:
            mean, peak = (f"{100 * share:3.0f} %" for share in (each.mean, each.peak))
            console.results().print(f"{each.start:8.2f} {each.end:8.2f}  {mean}  {peak}  {each.name}")
        if not events and not console.prints_json():
            best = max(events.intervals, key=lambda each: (each.accepted, max(each.scores)))
            share, why = max(best.scores), "it is below the threshold of calibration.json"
            if best.accepted:
                why = f"set `enter` below {share:.3f}, or lower `min_length`"
            name = run.model.names[best.scores.index(share)]
            console.notes().print(
                f"no event: the best is {name!r} with probability {share:.3f} at {best.start:.2f} s; {why}"
            )
        if self.out:
            events.save(self.out)
        self.noted_calibration(run, run.protocol)
        if self.out:
            console.notes().print(f"events: {self.out}")
        elif events:
            classes = () if self.classes is None else ("--classes", self.classes)
            words = (*self.inputs, *classes, "--out", unused(Path("events.srt")))
            console.next_command("texthead", "timeline", *words, encoder=self.encoder)
