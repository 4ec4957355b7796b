"""The events of a video, and the files they are saved to: a CSV, subtitles, or a list of cuts for an editor."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from texthead import Calibration
from texthead.apps.timeline.events import Event, Hysteresis, Interval
from texthead.errors import on_one_line, printable
from texthead.files import replacing, write_csv
from texthead.media import MediaPath


class VideoTimes(NamedTuple):
    """Times of a video, in seconds.

    Attributes:
        seconds: length of the video.
        begin: time of its first frame in the file; above 0 for a part.
        offset: how much later than the file its pictures start; players and editors count from the file's.
        fps: mean number of frames per second of the file.
    """

    seconds: float
    begin: float = 0.0
    offset: float = 0.0
    fps: float = 25.0


class Events(list[Event]):
    """The events of a video sorted by start, in seconds from its first frame, and how they were found.

    Attributes:
        times: times of the video.
        intervals: the probabilities from the first frame to the end of the last, without gaps.
        settings: length of the window in seconds and frames encoded per second.
        calibration: the valid part of the run's calibration.
    """

    def __init__(
        self,
        events: Sequence[Event],
        path: str | Path,
        rule: Hysteresis,
        times: VideoTimes,
        *,
        intervals: Sequence[Interval] = (),
        settings: Mapping[str, float] | None = None,
        calibration: Calibration | None = None,
    ):
        super().__init__(events)
        self.path, self.rule, self.times, self.intervals = path, rule, times, intervals
        self.settings, self.calibration = settings or {}, calibration

    def save(self, file: str | Path) -> None:
        """Write the events to a file; its ending decides the format.

        - .csv: `path,start,end,label,mean,peak`, labelled parts of the video that `read_dataset` reads
        - .srt: subtitles
        - .edl: a list of cuts (CMX 3600) for a video editor

        Times are those of the whole file, for a part too; subtitles and cuts count from its start, parts from its first
        picture, as everywhere else.

        Raises:
            RunError: it cannot be written.
        """
        file = Path(file)
        if file.suffix.lower() == ".csv":
            video = MediaPath(MediaPath(self.path).file).relative_to(file.parent)
            rows = []
            for each in self:
                start, end = (f"{self.times.begin + seconds:.3f}" for seconds in (each.start, each.end))
                rows.append((video, start, end, each.name, f"{each.mean:.6f}", f"{each.peak:.6f}"))
            write_csv(file, ("path", "start", "end", "label", "mean", "peak"), rows)
            return
        with replacing(file) as temporary:
            text = self.subtitles() if file.suffix.lower() == ".srt" else self.edit_list()
            temporary.write_text(text, encoding="utf-8")

    def subtitles(self) -> str:
        """Return the events as SubRip subtitles, one cue each, in times of the whole file.

        Arrows and tags in names are broken up by an invisible character (U+2060), so that they stay text.
        """
        cues, shift = [], self.times.offset + self.times.begin
        for number, event in enumerate(self, 1):
            times = (divmod(round(1000 * (shift + each)), 1000) for each in (event.start, event.end))
            start, end = (f"{_clock(seconds)},{thousandths:03d}" for seconds, thousandths in times)
            name = printable(" ".join(event.name.split()))
            text = re.sub(r"[<{]|--(?=>)", lambda mark: f"{mark[0]}\u2060", name)
            cues.append(f"{number}\n{start} --> {end}\n{text}\n")
        return "\n".join(cues)

    def edit_list(self) -> str:
        """Return the events as cuts of the file, one after the other, in the format CMX 3600.

        Worked example: at 25 frames per second an event from 2 to 3.4 s has source times 00:00:02:00 and 00:00:03:10.
        """
        name, shift = on_one_line(Path(MediaPath(self.path).file).name), self.times.offset + self.times.begin
        lines, recorded, rate = [f"TITLE: {name}", "FCM: NON-DROP FRAME"], 0, self.times.fps
        # A second of timecode counts whole frames: 25 for 12.5 frames per second. 29.97 and alike count their own.
        fps = max(1, round(2 * rate if abs(rate % 1 - 0.5) < 1e-3 else rate))
        rate = rate if abs(rate / fps - 1000 / 1001) < 1e-4 else fps

        def timecode(frame: int) -> str:
            return f"{_clock(frame // fps)}:{frame % fps:02d}"

        for number, event in enumerate(self, 1):
            start, end = (round((shift + each) * rate) for each in (event.start, event.end))
            times = [start, end, recorded, recorded := recorded + end - start]
            lines += ["", f"{number:03d}  AX       V     C        {' '.join(map(timecode, times))}"]
            lines += [f"* FROM CLIP NAME: {name}", f"* COMMENT: {on_one_line(event.name)}"]
        return "\n".join([*lines, ""])

    def to_json(self) -> dict[str, object]:
        """Return the events for JSON, with the settings; for a calibrated run with its temperature and threshold."""
        rule, calibration = self.rule, self.calibration
        limits = {"enter": rule.enter, "leave": rule.leave}
        limits = limits if rule.thresholds is None else {"thresholds": {**rule.thresholds}}
        settings: dict[str, object] = {**self.settings, **limits, "min_length": rule.min_length}
        if calibration is not None:
            settings["temperature"] = calibration.temperature
            if calibration.threshold is not None:
                settings["threshold"] = calibration.threshold.probability
        events = [asdict(event) for event in self]
        return {"video": str(self.path), "seconds": self.times.seconds, **settings, "events": events}


def _clock(seconds: int) -> str:
    """Return a time as hours, minutes and seconds: 3,725 s are 01:02:05."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
